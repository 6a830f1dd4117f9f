"""Certificates in a directory, for meshes without Kubernetes: a folder for each, readable by its owner only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xds_server.certificates.keeping import Store

FILES = ("tls.crt", "tls.key", "ca.crt", "next.crt", "next.key")


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Make the directory, and wait until nobody else writes to it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(folder: Path) -> Store:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}


def write(folder: Path, store: Store) -> bool:
    """Make the folder what the store says, file by file and each at once; whether anything had to change."""
    before = read(folder)
    if before == store:
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in FILES:
        if name in store and before.get(name) != store[name]:
            replace(folder / name, store[name])
        elif name not in store:
            (folder / name).unlink(missing_ok=True)
    return True


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another, whole; it is its owner's."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
