"""What Envoys say, through the controller to `Programmed`: with a clock that only the test moves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from xds_server.controller import GRACE_S, LATE_S, Controller
from xds_server.files import manifest
from xds_server.graph import Changes, Derived
from xds_server.ingestion.sources import Settings
from xds_server.metrics import Metrics
from xds_server.model.delivery import NodeRef
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    Resource,
    ResourceKey,
)
from xds_server.pipeline import Pipeline
from xds_server.relay.words import Refusal, Words
from xds_server.translation.settings import TranslationSettings
from xds_server.xds.streams import Client

GATEWAY = ObjectRef("Gateway", "default", "web")
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  hostnames: [a.example.com]
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
"""
MANIFESTS = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: tidegate
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}]}}
---
{ROUTE}
"""
ENVOY = Client("envoy", 1)
AGAIN = Client("envoy", 2)
TRUE, PENDING, INVALID = ("True", "Programmed"), ("False", "Pending"), ("False", "Invalid")


class Clock:
    """Calls what is due when the test says that time passes."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: dict[object, tuple[float, Callable[[], None]]] = {}

    def later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], object]:
        handle = object()
        self._calls[handle] = self.now + delay_s, call
        return lambda: self._calls.pop(handle, None)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        for handle in [handle for handle, (due, _) in self._calls.items() if due <= self.now]:
            _, call = self._calls.pop(handle)
            call()

    @property
    def waiting(self) -> int:
        return len(self._calls)


class World:
    """A Gateway with a route, and Envoys that the test speaks for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pipeline = Pipeline.declare(Settings(undeclared_classes=("tidegate",)), TranslationSettings())
        self.controller = Controller(self.pipeline, Metrics(), lambda _: None, lambda _: None, self.clock.later)
        self.apply(MANIFESTS)

    def apply(self, text: str) -> None:
        self.controller.apply(objects(text))
        self.controller.commit()

    def key(self, type_url: str) -> ResourceKey:
        return next(key for key in self.pipeline.resources if key.type_url == type_url)

    def connect(self, client: Client, *, resumed: bool = False) -> None:
        self.controller.connected(client, resumed=resumed)
        self.controller.subscribed(client, LISTENER, wildcard=True)

    def accept(self, client: Client, *type_urls: str) -> None:
        for type_url in type_urls or (CLUSTER, LISTENER, ROUTE_CONFIGURATION):
            versions = {key.name: r.version for key, r in self.pipeline.resources.items() if key.type_url == type_url}
            self.controller.accepted(client, type_url, versions)

    def refuse(self, client: Client, type_url: str) -> None:
        key = self.key(type_url)
        self.controller.rejected(client, *key, self.pipeline.resources[key].version, "no such field")

    def serve(self, client: Client) -> None:
        self.connect(client)
        self.accept(client)

    @property
    def programmed(self) -> tuple[str, str]:
        self.controller.commit()
        [found] = [c for c in self.pipeline.statuses[GATEWAY].verdicts[0].conditions if c.type == "Programmed"]
        return found.status, found.reason

    def said(self) -> int:
        feedback = self.pipeline.feedback
        return len(feedback.nodes) + sum(len(words.source) for words in feedback.words)


@pytest.fixture
def world() -> World:
    return World()


def test_a_reconnecting_envoy_is_no_flap(world: World) -> None:
    """X56: an Envoy that loses its stream and comes back with what it had stays programmed throughout."""
    world.serve(ENVOY)
    seen = [world.programmed]
    world.controller.gone(ENVOY)
    seen.append(world.programmed)
    world.clock.passes(GRACE_S - 1)
    seen.append(world.programmed)
    world.connect(AGAIN, resumed=True)
    seen.append(world.programmed)
    world.clock.passes(2 * GRACE_S)
    seen.append(world.programmed)

    assert [TRUE] * 5 == seen


def test_an_envoy_that_does_not_come_back_is_forgotten(world: World) -> None:
    """What it said counts for the time of grace and no longer; nothing of it is kept."""
    world.serve(ENVOY)
    world.refuse(ENVOY, CLUSTER)
    world.controller.gone(ENVOY)
    world.clock.passes(GRACE_S - 1)
    before = world.programmed
    world.clock.passes(1)

    assert (INVALID, PENDING, 0) == (before, world.programmed, world.said())


def test_a_new_process_has_nothing_yet(world: World) -> None:
    """An Envoy that was restarted is pending until it has accepted, though its predecessor had."""
    world.serve(ENVOY)
    world.controller.gone(ENVOY)
    world.connect(AGAIN)
    empty = world.programmed
    world.accept(AGAIN)

    assert (PENDING, TRUE) == (empty, world.programmed)


def test_an_envoy_that_is_known_to_have_ended_counts_no_more(world: World) -> None:
    """Whoever runs the Envoy knows that it ended, before or after its stream does: there is no grace."""
    world.serve(ENVOY)
    world.controller.ended("envoy")
    first = world.programmed, world.said()
    world.controller.gone(ENVOY)
    world.serve(AGAIN)
    between = world.programmed
    world.controller.gone(AGAIN)
    world.controller.ended("envoy")

    assert [(PENDING, 0), TRUE, (PENDING, 0)] == [first, between, (world.programmed, world.said())]
    world.clock.passes(LATE_S)
    assert 0 == world.clock.waiting


@pytest.mark.parametrize("resumed", [True, False])
def test_a_refusal_outlives_its_stream(world: World, resumed: bool) -> None:
    """X51: while the newest is refused, a reconnection does not make the Gateway programmed; an ACK of it does."""
    world.serve(ENVOY)
    world.refuse(ENVOY, CLUSTER)
    world.controller.gone(ENVOY)
    seen = [world.programmed]
    world.connect(AGAIN, resumed=resumed)
    seen.append(world.programmed)
    world.accept(AGAIN, LISTENER, ROUTE_CONFIGURATION)
    seen.append(world.programmed)
    world.accept(AGAIN, CLUSTER)

    assert [INVALID, INVALID, INVALID, TRUE] == [*seen, world.programmed]


def test_what_another_replica_knew_takes_no_refusals_place(world: World) -> None:
    """The leader may give back what it knew of an Envoy before it was told of the newest refusal."""
    world.connect(ENVOY)
    world.refuse(ENVOY, CLUSTER)
    before, key = world.controller.words(NodeRef(*ENVOY)), world.key(CLUSTER)
    world.controller.carry(NodeRef(*ENVOY), Words(refused={key: Refusal("an older one", "as then")}))

    assert before is not None
    assert before == world.controller.words(NodeRef(*ENVOY))
    assert "no such field" == before.refused[key].detail


def test_a_refusal_holds_while_streams_of_one_envoy_overlap(world: World) -> None:
    """X51: a stream that begins before its predecessor has ended takes over what is refused."""
    world.serve(ENVOY)
    world.refuse(ENVOY, CLUSTER)
    world.connect(AGAIN, resumed=True)
    world.accept(AGAIN, LISTENER, ROUTE_CONFIGURATION)
    world.controller.gone(ENVOY)
    refused = world.programmed
    world.accept(AGAIN, CLUSTER)

    assert (INVALID, TRUE) == (refused, world.programmed)


def test_two_envoys_with_one_id_hide_nothing_of_each_other(world: World) -> None:
    """X51: what the one accepts clears no refusal of the other, and the end of one is not that of both."""
    world.serve(ENVOY)
    world.connect(AGAIN)
    world.refuse(ENVOY, CLUSTER)
    world.accept(AGAIN)
    seen = [world.programmed]
    world.controller.gone(AGAIN)
    seen.append(world.programmed)
    world.accept(ENVOY, CLUSTER)

    assert [INVALID, INVALID, TRUE] == [*seen, world.programmed]


def test_an_ack_of_something_else_clears_no_refusal(world: World) -> None:
    """A refusal is of a resource: only a response that contains it says that it is good after all."""
    world.serve(ENVOY)
    world.refuse(ENVOY, CLUSTER)
    world.controller.accepted(ENVOY, CLUSTER, {"another": "1"})
    world.controller.accepted(ENVOY, LISTENER, {world.key(CLUSTER).name: "1"})

    assert INVALID == world.programmed


def test_a_connected_envoy_that_has_nothing_yet_counts(world: World) -> None:
    """One that asks for listeners is waited for; one that never does, or has left without a word, is not."""
    world.serve(ENVOY)
    tool, other = Client("tool", 2), Client("other", 3)
    world.controller.connected(tool, resumed=False)
    world.controller.subscribed(tool, CLUSTER, wildcard=True)
    seen = [world.programmed]
    world.connect(other)
    seen.append(world.programmed)
    world.controller.gone(other)

    assert [TRUE, PENDING, TRUE] == [*seen, world.programmed]


def test_an_edit_of_routes_shows_only_when_it_is_late(world: World) -> None:
    """Programmed stays True while an edit is on its way, turns False when it is held back, and True when it arrives."""
    world.serve(ENVOY)
    world.apply(ROUTE.replace("a.example.com", "b.example.com"))
    seen = [world.programmed]
    world.clock.passes(LATE_S - 1)
    seen.append(world.programmed)
    world.clock.passes(1)
    seen.append(world.programmed)
    world.accept(ENVOY, ROUTE_CONFIGURATION)

    assert [TRUE, TRUE, PENDING, TRUE] == [*seen, world.programmed]


def test_an_edit_of_routes_that_arrives_in_time_costs_no_commit(world: World) -> None:
    """The versions of routes are not in the graph: an ACK of one that is not late changes nothing there."""
    world.serve(ENVOY)
    world.apply(ROUTE.replace("a.example.com", "b.example.com"))
    before = {name: c.runs for name, c in derived(world).items()}
    world.accept(ENVOY, ROUTE_CONFIGURATION)
    world.controller.commit()
    world.clock.passes(LATE_S)

    assert TRUE == world.programmed
    assert before == {name: c.runs for name, c in derived(world).items()}


def test_a_late_edit_that_is_taken_back_is_not_late(world: World) -> None:
    """An Envoy that never left the version that is wanted again has all that it is to have."""
    world.serve(ENVOY)
    world.apply(ROUTE.replace("a.example.com", "b.example.com"))
    world.clock.passes(LATE_S)
    late = world.programmed
    world.apply(ROUTE)

    assert (PENDING, TRUE) == (late, world.programmed)


def test_nothing_is_kept_of_what_is_no_longer_served(world: World) -> None:
    """Answers about resources that are gone are forgotten, and those that come late are not noted."""
    world.serve(ENVOY)
    listener, routes = world.key(LISTENER), world.key(ROUTE_CONFIGURATION)
    world.controller.apply(dict.fromkeys(objects(MANIFESTS)))
    world.controller.commit()
    world.controller.accepted(ENVOY, LISTENER, {listener.name: "1"})
    world.controller.accepted(ENVOY, ROUTE_CONFIGURATION, {routes.name: "1"})
    world.controller.rejected(ENVOY, *routes, "1", "late")
    world.controller.rejected(ENVOY, CLUSTER, "", "", "a removal")

    assert 1 == world.said()  # that it is there


def test_what_an_unknown_stream_says_is_not_heard(world: World) -> None:
    """After its end a stream says nothing more."""
    world.serve(ENVOY)
    world.controller.ended("envoy")
    world.accept(ENVOY)
    world.refuse(ENVOY, CLUSTER)
    world.controller.gone(ENVOY)

    assert 0 == world.said()


def objects(text: str) -> dict[ObjectRef, Any]:
    read = [manifest.read(document) for document in text.split("---\n")]
    return {found.ref: found.object for reading in read for found in reading.objects}


def derived(world: World) -> dict[str, Derived[object, object]]:
    return {c.name: c for c in world.pipeline.graph.collections if isinstance(c, Derived)}


async def test_clusters_go_out_ahead_of_what_leads_to_them() -> None:
    """The first commit hands them on as soon as they are made, lets others have their turn, and comes to the same."""
    whole, pipeline = World(), Pipeline.declare(Settings(undeclared_classes=("tidegate",)), TranslationSettings())
    told: list[tuple[str, ...]] = []
    controller = Controller(pipeline, Metrics(), lambda changes: told.append(types(changes)), lambda _: None)
    controller.begin = lambda changes: told.append(("ahead", *types(changes)))
    controller.apply(objects(MANIFESTS))
    loading = asyncio.ensure_future(controller.load())
    while not told:
        await asyncio.sleep(0)
    controller.apply(objects(ROUTE.replace("a.example.com", "b.example.com")))
    await loading

    assert ("ahead", CLUSTER, CLUSTER_LOAD_ASSIGNMENT) == told[0]
    assert {LISTENER, ROUTE_CONFIGURATION} < set(told[1])
    assert dict(whole.pipeline.resources) == dict(pipeline.resources)
    controller.commit()
    assert dict(whole.pipeline.resources) != dict(pipeline.resources)


async def test_a_refusal_of_what_is_ahead_counts(world: World) -> None:
    """X51: a cluster that an Envoy refuses while the rest is being translated makes it as invalid as later."""
    pipeline = Pipeline.declare(Settings(undeclared_classes=("tidegate",)), TranslationSettings())
    controller = Controller(pipeline, Metrics(), lambda _: None, lambda _: None, world.clock.later)

    def refuse(resources: Mapping[ResourceKey, Resource]) -> None:
        controller.connected(ENVOY, resumed=False)
        controller.subscribed(ENVOY, LISTENER, wildcard=True)
        for key, resource in resources.items():
            controller.rejected(ENVOY, *key, resource.version, "no such field")

    controller.begin = refuse
    controller.apply(objects(MANIFESTS))
    await controller.load()
    [found] = [c for c in pipeline.statuses[GATEWAY].verdicts[0].conditions if c.type == "Programmed"]

    assert INVALID == (found.status, found.reason)


def types(changes: Mapping[ResourceKey, Any]) -> tuple[str, ...]:
    return tuple(sorted({key.type_url for key in changes}))


def test_a_commit_runs_without_the_collector_and_leaves_it_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit runs without the collector of cyclic garbage to its last observer, and then it is on again."""
    world = World()
    states: list[bool] = []

    def commit() -> Changes:
        states.append(gc.isenabled())
        return {}

    monkeypatch.setattr(world.pipeline.graph, "commit", commit)
    monkeypatch.setattr(world.controller, "_committed", lambda _: states.append(gc.isenabled()))
    world.controller.commit()
    assert [False, False] == states
    assert gc.isenabled()
