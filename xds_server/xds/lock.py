"""A file that says whose something is: locked by the process that has it, with its id inside.

The kernel lets go when the process ends, however it ends. The file stays: to remove it would let two have one each.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(RuntimeError):
    """Another process, or another part of this one, has it; the text says which."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have it for as long as the block runs.

    :raises LockedError: it is taken.
    :raises OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", errors="replace").strip()
            raise LockedError(f"process {holder}" if holder.isdecimal() else "another process") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
