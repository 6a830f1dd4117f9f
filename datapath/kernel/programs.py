"""BPF programs: opened as they were shipped, loaded with the maps that are pinned, attached by links that are pinned.

A link outlives the process. Who starts finds it, and puts his own program into it in one step: no packet meets none.
Before Linux 6.6 there are no links for TC: the program is a filter (`clsact`).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from datapath.kernel import clsact, layouts
from datapath.kernel.clsact import Hook
from datapath.kernel.layout import LAYOUT
from datapath.kernel.libbpf import (
    BpfError,
    LinkInfo,
    LinkOptions,
    OpenOptions,
    call,
    library,
    link_info,
    map_info,
    pointer,
    program_info,
)

MANIFEST: Final = "manifest.json"
"""Beside the objects: the name of each, and its SHA-256."""

_TCX: Final[Mapping[Hook, int]] = {"ingress": 46, "egress": 47}
_SK_LOOKUP: Final = 36
# Of those at one hook, ours is the first: another one may end the walk, and ours does not.
_BEFORE: Final = 1 << 3
_CGROUP_LINK: Final = 3

CGROUP_HOOKS: Final[Mapping[str, int]] = {
    "sockops": 3,
    "connect4": 10,
    "connect6": 11,
    "sendmsg4": 14,
    "sendmsg6": 15,
    "recvmsg4": 19,
    "recvmsg6": 20,
    "getsockopt": 21,
    "getpeername4": 29,
    "getpeername6": 30,
}


class NotShipped(RuntimeError):
    """An object is not what was built together with this code."""


@dataclass(frozen=True, slots=True)
class Pins:
    """Where maps and links are pinned: below BPFFS/tidegate/LAYOUT, which only root may enter."""

    bpffs: Path
    layout: int = LAYOUT

    @property
    def folder(self) -> Path:
        return self.bpffs / "tidegate" / str(self.layout)

    @property
    def maps(self) -> Path:
        return self.folder / "maps"

    @property
    def links(self) -> Path:
        return self.folder / "links"

    @property
    def programs(self) -> Path:
        """The programs that were loaded last: a link tells its program's number, and these are who has it."""
        return self.folder / "programs"

    def create(self) -> None:
        for folder in (self.bpffs / "tidegate", self.folder, self.maps, self.links, self.programs):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)

    def remove(self) -> None:
        """All that is pinned, of this layout; `detach_all` comes first where the programs shall stop now."""
        layouts.remove(self.folder)
        with suppress(OSError):  # another layout is still there
            (self.bpffs / "tidegate").rmdir()

    @property
    def follows(self) -> bool:
        """Whether programs of another layout are attached."""
        return layouts.attached(self.folder)

    def remove_others(self) -> list[str]:
        """Once all is attached here: links that another layout has besides are detached, and all its pins go."""
        removed = []
        for folder in layouts.others(self.folder):
            removed += [f"layout {folder.name}: {pin.name}" for pin in sorted((folder / "links").glob("*"))]
            for pin in sorted((folder / "links").glob("*")):
                detach(pin)
            layouts.remove(folder)
        return removed


class Program(NamedTuple):
    name: str
    fd: int
    tag: str
    """Of its instructions, by the kernel: equal for equal programs."""
    verified_instructions: int
    """How many the verifier has looked at; 0 where the kernel does not say (before 5.16)."""


class Loaded:
    """An object's programs in the kernel; they stay there while a link holds them, when this is closed."""

    def __init__(
        self, handle: int, programs: Mapping[str, Program], maps: Mapping[str, int], pinned: Collection[str] = ()
    ) -> None:
        self._handle, self.programs, self.maps, self.pinned = handle, programs, maps, pinned

    def close(self) -> None:
        library().bpf_object__close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shipped(file: Path) -> None:
    """`NotShipped` where an object is not the one that the manifest beside it names."""
    manifest = file.parent / MANIFEST
    try:
        digests = json.loads(manifest.read_bytes())
        octets = file.read_bytes()
    except (OSError, ValueError) as error:
        raise NotShipped(f"BPF object {file}: {error}; build it with `make bpf`") from error
    if not isinstance(digests, dict) or digests.get(file.name) != hashlib.sha256(octets).hexdigest():
        raise NotShipped(f"BPF object {file} is not the one in {manifest}: build both anew with `make bpf`")


def load(file: Path, pins: Pins, max_entries: Mapping[str, int] | None = None) -> Loaded:
    """The object's programs, with the maps that are pinned, or new ones that are pinned now.

    `max_entries` is for maps that are not there yet, by name.
    """
    shipped(file)
    options = OpenOptions(ctypes.sizeof(OpenOptions), None, False, os.fsencode(pins.maps))
    handle = pointer("bpf_object__open_file", str(file), os.fsencode(file), ctypes.byref(options))
    try:
        for name, each in _each("map", handle):
            if max_entries and name in max_entries:
                call("bpf_map__set_max_entries", name, each, max_entries[name])
            layouts.share(pins.folder, name, _shape(each))
        call("bpf_object__load", str(file), handle)
        programs = {name: _program(name, library().bpf_program__fd(each)) for name, each in _each("program", handle)}
        maps: dict[str, int] = {name: library().bpf_map__fd(each) for name, each in _each("map", handle)}
        for program in programs.values():
            _pin(program.fd, pins.programs / program.name)
    except BaseException:
        library().bpf_object__close(handle)
        raise
    return Loaded(handle, programs, maps, maps.keys() & {pin.name for pin in pins.maps.iterdir()})


def _each(what: Literal["map", "program"], handle: int) -> Iterator[tuple[str, int]]:
    following, name = getattr(library(), f"bpf_object__next_{what}"), getattr(library(), f"bpf_{what}__name")
    each = following(handle, None)
    while each:
        yield name(each).decode(), each
        each = following(handle, each)


def _shape(handle: int) -> layouts.Shape:
    return layouts.Shape(*(getattr(library(), f"bpf_map__{field}")(handle) for field in layouts.Shape._fields))


def _program(name: str, fd: int) -> Program:
    info = program_info(fd, name)
    return Program(name, fd, bytes(info.tag).hex(), info.verified_insns)


class Attached(NamedTuple):
    """Where a program is attached; `link` is its pin, none for a filter of clsact."""

    program: str
    target: str
    link: Path | None
    adopted: bool
    """A link or a filter was there, and has this program now."""


def attach_tc(program: Program, ifindex: int, hook: Hook, pins: Pins) -> Attached:
    """To a link of this network namespace."""
    pin = pins.links / f"{program.name}@{ifindex}"
    try:
        adopted = _attach(program, pin, ifindex, _TCX[hook], lambda info: info.first == ifindex, _BEFORE)
    except BpfError as error:
        if error.errno != errno.EINVAL or error.operation != "bpf_link_create":
            raise
        adopted = clsact.attach(program.name, program.fd, ifindex, hook)
        return Attached(program.name, str(ifindex), None, adopted)
    return Attached(program.name, str(ifindex), pin, adopted)


def attach_netns(program: Program, pins: Pins, netns: str = "/proc/self/ns/net") -> Attached:
    """To the choice of sockets of a network namespace, by its file."""
    pin = pins.links / program.name
    fd = os.open(netns, os.O_RDONLY)
    try:
        inode = os.fstat(fd).st_ino & 0xFFFFFFFF
        adopted = _attach(program, pin, fd, _SK_LOOKUP, lambda info: info.first == inode)
    finally:
        os.close(fd)
    return Attached(program.name, netns, pin, adopted)


def sk_lookup_programs(netns: str = "/proc/self/ns/net") -> int:
    """How many programs choose sockets in a network namespace."""
    count = ctypes.c_uint32()
    fd = os.open(netns, os.O_RDONLY)
    try:
        call("bpf_prog_query", netns, fd, _SK_LOOKUP, 0, None, None, ctypes.byref(count))
    finally:
        os.close(fd)
    return count.value


def attach_cgroup(program: Program, cgroup: Path, hook: str, pins: Pins) -> Attached:
    """To a cgroup (version 2) and all below it; `hook` is one of CGROUP_HOOKS."""
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        number = cgroup_id(cgroup)
        pin = pins.links / f"{program.name}@{number}"
        same = (number & 0xFFFFFFFF, number >> 32)
        adopted = _attach(program, pin, fd, CGROUP_HOOKS[hook], lambda info: (info.first, info.second) == same)
    finally:
        os.close(fd)
    return Attached(program.name, str(cgroup), pin, adopted)


def cgroup_id(cgroup: Path) -> int:
    """As the kernel's programs have it; on cgroup2 it is the folder's inode."""
    return cgroup.stat().st_ino


def _attach(
    program: Program, pin: Path, target: int, kind: int, is_there: Callable[[LinkInfo], bool], flags: int = 0
) -> bool:
    """Whether a pinned link was adopted. One whose target has gone is replaced."""
    layouts.take(pin.parents[1], pin.name)
    with suppress(FileNotFoundError):
        link = _open(pin)
        try:
            if is_there(link_info(link, str(pin))):
                call("bpf_link_update", f"{program.name} in {pin}", link, program.fd, None)
                return True
        finally:
            os.close(link)
        pin.unlink()
    options = LinkOptions(ctypes.sizeof(LinkOptions), flags)
    name = f"{program.name} at {pin.name}"
    link = call("bpf_link_create", name, program.fd, target, kind, ctypes.byref(options))
    try:
        call("bpf_obj_pin", str(pin), link, os.fsencode(pin))
    finally:
        os.close(link)
    return False


def _open(pin: Path) -> int:
    try:
        return call("bpf_obj_get", str(pin), os.fsencode(pin))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            raise FileNotFoundError(pin) from error
        raise


def running(pin: Path, pins: Pins) -> Program | None:
    """The program in a pinned link, where it is one of those that were loaded last; its `fd` is not open.

    None too where the link, or what it was attached to, has gone.
    """
    try:
        link = _open(pin)
    except FileNotFoundError:
        return None
    try:
        attached = link_info(link, str(pin))
    finally:
        os.close(link)
    name = pin.name.partition("@")[0]
    # In a cgroup's link the two are its number; in others the second is the hook.
    if not attached.first and not (attached.type == _CGROUP_LINK and attached.second):
        return None
    try:
        fd = _open(pins.programs / name)
    except FileNotFoundError:
        return None
    try:
        found = program_info(fd, name)
        return _program(name, fd)._replace(fd=-1) if found.id == attached.prog_id else None
    finally:
        os.close(fd)


def is_filter(program: Program, ifindex: int, hook: Hook) -> bool:
    """Whether a program is at a link without a pin, as before Linux 6.6."""
    number = program_info(program.fd, program.name).id
    return any(each.own and each.program == number for each in clsact.filters(ifindex, hook))


def put_back(loaded: Iterable[Loaded], pins: Pins) -> list[str]:
    """Pin again each map and each program that is not pinned any more, or in whose place is another; their names.

    The kernel's programs go on without; who comes after us would begin with empty maps.
    """
    pins.create()
    found: dict[Path, tuple[int, Callable[[int, str], int]]] = {}
    for each in loaded:
        found |= {pins.maps / name: (fd, _number_of_map) for name, fd in each.maps.items() if name in each.pinned}
        found |= {pins.programs / name: (own.fd, _number_of_program) for name, own in each.programs.items()}
    lost = [(fd, pin) for pin, (fd, number) in sorted(found.items()) if not _is_pinned(fd, pin, number)]
    for fd, pin in lost:
        _pin(fd, pin)
    return [f"{pin.parent.name}/{pin.name}" for _, pin in lost]


def _is_pinned(fd: int, pin: Path, number: Callable[[int, str], int]) -> bool:
    try:
        there = _open(pin)
    except FileNotFoundError:
        return False
    try:
        return number(there, pin.name) == number(fd, pin.name)
    except BpfError:  # it is something else
        return False
    finally:
        os.close(there)


def _number_of_map(fd: int, name: str) -> int:
    number: int = map_info(fd, name).id
    return number


def _number_of_program(fd: int, name: str) -> int:
    number: int = program_info(fd, name).id
    return number


def _pin(fd: int, pin: Path) -> None:
    """In the place of what was pinned there, in one step."""
    beside = pin.with_name(f"{pin.name}-{os.getpid()}")
    call("bpf_obj_pin", str(pin), fd, os.fsencode(beside))
    beside.rename(pin)


def detach(pin: Path) -> None:
    """At once, whoever else has the link open."""
    with suppress(FileNotFoundError):
        link = _open(pin)
        try:
            call("bpf_link_detach", str(pin), link)
        except BpfError as error:
            if error.errno != errno.ENOLINK:  # what it was attached to has gone
                raise
        finally:
            os.close(link)
        pin.unlink()


def detach_all(pins: Pins) -> None:
    """Every pinned link; filters have none."""
    for pin in sorted(pins.links.glob("*")):
        detach(pin)
