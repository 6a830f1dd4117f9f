"""The C library of BPF, by ctypes, out of the extension module of pylibbpf, which brings it along.

Every failure is a `BpfError` that names the operation and the object, with what the library and the verifier said.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

ENOTSUPP: Final = 524
"""The kernel's own, which errno.h does not have: this kind of map has no such operation."""

_LOG_LIMIT: Final = 16384
_NOT_IN_ERRNO_H: Final = {ENOTSUPP: "ENOTSUPP"}


class BpfError(OSError):
    """What the kernel or the library refused: `errno` is the kernel's, `log` what both said of it."""

    def __init__(self, operation: str, name: str, number: int, log: str = "") -> None:
        code = _NOT_IN_ERRNO_H.get(number) or errno.errorcode.get(number, str(number))
        said = "not supported" if number == ENOTSUPP else os.strerror(number)
        super().__init__(number, f"{operation} {name}: {said} ({code})" + (f"\n{log}" if log else ""))
        self.operation, self.name, self.log = operation, name, log

    def __str__(self) -> str:
        return str(self.strerror)


class MissingLibrary(RuntimeError):
    pass


class OpenOptions(ctypes.Structure):
    """Of `bpf_object__open_file`, as far as they are set here."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
    )


class LinkOptions(ctypes.Structure):
    """Of `bpf_link_create`, as far as they are set here."""

    _fields_ = (("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("pad", ctypes.c_uint32))


class TestRunOptions(ctypes.Structure):
    """Of `bpf_prog_test_run_opts`."""

    __test__ = False
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class ProgramInfo(ctypes.Structure):
    """`struct bpf_prog_info`; a kernel that has less of it leaves the rest zero."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("ifindex", ctypes.c_uint32),
        ("gpl_compatible", ctypes.c_uint32),
        ("netns_dev", ctypes.c_uint64),
        ("netns_ino", ctypes.c_uint64),
        ("nr_jited_ksyms", ctypes.c_uint32),
        ("nr_jited_func_lens", ctypes.c_uint32),
        ("jited_ksyms", ctypes.c_uint64),
        ("jited_func_lens", ctypes.c_uint64),
        ("btf_id", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("nr_func_info", ctypes.c_uint32),
        ("nr_line_info", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("jited_line_info", ctypes.c_uint64),
        ("nr_jited_line_info", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("jited_line_info_rec_size", ctypes.c_uint32),
        ("nr_prog_tags", ctypes.c_uint32),
        ("prog_tags", ctypes.c_uint64),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("verified_insns", ctypes.c_uint32),
        ("attach_btf_obj_id", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


class LinkInfo(ctypes.Structure):
    """`struct bpf_link_info`; what follows `prog_id` depends on `type`."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("first", ctypes.c_uint32),
        ("second", ctypes.c_uint32),
        ("third", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 68),
    )


class MapInfo(ctypes.Structure):
    """`struct bpf_map_info`, its head."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


class BatchOptions(ctypes.Structure):
    """Of the batch operations of maps."""

    _fields_ = (("sz", ctypes.c_size_t), ("elem_flags", ctypes.c_uint64), ("flags", ctypes.c_uint64))


class Signature(NamedTuple):
    result: Any
    arguments: tuple[Any, ...]


_INT, _U32, _U64, _FD = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int
_POINTER, _TEXT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t

SIGNATURES: Final[dict[str, Signature]] = {
    "libbpf_set_print": Signature(_POINTER, (_POINTER,)),
    "libbpf_num_possible_cpus": Signature(_INT, ()),
    "bpf_object__open_file": Signature(_POINTER, (_TEXT, _POINTER)),
    "bpf_object__load": Signature(_INT, (_POINTER,)),
    "bpf_object__close": Signature(None, (_POINTER,)),
    "bpf_object__next_program": Signature(_POINTER, (_POINTER, _POINTER)),
    "bpf_object__next_map": Signature(_POINTER, (_POINTER, _POINTER)),
    "bpf_program__name": Signature(_TEXT, (_POINTER,)),
    "bpf_program__fd": Signature(_FD, (_POINTER,)),
    "bpf_map__name": Signature(_TEXT, (_POINTER,)),
    "bpf_map__fd": Signature(_FD, (_POINTER,)),
    "bpf_map__type": Signature(_INT, (_POINTER,)),
    "bpf_map__key_size": Signature(_U32, (_POINTER,)),
    "bpf_map__value_size": Signature(_U32, (_POINTER,)),
    "bpf_map__max_entries": Signature(_U32, (_POINTER,)),
    "bpf_map__map_flags": Signature(_U32, (_POINTER,)),
    "bpf_map__set_max_entries": Signature(_INT, (_POINTER, _U32)),
    "bpf_map_create": Signature(_FD, (_INT, _TEXT, _U32, _U32, _U32, _POINTER)),
    "bpf_map_lookup_elem": Signature(_INT, (_FD, _POINTER, _POINTER)),
    "bpf_map_update_elem": Signature(_INT, (_FD, _POINTER, _POINTER, _U64)),
    "bpf_map_delete_elem": Signature(_INT, (_FD, _POINTER)),
    "bpf_map_get_next_key": Signature(_INT, (_FD, _POINTER, _POINTER)),
    "bpf_map_update_batch": Signature(_INT, (_FD, _POINTER, _POINTER, _POINTER, _POINTER)),
    "bpf_map_delete_batch": Signature(_INT, (_FD, _POINTER, _POINTER, _POINTER)),
    "bpf_map_lookup_batch": Signature(_INT, (_FD, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER, _POINTER)),
    "bpf_map_get_info_by_fd": Signature(_INT, (_FD, _POINTER, _POINTER)),
    "bpf_obj_pin": Signature(_INT, (_FD, _TEXT)),
    "bpf_obj_get": Signature(_FD, (_TEXT,)),
    "bpf_prog_get_info_by_fd": Signature(_INT, (_FD, _POINTER, _POINTER)),
    "bpf_prog_query": Signature(_INT, (_FD, _INT, _U32, _POINTER, _POINTER, _POINTER)),
    "bpf_prog_get_fd_by_id": Signature(_FD, (_U32,)),
    "bpf_prog_test_run_opts": Signature(_INT, (_FD, _POINTER)),
    "bpf_link_create": Signature(_FD, (_FD, _FD, _INT, _POINTER)),
    "bpf_link_update": Signature(_INT, (_FD, _FD, _POINTER)),
    "bpf_link_detach": Signature(_INT, (_FD,)),
    "bpf_link_get_info_by_fd": Signature(_INT, (_FD, _POINTER, _POINTER)),
    "libbpf_probe_bpf_prog_type": Signature(_INT, (_INT, _POINTER)),
    "libbpf_probe_bpf_map_type": Signature(_INT, (_INT, _POINTER)),
    "btf__parse": Signature(_POINTER, (_TEXT, _POINTER)),
    "btf__free": Signature(None, (_POINTER,)),
    "btf__find_by_name_kind": Signature(_INT, (_POINTER, _TEXT, _U32)),
    "btf__type_by_id": Signature(_POINTER, (_POINTER, _U32)),
    "btf__type_cnt": Signature(_U32, (_POINTER,)),
    "btf__name_by_offset": Signature(_TEXT, (_POINTER, _U32)),
    "btf__resolve_size": Signature(ctypes.c_int64, (_POINTER, _U32)),
    "btf__resolve_type": Signature(_INT, (_POINTER, _U32)),
}

_PRINT = ctypes.CFUNCTYPE(_INT, _INT, _TEXT, _POINTER)
_said = threading.local()


def _printed(level: int, template: bytes, arguments: int | None) -> int:
    """The library's word goes to the log of whoever calls it, and to nobody else."""
    lines = getattr(_said, "lines", None)
    if lines is None or level > 0:
        return 0
    text = ctypes.create_string_buffer(_LOG_LIMIT)
    length: int = _libc().vsnprintf(text, len(text), template, ctypes.c_void_p(arguments))
    lines.append(text.value.decode(errors="replace") + ("... cut\n" if length >= _LOG_LIMIT else ""))
    return length


_PRINTED = _PRINT(_printed)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def library() -> ctypes.CDLL:
    """The library, with its signatures set."""
    spec = find_spec("pylibbpf")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    found = [file for folder in folders for file in sorted(folder.glob("pylibbpf.*.so"))]
    if not found:
        raise MissingLibrary("no libbpf: the package pylibbpf is not installed; install tidegate[node]")
    loaded = ctypes.CDLL(str(found[0]), use_errno=True)
    for name, signature in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = signature
    loaded.libbpf_set_print(ctypes.cast(_PRINTED, ctypes.c_void_p))
    return loaded


@contextmanager
def _listening() -> Iterator[list[str]]:
    _said.lines = []
    try:
        yield _said.lines
    finally:
        _said.lines = None


def call(function: str, name: str, *arguments: object) -> int:
    """The result of a function that says -errno on failure; `name` is the object it is about."""
    with _listening() as lines:
        result: int = getattr(library(), function)(*arguments)
    if result < 0:
        raise BpfError(function, name, -result, "".join(lines).rstrip())
    return result


def pointer(function: str, name: str, *arguments: object) -> int:
    """The result of a function that says NULL and errno on failure."""
    with _listening() as lines:
        result: int | None = getattr(library(), function)(*arguments)
    if not result:
        raise BpfError(function, name, ctypes.get_errno(), "".join(lines).rstrip())
    return result


def program_info(fd: int, name: str) -> ProgramInfo:
    info = ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call("bpf_prog_get_info_by_fd", name, fd, ctypes.byref(info), ctypes.byref(size))
    return info


def link_info(fd: int, name: str) -> LinkInfo:
    info = LinkInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call("bpf_link_get_info_by_fd", name, fd, ctypes.byref(info), ctypes.byref(size))
    return info


def map_info(fd: int, name: str) -> MapInfo:
    info = MapInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    call("bpf_map_get_info_by_fd", name, fd, ctypes.byref(info), ctypes.byref(size))
    return info


@cache
def possible_cpus() -> int:
    """How many values an entry of a per-CPU map has."""
    return call("libbpf_num_possible_cpus", "this machine")
