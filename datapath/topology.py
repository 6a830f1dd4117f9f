"""Where things are on this node: the links of its pods, the links that lead off it, and its own addresses (pure).

`workloads` asks the kernel; here is what its answers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from datapath.kernel.layout import AddressKey, NodeAddress, Workload
from datapath.ports import Lost
from datapath.resources import Address

Problem = tuple[str, str]
"""What is wrong, and what to do."""


class Role(Enum):
    """What a link leads to, and with it which programs it has."""

    WORKLOAD = "workload"
    STRANGER = "stranger"
    """Somebody at a bridge with pods, who is none as far as is known."""
    NETWORK = "network"
    TUNNEL = "tunnel"
    """Leads off the node too, and its packets have no Ethernet header."""
    HOST = "host"
    """The node's loopback."""


@dataclass(frozen=True, slots=True)
class Topology:
    """`problems` are told to people, and repeat no secret."""

    pods: Mapping[Address, int] = field(default_factory=dict)
    """Address of a pod of this node -> the node's end of its link: of a bridge, the port."""
    strangers: frozenset[int] = frozenset()
    """Ports of the bridges that pods are at, with nobody who is known."""
    bridges: Mapping[int, int] = field(default_factory=dict)
    """A port of a bridge that is among these -> the bridge, from which its packets come to the node."""
    addresses: Mapping[Address, int] = field(default_factory=dict)
    """Address of the node -> its link; the first of a family is the one that it sends from."""
    link_addresses: Mapping[Address, int] = field(default_factory=dict)
    """Those besides that only its neighbours on a link reach the node by."""
    devices: Mapping[int, Role] = field(default_factory=dict)
    """Links that lead off the node, and its loopback."""
    links: Mapping[int, str] = field(default_factory=dict)
    """The name of every link."""
    lost: tuple[Lost, ...] = ()
    problems: tuple[Problem, ...] = ()


def roles(topology: Topology) -> dict[int, Role]:
    """Links that are to have programs. One that leads off the node is that, whatever else is behind it."""
    strangers = dict.fromkeys(topology.strangers, Role.STRANGER)
    return strangers | dict.fromkeys(topology.pods.values(), Role.WORKLOAD) | dict(topology.devices)


def inlets(topology: Topology) -> list[str]:
    """The links, by name, from which packets of pods and of others come to the node."""
    found = {
        topology.bridges.get(ifindex, ifindex) for ifindex, role in roles(topology).items() if role is not Role.STRANGER
    }
    return [topology.links[ifindex] for ifindex in sorted(found) if ifindex in topology.links]


def outward(topology: Topology) -> dict[int, str]:
    """Links with neighbours that are not of this node, by name."""
    return {
        ifindex: topology.links[ifindex]
        for ifindex, role in topology.devices.items()
        if role is Role.NETWORK and ifindex in topology.links
    }


def leading_off(topology: Topology) -> frozenset[int]:
    """All links that lead off the node, also those without neighbours."""
    return frozenset(ifindex for ifindex, role in topology.devices.items() if role is not Role.HOST)


def workload_entries(topology: Topology) -> dict[AddressKey, Workload]:
    return {AddressKey(address): Workload(ifindex) for address, ifindex in topology.pods.items()}


def node_entries(topology: Topology) -> dict[AddressKey, NodeAddress]:
    return {AddressKey(address): NodeAddress(ifindex) for address, ifindex in topology.addresses.items()}


def link_entries(topology: Topology) -> dict[AddressKey, NodeAddress]:
    return {AddressKey(address): NodeAddress(ifindex) for address, ifindex in topology.link_addresses.items()}


def primary(topology: Topology, version: int) -> Address | None:
    """The node's first address of a family."""
    return next((address for address in topology.addresses if address.version == version), None)
