"""A map of the kernel by its typed entries: read, written and walked, many at a time where the kernel can."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from datapath.kernel.layout import MapSpec, MapType
from datapath.kernel.libbpf import ENOTSUPP, BatchOptions, BpfError, call, map_info

K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V", bound=tuple[Any, ...])

BATCH: Final = 4096
"""Entries of one system call."""
# EINVAL is what a kernel says that has no batch operations at all.
_NO_BATCH: Final = frozenset({ENOTSUPP, errno.EINVAL})
_ANY: Final = 0
NO_PREALLOC: Final = 1


class WrongLayout(RuntimeError):
    pass


class Map(Generic[K, V]):
    """An open map. It owns `fd`; what is pinned stays when it is closed."""

    def __init__(self, fd: int, spec: MapSpec[K, V]) -> None:
        self.fd, self.spec, self.name = fd, spec, spec.name
        self._batches = True

    @cached_property
    def capacity(self) -> int:
        return int(map_info(self.fd, self.name).max_entries)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, key: K) -> V | None:
        octets = self._get(self.spec.key.pack(key))
        return None if octets is None else self.spec.value.unpack(octets)

    def put(self, key: K, value: V) -> None:
        call("bpf_map_update_elem", self.name, self.fd, self.spec.key.pack(key), self.spec.value.pack(value), _ANY)

    def delete(self, key: K) -> bool:
        """Whether there was such an entry."""
        return self._delete(self.spec.key.pack(key))

    def put_all(self, entries: Iterable[tuple[K, V]]) -> None:
        """Where one is refused (`BpfError`), those before it are written."""
        packed = ((self.spec.key.pack(key), self.spec.value.pack(value)) for key, value in entries)
        while chunk := list(islice(packed, BATCH)):
            keys, values = b"".join(key for key, _ in chunk), b"".join(value for _, value in chunk)
            if not self._batch("bpf_map_update_batch", len(chunk), keys, values):
                for key, value in chunk:
                    call("bpf_map_update_elem", self.name, self.fd, key, value, _ANY)

    def delete_all(self, keys: Iterable[K]) -> None:
        """One that is not there is as good as deleted."""
        for key in keys:
            self.delete(key)

    def items(self) -> Iterator[tuple[K, V]]:
        """Every entry that is there throughout; one that comes or goes meanwhile may be among them or not."""
        for key, value in self._walk():
            yield self.spec.key.unpack(key), self.spec.value.unpack(value)

    def _get(self, key: bytes) -> bytes | None:
        value = ctypes.create_string_buffer(self.spec.value.size)
        try:
            call("bpf_map_lookup_elem", self.name, self.fd, key, value)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def _delete(self, key: bytes) -> bool:
        try:
            call("bpf_map_delete_elem", self.name, self.fd, key)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _batch(self, function: str, size: int, *buffers: bytes) -> bool:
        """Whether the kernel has done it at once; a kernel that cannot is not asked again."""
        if not self._batches:
            return False
        count, options = ctypes.c_uint32(size), BatchOptions(ctypes.sizeof(BatchOptions))
        try:
            call(function, self.name, self.fd, *buffers, ctypes.byref(count), ctypes.byref(options))
        except BpfError as error:
            if error.errno not in _NO_BATCH or count.value not in {0, size}:
                raise
            self._batches = False
            return False
        return True

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        if self._batches:
            try:
                yield from self._walk_batches()
            except BpfError as error:
                if error.errno not in _NO_BATCH:
                    raise
                self._batches = False
            else:
                return
        yield from self._walk_keys()

    def _walk_batches(self) -> Iterator[tuple[bytes, bytes]]:
        key_size, value_size, size = self.spec.key.size, self.spec.value.size, BATCH
        here = ctypes.create_string_buffer(max(key_size, 8))
        begun, more = False, True
        while more:
            keys, values = ctypes.create_string_buffer(size * key_size), ctypes.create_string_buffer(size * value_size)
            count, options = ctypes.c_uint32(size), BatchOptions(ctypes.sizeof(BatchOptions))
            start = ctypes.create_string_buffer(here.raw, len(here)) if begun else None
            arguments = (start, here, keys, values, ctypes.byref(count), ctypes.byref(options))
            try:
                call("bpf_map_lookup_batch", self.name, self.fd, *arguments)
            except BpfError as error:
                if error.errno == errno.ENOSPC:  # one bucket of the hash has more than that
                    size *= 2
                    continue
                if error.errno != errno.ENOENT:
                    raise
                more = False
            begun = True
            yield from zip(
                _cut(keys.raw, key_size, count.value), _cut(values.raw, value_size, count.value), strict=True
            )

    def _walk_keys(self) -> Iterator[tuple[bytes, bytes]]:
        # All keys first: a walk begins anew where the key that it stands on is deleted.
        keys: dict[bytes, None] = {}
        key: bytes | None = None
        while (key := self._next(key)) is not None and key not in keys:
            keys[key] = None
        for each in keys:
            value = self._get(each)
            if value is not None:
                yield each, value

    def _next(self, key: bytes | None) -> bytes | None:
        following = ctypes.create_string_buffer(self.spec.key.size)
        try:
            call("bpf_map_get_next_key", self.name, self.fd, key, following)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return following.raw


def _cut(octets: bytes, size: int, count: int) -> Iterator[bytes]:
    return (octets[i * size : (i + 1) * size] for i in range(count))


def opened(spec: MapSpec[K, V], folder: Path) -> Map[K, V]:
    """The map that is pinned in a folder; `WrongLayout` where its entries are of another size."""
    fd = call("bpf_obj_get", str(folder / spec.name), os.fsencode(folder / spec.name))
    found = map_info(fd, spec.name)
    sizes = (found.key_size, found.value_size)
    if sizes != (spec.key.size, spec.value.size):
        os.close(fd)
        raise WrongLayout(
            f"map {folder / spec.name} has keys and values of {sizes} bytes instead of "
            f"{(spec.key.size, spec.value.size)}: remove it, or run the version of Tidegate that has made it"
        )
    return Map(fd, spec)


def created(spec: MapSpec[K, V], kind: MapType, max_entries: int, flags: int = 0) -> Map[K, V]:
    """A map of its own, pinned nowhere."""
    options = _CreateOptions(sz=ctypes.sizeof(_CreateOptions), map_flags=flags)
    sizes = (spec.key.size, spec.value.size, max_entries)
    name = spec.name.encode()[:15]
    return Map(call("bpf_map_create", spec.name, kind, name, *sizes, ctypes.byref(options)), spec)


class _CreateOptions(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key_type_id", ctypes.c_uint32),
        ("btf_value_type_id", ctypes.c_uint32),
        ("btf_vmlinux_value_type_id", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
        ("value_type_btf_obj_fd", ctypes.c_int32),
        ("token_fd", ctypes.c_int32),
    )
