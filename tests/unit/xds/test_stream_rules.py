"""X1-X8: what holds for every type in both variants."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as discovery

from tests.unit.xds.conversation import NAMED, TYPES, WHOLE, Client, cluster, put, remove, routes, table, thing
from xds_server.model.resource import CLUSTER, LISTENER, ROUTE_CONFIGURATION, SECRET
from xds_server.xds.events import Accepted, Ignored, ProtocolError, Stale
from xds_server.xds.resources import ResourceTable
from xds_server.xds.stream import AdsStream

BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
EVERY_TYPE = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])


def wished(type_url: str, *names: str) -> tuple[str, ...]:
    return () if type_url in WHOLE else names


@BOTH
def test_a_stream_without_a_node_is_refused(delta: bool) -> None:
    """X1: the first request says which node it is from."""
    client = Client(ResourceTable(), delta, node="")

    with pytest.raises(ProtocolError, match="node"):
        client.request(CLUSTER)


@BOTH
def test_a_node_is_taken_from_the_first_request_alone(delta: bool) -> None:
    """X1: later requests may leave the node out, and cannot change it."""
    client = Client(table(cluster("a")), delta)
    [first] = client.ask(CLUSTER)

    for node in ("", "somebody-else"):
        client.node = node
        client.ack(first)

    assert "envoy-1" == client.stream.node_id


@BOTH
def test_every_nonce_is_new(delta: bool) -> None:
    """X2: no two responses of a stream share a nonce, also when their content is shared."""
    served = table(cluster("a"), cluster("b"))
    client = Client(served, delta)
    nonces = []
    for turn in range(1000):
        nonces += [reply.nonce for reply in client.finish(client.ask(CLUSTER, "ab"[turn % 2], "*"))]

    assert len(nonces) >= 1000
    assert "" not in nonces
    assert len(nonces) == len(set(nonces))


@BOTH
@EVERY_TYPE
def test_a_nonce_of_an_earlier_stream_means_nothing(delta: bool, type_url: str) -> None:
    """X2: the first request of a stream is answered whatever nonce it carries, and accepts nothing."""
    client = Client(table(thing(type_url, "a")), delta)
    [first] = client.ask(type_url, *wished(type_url, "a"))
    client.reconnect()
    names: dict[str, Any] = {"resource_names_subscribe" if delta else "resource_names": wished(type_url, "a")}

    events = client.request(type_url, nonce=first.nonce, **names)

    assert [] == [event for event in events if isinstance(event, Accepted)]
    assert [["a"]] == [reply.names for reply in client.read()]


@BOTH
def test_a_refused_type_does_not_touch_another(delta: bool) -> None:
    """X3: routes are refused; clusters go on."""
    served = table(routes("r"), cluster("a"))
    client = Client(served, delta)
    [clusters] = client.ask(CLUSTER)
    client.ack(clusters)
    [refused] = client.ask(ROUTE_CONFIGURATION, "r")
    client.nack(refused)

    put(served, cluster("a", "2"))

    assert [{"a": "2"}] == [reply.resources for reply in client.read()]


@BOTH
def test_a_request_names_its_type(delta: bool) -> None:
    """X4: on an aggregated stream a request without type_url is an error."""
    with pytest.raises(ProtocolError, match="type_url"):
        Client(ResourceTable(), delta).request("")


@BOTH
def test_an_unknown_type_is_ignored(delta: bool) -> None:
    """X4: what is not served does not end the stream for what is."""
    client = Client(table(cluster("a")), delta)

    assert [Ignored("type.googleapis.com/nobody.Knows")] == client.request("type.googleapis.com/nobody.Knows")
    assert [["a"]] == [reply.names for reply in client.ask(CLUSTER)]


@BOTH
@EVERY_TYPE
def test_the_type_of_a_response_is_that_of_its_resources(delta: bool, type_url: str) -> None:
    """X4: type_url equals the Any's type."""
    [reply] = Client(table(thing(type_url, "a")), delta).ask(type_url, *wished(type_url, "a"))
    [found] = reply.message.resources

    assert type_url == reply.message.type_url
    assert type_url == (found.resource if delta else found).type_url


@BOTH
@EVERY_TYPE
def test_no_name_comes_twice_in_one_response(delta: bool, type_url: str) -> None:
    """X5: a name that is asked for twice, by wildcard too, and changes meanwhile, is there once."""
    served = table(*(thing(type_url, name) for name in "abcdef"))
    client = Client(served, delta)
    names: dict[str, Any] = {"resource_names_subscribe" if delta else "resource_names": ["a", "*", "a", "b"]}
    client.request(type_url, **names)
    put(served, thing(type_url, "a", "2"))

    [reply] = client.read()

    together = delta or type_url not in {ROUTE_CONFIGURATION, SECRET}  # these, by name, go one by one
    assert (list("abcdef") if together else ["a"]) == reply.names  # the client asserts that none is there twice
    assert "2" == reply.resources["a"]


@BOTH
@pytest.mark.parametrize("type_url", [ROUTE_CONFIGURATION, SECRET])
def test_what_envoy_would_call_accepted_in_the_end_goes_alone(delta: bool, type_url: str) -> None:
    """1.6: route configurations and secrets are never divided after a refusal: each is sent by itself, and once."""
    served = table(*(thing(type_url, name) for name in "abcdefgh"))
    client = Client(served, delta)

    replies = client.ask(type_url, *"abcdefgh")
    seen = list(replies)
    while replies:
        replies = client.nack(replies[0]) if replies[0].names == ["c"] else client.ack(*replies)
        seen += replies

    assert [[name] for name in "abcdefgh"] == [reply.names for reply in seen]
    assert {type_url: 1} == client.stream.parked()


@BOTH
@EVERY_TYPE
def test_the_last_of_a_burst_of_requests_counts(delta: bool, type_url: str) -> None:
    """X6: a hundred requests get a bounded number of answers, and the last wish wins."""
    served = table(*(thing(type_url, f"n{n}") for n in range(100)))
    client = Client(served, delta)
    replies = []
    for n in range(100):
        if delta:
            dropped = [f"n{n - 1}"] if n else []
            client.request(type_url, resource_names_subscribe=[f"n{n}"], resource_names_unsubscribe=dropped)
        else:
            client.wishes[type_url] = [f"n{n}"]
            client.request(type_url, resource_names=[f"n{n}"])
        replies += client.read()
    while todo := client.ack(*replies[-1:]):
        replies += todo

    assert len(replies) == 2
    assert ["n99"] == replies[-1].names


@BOTH
@EVERY_TYPE
def test_an_acceptance_gets_silence(delta: bool, type_url: str) -> None:
    """X7: without a change or a new wish nothing is sent."""
    served = table(thing(type_url, "a"))
    client = Client(served, delta)
    [first] = client.ask(type_url, *wished(type_url, "a"))

    assert [] == client.ack(first)
    assert [] == client.read()
    put(served, thing(type_url, "a"))
    assert [] == client.read()


@BOTH
def test_a_closed_stream_leaves_nothing_behind(delta: bool) -> None:
    """X8: the table does not know streams that have ended."""
    served = table(cluster("a"))
    client = Client(served, delta)
    client.load(CLUSTER)
    seen = weakref.ref(client.stream)

    client.stream.close()
    client.reconnect()
    gc.collect()

    assert seen() is None
    assert 1 == len(served._readers)


@BOTH
@EVERY_TYPE
def test_a_slow_client_gets_the_newest_alone(delta: bool, type_url: str) -> None:
    """X9: what changes while a response is in flight is coalesced: no queue."""
    served = table(thing(type_url, "a"))
    client = Client(served, delta)
    [first] = client.ask(type_url, *wished(type_url, "a"))
    for version in range(2, 100):
        put(served, thing(type_url, "a", str(version)))
        assert [] == client.read()

    assert [{"a": "99"}] == [reply.resources for reply in client.ack(first)]


def test_history_that_all_have_read_is_dropped() -> None:
    """X9: a client that does not read keeps the history that it needs, and nobody else's."""
    served = table(cluster("a"))
    stuck = Client(served, delta=True)
    stuck.ask(CLUSTER)
    other = Client(served, delta=True)
    other.load(CLUSTER)
    for n in range(20_000):
        put(served, cluster("a", f"v{n}"))
        put(served, cluster("b")) if n % 2 else remove(served, cluster("b"))
        other.settle()

    assert len(served.type(CLUSTER)._names) < 4096
    assert 2 == len(served.type(CLUSTER).live)


@BOTH
def test_a_stale_answer_accepts_nothing(delta: bool) -> None:
    """X13, X24: the answer to a response that another has followed is not taken for an answer to that."""
    served = table(cluster("a"))
    client = Client(served, delta)
    [first] = client.ask(CLUSTER)
    client.ack(first)
    put(served, cluster("a", "2"))
    client.read()

    events = client.request(CLUSTER, nonce=first.nonce)

    assert [Stale(CLUSTER, first.nonce)] == events
    assert client.stream.in_flight


def test_a_half_understood_request_is_not_guessed_at() -> None:
    """X11: a version alone, without a nonce and an error, is neither acceptance nor refusal."""
    served = table(cluster("a"))
    stream = AdsStream(served, delta=False)
    request = discovery.DiscoveryRequest(type_url=CLUSTER)
    request.node.id = "n"
    stream.receive(request)
    list(stream.pending())

    events = stream.receive(discovery.DiscoveryRequest(type_url=CLUSTER, version_info="whatever"))

    assert [] == events
    assert stream.in_flight


def test_listeners_are_named_in_neither_variant() -> None:
    """The whole types are those whose absence is removal."""
    assert {LISTENER, CLUSTER} == set(WHOLE)
    assert not set(NAMED) & set(WHOLE)
