"""What the kernel is to do: accepted resources, links of pods and listeners of Envoy -> entries of the maps.

To the kernel it is what translation is to Envoy: a pure function.
A service whose frontends are of both families becomes two groups: a connection keeps its family.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from datapath import resources
from datapath.kernel.layout import Backend, ServiceFlag, ServiceKey, packed_address
from datapath.resources import Address, Frontend

MOST_SLOTS: Final = 1024
"""Of a group, unless it has more backends: weights are made as coarse as that."""

_FAMILIES: Final = {4: "ipv4", 6: "ipv6"}


@dataclass(frozen=True, slots=True)
class Group:
    """Frontends that share an id, and with it their backends and who stays at which."""

    frontends: Mapping[ServiceKey, ServiceFlag]
    backends: tuple[Backend, ...]
    """By slot."""
    affinity_s: int = 0


@dataclass(frozen=True, slots=True)
class Services:
    """`problems` has what cannot be done although each resource by itself can be used."""

    groups: Mapping[str, Group]
    problems: Mapping[str, str]
    awaited: frozenset[str]
    """Listeners that frontends name and Envoy has not."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Services that would take what is sent to somebody here."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    service: resources.Service
    at: frozenset[Address]
    listeners: frozenset[str]
    active: frozenset[str]
    addresses: tuple[Address, ...]
    groups: tuple[tuple[str, Group], ...]


class Intercept:
    """The function of this module, which remembers what it has made of a service: of many, few change at a time."""

    def __init__(self) -> None:
        self._compiled: dict[str, _Compiled] = {}

    def services(
        self,
        accepted: Iterable[resources.Service],
        active: Collection[str],
        addresses: tuple[Address, ...],
        pods: Collection[Address] = (),
    ) -> Services:
        """`active` are the listeners that the node's Envoy has, `addresses` those of the node, `pods` of its pods."""
        foreign, own_or_foreign = frozenset(pods), frozenset(pods).union(addresses)
        groups: dict[str, Group] = {}
        problems: dict[str, str] = {}
        refused: dict[str, str] = {}
        named: set[str] = set()
        owners: dict[ServiceKey, str] = {}
        compiled: dict[str, _Compiled] = {}
        for service in accepted:
            found = compiled[service.name] = self._compile(service, active, addresses)
            named.update(found.listeners)
            # At the node's own addresses are what is exposed by its ports, and Gateways that were given one.
            usurped = found.at & (foreign if service.external else own_or_foreign)
            if usurped:
                refused[service.name] = _usurps(usurped, foreign)
            for name, group in found.groups:
                own = group.frontends
                if usurped:
                    own = {key: flags for key, flags in own.items() if key.address not in usurped}
                    group = replace(group, frontends=own)  # noqa: PLW2901  # as below
                if not owners.keys().isdisjoint(own):
                    for key in own.keys() & owners.keys():
                        text = f"{_endpoint(key)} is already that of {owners[key]}: give one another port"
                        problems[service.name] = text
                    own = {key: flags for key, flags in own.items() if key not in owners}
                    group = replace(group, frontends=own)  # noqa: PLW2901  # what is left of it
                if own:
                    groups[name] = group
                    owners.update(dict.fromkeys(own, service.name))
        self._compiled = compiled
        return Services(groups, problems, frozenset(name for name in named if name not in active), refused)

    def _compile(
        self, service: resources.Service, active: Collection[str], addresses: tuple[Address, ...]
    ) -> _Compiled:
        before = self._compiled.get(service.name)
        if before and before.service is service and before.addresses == addresses:
            listeners = before.listeners
            if before.active == listeners.intersection(active):
                return before
        else:
            listeners = frozenset(found.listener for found in service.frontends if found.listener)
        own = listeners.intersection(active)
        at = frozenset(found.address for found in service.frontends if found.address is not None)
        return _Compiled(service, at, listeners, own, addresses, tuple(_groups(service, own, addresses)))


def _groups(
    service: resources.Service, active: Collection[str], addresses: Collection[Address]
) -> Iterable[tuple[str, Group]]:
    by_family: dict[int, dict[ServiceKey, ServiceFlag]] = {}
    # What fails closed never has any, whatever it was told: they would be a way around Envoy while there is none.
    backends = service.backends if service.proxy is None or service.proxy.fail_open else ()
    for frontend in service.frontends:
        flags = _flags(service, frontend, active)
        for address in _reached_at(frontend, addresses if backends else [None]):
            family: int = address.version if address else 0
            by_family.setdefault(family, {})[ServiceKey(address, frontend.port, service.protocol)] = flags
    for family, frontends in sorted(by_family.items()):
        name = f"{service.name}/{_FAMILIES.get(family, 'any')}"
        yield name, Group(frontends, _slots(backends, family), service.affinity_s)


def _reached_at(frontend: Frontend, anywhere: Collection[Address | None]) -> Collection[Address | None]:
    """One entry for every address of the node where the proxy serves both families; else one each, for its backends."""
    return anywhere if frontend.address is None else [frontend.address]


def _flags(service: resources.Service, frontend: Frontend, active: Collection[str]) -> ServiceFlag:
    flags = ServiceFlag(0)
    if service.external:
        flags |= ServiceFlag.EXTERNAL
    if service.affinity_s:
        flags |= ServiceFlag.AFFINITY
    # To Envoy without the listener it would be served by none of its routes. Without this flag it fails as declared:
    # open, it has its backends; closed, it has none.
    if service.proxy is not None and frontend.listener in active:
        flags |= ServiceFlag.PROXY
        if service.proxy.fail_open:
            flags |= ServiceFlag.FAIL_OPEN
    return flags


def _slots(backends: Iterable[resources.Backend], family: int) -> tuple[Backend, ...]:
    """A backend of weight n has n slots, in turns; who terminates has some only where nobody else is there.

    "Nobody" has his, too, beside others: who is given one of them is refused.
    """
    weighted = [backend for backend in backends if backend.weight]
    eligible = [backend for backend in weighted if backend.address and backend.address.version == family]
    serving = [backend for backend in eligible if not backend.terminating] or eligible
    if serving:
        serving = serving + [backend for backend in weighted if backend.address is None]
    weights: dict[Backend, int] = {}
    # Sorted, so that the order in which they come rewrites nothing.
    for backend in sorted(serving, key=lambda found: (packed_address(found.address), found.port)):
        endpoint = Backend(backend.address, backend.port)
        weights[endpoint] = weights.get(endpoint, 0) + backend.weight
    counts = _reduced(weights, max(MOST_SLOTS, len(weights)))
    return tuple(
        endpoint for turn in range(max(counts.values(), default=0)) for endpoint, n in counts.items() if n > turn
    )


def _reduced(weights: Mapping[Backend, int], most: int) -> dict[Backend, int]:
    """The same shares by the smallest numbers, or nearly the same where those would be too many slots."""
    total = sum(weights.values())
    smallest = min(weights.values(), default=1)
    exact = {endpoint: Fraction(weight, smallest) for endpoint, weight in weights.items()}
    scale = 1
    while scale * sum(exact.values()) <= most:
        if all((scale * share).denominator == 1 for share in exact.values()):
            return {endpoint: int(scale * share) for endpoint, share in exact.items()}
        scale += 1
    return {endpoint: max(1, most * weight // total) for endpoint, weight in weights.items()}


def _usurps(usurped: Collection[Address], pods: Collection[Address]) -> str:
    told = sorted(f"{address} is {'a pod' if address in pods else 'this node'}'s own address" for address in usurped)
    return "; ".join(told)


def _endpoint(key: ServiceKey) -> str:
    host = "every address of the node" if key.address is None else str(key.address)
    return f"{host}, port {key.port}"


def steered(accepted: Iterable[resources.Service], pinned: Mapping[ServiceKey, int]) -> frozenset[str]:
    """The listeners that Envoy had when the maps were written last: they count until it can be asked."""
    return frozenset(
        frontend.listener
        for service in accepted
        for frontend in service.frontends
        if frontend.listener
        and any(
            pinned.get(ServiceKey(address, frontend.port, service.protocol), 0) & ServiceFlag.PROXY
            for address in _pinned_at(frontend, pinned)
        )
    )


def _pinned_at(frontend: Frontend, pinned: Mapping[ServiceKey, int]) -> Collection[Address | None]:
    if frontend.address is not None:
        return [frontend.address]
    return {key.address for key in pinned if key.port == frontend.port}
