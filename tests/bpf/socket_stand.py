"""A network namespace, cgroups and a bpffs of a test's own, with the socket programs attached, and processes there."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar

from datapath.kernel.layout import (
    BACKENDS,
    ONLY,
    SERVICES,
    SETTINGS,
    TALLY,
    Backend,
    BackendKey,
    Direction,
    MapSpec,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Settings,
)
from datapath.kernel.libbpf import call, possible_cpus
from datapath.kernel.maps import Map, opened
from datapath.kernel.programs import Pins, attach_cgroup, detach_all, load

PROJECT: Final = Path(__file__).resolve().parents[2]
OBJECT: Final = PROJECT / "datapath" / "bpf" / "build" / "sockets.bpf.o"
PROGRAMS: Final = (
    "connect4 connect6 sendmsg4 sendmsg6 recvmsg4 recvmsg6 getpeername4 getpeername6".split()  # each at its own hook
)
TCP: Final = 6
UDP: Final = 17
PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}

Endpoint = tuple[str, int]
K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V", bound=tuple[Any, ...])


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def cgroup2() -> Path:
    """Where cgroups of version 2 are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise RuntimeError("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")


@contextmanager
def network(*setup: str) -> Iterator[Path]:
    """A network namespace with its loopback up, where all of 10.9.0.0/16 and fd09::/64 is its own."""
    name = f"tg-{os.getpid()}-{secrets.token_hex(3)}"
    run("ip", "netns", "add", name)
    try:
        for line in (
            "link set lo up",
            "route add local 10.9.0.0/16 dev lo",
            "-6 route add local fd09::/64 dev lo",
            *setup,
        ):
            run("ip", "-n", name, *line.split())
        yield Path("/run/netns", name)
    finally:
        run("ip", "netns", "delete", name)


@contextmanager
def cgroup(parent: Path | None = None) -> Iterator[Path]:
    folder = (parent or cgroup2()) / f"tg-{os.getpid()}-{secrets.token_hex(3)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


@contextmanager
def bpffs(directory: Path) -> Iterator[Path]:
    folder = directory / "bpffs"
    folder.mkdir()
    run("mount", "-t", "bpf", "none", str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


class Actor:
    """A process of `actor.py`, or of another module that is driven in that way."""

    def __init__(self, cgroup: Path, netns: Path, module: str = "tests.bpf.actor") -> None:
        command = [sys.executable, "-S", "-E", "-m", module, str(cgroup), str(netns)]
        self._process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, what: str, *arguments: Any, **options: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([what, arguments, options]).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"{what} {arguments}: the process has ended"
        return json.loads(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Sockets:
    """The socket programs at a cgroup, and their maps."""

    def __init__(self, stack: ExitStack, directory: Path, max_entries: dict[str, int] | None = None) -> None:
        self._stack = stack
        self.pins = Pins(stack.enter_context(bpffs(directory)))
        self.pins.create()
        self.cgroup = stack.enter_context(cgroup())
        self.loaded = stack.enter_context(load(OBJECT, self.pins, max_entries))
        self.services = stack.enter_context(self.open(SERVICES))
        self.backends = stack.enter_context(self.open(BACKENDS))
        self.settings = stack.enter_context(self.open(SETTINGS))

    def open(self, spec: MapSpec[K, V]) -> Map[K, V]:
        return opened(spec, self.pins.maps)

    def attach(self) -> None:
        for name in PROGRAMS:
            attach_cgroup(self.loaded.programs[name], self.cgroup, name, self.pins)
        self._stack.callback(detach_all, self.pins)

    def actor(self, netns: Path, cgroup: Path | None = None, module: str = "tests.bpf.actor") -> Actor:
        actor = Actor(cgroup or self.cgroup, netns, module)
        self._stack.callback(actor.close)
        return actor

    def set(self, **settings: Any) -> None:
        self.settings.put(ONLY, Settings(**settings))

    def service(
        self,
        number: int,
        kind: str,
        at: Sequence[Endpoint],
        backends: Sequence[Endpoint],
        *,
        flags: ServiceFlag | int = 0,
        generation: int = 1,
        affinity_s: int = 0,
    ) -> None:
        """Slots first, then the service that points to them."""
        self.backends.put_all(
            (BackendKey(number, generation, slot), Backend(ip_address(address) if address else None, port))
            for slot, (address, port) in enumerate(backends)
        )
        service = Service(int(flags), number, generation, len(backends), affinity_s)
        self.services.put_all((ServiceKey(ip_address(address), port, PROTOCOLS[kind]), service) for address, port in at)

    def forget(self, number: int, generation: int, backends: int) -> None:
        self.backends.delete_all(BackendKey(number, generation, slot) for slot in range(backends))

    def count(self, reason: Reason) -> int:
        """How often the programs came to a verdict, on all CPUs."""
        return tally(self.loaded.maps["verdicts"], reason, Direction.SOCKET)


def tally(fd: int, reason: Reason, direction: Direction) -> int:
    buffer = ctypes.create_string_buffer(TALLY.size * possible_cpus())
    key = (reason * len(Direction) + direction).to_bytes(4, sys.byteorder)
    call("bpf_map_lookup_elem", "verdicts", fd, key, buffer)
    values = buffer.raw
    return sum(TALLY.unpack(values[i : i + TALLY.size]).packets for i in range(0, len(values), TALLY.size))
