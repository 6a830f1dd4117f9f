"""Where things are on this node: the links of its pods, the links that lead off it, and its own addresses (pure).

`workloads` asks the kernel; here is what its answers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from datapath.kernel.layout import AddressKey, NodeAddress, Workload
from datapath.resources import Address


class Role(Enum):
    """What a link leads to, and with it which programs it has."""

    WORKLOAD = "workload"
    NETWORK = "network"
    TUNNEL = "tunnel"
    """Leads off the node too, and its packets have no Ethernet header."""
    HOST = "host"
    """The node's loopback."""


@dataclass(frozen=True, slots=True)
class Topology:
    """`problems` are told to people, and repeat no secret."""

    pods: Mapping[Address, int] = field(default_factory=dict)
    """Address of a pod of this node -> the node's end of its link, which pods of a bridge share."""
    addresses: Mapping[Address, int] = field(default_factory=dict)
    """Address of the node -> its link; the first of a family is the one that it sends from."""
    devices: Mapping[int, Role] = field(default_factory=dict)
    """Links that lead off the node, and its loopback."""
    links: Mapping[int, str] = field(default_factory=dict)
    """The name of every link."""
    problems: tuple[str, ...] = ()


def roles(topology: Topology) -> dict[int, Role]:
    """Links that are to have programs. One that leads off the node is that, whatever else is behind it."""
    return dict.fromkeys(topology.pods.values(), Role.WORKLOAD) | dict(topology.devices)


def outward(topology: Topology) -> dict[int, str]:
    """Links with neighbours that are not of this node, by name."""
    return {
        ifindex: topology.links[ifindex]
        for ifindex, role in topology.devices.items()
        if role is Role.NETWORK and ifindex in topology.links
    }


def workload_entries(topology: Topology) -> dict[AddressKey, Workload]:
    return {AddressKey(address): Workload(ifindex) for address, ifindex in topology.pods.items()}


def node_entries(topology: Topology) -> dict[AddressKey, NodeAddress]:
    return {AddressKey(address): NodeAddress(ifindex) for address, ifindex in topology.addresses.items()}


def primary(topology: Topology, version: int) -> Address | None:
    """The node's first address of a family."""
    return next((address for address in topology.addresses if address.version == version), None)
