"""One daemon at a time: over the pins, which are the kernel's state, and over the state directory.

The kernel lets go when the process ends, however it ends. The files stay: to remove one would let two have one each.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

_LOCKS: Final = Path("/proc/locks")


class Taken(RuntimeError):
    """Another process has it, or it can be nobody's; the text says which."""


@contextmanager
def owned(pins: Path, file: Path, *, named: bool = True) -> Iterator[None]:
    """`named`: the file is to say who has it.

    :raises Taken: another daemon has one of the two, or the file is none to be had.
    :raises OSError: the folder cannot be made.
    """
    with ExitStack() as stack:
        try:
            own = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Taken(f"{file} cannot be locked ({error.strerror}): have a file of your own there, or none") from None
        stack.callback(os.close, own)
        holder = os.pread(own, 20, 0).decode("ascii", errors="replace").strip()
        _lock(own, f"a daemon runs already, process {holder}, with {file}: end it first")
        if named:
            _name(own, file)
        pins.mkdir(mode=0o700, exist_ok=True)
        folder = os.open(pins, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, folder)
        others = ", ".join(map(str, sorted(holders(pins)))) or "of another container"
        _lock(folder, f"a daemon runs already, process {others}, with another state directory, on {pins}: end it first")
        yield


def _name(own: int, file: Path) -> None:
    try:
        os.ftruncate(own, 0)
        os.pwrite(own, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        why = f"{file} cannot be written ({error.strerror})"
        raise Taken(f"{why}: make room there, or name another `state`") from None


def holders(*paths: Path) -> frozenset[int]:
    """Processes that have a lock on one of them, as the kernel has it; without those of other containers."""
    files = set()
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            files.add(f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}")
    rows = [line.split() for line in _LOCKS.read_text().splitlines()]
    return frozenset(int(row[4]) for row in rows if row[1] == "FLOCK" and row[5] in files and int(row[4]) > 0)


def _lock(descriptor: int, otherwise: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Taken(otherwise) from None
