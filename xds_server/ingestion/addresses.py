"""Addresses of frontends, from the pool: chosen by name, so that a restart or a neighbour changes nothing.

It must not know what a frontend serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from xds_server.graph import Fetch, Group
from xds_server.ingestion.age import age
from xds_server.model.listener import Frontend
from xds_server.model.refs import SHARED_INGRESS, ObjectRef

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_PROBES: Final = 4096  # of a full network, so that exhaustion costs little; a sparse one needs one or two


@dataclass(frozen=True, slots=True)
class WantedFrontend:
    """A frontend that needs addresses: those it names (`static`), else one from each network of the pool."""

    ref: ObjectRef
    created: str
    static: tuple[str, ...] = ()


def assigned(
    pool: tuple[str, ...],
) -> Callable[[Fetch, str, Group[WantedFrontend]], Iterator[tuple[ObjectRef, Frontend]]]:
    """The transformation that gives all frontends their addresses; one group holds them all."""
    networks = tuple(ip_network(cidr) for cidr in pool)

    def frontends(_: Fetch, __: str, wanted: Group[WantedFrontend]) -> Iterator[tuple[ObjectRef, Frontend]]:
        return ((frontend.ref, frontend) for frontend in assignments(networks, wanted))

    return frontends


def assignments(networks: tuple[Network, ...], wanted: Iterable[WantedFrontend]) -> Iterator[Frontend]:
    """The older before the younger, named or chosen: a newcomer displaces nobody, whatever address it names."""
    taken: dict[Address, ObjectRef] = {}
    ordered = sorted(wanted, key=order)
    for frontend in ordered:
        yield static(networks, taken, frontend) if frontend.static else dynamic(networks, taken, frontend.ref)


def order(wanted: WantedFrontend) -> tuple[bool, str, ObjectRef]:
    """By age, then by reference. The shared Ingresses' is the installation's own, which is older than any object."""
    return wanted.ref != SHARED_INGRESS, age(wanted.created), wanted.ref


def static(networks: tuple[Network, ...], taken: dict[Address, ObjectRef], wanted: WantedFrontend) -> Frontend:
    """Every address that was asked for, or none: half of what an author asked for is not what he asked for."""
    addresses = tuple(dict.fromkeys(ip_address(text) for text in wanted.static))
    for address in addresses:
        if not any(usable(network, address) for network in networks):
            names = ", ".join(map(str, networks))
            return Frontend(wanted.ref, (), f"address {address} is not in the pool ({names}): name one that is")
        if address in taken:
            return Frontend(wanted.ref, (), f"address {address} is in use by {told(taken[address], wanted.ref)}")
    taken.update(dict.fromkeys(addresses, wanted.ref))
    return Frontend(wanted.ref, tuple(map(str, addresses)))


def told(holder: ObjectRef, asking: ObjectRef) -> str:
    """Who holds an address, by name only to those of the same namespace."""
    who = f"{holder}" if holder.namespace == asking.namespace else f"the {holder.kind} of another namespace"
    return f"{'the shared Ingresses' if holder == SHARED_INGRESS else who}, which comes first: name another"


def dynamic(networks: tuple[Network, ...], taken: dict[Address, ObjectRef], ref: ObjectRef) -> Frontend:
    """The first free address of each network, from a place that the frontend's name alone decides."""
    found = []
    for network in networks:
        address = next((a for a in candidates(network, ref) if a not in taken), None)
        if address is None:
            return Frontend(ref, (), f"no address is free in {network}: give a larger --pool", "AddressNotAssigned")
        found.append(address)
    taken.update(dict.fromkeys(found, ref))
    return Frontend(ref, tuple(map(str, found)))


def candidates(network: Network, ref: ObjectRef) -> Iterator[Address]:
    digest = blake2b("/".join(ref).encode(), digest_size=16).digest()
    start = int.from_bytes(digest, "big")
    size = network.num_addresses
    for step in range(min(size, _PROBES)):
        address = network[(start + step) % size]
        if usable(network, address):
            yield address


def usable(network: Network, address: Address) -> bool:
    """Not the network's own or broadcast address, nor one ending in .0 or .255, which some stacks refuse."""
    if address.version != network.version or address not in network:
        return False
    if network.num_addresses <= 2:
        return True
    if address in (network.network_address, network.broadcast_address):
        return False
    return isinstance(address, IPv6Address) or address.packed[-1] not in (0, 255)
