"""Gives each address that is to be announced to one node, and to another one when that node's daemon is gone for good,
or says that its Envoy does not serve the address.

One control plane decides at a time: where there are replicas, the one that leads, among all their daemons. The others
ask it each second. What they hear holds for half of the lease from when they asked: then they let their daemons go,
before the one that leads, which has not heard of these for as long, gives away what they had.
Who has not decided, or not heard, tells daemons nothing, so that they keep what they have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import structlog

from xds_server.controller import Controller
from xds_server.ingestion.announcements import holders, may_hold, node_labels
from xds_server.model.refs import ObjectRef
from xds_server.relay.daemons import Daemon, Decision
from xds_server.xds.streams import Client

_LOOK_S = 1.0

log = structlog.get_logger(__name__)


class Withhold(Protocol):
    """Tell daemons nothing of announcements, or tell them again."""

    def __call__(self, *, withheld: bool) -> None: ...


@dataclass(slots=True, eq=False)
class _Daemon:
    """`streams` are those of it that live here; `left` is when the last one ended, or another replica told of it."""

    streams: set[Client] = field(default_factory=set)
    left: float = 0.0
    claims: tuple[str, ...] = ()
    unserved: frozenset[str] = frozenset()


class Announcing:
    """`leads` says whether this control plane decides.

    For `lease_s` a daemon may be away, or a control plane be new, before an address goes to another node.
    """

    def __init__(
        self,
        controller: Controller,
        lease_s: float,
        withhold: Withhold,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controller, self._lease_s, self._withhold, self._clock = controller, lease_s, withhold, clock
        self._daemons: dict[str, _Daemon] = {}
        self._claimed: dict[str, str] = {}
        self._since: float | None = None
        self._decision: Decision | None = None
        """Of the replica that leads, and until when it holds."""
        self._until = 0.0
        self._changed = asyncio.Event()
        self.leads: Callable[[], bool] = lambda: True
        withhold(withheld=True)

    def connected(self, client: Client, claims: Collection[str]) -> None:
        """A daemon is there; `claims` are the addresses that it says it announces."""
        daemon = self._daemons.setdefault(client.node, _Daemon())
        daemon.streams.add(client)
        daemon.claims = tuple(claims)
        self._claim(client.node, claims)
        self._changed.set()

    def unserved(self, client: Client, addresses: Collection[str]) -> None:
        """Its daemon says that these are not served at its node: all such, each time."""
        daemon = self._daemons.get(client.node)
        if daemon is not None:
            daemon.unserved = frozenset(addresses)
            self._changed.set()

    def gone(self, client: Client) -> None:
        daemon = self._daemons.get(client.node)
        if daemon is not None:
            daemon.streams.discard(client)
            daemon.left = self._clock()
            self._changed.set()

    def here(self) -> list[Daemon]:
        """Those that are connected to this control plane."""
        held: dict[str, list[str]] = {}
        decided = self._is_told()
        for address, node in self._controller.pipeline.sources.holders.items():
            held.setdefault(node, []).append(address)
        return [
            Daemon(name, tuple(held.get(name, ())) if decided else daemon.claims, tuple(sorted(daemon.unserved)))
            for name, daemon in self._daemons.items()
            if daemon.streams
        ]

    def reported(self, found: Iterable[Daemon]) -> Decision | None:
        """Another replica has these; what was decided here, if anything was."""
        for node, announces, unserved in found:
            daemon = self._daemons.setdefault(node, _Daemon())
            if not daemon.streams:  # it may have come here meanwhile
                daemon.left, daemon.unserved = self._clock(), frozenset(unserved)
                self._claim(node, announces)
        self._changed.set()
        return dict(self._controller.pipeline.sources.holders.items()) if self._is_settled() else None

    def heard(self, decision: Decision | None, asked_at: float) -> None:
        """The replica that leads has decided so, or nothing."""
        if decision is not None:
            self._decision, self._until = decision, asked_at + self._lease_s / 2
        self._changed.set()

    def commit(self) -> None:
        """The objects may have changed."""
        self._changed.set()

    async def run(self) -> NoReturn:
        """Decide whenever something changed, and when somebody has been away for long enough, until cancelled."""
        while True:
            self.decide()
            self._changed.clear()
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def decide(self) -> None:
        """Bring the holders up to date."""
        now, leads = self._clock(), self.leads()
        if not leads:
            self._since = None
        elif self._since is None:
            self._since = now
        self._daemons = {
            name: daemon
            for name, daemon in self._daemons.items()
            if daemon.streams or now - daemon.left < self._lease_s
        }
        settled = self._is_settled()
        held = dict(self._controller.pipeline.sources.holders)
        if leads:
            found = holders({**self._claimed, **held}, self._candidates(), settled=settled)
            self._claimed.clear()
            self._decision = None
        else:
            settled = self._is_told()
            found = dict(self._decision or {}) if settled else {}
        for address in held.keys() | found.keys():
            if held.get(address) != found.get(address):
                log.info("address moves", address=address, to=found.get(address, ""), before=held.get(address, ""))
                self._controller.held(address, found.get(address))
        if not settled or held == found:  # what was decided now is published by a commit that is yet to come
            self._withhold(withheld=not settled)

    def _claim(self, node: str, addresses: Iterable[str]) -> None:
        held = self._controller.pipeline.sources.holders
        for address in addresses:
            if address not in held:
                self._claimed.setdefault(address, node)

    def _is_settled(self) -> bool:
        """It has led for long enough to have heard of everybody."""
        return self._since is not None and self._clock() - self._since >= self._lease_s

    def _is_told(self) -> bool:
        """What the replica that leads has decided holds here."""
        return self._decision is not None and self._clock() < self._until

    def _candidates(self) -> Mapping[str, Collection[str]]:
        sources, announceable = self._controller.pipeline.sources, self._controller.pipeline.ingested.announceable
        labels = {
            name: node_labels(sources.cluster_nodes.get(ObjectRef("Node", "", name)), name) for name in self._daemons
        }
        found: dict[str, set[str]] = {}
        for wanted in announceable.values():
            found.setdefault(wanted.address, set()).update(
                name for name, own in labels.items() if may_hold(wanted, own)
            )
        return {address: self._serving(address, nodes) for address, nodes in found.items()}

    def _serving(self, address: str, nodes: set[str]) -> set[str]:
        """Those that serve it; where none does, nothing would be gained by a move."""
        return {name for name in nodes if address not in self._daemons[name].unserved} or nodes
