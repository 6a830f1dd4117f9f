"""Addresses of frontends, from pools: kept where they are, else chosen by name, so that a neighbour changes nothing.

The result follows from the objects alone, among them the addresses that their status shows: every replica has the same.
It must not know what a frontend serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain, groupby, islice
from typing import Final, NamedTuple

from xds_server.graph import Fetch, Group
from xds_server.ingestion.address_pools import POOL_FLAG, Address, Pool, Pools, Range, of_flag
from xds_server.ingestion.age import age
from xds_server.ingestion.attachment import selects
from xds_server.ingestion.frontend_ports import WantedPorts, given_ports
from xds_server.ingestion.values import shown
from xds_server.model.listener import Frontend
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.objects.meta import Labels
from xds_server.objects.tidegate import Exposure

NOT_ASSIGNED: Final = "AddressNotAssigned"
NO_POOL: Final = (
    "there is no pool of addresses: create a LoadBalancerIPPool of tidegate.dev/v1alpha1, "
    "or set spec.exposure.type to Service or HostPort in GatewayParameters"
)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Frontends of one key may have one address, where their ports differ, across namespaces where both allow it."""

    key: str
    namespaces: frozenset[str] = frozenset()

    def allows(self, own: str, other: str) -> bool:
        return own == other or other in self.namespaces or "*" in self.namespaces


@dataclass(frozen=True, slots=True)
class WantedFrontend:
    """A frontend that needs addresses: those it names (`static`), else one of each family that pools have for it.

    `held` are those that it has, as its status says; `labels` are what pools select by.
    One that is exposed otherwise than by an address of its own is given ports, of the nodes those of `host_ports`.
    Those of the nodes must be `allowed_host_ports`.
    What is `passed` is put on the objects that are generated for it.
    One that is `undecided` is given nothing, since what it asks for cannot be told now; what it holds stays its own.
    """

    ref: ObjectRef
    created: str
    static: tuple[str, ...] = ()
    labels: Labels = field(default_factory=dict)
    held: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset()
    sharing: Sharing | None = None
    exposure: Exposure = field(default_factory=Exposure)
    host_ports: Mapping[int, int] = field(default_factory=dict)
    allowed_host_ports: tuple[range, ...] = ()
    passed_labels: Labels = field(default_factory=dict)
    passed_annotations: Labels = field(default_factory=dict)
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What a frontend was given among all: addresses, or ports of Envoy by those of its listeners."""

    wanted: WantedFrontend
    frontend: Frontend
    bound: Mapping[int, int] = field(default_factory=dict)


class Place(NamedTuple):
    """A range that has addresses for a frontend; `new`: also those that it has not yet."""

    pool: ObjectRef
    range: Range
    new: bool


def assigned(
    pools: Pools, networks: tuple[str, ...]
) -> Callable[[Fetch, str, Group[WantedFrontend]], Iterator[tuple[ObjectRef, Given]]]:
    """The transformation that gives all frontends their addresses or ports; one group holds them all."""
    everything = pools.index(lambda _: (True,))
    fallback = of_flag(networks)

    def given(fetch: Fetch, _: str, wanted: Group[WantedFrontend]) -> Iterator[tuple[ObjectRef, Given]]:
        declared = tuple(fetch.by(everything, True))
        own = {each.ref: each for each in wanted if each.undecided or each.exposure.type == "Address"}
        for frontend in assignments(declared or fallback, own.values()):
            yield frontend.ref, Given(own[frontend.ref], frontend)
        others = {each.ref: each for each in sorted(wanted, key=order) if each.ref not in own}
        for ref, ports in given_ports(map(_ports, others.values())).items():
            yield ref, Given(others[ref], Frontend(ref, (), ports.unusable), ports.bound)

    return given


def _ports(wanted: WantedFrontend) -> WantedPorts:
    host = {port: wanted.host_ports.get(port, port) for port in wanted.ports}
    at_host = wanted.exposure.type == "HostPort"
    return WantedPorts(wanted.ref, wanted.ports, host if at_host else None, wanted.allowed_host_ports)


def assignments(pools: Iterable[Pool], wanted: Iterable[WantedFrontend]) -> Iterator[Frontend]:
    """Who has one keeps it; then the older before the younger: a newcomer displaces nobody, whatever it names."""
    book = _Book(sorted((pool for pool in pools if not pool.conflict), key=lambda pool: pool.order))
    ordered = sorted(wanted, key=order)
    if ordered and ordered[0].ref == SHARED_INGRESS:
        yield book.chosen(ordered.pop(0), ())
    kept = {frontend.ref: book.kept(frontend) for frontend in ordered if frontend.held}
    for frontend in ordered:
        if frontend.undecided:
            continue
        own = kept.get(frontend.ref, ())
        yield book.named(frontend, own) if frontend.static else book.chosen(frontend, own)


def order(wanted: WantedFrontend) -> tuple[bool, str, ObjectRef]:
    """By age, then by reference. The shared Ingresses' is the installation's own, which is older than any object."""
    return wanted.ref != SHARED_INGRESS, age(wanted.created), wanted.ref


class _Book:
    """Who has which address, while they are given."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self.pools = pools
        self.holders: dict[Address, list[WantedFrontend]] = {}
        self.by_key: dict[str, list[Address]] = {}
        # What the shared Ingresses would have is lent to others last: an Ingress that was shared shows it as its own.
        self.reserved = frozenset(
            address for pool in pools for each in pool.ranges for address in islice(each.candidates(SHARED_INGRESS), 1)
        )

    def kept(self, wanted: WantedFrontend) -> tuple[Address, ...]:
        """The addresses that a frontend has and may keep: one of each family, or just those that it names."""
        places = self.places(wanted)
        asked = _parsed(wanted.static)
        found: dict[int, Address] = {}
        for address in _parsed(wanted.held):
            fits = address in asked if wanted.static else address.version not in found
            if fits and _place(places, address) and self.free(address, wanted):
                found[len(found) if wanted.static else address.version] = address
        for address in found.values():
            self.take(address, wanted)
        return tuple(found.values())

    def named(self, wanted: WantedFrontend, kept: tuple[Address, ...]) -> Frontend:
        """Every address that was asked for, or none: half of what an author asked for is not what he asked for."""
        places = self.places(wanted)
        addresses = _parsed(wanted.static)
        problem = ""
        if bad := [text for text in wanted.static if not _parsed((text,))]:
            problem = f"{shown(bad[0])} is asked for, and is no IP address: correct it"
        for address in addresses:
            if problem or address in kept:
                continue
            place = _place(places, address)
            if place is None or not place.new:
                problem = self.nowhere(address)
            elif not self.free(address, wanted):
                problem = f"address {address} is in use by {self.told(address, wanted)}"
        if problem:
            for address in kept:
                self.holders[address].remove(wanted)
            return Frontend(wanted.ref, (), problem)
        for address in addresses:
            if address not in kept:
                self.take(address, wanted)
        return self.frontend(wanted, places, addresses)

    def chosen(self, wanted: WantedFrontend, kept: tuple[Address, ...]) -> Frontend:
        """One address of each family: of its own, or shared; from the first place that has one.

        A frontend that has one of some family keeps it, also where there is none of another.
        """
        places = self.places(wanted)
        if not any(place.new for place in places) and not kept:
            return Frontend(wanted.ref, (), self.unselected(), NOT_ASSIGNED)
        found = list(kept)
        for version in sorted({place.range.version for place in places if place.new}):
            if any(address.version == version for address in kept):
                continue
            near = [place for place in places if place.new and place.range.version == version]
            address = self.shared(wanted, near) or self.own(wanted, near)
            if address is not None:
                found.append(address)
            elif not kept:
                return Frontend(wanted.ref, (), _exhausted(near, version), NOT_ASSIGNED)
        for address in found:
            if address not in kept:
                self.take(address, wanted)
        return self.frontend(wanted, places, sorted(found, key=lambda address: address.version))

    def shared(self, wanted: WantedFrontend, places: Sequence[Place]) -> Address | None:
        if wanted.sharing is None:
            return None
        held = self.by_key.get(wanted.sharing.key, ())
        return next((each for each in held if _place(places, each) and self.free(each, wanted)), None)

    def own(self, wanted: WantedFrontend, places: Sequence[Place]) -> Address | None:
        """The first free address; of each pool last the one that the shared Ingresses would have."""
        for _, of_pool in groupby(places, key=lambda place: place.pool):
            last: Address | None = None
            for address in chain.from_iterable(place.range.candidates(wanted.ref) for place in of_pool):
                if self.holders.get(address):
                    continue
                if address not in self.reserved or wanted.ref == SHARED_INGRESS:
                    return address
                last = last or address
            if last is not None:
                return last
        return None

    def free(self, address: Address, wanted: WantedFrontend) -> bool:
        return all(_together(holder, wanted) for holder in self.holders.get(address, ()))

    def take(self, address: Address, wanted: WantedFrontend) -> None:
        self.holders.setdefault(address, []).append(wanted)
        if wanted.sharing is not None:
            self.by_key.setdefault(wanted.sharing.key, []).append(address)

    def places(self, wanted: WantedFrontend) -> list[Place]:
        """The ranges of the pools that select a frontend; of a disabled pool it keeps what it has.

        The shared Ingresses' address is not held but chosen first, the same each time: so they keep it there, too.
        """
        return [
            Place(pool.ref, each, wanted.ref == SHARED_INGRESS or not pool.disabled)
            for pool in self.pools
            if pool.selector is None or selects(pool.selector, wanted.labels)
            for each in pool.ranges
        ]

    def frontend(self, wanted: WantedFrontend, places: Sequence[Place], addresses: Sequence[Address]) -> Frontend:
        found = (_place(places, address) for address in addresses)
        pools = dict.fromkeys(place.pool for place in found if place is not None and place.pool != POOL_FLAG)
        return Frontend(wanted.ref, tuple(map(str, addresses)), pools=tuple(pools))

    def nowhere(self, address: Address) -> str:
        if [pool.ref for pool in self.pools] == [POOL_FLAG]:
            names = ", ".join(str(each) for each in self.pools[0].ranges)
            return f"address {address} is not in the pool ({names}): name one that is"
        return f"address {address} is in no LoadBalancerIPPool that selects this: name one that is, or add it to a pool"

    def unselected(self) -> str:
        if not self.pools:
            return NO_POOL
        return (
            "no LoadBalancerIPPool that gives addresses selects this: change a pool's serviceSelector, or these labels"
        )

    def told(self, address: Address, asking: WantedFrontend) -> str:
        """Who holds an address, by name only to those of the same namespace."""
        holder = next(each for each in self.holders[address] if not _together(each, asking)).ref
        if holder == SHARED_INGRESS:
            return "the shared Ingresses, which comes first: name another"
        who = f"{holder}" if holder.namespace == asking.ref.namespace else f"the {holder.kind} of another namespace"
        return f"{who}, which comes first: name another"


def _together(one: WantedFrontend, other: WantedFrontend) -> bool:
    """Whether two frontends may have one address."""
    if one.sharing is None or other.sharing is None or one.sharing.key != other.sharing.key:
        return False
    here, there = one.ref.namespace, other.ref.namespace
    return one.ports.isdisjoint(other.ports) and one.sharing.allows(here, there) and other.sharing.allows(there, here)


def _place(places: Iterable[Place], address: Address) -> Place | None:
    return next((place for place in places if place.range.gives(address)), None)


def _exhausted(places: Sequence[Place], version: int) -> str:
    if places[0].pool == POOL_FLAG:
        return f"no address is free in {', '.join(str(place.range) for place in places)}: give a larger --pool"
    names = ", ".join(dict.fromkeys(place.pool.name for place in places))
    return f"no IPv{version} address is free in the pools that select this ({names}): add a block, or another pool"


def _parsed(texts: Iterable[str]) -> tuple[Address, ...]:
    """The texts that are addresses, each once."""
    found: dict[Address, None] = {}
    for text in texts:
        try:
            found[ip_address(text)] = None
        except ValueError:
            continue
    return tuple(found)
