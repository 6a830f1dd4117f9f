"""The programs in a BPF file system of their own, run with one packet each and attached to nothing."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import pack, pack_into, unpack_from
from typing import Any, Final, NamedTuple, TypeVar

from datapath.kernel import layout, verdicts
from datapath.kernel.layout import Direction, MapSpec, Pace, Reason
from datapath.kernel.libbpf import TestRunOptions, call, possible_cpus
from datapath.kernel.maps import Map, opened
from datapath.kernel.programs import Pins, Program, load

BUILD: Final = Path(__file__).resolve().parents[2] / "datapath/bpf/build"
OBJECTS: Final = ("traffic", "steer", "listen", "sockets")

TC_ACT_UNSPEC: Final = -1
TC_ACT_SHOT: Final = 2

DIRECTIONS: Final = {
    "from_workload": Direction.FROM_WORKLOAD,
    "from_stranger": Direction.FROM_WORKLOAD,
    "to_workload": Direction.TO_WORKLOAD,
    "from_network": Direction.FROM_NETWORK,
    "to_network": Direction.TO_NETWORK,
    "from_tunnel": Direction.FROM_NETWORK,
    "to_tunnel": Direction.TO_NETWORK,
    "from_host": Direction.FROM_HOST,
}

# struct __sk_buff: what it has of a packet besides its bytes.
_CONTEXT_SIZE: Final = 192
_MARK_AT: Final = 8

K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V", bound=tuple[Any, ...])


class Outcome(NamedTuple):
    """What became of a packet; `reasons` are the counters that have counted it."""

    action: int
    mark: int
    reasons: tuple[Reason, ...]
    packet: bytes


@contextmanager
def bpffs(folder: Path) -> Iterator[Path]:
    """A BPF file system at a folder; what is pinned in it goes with it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "bpf", "bpf", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Stand(ExitStack):
    """All programs, loaded, and their maps."""

    def __init__(self, folder: Path, max_entries: dict[str, int] | None = None) -> None:
        super().__init__()
        self.pins = Pins(self.enter_context(bpffs(folder)))
        self.pins.create()
        loaded = [self.enter_context(load(BUILD / f"{name}.bpf.o", self.pins, max_entries)) for name in OBJECTS]
        self.programs: dict[str, Program] = {
            name: program for each in loaded for name, program in each.programs.items()
        }

    def map(self, spec: MapSpec[K, V]) -> Map[K, V]:
        return self.enter_context(opened(spec, self.pins.maps))

    def listen(self, fd: int, slot: int) -> None:
        """Put a listening socket where `listen` would; the kernel removes it when it is closed."""
        name = "listeners"
        map_fd = call("bpf_obj_get", name, str(self.pins.maps / name).encode())
        with ExitStack() as closing:
            closing.callback(os.close, map_fd)
            call("bpf_map_update_elem", name, map_fd, pack("=I", slot), pack("=Q", fd), 0)

    def counted(self) -> dict[tuple[Reason, Direction], int]:
        return {where: tally.packets for where, tally in verdicts.read(self.pins.maps).items()}

    def forget_pace(self, suppressed: int = 0) -> None:
        """As if no CPU had told anything for long."""
        name = "pace"
        fd = call("bpf_obj_get", name, str(self.pins.maps / name).encode())
        with ExitStack() as closing:
            closing.callback(os.close, fd)
            value = layout.PACE.pack(Pace(0, 0, suppressed)) * possible_cpus()
            call("bpf_map_update_elem", name, fd, pack("=I", 0), value, 0)

    def run(self, program: str, packet: bytes, mark: int = 0, repeat: int = 1) -> Outcome:
        """Of loopback, where a packet of nobody's is from."""
        before = self.counted()
        action, marked, left = self.pass_through(program, packet, mark, repeat)
        after = self.counted()
        reasons = tuple(reason for (reason, where), packets in after.items() if packets != before.get((reason, where)))
        return Outcome(action, marked, reasons, left)

    def pass_through(self, program: str, packet: bytes, mark: int = 0, repeat: int = 1) -> tuple[int, int, bytes]:
        """As `run`, without the counters, which take longer to read than a thousand packets: action, mark, packet."""
        context, out = ctypes.create_string_buffer(_CONTEXT_SIZE), ctypes.create_string_buffer(_CONTEXT_SIZE)
        pack_into("=I", context, _MARK_AT, mark)
        sent, left = ctypes.create_string_buffer(packet, len(packet)), ctypes.create_string_buffer(len(packet) + 256)
        options = TestRunOptions(
            sz=ctypes.sizeof(TestRunOptions),
            data_in=ctypes.addressof(sent),
            data_size_in=len(packet),
            data_out=ctypes.addressof(left),
            data_size_out=len(left),
            ctx_in=ctypes.addressof(context),
            ctx_size_in=_CONTEXT_SIZE,
            ctx_out=ctypes.addressof(out),
            ctx_size_out=_CONTEXT_SIZE,
            repeat=repeat,
        )
        call("bpf_prog_test_run_opts", program, self.programs[program].fd, ctypes.byref(options))
        (marked,) = unpack_from("=I", out, _MARK_AT)
        return ctypes.c_int32(options.retval).value, marked, left.raw[: options.data_size_out]
