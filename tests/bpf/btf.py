"""What the compiler says of structures and enumerations: the types in an object, by the library's own reader."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from datapath.kernel.libbpf import BpfError, call, library, pointer

_STRUCT: Final = 4
_ENUM: Final = 6


class _Type(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size", ctypes.c_uint32))


class _Member(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


class _Enumerator(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("value", ctypes.c_int32))


class Field(NamedTuple):
    name: str
    offset: int
    size: int


class Types:
    """Of several objects: a type is taken from the first that has it."""

    def __init__(self, handles: dict[str, int]) -> None:
        self._handles = handles
        self._handle = next(iter(handles.values()))

    def size(self, struct: str) -> int:
        return int(self._head(struct, _STRUCT)[1].size)

    def fields(self, struct: str) -> list[Field]:
        """In bytes; there are no bit fields."""
        members = self._behind(struct, _STRUCT, _Member)
        return [Field(self._text(each.name), each.offset // 8, self._size(each.type)) for each in members]

    def enumerators(self, enumeration: str) -> dict[str, int]:
        members = self._behind(enumeration, _ENUM, _Enumerator)
        return {self._text(each.name): each.value for each in members}

    def _head(self, name: str, kind: int) -> tuple[int, _Type]:
        for handle in self._handles.values():
            self._handle = handle
            with suppress(BpfError):
                number = call("btf__find_by_name_kind", name, handle, name.encode(), kind)
                break
        else:
            raise KeyError(f"none of {', '.join(self._handles)} has {name}")
        address = pointer("btf__type_by_id", name, self._handle, number)
        return address, _Type.from_address(address)

    def _behind(self, name: str, kind: int, member: type) -> list:  # type: ignore[type-arg]
        address, head = self._head(name, kind)
        return list((member * (head.info & 0xFFFF)).from_address(address + ctypes.sizeof(_Type)))

    def _size(self, number: int) -> int:
        size: int = library().btf__resolve_size(self._handle, number)
        return size

    def _text(self, offset: int) -> str:
        text: bytes = library().btf__name_by_offset(self._handle, offset)
        return text.decode()


@contextmanager
def types(*files: Path) -> Iterator[Types]:
    with ExitStack() as stack:
        handles = {}
        for file in files:
            handles[file.name] = pointer("btf__parse", str(file), os.fsencode(file), None)
            stack.callback(library().btf__free, handles[file.name])
        yield Types(handles)
