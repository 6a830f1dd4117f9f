"""A node, two of its pods and somebody outside, as network namespaces, with all programs attached; and who talks there.

The test's own process is everybody: it opens a socket in the namespace of whoever it plays.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from datapath.kernel import layout, routing, verdicts
from datapath.kernel.layout import (
    CAPTURE_PORT,
    MARK_FROM_PROXY,
    MARK_FROM_PROXY_AS,
    AddressKey,
    Direction,
    NodeAddress,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Workload,
)
from datapath.kernel.programs import Attached, attach_cgroup, attach_netns, attach_tc, detach_all
from tests.bpf.stand import Stand

_NEW_NETWORK: Final = 0x40000000
_SO_MARK: Final = 36
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
PATIENCE_S: Final = 20
"""For what must come; nobody waits for it that long."""

NODE, POD, BACKEND, OUTSIDE = "node", "pod", "backend", "outside"
ADDRESSES: Final = {
    POD: ("10.1.0.5", "fd00:1::5"),
    BACKEND: ("10.1.0.6", "fd00:1::6"),
    OUTSIDE: ("198.51.100.7", "2001:db8:9::7"),
    NODE: ("198.51.100.1", "2001:db8:9::1"),
}
GATEWAYS: Final = ("10.1.0.1", "fd00:1::1")
FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
LOOPBACK: Final = ("127.0.0.1", "::1")
UPLINK: Final = "up0"
BRIDGE: Final = "br0"


def run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert 0 == done.returncode, f"{' '.join(command)}: {done.stderr}"


def _cgroup2() -> Path:
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return Path(next(mount for _, mount, kind, *_ in lines if kind == "cgroup2"))


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread is in a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as here, Path(f"/run/netns/{namespace}").open() as there:
        assert 0 == libc.setns(there.fileno(), _NEW_NETWORK)
        try:
            yield
        finally:
            assert 0 == libc.setns(here.fileno(), _NEW_NETWORK)


class Lab(ExitStack):
    """`stand` has the programs, `links` the node's end of each one's link."""

    def __init__(self, folder: Path, *, bridged: bool = False) -> None:
        super().__init__()
        self._suffix = secrets.token_hex(3)
        self.stand = self.enter_context(Stand(folder))
        self.pins = self.stand.pins
        for each in (NODE, POD, BACKEND, OUTSIDE):
            run("ip", "netns", "add", self.name(each))
            self.callback(run, "ip", "netns", "del", self.name(each))
            self.ip(each, "link set lo up")
        self.cgroup = _cgroup2() / f"tidegate-test-{self._suffix}"
        self.cgroup.mkdir()
        self.callback(self.cgroup.rmdir)
        if bridged:
            self._bridge()
        link = self._port if bridged else self._link
        self.links = {POD: link(POD), BACKEND: link(BACKEND), OUTSIDE: self._uplink()}
        self.services = self.stand.map(layout.SERVICES)
        self._enrol()
        self.callback(detach_all, self.pins)
        self.attach()
        with inside(self.name(NODE)):
            routing.install(*(ip_address(address) for address in ADDRESSES[NODE]))  # type: ignore[arg-type]

    def name(self, who: str) -> str:
        return f"{who}-{self._suffix}"

    def ip(self, who: str, command: str) -> None:
        run("ip", "-n", self.name(who), *command.split())

    def sysctl(self, who: str, setting: str, value: str) -> None:
        with inside(self.name(who)):
            Path("/proc/sys/net", setting).write_text(value)

    def _link(self, who: str) -> int:
        """A pod's: a route to it by its link, and the way out by an address that all pods have as their gateway."""
        name = f"{who}0"
        self.ip(NODE, f"link add {name} type veth peer name eth0 netns {self.name(who)}")
        self.ip(NODE, f"link set {name} up")
        self.ip(who, "link set eth0 up")
        for address, gateway, length in zip(ADDRESSES[who], GATEWAYS, (32, 128), strict=True):
            self.ip(NODE, f"addr add {gateway}/{length} dev {name}" + " nodad" * (length == 128))
            self.ip(NODE, f"route add {address}/{length} dev {name}")
            self.ip(who, f"addr add {address}/{length} dev eth0" + " nodad" * (length == 128))
            self.ip(who, f"route add {gateway}/{length} dev eth0")
            self.ip(who, f"route add default via {gateway} dev eth0")
        return self.index(NODE, name)

    def _bridge(self) -> None:
        self.ip(NODE, f"link add {BRIDGE} type bridge")
        self.ip(NODE, f"link set {BRIDGE} up")
        for gateway, length in zip(GATEWAYS, (24, 64), strict=True):
            self.ip(NODE, f"addr add {gateway}/{length} dev {BRIDGE}" + " nodad" * (length == 64))

    def _port(self, who: str) -> int:
        """A pod's, on the bridge: it reaches other pods by their own addresses."""
        name = f"{who}0"
        self.ip(NODE, f"link add {name} type veth peer name eth0 netns {self.name(who)}")
        self.ip(NODE, f"link set {name} master {BRIDGE} up")
        self.ip(who, "link set eth0 up")
        for address, gateway, length in zip(ADDRESSES[who], GATEWAYS, (24, 64), strict=True):
            self.ip(who, f"addr add {address}/{length} dev eth0" + " nodad" * (length == 64))
            self.ip(who, f"route add default via {gateway} dev eth0")
        return self.index(NODE, name)

    def _uplink(self) -> int:
        self.ip(NODE, f"link add {UPLINK} type veth peer name eth0 netns {self.name(OUTSIDE)}")
        for who, link in ((NODE, UPLINK), (OUTSIDE, "eth0")):
            self.ip(who, f"link set {link} up")
            four, six = ADDRESSES[who]
            self.ip(who, f"addr add {four}/24 dev {link}")
            self.ip(who, f"addr add {six}/64 dev {link} nodad")
        for gateway in ADDRESSES[NODE]:
            self.ip(OUTSIDE, f"route add default via {gateway} dev eth0")
        for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            self.sysctl(NODE, family, "1")
        return self.index(NODE, UPLINK)

    def index(self, who: str, link: str) -> int:
        with inside(self.name(who)):
            return socket.if_nametoindex(link)

    def _enrol(self) -> None:
        workloads, nodes = self.stand.map(layout.WORKLOADS), self.stand.map(layout.NODE_ADDRESSES)
        for who in (POD, BACKEND):
            for address in ADDRESSES[who]:
                workloads.put(AddressKey(ip_address(address)), Workload(self.links[who]))
        for address in ADDRESSES[NODE]:
            nodes.put(AddressKey(ip_address(address)), NodeAddress(self.links[OUTSIDE]))

    @contextmanager
    def behind_outside(self, address: str, mtu: int) -> Iterator[str]:
        """Somebody whom packets of more than `mtu` bytes do not reach, and who does not know it."""
        who, length = "far", 128 if ":" in address else 32
        gateway = ("192.0.2.254", "fd00:fe::1")[length == 128]
        run("ip", "netns", "add", self.name(who))
        try:
            self.ip(OUTSIDE, f"link add {who}0 mtu {mtu} type veth peer name eth0 mtu 1500 netns {self.name(who)}")
            for side, link, own in ((OUTSIDE, f"{who}0", gateway), (who, "eth0", address)):
                self.ip(side, f"link set {link} up")
                self.ip(side, f"addr add {own}/{length} dev {link}" + " nodad" * (length == 128))
            self.ip(OUTSIDE, f"route add {address}/{length} dev {who}0")
            self.ip(who, f"route add {gateway}/{length} dev eth0")
            self.ip(who, f"route add default via {gateway} dev eth0")
            router = ADDRESSES[OUTSIDE][length == 128]
            self.ip(NODE, f"route add {address}/{length} via {router} dev {UPLINK}")
            for setting in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
                self.sysctl(OUTSIDE, setting, "1")
            yield who
            self.ip(NODE, f"route del {address}/{length} via {router} dev {UPLINK}")
            # A namespace lives as long as the last connection in it, and its links with it.
            self.ip(OUTSIDE, f"link del {who}0")
        finally:
            run("ip", "netns", "del", self.name(who))

    def attach(self) -> list[Attached]:
        """As the daemon does: what is pinned is adopted."""
        programs, pins = self.stand.programs, self.pins
        with inside(self.name(NODE)):
            attached = [
                *(attach_tc(programs["from_workload"], self.links[who], "ingress", pins) for who in (POD, BACKEND)),
                *(attach_tc(programs["to_workload"], self.links[who], "egress", pins) for who in (POD, BACKEND)),
                attach_tc(programs["from_network"], self.links[OUTSIDE], "ingress", pins),
                attach_tc(programs["to_network"], self.links[OUTSIDE], "egress", pins),
                attach_tc(programs["from_host"], 1, "ingress", pins),
                attach_netns(programs["steer"], pins, f"/run/netns/{self.name(NODE)}"),
            ]
        return [*attached, attach_cgroup(programs["listen"], self.cgroup, "sockops", pins)]

    def serve(self, address: str | None, port: int, flags: ServiceFlag) -> None:
        key = ServiceKey(ip_address(address) if address else None, port, socket.IPPROTO_TCP)
        self.services.put(key, Service(flags, port))

    def counted(self) -> dict[tuple[Reason, Direction], int]:
        return {where: tally.packets for where, tally in verdicts.read(self.pins.maps).items()}

    def count(self, reason: Reason, where: Direction) -> int:
        return self.counted().get((reason, where), 0)

    def grown(self, reason: Reason, where: Direction, before: int, by: int = 1) -> int:
        """By how much a counter has grown, once that is as much as is expected: a busy machine may be late."""
        deadline = time.monotonic() + PATIENCE_S
        while (grown := self.count(reason, where) - before) < by and time.monotonic() < deadline:
            os.sched_yield()
        return grown

    @contextmanager
    def in_cgroup(self) -> Iterator[None]:
        """Sockets that are opened meanwhile are Envoy's."""
        own = Path("/proc/self/cgroup").read_text().splitlines()
        before = next(line.partition("::")[2] for line in own if line.startswith("0::"))
        (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (_cgroup2() / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))

    def endpoint(self, who: str, family: int) -> socket.socket:
        with inside(self.name(who)):
            opened = socket.socket(family, socket.SOCK_STREAM)
        opened.settimeout(PATIENCE_S)
        return opened

    def listener(self, who: str, address: str, port: int) -> socket.socket:
        opened = self.endpoint(who, socket.AF_INET6 if ":" in address else socket.AF_INET)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        opened.listen(64)
        return opened

    def capture(self, family: int) -> socket.socket:
        """A capture listener, as Envoy has it."""
        with self.in_cgroup():
            opened = self.endpoint(NODE, family)
            transparent(opened)
            opened.setsockopt(socket.SOL_SOCKET, _SO_MARK, MARK_FROM_PROXY)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind((LOOPBACK[FAMILIES.index(family)], CAPTURE_PORT))
            opened.listen(64)
        return opened

    def upstream(self, address: str, to: tuple[str, int], port: int = 0) -> socket.socket:
        """A connection of Envoy from its client's address."""
        opened = self.endpoint(NODE, socket.AF_INET6 if ":" in address else socket.AF_INET)
        transparent(opened)
        opened.setsockopt(socket.SOL_SOCKET, _SO_MARK, MARK_FROM_PROXY_AS)
        opened.bind((address, port))
        opened.connect(to)
        return opened

    def connect(self, who: str, to: tuple[str, int], port: int = 0, mark: int = 0) -> socket.socket:
        opened = self.endpoint(who, socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
        try:
            if mark:
                opened.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
            if port:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(("", port))
            opened.connect(to)
        except BaseException:
            opened.close()
            raise
        return opened


def transparent(opened: socket.socket) -> None:
    if opened.family == socket.AF_INET:
        opened.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
