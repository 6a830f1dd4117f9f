"""The loop: wait for a change, let a burst gather, commit, publish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from xds_server.collector import without_collector
from xds_server.graph import Changes, Source
from xds_server.metrics import Metrics
from xds_server.model.delivery import Acceptance, Delay, DeliveryRef, Node, NodeRef, Rejection
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import INTERCEPTED, LISTENER, ROUTE_CONFIGURATION, Resource, ResourceKey
from xds_server.pipeline import Pipeline
from xds_server.relay.words import Refusal, Words
from xds_server.translation.names import is_of_service
from xds_server.xds.streams import Client

log = structlog.get_logger(__name__)

HOLD_OFF_S: Final = 0.02
"""At most one commit in this time: a lone change goes out at once, a burst is gathered."""

LONGEST_HOLD_OFF_S: Final = 0.2
"""After commits that take long, others have twice as much time, and no more than this."""

GRACE_S: Final = 30.0
"""What an Envoy said still counts for so long after its last stream: it serves on, and as a rule it comes back."""

LATE_S: Final = 10.0
"""An edit of routes may be on its way for so long, which is how long a gate holds it back."""

Publish = Callable[[Mapping[ResourceKey, Resource | None]], object]
Begin = Callable[[Mapping[ResourceKey, Resource]], None]
Committed = Callable[[Changes], None]
Cancel = Callable[[], object]
Later = Callable[[float, Callable[[], None]], Cancel]


def on_the_loop(delay_s: float, call: Callable[[], None]) -> Cancel:
    """Call later, unless cancelled."""
    return asyncio.get_running_loop().call_later(delay_s, call).cancel


@dataclass(slots=True, eq=False)
class _Envoy:
    """What is known of one Envoy; a stream that follows its last one takes this over."""

    ref: NodeRef
    tables: dict[str, str] = field(default_factory=dict)
    """The version of each route configuration; not in the graph, where each edit would cost a commit for each ACK."""
    cancel: Cancel | None = None
    """Of the end of its grace."""
    client: Client | None = None
    """Its stream, while it has one."""
    remote: bool = False
    """That stream is another replica's, which tells what is late."""
    resumed: bool = True
    """It has not begun without anything since it is known here."""


class Controller:
    """Owns the pipeline: everything that changes it goes through here, on one event loop."""

    def __init__(
        self, pipeline: Pipeline, metrics: Metrics, publish: Publish, committed: Committed, later: Later = on_the_loop
    ) -> None:
        self.pipeline, self._metrics = pipeline, metrics
        self._publish, self._committed, self._later = publish, committed, later
        self._changed = asyncio.Event()
        self._envoys: dict[NodeRef, _Envoy] = {}
        self._streams: dict[str, dict[Client, _Envoy]] = {}
        self._left: dict[str, _Envoy] = {}
        self.begin: Begin = lambda _: None  # what is published ahead of the rest of the first commit
        self.on_moved: Callable[[NodeRef], None] = lambda _: None  # an Envoy came, or left
        self.uses: Callable[[Client, ResourceKey], bool] = lambda *_: False  # the newest version, as its stream has it

    def apply(self, changes: dict[ObjectRef, Any | None]) -> None:
        """Take new objects; None deletes one."""
        for ref, value in changes.items():
            self.pipeline.put(ref, value)
        if changes:
            self._metrics.objects_changed(changes)
            self._changed.set()

    def absent(self, ref: ObjectRef, why: str) -> None:
        """Take that an object which was asked for is not to be had; "" takes that back."""
        self._say(self.pipeline.sources.absent, ref, why)

    def refused(self, ref: ObjectRef, why: str) -> None:
        """Take that a generated object is not as it should be; "" takes that back."""
        self._say(self.pipeline.sources.refused, ref, why)

    def held(self, address: str, node: str | None) -> None:
        """Take which node announces an address; None for nobody."""
        holders = self.pipeline.sources.holders
        if node is None:
            holders.delete(address)
        else:
            holders.put(address, node)
        self._changed.set()

    def connected(self, client: Client, *, resumed: bool, remote: bool = False) -> None:
        """A stream began, here or at another replica: of an Envoy that was here a moment ago, or of a new one.

        What was refused stays refused until this stream accepts it. What was accepted stays accepted if the client
        brought it along (`resumed`); else it is a new process, which has nothing yet.
        """
        feedback = self.pipeline.feedback
        streams = self._streams.setdefault(client.node, {})
        envoy = self._left.pop(client.node, None)
        if envoy is None:
            envoy = self._envoys[NodeRef(*client)] = _Envoy(NodeRef(*client), resumed=resumed)
            feedback.nodes.put(envoy.ref, Node(envoy.ref))
            for other in streams.values():  # of another Envoy, or of this one before it lost its connection
                self._repeat(other.ref, envoy.ref)
        elif envoy.cancel is not None:
            envoy.cancel()
            envoy.cancel = None
            if remote or not resumed:
                envoy.tables.clear()
            if not resumed:
                envoy.resumed = False
                feedback.accepted.forget_envoy(envoy.ref)
                feedback.delayed.forget_envoy(envoy.ref)
                self._changed.set()
        streams[client] = envoy
        envoy.client, envoy.remote = client, remote
        self.on_moved(envoy.ref)

    def subscribed(self, client: Client, type_url: str, *, wildcard: bool) -> None:
        """An Envoy that asks for all listeners is to serve all of them, a daemon that asks for all services these."""
        envoy = self._of(client)
        if envoy is None or type_url not in {LISTENER, INTERCEPTED}:
            return
        node = Node(envoy.ref, wildcard and type_url == LISTENER, wildcard and type_url == INTERCEPTED)
        if self.pipeline.feedback.nodes.get(envoy.ref) != node:
            self.pipeline.feedback.nodes.put(envoy.ref, node)
            self._changed.set()

    def accepted(self, client: Client, type_url: str, versions: Mapping[str, str]) -> None:
        """An Envoy acknowledged these versions by resource name."""
        envoy = self._of(client)
        if envoy is None:
            return
        rejected = self.pipeline.feedback.rejected
        if rejected.by_envoy.count(envoy.ref):
            for ref in tuple(rejected.by_envoy.keys(envoy.ref)):
                if ref.resource.type_url == type_url and ref.resource.name in versions:
                    rejected.source.delete(ref)
                    self._changed.set()
        if type_url in {LISTENER, INTERCEPTED}:
            for name, version in _shown(type_url, versions):
                self._note(DeliveryRef(*envoy.ref, ResourceKey(type_url, name)), version)
        elif type_url == ROUTE_CONFIGURATION:
            for name, version in versions.items():
                ref = DeliveryRef(*envoy.ref, ResourceKey(type_url, name))
                if self._note(ref, ""):
                    envoy.tables[name] = version
                    self._caught_up(ref)

    def rejected(self, client: Client, type_url: str, name: str, version: str, detail: str) -> None:
        """An Envoy refused a version of a resource; what is not served any more, or a removal, blames nobody."""
        envoy = self._of(client)
        ref = DeliveryRef(*envoy.ref, ResourceKey(type_url, name)) if envoy is not None else None
        if ref is None or not self.pipeline.serves(ref.resource):
            return
        self.pipeline.feedback.rejections.put(ref, Rejection(ref, version, detail))
        self._changed.set()

    def gone(self, client: Client) -> None:
        """A stream ended: what was said on it counts until the Envoy comes back, or does not in time.

        Where the node has another stream, it came back already, or is another Envoy that speaks for itself.
        """
        envoy = self._of(client)
        if envoy is None:
            return
        streams = self._streams[client.node]
        del streams[client]
        envoy.client = None
        self.on_moved(envoy.ref)
        if streams:
            self._forget_envoy(envoy)
            return
        del self._streams[client.node]
        if not self.pipeline.feedback.heard(envoy.ref):
            self._forget_envoy(envoy)
            return
        self._left[client.node] = envoy
        envoy.cancel = self._later(GRACE_S, lambda: self.ended(client.node))

    def ended(self, node: str) -> None:
        """The Envoy is known to be no more: nothing that it said counts, even if its stream has yet to end."""
        left = self._left.pop(node, None)
        for envoy in (*self._streams.pop(node, {}).values(), *([left] if left else [])):
            if envoy.cancel is not None:
                envoy.cancel()
            self._forget_envoy(envoy)

    # --- between replicas ---------------------------------------------------------------------------------------------

    def connected_here(self) -> list[NodeRef]:
        return [envoy.ref for envoy in self._envoys.values() if envoy.client is not None and not envoy.remote]

    def words(self, of: NodeRef) -> Words | None:
        """All that an Envoy has said that is connected here; None of any other."""
        envoy = self._envoys.get(of)
        return None if envoy is None or envoy.client is None or envoy.remote else self._words(envoy)

    def words_of(self, client: Client) -> Words | None:
        """All that is known of the Envoy that a stream is of."""
        envoy = self._of(client)
        return None if envoy is None else self._words(envoy)

    def carry(self, of: NodeRef, known: Words) -> None:
        """An Envoy that is connected here said this to another replica: it holds unless it has said otherwise since."""
        envoy = self._envoys.get(of)
        if envoy is None or envoy.client is None:
            return
        for key, version in known.accepted.items():
            ref = DeliveryRef(*of, key)
            if ref not in self.pipeline.feedback.acceptances:
                self._note(ref, version)
        for key, (version, detail) in known.refused.items():
            if DeliveryRef(*of, key) not in self.pipeline.feedback.rejections and not self.uses(envoy.client, key):
                self.rejected(envoy.client, *key, version, detail)
        for name in known.late:
            resource = self.pipeline.resources.get(ResourceKey(ROUTE_CONFIGURATION, name))
            if resource is not None and envoy.tables.get(name) != resource.version:
                self.late(envoy.client, [name], late=True)

    def handed_over(self, of: NodeRef) -> None:
        """Another replica has taken note that an Envoy left: what counts of it, and for how long, is known there."""
        left = self._left.get(of.node)
        if left is not None and left.ref == of:
            self.ended(of.node)

    def retracted(self, client: Client, accepted: Iterable[ResourceKey], refused: Iterable[ResourceKey]) -> None:
        """What the Envoy at another replica accepted or refused does not count any more."""
        envoy = self._of(client)
        if envoy is None:
            return
        feedback = self.pipeline.feedback
        for words, keys in ((feedback.accepted, accepted), (feedback.rejected, refused)):
            for key in keys:
                words.source.delete(DeliveryRef(*envoy.ref, key))
                self._changed.set()

    def late(self, client: Client, tables: Iterable[str], *, late: bool) -> None:
        """An Envoy has not got the newest of these route configurations in time; or got it since."""
        envoy, delays = self._of(client), self.pipeline.feedback.delays
        if envoy is None:
            return
        for name in tables:
            ref = DeliveryRef(*envoy.ref, ResourceKey(ROUTE_CONFIGURATION, name))
            if not late:
                delays.delete(ref)
            elif ref.resource in self.pipeline.resources:
                delays.put(ref, Delay(ref))
            self._changed.set()

    async def run(self) -> None:
        """Commit after each change until cancelled."""
        while True:
            await self._changed.wait()
            began = time.perf_counter()
            self.commit()
            took_s = time.perf_counter() - began
            await asyncio.sleep(min(max(HOLD_OFF_S, 2 * took_s), LONGEST_HOLD_OFF_S))

    def commit(self) -> None:
        """Bring everything up to date and hand on what changed."""
        with without_collector():
            self._changed.clear()
            started = time.perf_counter()
            self._committed_since(started, self.pipeline.graph.commit())

    async def load(self) -> None:
        """As `commit`, of all that there is at first, which takes seconds: others have their turn meanwhile.

        Envoys that have nothing yet get the clusters as soon as these are known, and take them in on another core.
        What they and others say is read after the resources, in one go, so that nothing changes while it is.
        """
        graph, backends, resources = self.pipeline.graph, self.pipeline.backends, self.pipeline.resources
        with without_collector():
            self._changed.clear()
            started = time.perf_counter()
            for collection in graph.steps():
                if collection is backends and backends.changed:
                    self.begin({key: backends[key] for key in backends.changed})
                if collection.order < resources.order:
                    await asyncio.sleep(0)
            self._committed_since(started, graph.finish())

    def _committed_since(self, started: float, changes: Changes) -> None:
        published = self.pipeline.published(changes)
        duration_s = time.perf_counter() - started
        self._metrics.commit_seconds.observe(duration_s)
        self._metrics.resources_changed(published)
        self._follow(published)
        for key in changes.get("faults", ()):
            self._fault(key)
        if published:
            self._publish(published)
        self._committed(changes)
        log.debug("committed", resources=len(published), seconds=round(duration_s, 6))

    def _say(self, of: Source[ObjectRef, str], ref: ObjectRef, why: str) -> None:
        if why:
            of.put(ref, why)
        else:
            of.delete(ref)
        self._changed.set()

    def _words(self, envoy: _Envoy) -> Words:
        feedback = self.pipeline.feedback
        node = feedback.nodes.get(envoy.ref)
        accepted, rejected = feedback.acceptances, feedback.rejections
        return Words(
            envoy.resumed,
            node is not None and node.listeners,
            {ref.resource: accepted[ref].version for ref in feedback.accepted.by_envoy.keys(envoy.ref)},
            {
                ref.resource: Refusal(rejected[ref].version, rejected[ref].detail)
                for ref in feedback.rejected.by_envoy.keys(envoy.ref)
            },
            frozenset(ref.resource.name for ref in feedback.delayed.by_envoy.keys(envoy.ref)),
            node is not None and node.services,
        )

    def _of(self, client: Client) -> _Envoy | None:
        return self._streams.get(client.node, {}).get(client)

    def _note(self, ref: DeliveryRef, version: str) -> bool:
        """Whether the resource is still there: an answer may come late."""
        if not self.pipeline.serves(ref.resource):
            return False
        acceptances = self.pipeline.feedback.acceptances
        before = acceptances.get(ref)
        if before is None or before.version != version:
            acceptances.put(ref, Acceptance(ref, version))
            self._changed.set()
        return True

    def _repeat(self, of: NodeRef, by: NodeRef) -> None:
        """Take a refusal as said by another stream of the node too, until that one accepts."""
        rejected = self.pipeline.feedback.rejected
        for ref in tuple(rejected.by_envoy.keys(of)):
            said: Rejection = rejected.source[ref]
            again = DeliveryRef(*by, ref.resource)
            rejected.source.put(again, Rejection(again, said.version, said.detail))
            self._changed.set()

    def _forget_envoy(self, envoy: _Envoy) -> None:
        del self._envoys[envoy.ref]
        self.pipeline.feedback.forget_envoy(envoy.ref)
        self._changed.set()

    def _follow(self, published: dict[ResourceKey, Resource | None]) -> None:
        """What is no longer served cannot be refused or accepted; an edit of routes is to arrive in time."""
        feedback = self.pipeline.feedback
        edited: dict[ResourceKey, str] = {}
        for key, resource in published.items():
            if resource is None:
                for ref in feedback.accepted.by_resource.keys(key):
                    self._envoys[ref.envoy].tables.pop(key.name, None)
                if feedback.forget_resource(key):
                    self._changed.set()
            elif key.type_url == ROUTE_CONFIGURATION:  # who accepted it may be about to come, from another replica
                edited[key] = resource.version
                for ref in tuple(feedback.delayed.by_resource.keys(key)):
                    self._caught_up(ref)
        if edited and self._envoys:
            self._later(LATE_S, lambda: self._late(edited))

    def _late(self, edited: dict[ResourceKey, str]) -> None:
        """Note who still has an older version of what was edited some time ago, and has not been edited since."""
        feedback = self.pipeline.feedback
        for key, version in edited.items():
            resource = self.pipeline.resources.get(key)
            if resource is None or resource.version != version:
                continue
            for ref in feedback.accepted.by_resource.keys(key):
                envoy = self._envoys[ref.envoy]
                if not envoy.remote and envoy.tables.get(key.name) != version:
                    feedback.delays.put(ref, Delay(ref))
                    self._changed.set()

    def _caught_up(self, ref: DeliveryRef) -> None:
        delays, resource = self.pipeline.feedback.delays, self.pipeline.resources.get(ref.resource)
        if ref not in delays or resource is None:
            return
        if self._envoys[ref.envoy].tables.get(ref.resource.name) == resource.version:
            delays.delete(ref)
            self._changed.set()

    def _fault(self, key: tuple[str, Any]) -> None:
        text = self.pipeline.graph.faults.get(key)
        if text is not None:
            self._metrics.faults.inc()
            log.error("transformation failed", collection=key[0], key=str(key[1]), error=text[:512])


def _shown(type_url: str, versions: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a status is made of: of Services, of which there are many, none says who has them."""
    for name, version in versions.items():
        if type_url != INTERCEPTED or not is_of_service(name):
            yield name, version
