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
from xds_server.xds.resources import ResourceTable
from xds_server.xds.streams import Client as Speaker
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


def node(name: str = "a") -> tuple[Client, Client, ResourceTable]:
    """An Envoy and the daemon of its node, and what both have: a listener, and what leads to it."""
    served = table(service("a/web/80/TCP", "l"), thing(LISTENER, "l"))
    envoy, daemon = Client(served, delta=True, node=name), Client(served, delta=True, node=name)
    envoy.load(LISTENER)
    daemon.finish(daemon.ask(INTERCEPTED, "*"))
    return envoy, daemon, served


def test_an_envoy_loses_a_listener_after_its_daemon_has_let_go_of_it() -> None:
    """What led to the listener is no more, or leads elsewhere, by the daemon's own word."""
    for successor in ([], [thing(INTERCEPTED, "a/web/80/TCP", "2")]):
        envoy, daemon, served = node()
        remove(served, thing(LISTENER, "l"), *([] if successor else [service("a/web/80/TCP", "l")]))
        put(served, *successor)
        before = envoy.settle()
        daemon.settle()

        assert [] == before
        assert [["l"]] == [reply.removed for reply in envoy.settle()]


def test_a_listener_that_comes_waits_for_one_that_goes() -> None:
    """It may be at the same address, where Envoy would refuse it for good; of one response it removes first."""
    envoy, daemon, served = node()
    remove(served, thing(LISTENER, "l"), service("a/web/80/TCP", "l"))
    put(served, thing(LISTENER, "m"))
    before = envoy.settle()
    daemon.settle()
    after = envoy.settle()

    assert [] == before
    assert [(["m"], ["l"])] == [(reply.names, reply.removed) for reply in after]


def test_nobody_waits_for_a_daemon_for_ever() -> None:
    """One that does not answer, or says no, has two ticks of the clock; one that is gone, or another's, none at all."""
    envoy, _, served = node()
    gone = thing(LISTENER, "l"), service("a/web/80/TCP", "l")
    remove(served, *gone)
    put(served, thing(LISTENER, "m"))
    envoy.settle()
    assert 0 == envoy.stream.expire()
    assert 2 == envoy.stream.expire()
    assert ["l"] == envoy.settle()[0].removed

    envoy, daemon, served = node()
    put(served, thing(INTERCEPTED, "a/web/80/TCP", "2"))
    remove(served, thing(LISTENER, "l"))
    [refused] = daemon.read()
    daemon.nack(refused)
    assert [] == envoy.settle()
    envoy.stream.expire()
    envoy.stream.expire()
    assert ["l"] == envoy.settle()[0].removed

    envoy, daemon, served = node()
    daemon.stream.close()
    remove(served, *gone)
    assert ["l"] == envoy.settle()[0].removed

    envoy, daemon, served = node()
    envoy = Client(served, delta=True, node="b")
    envoy.load(LISTENER)
    remove(served, *gone)
    assert ["l"] == envoy.settle()[0].removed


def test_an_envoy_is_woken_when_its_daemon_has_let_go() -> None:
    """By its answer, and by its end."""
    for end in (False, True):
        streams = Told().streams()
        gone = service("a/web/80/TCP", "l"), thing(LISTENER, "l")
        put(streams.table, *gone)
        daemon, envoy = streams.connect(delta=True), streams.connect(delta=True)
        asked = request(type_url=INTERCEPTED)
        asked.resource_names_subscribe.append("*")
        streams.receive(daemon, asked)
        streams.receive(envoy, request(type_url=LISTENER))
        answer(streams, daemon)
        answer(streams, envoy)
        streams.publish({each.key: None for each in gone})
        answer(streams, envoy)
        envoy.wake.clear()
        if end:
            streams.disconnect(daemon)
        else:
            answer(streams, daemon)

        assert envoy.wake.is_set()
        assert 1 == len(list(envoy.stream.pending()))


def test_a_daemon_is_no_proxy() -> None:
    """It speaks of services, under a name of its own; what Envoy says of them is told to nobody."""
    told = Told()
    streams = told.streams()
    put(streams.table, service("a/web/80/TCP", "l"), thing(CLUSTER, "c"))
    daemon, envoy = streams.connect(delta=True), streams.connect(delta=True)
    asked = request(type_url=INTERCEPTED)
    asked.resource_names_subscribe.append("*")
    streams.receive(daemon, asked)
    answer(streams, daemon, error="no such map")
    streams.disconnect(daemon)

    assert [Speaker("daemon of envoy", 1)] == [entry[0] for entry in told.of("rejected")]
    assert [(1, 1)] == [(len(told.of("connected")), len(told.of("gone")))]
    assert {INTERCEPTED: 1} == rejected(streams)

    streams.receive(envoy, request())
    streams.receive(envoy, asked)
    answer(streams, envoy)

    assert [["c"]] == [entry[1] for entry in told.of("accepted")]
    assert 2 == len(told.of("subscribed"))


def rejected(streams: Streams) -> Mapping[str, int]:
    return dict(streams.stats.rejected)
