"""Which pod is at which port: of links that are alike, and that no route tells apart (pure).

A port is one pod's, which has its addresses at the other end.
Whoever has the rights to may give himself the addresses of another pod there: so who is known first stays, and of two
who both could be the same pod neither is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from datapath.resources import Address

Pod = tuple[Address, ...]
"""Its addresses, at least one."""


class Port(NamedTuple):
    """`bridge` is the ifindex of the one that it is at, 0 for none; `addresses` are those at its other end."""

    bridge: int
    addresses: Collection[Address]


class Lost(NamedTuple):
    """A pod that is at no port: for all that is known, or because it may be at each of several."""

    address: Address
    bridge: int
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seats:
    """`strangers` are ports at a bridge with pods that are no pod's; `bridges` has the bridge of each port at one."""

    pods: Mapping[Address, int] = field(default_factory=dict)
    strangers: frozenset[int] = frozenset()
    bridges: Mapping[int, int] = field(default_factory=dict)
    lost: tuple[Lost, ...] = ()


def seated(
    pods: Mapping[int, Iterable[Pod]], ports: Mapping[int, Port], held: Mapping[Address, int], outward: Collection[int]
) -> Seats:
    """`pods` by their bridge; `held` has where each address was before. A bridge that is outward has no strangers."""
    found: dict[Address, int] = {}
    lost: list[Lost] = []
    for bridge, own in pods.items():
        there = {port: each.addresses for port, each in ports.items() if each.bridge == bridge}
        seats, contested = placed(own, there, held)
        found |= seats
        lost += [Lost(pod[0], bridge, contested.get(pod, ())) for pod in own if pod[0] not in seats]
    bridges = {port: each.bridge for port, each in ports.items() if each.bridge}
    strangers = {port for port, bridge in bridges.items() if bridge not in outward} - set(found.values())
    return Seats(found, frozenset(strangers), bridges, tuple(sorted(lost, key=str)))


def placed(
    pods: Iterable[Pod], ports: Mapping[int, Collection[Address]], held: Mapping[Address, int]
) -> tuple[dict[Address, int], dict[Pod, tuple[int, ...]]]:
    """The port of each address, and the several ports of each pod that is contested.

    `ports` has the addresses at the other end of each.
    """
    claims: dict[Address, set[int]] = {}
    for port, addresses in ports.items():
        for address in addresses:
            claims.setdefault(address, set()).add(port)
    owners: dict[int, Pod] = {}

    def candidates(pod: Pod) -> list[int]:
        found = {port for address in pod for port in claims.get(address, ())}
        return sorted(found - owners.keys())

    waiting = sorted(set(pods), key=str)
    for pod in waiting:
        before = {held[address] for address in pod if address in held}
        owners |= dict.fromkeys([port for port in candidates(pod) if port in before][:1], pod)
    decided = True
    while decided:
        settled = set(owners.values())
        waiting = [pod for pod in waiting if pod not in settled]
        decided = False
        for pod in waiting:
            if len(found := candidates(pod)) == 1:
                owners[found[0]], decided = pod, True
    return (
        {address: port for port, pod in owners.items() for address in pod},
        {pod: tuple(found) for pod in waiting if (found := candidates(pod))},
    )


def worded(lost: Iterable[Lost], links: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and what to do."""
    for address, bridge, ports in lost:
        where = f" of {links.get(bridge, bridge)}" if bridge else ""
        if ports:
            names = ", ".join(links.get(port, str(port)) for port in ports)
            yield (
                f"pod {address} is nobody's: {names}{where} have its address at the other end",
                "take it from the one that is not this pod; until then nothing of it is steered",
            )
        else:
            yield (
                f"pod {address} has no link that is its own: no veth{where} has this address at the other end",
                "nothing of it is steered until one has: see docs/datapath-reference.md for network plugins",
            )
