"""Gives each address that is to be announced to one node, and to another one when that node's daemon is gone for good,
or says that its Envoy does not serve the address.

One control plane decides at a time: where there are replicas, the one that leads, among the daemons that are connected
to it. Until it has decided, and by the others, daemons are told nothing, so that they keep what they have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import structlog

from xds_server.controller import Controller
from xds_server.ingestion.announcements import holders, may_hold, node_labels
from xds_server.model.refs import ObjectRef
from xds_server.xds.streams import Client

_LOOK_S = 1.0

log = structlog.get_logger(__name__)


class Withhold(Protocol):
    """Tell daemons nothing of announcements, or tell them again."""

    def __call__(self, *, withheld: bool) -> None: ...


@dataclass(slots=True, eq=False)
class _Daemon:
    """`streams` are those of it that live; `left` is when the last one ended."""

    streams: set[Client] = field(default_factory=set)
    left: float = 0.0
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
        self._changed = asyncio.Event()
        self.leads: Callable[[], bool] = lambda: True
        withhold(withheld=True)

    def connected(self, client: Client, claims: Collection[str]) -> None:
        """A daemon is there; `claims` are the addresses that it says it announces."""
        self._daemons.setdefault(client.node, _Daemon()).streams.add(client)
        held = self._controller.pipeline.sources.holders
        for address in claims:
            if address not in held:
                self._claimed.setdefault(address, client.node)
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
        settled = self._since is not None and now - self._since >= self._lease_s
        held = dict(self._controller.pipeline.sources.holders)
        found = holders({**self._claimed, **held}, self._candidates(), settled=settled) if leads else {}
        if leads:
            self._claimed.clear()
        for address in held.keys() | found.keys():
            if held.get(address) != found.get(address):
                log.info("address moves", address=address, to=found.get(address, ""), before=held.get(address, ""))
                self._controller.held(address, found.get(address))
        if not settled or held == found:  # what was decided now is published by a commit that is yet to come
            self._withhold(withheld=not settled)

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
