"""Statuses from verdicts and from what Envoys said, on a graph with hand-made inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xds_server.graph import Collection, Graph, Source
from xds_server.model.delivery import Acceptance, Delay, DeliveryRef, Node, NodeRef, Rejection
from xds_server.model.listener import Frontend
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.model.resource import (
    CLUSTER,
    INTERCEPTED,
    LISTENER,
    ROUTE_CONFIGURATION,
    Resource,
    ResourceKey,
    resource,
)
from xds_server.model.verdict import Condition, Verdict, VerdictRef
from xds_server.status.collections import DesiredStatus, statuses
from xds_server.status.feedback import Feedback

GATEWAY = ObjectRef("Gateway", "default", "web")
HTTP = ResourceKey(LISTENER, "web/80")
ROUTES = ResourceKey(ROUTE_CONFIGURATION, "web/80")
LINES = ResourceKey(INTERCEPTED, "gateway/default/web/53/UDP")
BACKEND = ResourceKey(CLUSTER, "default/backend/80/http")
ACCEPTED = Condition("Accepted", "True", "Accepted")


class World:
    """A Gateway with one listener, its routes, and the cluster that they name."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.feedback = Feedback.declare(self.graph)
        self.verdicts: Source[VerdictRef, Verdict] = self.graph.source("verdicts")
        self.frontends: Source[ObjectRef, Frontend] = self.graph.source("frontends")
        self.resources: Source[ResourceKey, Resource] = self.graph.source("resources")
        self.over_budget: Source[ObjectRef, str] = self.graph.source("over_budget")
        self.statuses: Collection[ObjectRef, DesiredStatus] = statuses(
            self.graph,
            self.feedback,
            self.verdicts,
            self.frontends,
            self.resources,
            self.over_budget,
            owner,
        )
        for section in ("", "http"):
            ref = VerdictRef(GATEWAY, section=section)
            self.verdicts.put(ref, Verdict(ref, 1, (ACCEPTED,)))
        self.frontends.put(GATEWAY, Frontend(GATEWAY, ("127.80.0.1",)))
        self.resources.put(HTTP, resource(*HTTP, b"listener", (ROUTES,)))
        self.resources.put(ROUTES, resource(*ROUTES, b"routes", (BACKEND,)))
        self.resources.put(BACKEND, resource(*BACKEND, b"cluster"))
        self.graph.commit()

    def accept(self, node: str = "n1") -> None:
        self.accept_routes(node)
        self.accept_listener(node)

    def accept_listener(self, node: str = "n1", version: str = "", stream: int = 1) -> None:
        ref = DeliveryRef(node, stream, HTTP)
        self.feedback.acceptances.put(ref, Acceptance(ref, version or self.resources[HTTP].version))
        self.graph.commit()

    def accept_routes(self, node: str = "n1") -> None:
        ref = DeliveryRef(node, 1, ROUTES)
        self.feedback.acceptances.put(ref, Acceptance(ref, ""))
        self.graph.commit()

    def refuse(self, key: ResourceKey) -> None:
        ref = DeliveryRef("n1", 1, key)
        self.feedback.rejections.put(ref, Rejection(ref, self.resources[key].version, "no such field"))
        self.graph.commit()

    def connect(self, node: str, *, stream: int = 1, listeners: bool = True) -> None:
        ref = NodeRef(node, stream)
        self.feedback.nodes.put(ref, Node(ref, listeners))
        self.graph.commit()

    def programmed(self) -> tuple[str, str]:
        """Status and reason of the Gateway's own condition."""
        found = [c for c in self.statuses[GATEWAY].verdicts[0].conditions if c.type == "Programmed"]
        return found[0].status, found[0].reason


def owner(key: ResourceKey) -> ObjectRef | None:
    return GATEWAY if key.type_url in {LISTENER, ROUTE_CONFIGURATION, INTERCEPTED} else None


@pytest.fixture
def world() -> World:
    return World()


def test_a_gateway_is_pending_until_an_envoy_accepts_its_listener(world: World) -> None:
    """`Programmed` turns True with the first ACK of the newest listener, not before."""
    before = world.programmed()
    world.accept()

    assert (("False", "Pending"), ("True", "Programmed")) == (before, world.programmed())


def test_a_listener_without_its_routes_is_pending(world: World) -> None:
    """Envoy accepts a listener before it has the route table that it waits for: until then nothing is served."""
    world.accept_listener()
    before = world.programmed()
    world.accept_routes()

    assert (("False", "Pending"), ("True", "Programmed")) == (before, world.programmed())


def test_every_envoy_that_has_the_listener_must_have_the_newest(world: World) -> None:
    """An Envoy on an older version keeps the Gateway pending."""
    world.accept()
    world.accept_listener("n2", version="older")

    assert ("False", "Pending") == world.programmed()


def test_an_envoy_that_has_accepted_nothing_yet_counts(world: World) -> None:
    """Who asks for all listeners is to have this one before it is programmed; who asks for clusters alone is not."""
    world.accept()
    world.connect("clusters-only", listeners=False)
    without = world.programmed()
    world.connect("n2")
    waiting = world.programmed()
    world.accept("n2")

    assert [("True", "Programmed"), ("False", "Pending"), ("True", "Programmed")] == [
        without,
        waiting,
        world.programmed(),
    ]


def test_who_is_missing_is_told_by_name(world: World) -> None:
    """The message says whom to look at."""
    world.accept()
    world.connect("n2")

    [_, condition] = world.statuses[GATEWAY].verdicts[0].conditions
    assert "Envoy n2 does not serve the newest listener web/80 and its routes yet." == condition.message


def test_two_envoys_with_one_id_are_two(world: World) -> None:
    """X51: what one accepts says nothing of the other."""
    world.accept("same")
    world.accept_listener("same", version="older", stream=2)

    assert ("False", "Pending") == world.programmed()


def test_routes_that_are_held_back_for_too_long_show(world: World) -> None:
    """An Envoy that is late with an edit of routes keeps the Gateway pending until it has caught up."""
    world.accept()
    ref = DeliveryRef("n1", 1, ROUTES)
    world.feedback.delays.put(ref, Delay(ref))
    world.graph.commit()
    late = world.programmed()
    world.feedback.delays.delete(ref)
    world.graph.commit()

    assert [("False", "Pending"), ("True", "Programmed")] == [late, world.programmed()]


def test_an_edit_of_routes_is_no_flap(world: World) -> None:
    """Routes that are on their way change nothing of a listener that is served."""
    world.accept()
    world.resources.put(ROUTES, resource(*ROUTES, b"edited", (BACKEND,)))
    world.graph.commit()

    assert ("True", "Programmed") == world.programmed()


@pytest.mark.parametrize("key", [HTTP, ROUTES, BACKEND])
def test_a_refusal_shows_at_the_gateway_that_needs_the_resource(world: World, key: ResourceKey) -> None:
    """X51: whatever Envoy refuses, the Gateway that leads to it is not programmed, and says what and why."""
    world.accept()
    world.refuse(key)

    [_, condition] = world.statuses[GATEWAY].verdicts[0].conditions
    assert ("False", "Invalid") == world.programmed()
    assert f"{key.name}: no such field" in condition.message


@pytest.mark.parametrize(
    "heal",
    [
        lambda world: world.feedback.rejections.delete(DeliveryRef("n1", 1, ROUTES)),
        lambda world: world.resources.put(ROUTES, resource(*ROUTES, b"mended", (BACKEND,))),
        lambda world: world.resources.delete(ROUTES),
    ],
)
def test_a_refusal_of_what_is_no_longer_wanted_is_forgotten(world: World, heal: Callable[[World], None]) -> None:
    """X51: the condition clears when the refused version is replaced, gone, or accepted after all."""
    world.accept()
    world.refuse(ROUTES)
    heal(world)
    world.graph.commit()

    assert ("True", "Programmed") == world.programmed()


def in_the_kernel(world: World, *, alone: bool = True) -> None:
    """The Gateway has a listener for datagrams, `alone` or beside that for HTTP."""
    for key in (HTTP, ROUTES, BACKEND) if alone else ():
        world.resources.delete(key)
    world.resources.put(LINES, resource(*LINES, b"datagrams"))
    world.graph.commit()


def written(world: World, node: str, version: str = "") -> None:
    ref = DeliveryRef(f"daemon of {node}", 1, LINES)
    world.feedback.acceptances.put(ref, Acceptance(ref, version or world.resources[LINES].version))
    world.graph.commit()


def test_a_gateway_of_bytes_alone_waits_for_daemons(world: World) -> None:
    """Of no Envoy is anything heard; one that has no listener at all is not programmed."""
    for key in (HTTP, ROUTES, BACKEND):
        world.resources.delete(key)
    world.graph.commit()
    none = world.programmed()
    in_the_kernel(world)
    before = world.programmed()
    written(world, "n1")

    assert [("False", "Invalid"), ("False", "Pending"), ("True", "Programmed")] == [none, before, world.programmed()]


def test_every_daemon_is_to_have_written_a_gateways_service(world: World) -> None:
    """One that is connected and has not says so; an older version does not count."""
    in_the_kernel(world)
    ref = NodeRef("daemon of n2", 1)
    world.feedback.nodes.put(ref, Node(ref, services=True))
    written(world, "n1")
    seen = [message(world)]
    written(world, "n2", "older")
    seen.append(message(world))
    written(world, "n2")

    assert ["The daemon of n2 has not written service gateway/default/web/53/UDP into the kernel yet."] * 2 == seen
    assert ("True", "Programmed") == world.programmed()


def test_what_a_kernel_refuses_is_told_at_its_gateway(world: World) -> None:
    """Whose daemon, which service, and in its words; also where other listeners of it are Envoy's."""
    world.accept()
    in_the_kernel(world, alone=False)
    written(world, "n1")
    before = world.programmed()
    ref = DeliveryRef("daemon of n1", 1, LINES)
    world.feedback.rejections.put(ref, Rejection(ref, world.resources[LINES].version, "backends: the map is full"))
    world.graph.commit()

    assert (("True", "Programmed"), ("False", "Invalid")) == (before, world.programmed())
    assert "The daemon of n1 refused Service gateway/default/web/53/UDP: backends: the map is full" == message(world)


def message(world: World) -> str:
    return next(c.message for c in world.statuses[GATEWAY].verdicts[0].conditions if c.type == "Programmed")


def test_an_unusable_address_is_not_programmed(world: World) -> None:
    """A Gateway without an address says so, whatever Envoy accepted."""
    world.accept()
    world.frontends.put(GATEWAY, Frontend(GATEWAY, (), "192.0.2.1 is outside the pool"))
    world.graph.commit()

    assert ("False", "AddressNotUsable") == world.programmed()


def test_a_refused_change_of_what_leads_to_a_gateway_shows_at_it(world: World) -> None:
    """Its addresses stay in its status, for what was there goes on; its listeners are served as they are wanted."""
    world.connect("n1")
    world.accept()
    world.frontends.put(GATEWAY, Frontend(GATEWAY, ("192.0.2.1",), outdated="the Service is not as it is asked for"))
    world.graph.commit()
    status = world.statuses[GATEWAY]
    [own] = [condition for condition in status.verdicts[0].conditions if condition.type == "Programmed"]

    assert ("False", "Invalid", "the Service is not as it is asked for") == (own.status, own.reason, own.message)
    assert ("192.0.2.1",) == status.addresses


def test_a_listener_that_is_not_valid_is_not_programmed(world: World) -> None:
    """A listener's own condition outweighs what Envoy accepted of its Gateway."""
    world.accept()
    ref = VerdictRef(GATEWAY, section="http")
    world.verdicts.put(
        ref, Verdict(ref, 1, (Condition("ResolvedRefs", "False", "InvalidCertificateRef", "no Secret"),))
    )
    world.graph.commit()

    conditions = world.statuses[GATEWAY].verdicts[1].conditions
    assert Condition("Programmed", "False", "Invalid", "no Secret") == conditions[-1]
    assert ("True", "Programmed") == world.programmed()


def test_a_fault_is_a_condition_of_the_object_it_is_about(world: World) -> None:
    """S14: a transformation that raised shows at its object."""
    route = ObjectRef("HTTPRoute", "default", "odd")
    world.graph.faults.put(("routes", (route, 0)), "ValueError: odd")
    world.graph.commit()

    [verdict] = world.statuses[route].verdicts
    [condition] = verdict.conditions
    assert ("Accepted", "False", "InternalError") == (condition.type, condition.status, condition.reason)


def test_an_object_that_is_too_large_says_so(world: World) -> None:
    """S13: what an object's routes would take is a condition of the object, with the way out."""
    route = ObjectRef("HTTPRoute", "default", "fat")
    world.over_budget.put(route, "its routes take too many bytes: name fewer hostnames")
    world.graph.commit()

    [verdict] = world.statuses[route].verdicts
    [condition] = verdict.conditions
    assert ("Accepted", "False", "UnsupportedValue") == (condition.type, condition.status, condition.reason)
    assert "name fewer hostnames" in condition.message


def test_a_status_has_the_addresses_where_the_object_is_served(world: World) -> None:
    """A Gateway's own, and for an Ingress those of the frontend that its verdict names."""
    ingress = ObjectRef("Ingress", "default", "app")
    ref = VerdictRef(ingress)
    world.verdicts.put(ref, Verdict(ref, 1, (ACCEPTED,), frontend=SHARED_INGRESS))
    world.frontends.put(SHARED_INGRESS, Frontend(SHARED_INGRESS, ("127.80.0.2",)))
    world.graph.commit()
    before = [world.statuses[ref].addresses for ref in (GATEWAY, ingress)]
    world.frontends.put(SHARED_INGRESS, Frontend(SHARED_INGRESS, ("127.80.0.3",)))
    world.graph.commit()

    assert [("127.80.0.1",), ("127.80.0.2",)] == before
    assert ("127.80.0.3",) == world.statuses[ingress].addresses
