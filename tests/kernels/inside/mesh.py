"""A node with a pod and a client outside, the programs attached, and a listener in Envoy's place.

pod .2 --- link of the pod .1 [node] .1 uplink --- outside .2
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

from datapath.kernel import clsact, layout, routing, verdicts
from datapath.kernel.clsact import Hook
from datapath.kernel.layout import AddressKey, Direction, NodeAddress, Reason, Service, ServiceFlag, ServiceKey
from datapath.kernel.maps import opened
from datapath.kernel.programs import (
    Attached,
    Pins,
    Program,
    attach_cgroup,
    attach_netns,
    attach_tc,
    cgroup_id,
    detach_all,
)
from tests.kernels.inside.loading import loaded
from tests.kernels.inside.rig import PATIENCE_S, Rig, inside, ip, member_of

Family = Literal["ipv4", "ipv6"]

FAMILIES: Final[tuple[Family, ...]] = ("ipv4", "ipv6")
AF: Final = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
PREFIX: Final = {"pod": ("10.77.1.", "fd00:77:1::"), "outside": ("10.77.2.", "fd00:77:2::")}
LINK: Final = {"pod": "tg-pod", "outside": "tg-uplink"}
SERVICE: Final = {"ipv4": "10.96.0.1", "ipv6": "fd00:96::1"}
GATEWAY: Final = {"ipv4": "10.97.0.1", "ipv6": "fd00:97::1"}
LOOPBACK: Final = {"ipv4": "127.0.0.1", "ipv6": "::1"}
LOOPBACK_LINK: Final = 1
PORT: Final = 80
_LENGTH: Final = {"ipv4": 24, "ipv6": 64}
_IPV6_TRANSPARENT: Final = 75
TRANSPARENT: Final = {
    "ipv4": (socket.SOL_IP, socket.IP_TRANSPARENT, 1),
    "ipv6": (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1),
}
_BACKLOG: Final = 128

Name = tuple[str, int]


@dataclass
class Mesh:
    pins: Pins
    envoy: Path
    """The cgroup that `listen` is attached to."""
    ifindex: dict[str, int]
    listeners: dict[Family, socket.socket] = field(default_factory=dict)

    def attach(self, programs: dict[str, Program]) -> list[Attached]:
        """Those that are given, each at its place."""
        pod, uplink = self.ifindex["pod"], self.ifindex["outside"]
        links: tuple[tuple[str, int, Hook], ...] = (
            ("from_host", LOOPBACK_LINK, "ingress"),
            ("to_workload", pod, "egress"),
            ("from_workload", pod, "ingress"),
            ("to_network", uplink, "egress"),
            ("from_network", uplink, "ingress"),
        )
        return [
            attach_cgroup(programs["listen"], self.envoy, "sockops", self.pins),
            attach_netns(programs["steer"], self.pins),
            *(attach_tc(programs[name], link, hook, self.pins) for name, link, hook in links if name in programs),
        ]

    def counted(self, reason: Reason, direction: Direction) -> int:
        tally = verdicts.read(self.pins.maps).get((reason, direction))
        return tally.packets if tally else 0


def address(place: str, family: Family, number: int = 2) -> str:
    return PREFIX[place][FAMILIES.index(family)] + str(number)


def name(of: socket.socket, which: Literal["own", "peer"]) -> Name:
    found: Name = (of.getsockname() if which == "own" else of.getpeername())[:2]
    return found


def all_programs(rig: Rig) -> dict[str, Program]:
    return {name: each for kind in ("listen", "steer", "traffic") for name, each in loaded(rig, kind).programs.items()}


def mesh(rig: Rig) -> Mesh:
    """One for all cases."""
    built: Mesh = rig.shared("mesh", lambda: build(rig))
    return built


@contextmanager
def build(rig: Rig) -> Iterator[Mesh]:
    with ExitStack() as stack:
        here = Mesh(rig.pins("mesh"), rig.group("envoy"), links())
        stack.callback(remove_links)
        programs = all_programs(rig)
        tell(here)
        here.attach(programs)
        stack.callback(detach, here)
        routing.install(IPv4Address(address("outside", "ipv4", 1)), IPv6Address(address("outside", "ipv6", 1)))
        for link in LINK.values():
            routing.loosen(link)
        stack.callback(routing.remove)
        with member_of(here.envoy):
            here.listeners |= {family: listener(family) for family in FAMILIES}
        yield here


def links() -> dict[str, int]:
    """The number of each link, on the node's side."""
    quiet("/proc/sys/net/ipv6/conf/default/accept_dad", "0")
    quiet("/proc/sys/net/ipv6/conf/all/accept_dad", "0")
    for place, link in LINK.items():
        near = [f"addr add {address(place, family, 1)}/{_LENGTH[family]} dev {link}" for family in FAMILIES]
        far = [
            line
            for family in FAMILIES
            for line in (
                f"addr add {address(place, family)}/{_LENGTH[family]} dev eth0",
                f"route add default via {address(place, family, 1)}",
            )
        ]
        ip(
            f"netns add {place}",
            f"link add {link} type veth peer name eth0 netns {place}",
            f"link set {link} up",
            *near,
        )
        with inside(place):
            quiet("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0")
            ip("link set lo up", "link set eth0 up", *far)
    quiet("/proc/sys/net/ipv4/ip_forward", "1")
    quiet("/proc/sys/net/ipv6/conf/all/forwarding", "1")
    return {place: socket.if_nametoindex(link) for place, link in LINK.items()}


def quiet(setting: str, value: str) -> None:
    Path(setting).write_text(value)


def remove_links() -> None:
    ip(*(f"link del {link}" for link in LINK.values()), *(f"netns del {place}" for place in LINK))


def tell(here: Mesh) -> None:
    """The maps have the node, the pod, a service inside and one for outside, whatever kept them before."""
    maps = here.pins.maps
    with opened(layout.SETTINGS, maps) as settings:
        settings.put(layout.ONLY, layout.Settings(envoy_cgroup=cgroup_id(here.envoy)))
    with opened(layout.WORKLOADS, maps) as workloads:
        workloads.put_all(
            (AddressKey(ip_address(address("pod", family))), layout.Workload(here.ifindex["pod"]))
            for family in FAMILIES
        )
    with opened(layout.NODE_ADDRESSES, maps) as node:
        node.put_all(
            (AddressKey(ip_address(address(place, family, 1))), NodeAddress(here.ifindex[place]))
            for family in FAMILIES
            for place in LINK
        )
    with opened(layout.SERVICES, maps) as services:
        services.put_all(
            (ServiceKey(ip_address(frontends[family]), PORT, socket.IPPROTO_TCP), Service(flags, 1))
            for family in FAMILIES
            for frontends, flags in (
                (SERVICE, ServiceFlag.PROXY),
                (GATEWAY, ServiceFlag.PROXY | ServiceFlag.EXTERNAL),
            )
        )


def detach(here: Mesh) -> None:
    detach_all(here.pins)
    for ifindex in (LOOPBACK_LINK, *here.ifindex.values()):
        with suppress(OSError):
            clsact.detach_all(ifindex)
    here.pins.remove()


def listener(family: Family) -> socket.socket:
    """As Envoy's capture listener: what it accepts may have any name, and the mark of its own packets."""
    found = socket.socket(AF[family])
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(*TRANSPARENT[family])
    found.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, layout.MARK_FROM_PROXY)
    found.settimeout(PATIENCE_S)
    found.bind((LOOPBACK[family], layout.CAPTURE_PORT))
    found.listen(_BACKLOG)
    return found


def dial(place: str, family: Family, to: Name, port: int = 0) -> socket.socket:
    """A connection from a place, from a port if one is given."""
    with inside(place):
        found = socket.socket(AF[family])
    found.settimeout(PATIENCE_S)
    if port:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address(place, family), port))
    try:
        found.connect(to)
    except OSError:
        found.close()
        raise
    return found
