"""The kernel's ring of events, read where the kernel writes it: what was dropped or refused, and what began."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from datapath.kernel.layout import EVENT, Event
from datapath.kernel.libbpf import call, map_info

NAME: Final = "events"
_BUSY: Final = 1 << 31
_DISCARDED: Final = 1 << 30
_HEADER: Final = 8
_PAGE: Final = mmap.PAGESIZE


class Events:
    """One reader; a second one would take records from the first.

    The ring is readable (`fileno` for `poll` and the like) when there is something to read.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is where the maps are pinned."""
        self._fd = call("bpf_obj_get", str(folder / NAME), os.fsencode(folder / NAME))
        self._size = map_info(self._fd, NAME).max_entries
        self._consumer_pages = mmap.mmap(self._fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # The records' pages are mapped twice in a row, so that none is cut at the end.
        length = _PAGE + 2 * self._size
        self._producer_pages = mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        # Numbers of 8 bytes, which are read and written whole.
        self._consumed = memoryview(self._consumer_pages).cast("Q")
        self._produced = memoryview(self._producer_pages)[:_PAGE].cast("Q")
        self._headers = memoryview(self._producer_pages)[_PAGE:].cast("I")

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        for view in (self._consumed, self._produced, self._headers):
            view.release()
        self._consumer_pages.close()
        self._producer_pages.close()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> Iterator[Event]:
        """Those that are there now; each is taken when it is given."""
        while (at := self._consumed[0]) < self._produced[0]:
            offset = at % self._size
            header = self._headers[offset // 4]
            if header & _BUSY:  # being written
                return
            length = header & ~(_BUSY | _DISCARDED)
            begin = _PAGE + offset + _HEADER
            octets = self._producer_pages[begin : begin + length]
            self._consumed[0] = at + (length + _HEADER + 7) // 8 * 8
            if not header & _DISCARDED and length >= EVENT.size:
                yield EVENT.unpack(octets)
