"""Several replicas and what they tell each other, beside one that has all Envoys: the leader knows what that knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.test_controller import MANIFESTS, ROUTE, Clock, objects
from xds_server.controller import GRACE_S, LATE_S, Controller
from xds_server.ingestion.sources import Settings
from xds_server.metrics import Metrics
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import CLUSTER, LISTENER, ROUTE_CONFIGURATION, ResourceKey
from xds_server.pipeline import Pipeline
from xds_server.relay import message, words
from xds_server.relay.inbox import Inbox
from xds_server.relay.words import Outbox, parts
from xds_server.translation.settings import TranslationSettings
from xds_server.xds.streams import Client

SEEDS: Final = st.integers(0, 2**32)
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate)
TYPES: Final = (CLUSTER, LISTENER, ROUTE_CONFIGURATION)
REPLICAS: Final = 3
NODES: Final = ("n1", "n2", "n3")
EDITS: Final = (
    objects(MANIFESTS),
    objects(ROUTE.replace("a.example.com", "b.example.com")),
    objects(ROUTE.replace("a.example.com", "c.example.com")),
    dict.fromkeys(objects(ROUTE)),
    dict.fromkeys(objects(MANIFESTS)),
)


class Replica:
    """A controller with its own pipeline, which other replicas tell things."""

    def __init__(self, clock: Clock, first: int) -> None:
        self.pipeline = Pipeline.declare(Settings(undeclared_classes=("tidegate",)), TranslationSettings())
        self.controller = Controller(self.pipeline, Metrics(), lambda _: None, self._committed, clock.later)
        self.numbers = count(first)
        self.inboxes: list[Inbox] = []
        self.edits: list[dict[ObjectRef, Any]] = []
        self.streams: dict[Client, set[tuple[ResourceKey, str]]] = {}
        self.controller.uses = self._uses

    def read(self) -> None:
        """Whatever the API server has said."""
        for edit in self.edits:
            self.controller.apply(edit)
        self.edits.clear()
        self.controller.commit()

    def known(self, *, late: bool = True) -> list[tuple[Any, ...]]:
        """What Envoys are known to have said, whatever their streams are called."""
        self.controller.commit()
        found: list[tuple[Any, ...]] = []
        for ref in self.pipeline.feedback.nodes:
            words = self.controller._words(self.controller._envoys[ref])
            delays = sorted(words.late) if late else []
            found.append((ref.node, words.listeners, dict(words.accepted), dict(words.refused), delays))
        return sorted(found, key=repr)

    def _uses(self, client: Client, key: ResourceKey) -> bool:
        resource = self.pipeline.resources.get(key)
        return resource is not None and (key, resource.version) in self.streams[client]

    def _committed(self, changes: Any) -> None:
        published = changes.get(self.pipeline.resources.name, ())
        for inbox in self.inboxes:
            inbox.published([key for key in published if key in self.pipeline.resources])


@dataclass
class Link:
    """From one replica to the leader: each message goes through the wire's form."""

    follower: Replica
    leader: Replica
    outbox: Outbox = field(init=False)
    inbox: Inbox = field(init=False)

    def __post_init__(self) -> None:
        controller = self.follower.controller
        self.outbox = Outbox(controller.connected_here(), controller.words)
        self.inbox = Inbox(self.leader.controller, lambda: next(self.leader.numbers))
        self.leader.inboxes.append(self.inbox)

    def pump(self) -> int:
        for ref in self.follower.controller._envoys:
            self.outbox.touch(ref)
        for ref in list(self.outbox._told):
            self.outbox.touch(ref)
        sent = 0
        while said := self.outbox.take():
            sent += len(said)
            carried = self.inbox.take(message.read_request(message.request(said)))
            for part in (part for each in carried for part in parts(each)):
                for known in message.read_response(message.response([part])):
                    assert self.outbox.carry(known)
                    self.follower.controller.carry(known.envoy, known.words)
            for each in said:
                if each.gone:
                    self.follower.controller.handed_over(each.envoy)
        return sent

    def cut(self) -> None:
        self.leader.inboxes.remove(self.inbox)
        self.inbox.end()


@dataclass
class Stream:
    """One stream of an Envoy: at a replica, and at the one that has all."""

    replica: Replica
    client: Client
    twin: Client


class Cluster:
    def __init__(self, seed: int, replicas: int = REPLICAS) -> None:
        self.random, self.clock = Random(seed), Clock()
        self.replicas = [Replica(self.clock, 1000 * number) for number in range(1, replicas + 1)]
        self.all = Replica(self.clock, 1)
        self.leader = self.replicas[0]
        self.links: dict[int, Link] = {}
        self.streams: dict[str, Stream] = {}
        self.has: dict[str, dict[ResourceKey, str]] = {}
        self.edit(0)
        self.link()

    def link(self) -> None:
        for number, replica in enumerate(self.replicas):
            if replica is not self.leader and number not in self.links:
                self.links[number] = Link(replica, self.leader)

    def cut(self, number: int) -> None:
        link = self.links.pop(number, None)
        if link is not None:
            link.cut()

    def lead(self, number: int) -> None:
        for other in list(self.links):
            self.cut(other)
        self.leader = self.replicas[number]
        self.link()

    def pump(self) -> None:
        while sum(link.pump() for link in self.links.values()):
            pass

    def edit(self, number: int, *, at_once: bool = True) -> None:
        for replica in (*self.replicas, self.all):
            replica.edits.append(EDITS[number])
            if at_once or replica is self.all:
                replica.read()

    def connect(self, node: str, number: int, *, fresh: bool, overlap: bool = False) -> None:
        before = self.streams.get(node)
        if before is not None and not overlap:
            self.end(node)
            self.pump()  # which came first, an end there or a beginning here, is not told
        replica = self.replicas[number]
        stream = Stream(replica, Client(node, next(replica.numbers)), Client(node, next(self.all.numbers)))
        has = self.has.setdefault(node, {})
        if fresh:
            has.clear()
        resumed = bool(has)
        replica.streams[stream.client] = set()
        for at, client in ((replica, stream.client), (self.all, stream.twin)):
            at.controller.connected(client, resumed=resumed)
            at.controller.subscribed(client, LISTENER, wildcard=True)
        self.streams[node] = stream
        for type_url in TYPES:
            brought = {
                key.name: version
                for key, version in has.items()
                if key.type_url == type_url
                and (found := replica.pipeline.resources.get(key)) is not None
                and found.version == version
            }
            if brought:
                self._accepted(node, type_url, brought)
        if before is not None and overlap:
            self.pump()
            self._end(before)

    def end(self, node: str) -> None:
        stream = self.streams.pop(node, None)
        if stream is not None:
            self._end(stream)

    def answer(self, node: str, type_url: str, *, refuse: bool) -> None:
        stream = self.streams[node]
        table = stream.replica.pipeline.resources
        versions = {key.name: r.version for key, r in table.items() if key.type_url == type_url}
        if not refuse:
            self._accepted(node, type_url, versions)
            return
        for name, version in versions.items():
            if (ResourceKey(type_url, name), version) in stream.replica.streams[stream.client]:
                continue  # what it uses is not sent to it again
            stream.replica.controller.rejected(stream.client, type_url, name, version, "no such field")
            self.all.controller.rejected(stream.twin, type_url, name, version, "no such field")

    def _accepted(self, node: str, type_url: str, versions: dict[str, str]) -> None:
        stream = self.streams[node]
        stream.replica.controller.accepted(stream.client, type_url, versions)
        self.all.controller.accepted(stream.twin, type_url, versions)
        for name, version in versions.items():
            key = ResourceKey(type_url, name)
            stream.replica.streams[stream.client].add((key, version))
            self.has[node][key] = version

    def _end(self, stream: Stream) -> None:
        stream.replica.controller.gone(stream.client)
        self.all.controller.gone(stream.twin)

    def passes(self, seconds: float) -> None:
        """All that is to be told is told before time passes: grace begins when the leader hears of an end."""
        self.pump()
        self.clock.passes(seconds)
        for replica in (*self.replicas, self.all):
            replica.controller.commit()
        self.pump()

    def step(self) -> None:
        """Anything that may happen."""
        random = self.random
        match random.choice(("connect", "connect", "connect", "end", "answer", "answer", "answer", "edit", "time")):
            case "connect":
                overlap = random.random() < 0.3
                number = random.randrange(len(self.replicas))
                self.connect(random.choice(NODES), number, fresh=random.random() < 0.3, overlap=overlap)
            case "end":
                self.end(random.choice(NODES))
            case "answer" if self.streams:
                node = random.choice(sorted(self.streams))
                self.answer(node, random.choice(TYPES), refuse=random.random() < 0.3)
            case "edit":
                self.edit(random.randrange(len(EDITS)), at_once=random.random() < 0.5)
            case "time":
                self.passes(random.choice((1.0, LATE_S, GRACE_S)))

    def disturb(self) -> None:
        """What the one that has all Envoys does not notice."""
        random = self.random
        match random.choice(("pump", "pump", "read", "cut", "lead", "link")):
            case "pump":
                self.pump()
            case "read":
                random.choice(self.replicas).read()
            case "cut":
                self.cut(random.randrange(len(self.replicas)))
            case "lead":
                self.lead(random.randrange(len(self.replicas)))
            case "link":
                self.link()

    def settle(self) -> None:
        """All is read and told, all that left is forgotten, and Envoys have all that they are to have.

        Then there is another edit, which some refuse, and some do not answer in time.
        """
        self.link()
        for replica in self.replicas:
            replica.read()
        self.passes(2 * GRACE_S)
        for node in sorted(self.streams):
            for type_url in TYPES:
                self.answer(node, type_url, refuse=False)
        self.edit(self.random.choice((1, 2)))
        for node in sorted(self.streams):
            for type_url in TYPES:
                if self.random.random() < 0.7:
                    self.answer(node, type_url, refuse=self.random.random() < 0.3)
        self.passes(LATE_S)


def steps(cluster: Cluster) -> Iterator[int]:
    for number in range(cluster.random.randrange(1, 40)):
        cluster.step()
        yield number


@given(seed=SEEDS)
@settings(max_examples=60, phases=PHASES, deadline=None)
def test_the_leader_ends_up_with_what_one_replica_would_have(seed: int) -> None:
    """After any history of Envoys, edits, cut connections and leaders, once all of it has been told."""
    cluster = Cluster(seed)
    for _ in steps(cluster):
        cluster.disturb()
    cluster.settle()

    assert cluster.all.known() == cluster.leader.known()


@given(seed=SEEDS, batch=st.integers(1, 3))
@settings(max_examples=40, phases=PHASES, deadline=None)
def test_what_is_told_in_parts_comes_to_the_same(seed: int, batch: int) -> None:
    """As above, where one Envoy's words are more than a batch, and so is what goes back of them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (words, message):
            patch.setattr(module, "BATCH", batch)
        cluster = Cluster(seed)
        for _ in steps(cluster):
            cluster.disturb()
        cluster.settle()

        assert cluster.all.known() == cluster.leader.known()


@given(seed=SEEDS)
@settings(max_examples=40, phases=PHASES, deadline=None)
def test_while_nothing_is_cut_the_leader_knows_what_one_replica_would_know(seed: int) -> None:
    """At each moment, once what was said has been told: also while Envoys move, overlap and refuse.

    Of what is late only the end is compared: a replica does not know which old version an Envoy brought along.
    """
    cluster = Cluster(seed)
    for number in steps(cluster):
        for replica in cluster.replicas:
            replica.read()
        cluster.pump()

        assert cluster.all.known(late=False) == cluster.leader.known(late=False), f"step {number}"
