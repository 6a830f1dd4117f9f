"""What a node's daemon asks for: on its own stream, beside that of the node's Envoy, and only what is its node's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.unit.xds.conversation import Client, put, remove, table, thing
from tests.unit.xds.test_streams import Told, answer, request
from xds_server.model.resource import (
    ANNOUNCEMENTS,
    CLUSTER,
    INTERCEPTED,
    LISTENER,
    WORKLOADS,
    Resource,
    ResourceKey,
)
from xds_server.xds.events import Unserved
from xds_server.xds.streams import Streams

BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
OF_A_NODE = pytest.mark.parametrize("type_url", [WORKLOADS, ANNOUNCEMENTS], ids=["workloads", "announcements"])


def service(name: str, listener: str, content: str = "1") -> Resource:
    return thing(INTERCEPTED, name, content, ResourceKey(LISTENER, listener))


@BOTH
def test_services_come_by_wildcard(delta: bool) -> None:
    """A daemon has all of them, whatever its node."""
    client = Client(table(service("a/web/80/TCP", "l"), service("b/web/80/TCP", "m")), delta=delta, bound_to="envoy-1")
    replies = client.finish(client.ask(INTERCEPTED, "*"))

    assert {"a/web/80/TCP": "1", "b/web/80/TCP": "1"} == {k: v for each in replies for k, v in each.resources.items()}


def test_that_there_are_none_is_said() -> None:
    """The daemon begins with what is pinned: an empty first answer tells it that nothing of that is wanted."""
    [reply] = Client(table(), delta=True).ask(INTERCEPTED, "*")

    assert ({}, []) == (reply.resources, reply.removed)


@BOTH
@OF_A_NODE
def test_a_node_has_what_is_named_as_itself(delta: bool, type_url: str) -> None:
    """By its certificate; what is another's does not exist for it, by name or by wildcard, and asking is noted."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=delta, node="a", bound_to="a")
    named = client.finish(client.ask(type_url, "a", "b"))
    other = Client(served, delta=delta, node="a", bound_to="a")
    starred = other.finish(other.ask(type_url, "*"))
    put(served, thing(type_url, "a", "2"), thing(type_url, "b", "2"))
    later = client.settle()

    assert [["a"], ["a"], ["a"]] == [
        sorted(name for reply in replies for name in reply.resources) for replies in (named, starred, later)
    ]
    assert [Unserved(type_url, 1, ("b",))] == [event for event in client.events if isinstance(event, Unserved)]


@OF_A_NODE
def test_who_has_no_certificate_is_the_machine_itself(type_url: str) -> None:
    """On the Unix socket every node may be asked about."""
    client = Client(table(thing(type_url, "a"), thing(type_url, "b")), delta=True)

    assert ["a", "b"] == [name for reply in client.finish(client.ask(type_url, "*")) for name in reply.names]


def test_a_node_without_pods_is_told_so() -> None:
    """What is named as the node goes with its last pod, and that is no silence."""
    served = table(thing(WORKLOADS, "a"))
    client = Client(served, delta=True, node="a", bound_to="a")
    client.finish(client.ask(WORKLOADS, "a"))
    remove(served, thing(WORKLOADS, "a"))
    [reply] = client.settle()

    assert ["a"] == reply.removed


def test_a_listener_goes_after_what_leads_to_it() -> None:
    """Who has both is sent the removal of the listener once it has accepted that of the service."""
    leads, listener = service("a/web/80/TCP", "l"), thing(LISTENER, "l")
    served = table(leads, listener)
    client = Client(served, delta=True)
    client.load(LISTENER)
    client.finish(client.ask(INTERCEPTED, "*"))
    remove(served, leads, listener)
    first = client.read()

    assert [(INTERCEPTED, ["a/web/80/TCP"])] == [(reply.type_url, reply.removed) for reply in first]
    assert [(LISTENER, ["l"])] == [(reply.type_url, reply.removed) for reply in client.finish(client.ack(*first))]


def test_a_daemon_is_no_proxy() -> None:
    """Nobody is told of its stream: it does not follow on that of its node's Envoy, and no Gateway waits for it."""
    told = Told()
    streams = told.streams()
    put(streams.table, service("a/web/80/TCP", "l"), thing(CLUSTER, "c"))
    daemon, envoy = streams.connect(delta=True), streams.connect(delta=True)
    asked = request(type_url=INTERCEPTED)
    asked.resource_names_subscribe.append("*")
    streams.receive(daemon, asked)
    answer(streams, daemon, error="no such map")
    streams.disconnect(daemon)

    assert [] == told.said
    assert {INTERCEPTED: 1} == rejected(streams)

    streams.receive(envoy, request())
    streams.receive(envoy, asked)
    answer(streams, envoy)

    assert [["c"]] == [entry[1] for entry in told.of("accepted")]
    assert 1 == len(told.of("subscribed"))


def rejected(streams: Streams) -> Mapping[str, int]:
    return dict(streams.stats.rejected)
