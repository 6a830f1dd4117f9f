"""Which addresses this node's Envoy does not serve although it should: judged slowly, so that a restart is no change.

What comes to such an address waits or is refused: where it is announced, another node is to have it.
Must not know clocks, nor who is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from datapath.resources import TCP, Address, Service

FAILS_AFTER_S: Final = 5.0
"""Longer than an Envoy takes to be started again."""
SERVES_AFTER_S: Final = 10.0
"""Longer than one lives that ends again and again at once."""


class Exposed(NamedTuple):
    """An address that clients outside use, and a listener of Envoy that is to serve it."""

    address: Address
    listener: str


def exposed(accepted: Iterable[Service]) -> frozenset[Exposed]:
    """Without those that the kernel serves, also in Envoy's stead."""
    return frozenset(
        Exposed(frontend.address, frontend.listener)
        for service in accepted
        if service.external and service.proxy is not None and not service.proxy.fail_open
        for frontend in service.frontends
        if frontend.address is not None
    )


def unserved(wanted: Collection[Exposed], active: Collection[str] | None) -> frozenset[Address]:
    """`active` are Envoy's listeners; None while there is no Envoy that answers."""
    return frozenset(each.address for each in wanted if active is None or each.listener not in active)


def overlaid(
    accepted: Iterable[Service], own: Collection[Address], listening: Collection[tuple[Address, int]]
) -> dict[int, str]:
    """The node's ports at which a process listens and a service is, by its name: who comes from outside meets that.

    `own` are the node's addresses.
    """
    at: dict[int, set[Address]] = {}
    for address, port in listening:
        if not address.is_loopback:
            at.setdefault(port, set()).add(address)
    return {
        frontend.port: service.name
        for service in accepted
        if service.external and service.protocol == TCP
        for frontend in service.frontends
        if (frontend.address is None or frontend.address in own)
        and any(_is_met(frontend.address, address) for address in at.get(frontend.port, ()))
    }


def _is_met(wanted: Address | None, listens: Address) -> bool:
    """A socket at every address of IPv6 has those of IPv4, too, unless it says otherwise, which is not told."""
    if wanted is None or wanted == listens:
        return True
    return listens.is_unspecified and listens.version in {6, wanted.version}


class Judgement:
    """`unserved` is what was seen for long enough."""

    def __init__(self) -> None:
        self.unserved: frozenset[Address] = frozenset()
        self._since: dict[Address, float] = {}

    def look(self, seen: frozenset[Address], now: float) -> bool:
        """Whether the judgement is another now."""
        moving = seen ^ self.unserved
        self._since = {address: self._since.get(address, now) for address in moving}
        ripe = {
            address
            for address in moving
            if now - self._since[address] >= (FAILS_AFTER_S if address in seen else SERVES_AFTER_S)
        }
        self.unserved ^= ripe
        for address in ripe:
            del self._since[address]
        return bool(ripe)
