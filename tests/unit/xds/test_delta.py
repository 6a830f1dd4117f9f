"""X23-X38: delta."""

from __future__ import annotations

import pytest

from tests.unit.xds.conversation import (
    EVERY_TYPE,
    NAMED,
    NAMED_TYPES,
    WHOLE,
    WHOLE_TYPES,
    Client,
    host,
    put,
    remove,
    routes,
    table,
    thing,
    vhds_routes,
)
from xds_server.model.resource import CLUSTER, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST
from xds_server.xds.events import Accepted, Stale
from xds_server.xds.resources import ResourceTable
from xds_server.xds.stream import DELTA_TTL_FEATURE


def subscribed(type_url: str, *names: str, others: int = 0) -> Client:
    """A client that has what it asks for."""
    resources = [thing(type_url, name) for name in (*names, *(f"n{n}" for n in range(others)))]
    client = Client(table(*resources), delta=True)
    client.finish(client.ask(type_url, *names))
    return client


@EVERY_TYPE
def test_a_nonce_pairs_an_answer_with_its_response(type_url: str) -> None:
    """X23: a request without a nonce is spontaneous, and accepts nothing."""
    client = Client(table(thing(type_url, "a")), delta=True)
    [reply] = client.ask(type_url, "a")

    assert [] == client.request(type_url)
    assert client.stream.in_flight
    assert ["a"] == [
        n for e in client.request(type_url, nonce=reply.nonce) if isinstance(e, Accepted) for n in e.versions
    ]


@EVERY_TYPE
@pytest.mark.parametrize("carrier", ["stale", "acceptance", "refusal"])
def test_a_wish_counts_in_any_request(type_url: str, carrier: str) -> None:
    """X24: names are added and dropped by a stale request, by an acceptance and by a refusal."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=True)
    [first] = client.ask(type_url, "a")
    client.ack(first)
    put(served, thing(type_url, "a", "2"))
    [second] = client.read()
    nonce = first.nonce if carrier == "stale" else second.nonce
    wish = {"resource_names_subscribe": ["b"], "resource_names_unsubscribe": ["a"]}

    events = client.request(type_url, nonce=nonce, error="no" if carrier == "refusal" else None, **wish)
    if carrier == "stale":
        assert Stale(type_url, first.nonce) in events
        client.request(type_url, nonce=second.nonce)

    assert [["b"]] == [reply.names for reply in client.read()]
    put(served, thing(type_url, "a", "3"))
    assert [] == client.settle()


@WHOLE_TYPES
def test_the_history_of_a_wildcard(type_url: str) -> None:
    """X25, X26: no names at first: all; then "*" and a name; then without "*": the name; then nothing."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=True)
    client.finish(client.ask(type_url))
    client.request(type_url, resource_names_subscribe=["a"])
    client.settle()
    put(served, thing(type_url, "b", "2"))
    assert [["b"]] == [reply.names for reply in client.settle()]

    client.request(type_url, resource_names_subscribe=["*"])
    client.settle()
    client.request(type_url, resource_names_unsubscribe=["*"])
    put(served, thing(type_url, "b", "3"))
    assert [] == client.settle()
    put(served, thing(type_url, "a", "2"))
    assert [["a"]] == [reply.names for reply in client.settle()]

    client.request(type_url, resource_names_unsubscribe=["a"])
    client.request(type_url)
    put(served, thing(type_url, "a", "3"), thing(type_url, "b", "4"))
    assert [] == client.settle()


@NAMED_TYPES
def test_a_first_request_without_names_wants_nothing_of_a_named_type(type_url: str) -> None:
    """X25: the wildcard without a name is for listeners, clusters and virtual hosts."""
    client = Client(table(thing(type_url, "a")), delta=True)

    assert [] == client.ask(type_url)
    client.request(type_url, resource_names_subscribe=["*"])
    assert [["a"]] == [reply.names for reply in client.read()]


@EVERY_TYPE
def test_every_name_that_is_asked_for_is_answered(type_url: str) -> None:
    """X27: also when the client is believed to have it."""
    client = subscribed(type_url, "a")

    client.request(type_url, resource_names_subscribe=["a"])

    assert [["a"]] == [reply.names for reply in client.read()]


@EVERY_TYPE
def test_a_missing_name_is_told_and_remembered(type_url: str) -> None:
    """X28, X20: it is removed at once, and sent when it appears."""
    served = table(thing(type_url, "a"))
    client = Client(served, delta=True)
    replies = client.finish(client.ask(type_url, "a", "later"))
    assert ["a"] == [name for reply in replies for name in reply.names]
    assert ["later"] == [name for reply in replies for name in reply.removed]

    put(served, thing(type_url, "later"))
    assert [["later"]] == [reply.names for reply in client.settle()]
    put(served, thing(type_url, "later", "2"))
    assert [{"later": "2"}] == [reply.resources for reply in client.settle()]


@EVERY_TYPE
def test_a_dropped_name_is_silent(type_url: str) -> None:
    """X29: no answer, no updates; to drop what was never asked for is nothing."""
    client = subscribed(type_url, "a")

    client.request(type_url, resource_names_unsubscribe=["a", "never"])
    assert [] == client.read()
    put(client.table, thing(type_url, "a", "2"))
    assert [] == client.read()


@EVERY_TYPE
@pytest.mark.parametrize("exists", [True, False], ids=["exists", "does not"])
def test_a_name_dropped_under_a_wildcard_is_answered(type_url: str, exists: bool) -> None:
    """X30: the client cannot tell whether the wildcard has it, so it is told."""
    client = Client(table(thing(type_url, "a"), thing(type_url, "b")), delta=True)
    client.request(type_url, resource_names_subscribe=["*", "a", "x"])
    client.settle()
    name = "a" if exists else "x"

    client.request(type_url, resource_names_unsubscribe=[name])

    [reply] = client.read()
    assert ([name], []) == (reply.names, reply.removed) if exists else ([], [name]) == (reply.names, reply.removed)


@EVERY_TYPE
def test_a_resumed_client_is_told_what_changed_while_it_was_away(type_url: str) -> None:
    """X31, X56: on another replica, what is gone is removed and what has changed is sent."""
    old = table(thing(type_url, "same"), thing(type_url, "changed"), thing(type_url, "gone"))
    versions = {name: entry.resource.version for name, entry in old.type(type_url).live.items()}
    other = table(thing(type_url, "same"), thing(type_url, "changed", "2"), thing(type_url, "new"))
    client = Client(other, delta=True)
    names = () if type_url in WHOLE else ("same", "changed", "gone", "new")

    replies = client.finish(client.ask(type_url, *names, initial=versions))
    for _ in range(2):  # a cluster that only the client knows is removed once nothing can refer to it, or in the end
        client.stream.expire()
    replies += client.settle()

    sent = {name for reply in replies for name in reply.names}
    assert {"changed", "new"} == sent - {"same"}
    assert {"gone"} == {name for reply in replies for name in reply.removed}
    # X32: what is asked for by name is sent in any case: a cluster may be waiting for it.
    assert (type_url in NAMED) == ("same" in sent)


@WHOLE_TYPES
def test_a_resumed_client_that_has_all_is_sent_nothing(type_url: str) -> None:
    """X31, X56: not a byte, and what it has counts as accepted."""
    client = subscribed(type_url, others=50)
    versions = {name: entry.resource.version for name, entry in client.table.type(type_url).live.items()}
    client.reconnect()
    client.wishes.clear()

    assert [] == client.ask(type_url, initial=versions)
    assert Accepted(type_url, versions) == client.events[-1]
    put(client.table, thing(type_url, "n7", "2"))
    assert [["n7"]] == [reply.names for reply in client.settle()]


def test_virtual_hosts_of_a_resumed_client_are_compared() -> None:
    """X31, X37: of ten thousand hosts, those are sent that have changed."""
    served = table(vhds_routes("web"), *(host(f"web/{n}.test") for n in range(10)), host("other/x.test"))
    versions = {name: entry.resource.version for name, entry in served.type(VIRTUAL_HOST).live.items()}
    put(served, host("web/3.test", "2"))
    remove(served, host("web/4.test"))
    client = Client(served, delta=True)
    client.wishes[ROUTE_CONFIGURATION] = ["web"]
    route = {"web": served.type(ROUTE_CONFIGURATION).live["web"].resource.version}
    client.request(ROUTE_CONFIGURATION, resource_names_subscribe=["web"], initial_resource_versions=route)
    client.request(VIRTUAL_HOST, initial_resource_versions=versions)

    replies = client.settle()

    assert ["web", "web/3.test"] == [name for reply in replies for name in reply.names]
    assert ["web/4.test"] == [name for reply in replies for name in reply.removed]


@EVERY_TYPE
def test_a_version_is_that_of_its_content(type_url: str) -> None:
    """X33: it is in the response, changes with the content and comes back with it."""
    client = subscribed(type_url, "a")
    versions = []
    for content in ("2", "3", "2"):
        put(client.table, thing(type_url, "a", content))
        versions += [reply.message.resources[0].version for reply in client.settle()]

    assert versions[0] == versions[2] != versions[1]


@EVERY_TYPE
def test_one_change_of_many_is_one_resource(type_url: str) -> None:
    """X34: one of ten thousand has changed; one is sent."""
    names = [f"n{n}" for n in range(10_000)]
    client = Client(table(*(thing(type_url, name) for name in names)), delta=True)
    client.load(type_url, names=names)

    put(client.table, thing(type_url, "n77", "2"))

    [reply] = client.settle()
    assert ({"n77": "2"}, []) == (reply.resources, reply.removed)


@EVERY_TYPE
def test_a_removal_is_told_once(type_url: str) -> None:
    """X35: and the name may come back."""
    client = subscribed(type_url, "a", others=2)

    remove(client.table, thing(type_url, "a"))
    assert [["a"]] == [reply.removed for reply in client.settle()]
    put(client.table, thing(type_url, "n1", "2"))
    assert [] == [reply.removed for reply in client.settle() if reply.removed]
    put(client.table, thing(type_url, "a"))
    assert [["a"]] == [reply.names for reply in client.settle()]


@EVERY_TYPE
@pytest.mark.parametrize("able", [True, False], ids=["able", "unable"])
def test_a_heartbeat_has_no_body(type_url: str, able: bool) -> None:
    """X36: same version, a time to live, no content; only for clients that know it."""
    served = ResourceTable({type_url: 30})
    put(served, thing(type_url, "a"))
    client = Client(served, delta=True, features=(DELTA_TTL_FEATURE,) if able else ())
    [first] = client.ask(type_url, "a")
    client.ack(first)
    client.stream.heartbeat()
    beats = client.settle()

    [resource] = first.message.resources
    assert able == resource.HasField("ttl")
    assert able == bool(beats)
    for beat in beats:
        [beating] = beat.message.resources
        assert (resource.version, 30, False) == (beating.version, beating.ttl.seconds, beating.HasField("resource"))


def test_virtual_hosts_are_asked_for_without_names() -> None:
    """X37: as Envoy does: the hosts of the route configurations that it has, and no others."""
    served = table(vhds_routes("a/web"), vhds_routes("b/web"), host("a/web/x.test"), host("b/web/y.test"))
    client = Client(served, delta=True)
    [first] = client.ask(ROUTE_CONFIGURATION, "a/web")
    client.ack(first)

    [hosts] = client.ask(VIRTUAL_HOST)
    client.ack(hosts)

    assert "1+vhds" == first.resources["a/web"]
    assert ["a/web/x.test"] == hosts.names
    put(served, host("a/web/z.test"), host("b/web/z.test"))
    assert [["a/web/z.test"]] == [reply.names for reply in client.settle()]
    remove(served, host("a/web/z.test"))
    assert [["a/web/z.test"]] == [reply.removed for reply in client.settle()]


def test_a_route_configuration_without_hosts_is_answered() -> None:
    """X37: Envoy waits for the first answer, and takes that there is no catch-all for one."""
    client = Client(table(vhds_routes("web")), delta=True)
    client.finish(client.ask(ROUTE_CONFIGURATION, "web"))

    assert [["web/*"]] == [reply.removed for reply in client.ask(VIRTUAL_HOST)]


def test_a_changed_route_configuration_gets_all_its_hosts_again() -> None:
    """X37: the change clears the client's table; so does to begin with virtual host discovery."""
    served = table(vhds_routes("web"), host("web/a.test"), routes("plain"), host("plain/b.test"))
    client = Client(served, delta=True)
    client.finish(client.ask(ROUTE_CONFIGURATION, "web", "plain"))
    client.finish(client.ask(VIRTUAL_HOST))

    put(served, vhds_routes("web", "2"))
    assert [["web"], ["web/a.test"]] == [reply.names for reply in client.settle()]
    put(served, vhds_routes("plain"))
    assert [["plain"], ["plain/b.test"]] == [reply.names for reply in client.settle()]


def test_a_listener_that_appears_later_gets_its_hosts() -> None:
    """X37: hosts that were there before their route configuration was asked for come after it."""
    served = table(vhds_routes("one"), host("one/a.test"), vhds_routes("two"), host("two/b.test"))
    client = Client(served, delta=True)
    client.finish(client.ask(ROUTE_CONFIGURATION, "one"))
    client.finish(client.ask(VIRTUAL_HOST))

    replies = client.finish(client.ask(ROUTE_CONFIGURATION, "one", "two"))

    assert [["two"], ["two/b.test"]] == [reply.names for reply in replies]


def test_hosts_may_be_asked_for_one_by_one() -> None:
    """X37: on demand; one that does not exist is answered by its name and alias, without a body, and remembered."""
    served = table(vhds_routes("a/web"), host("a/web/x.test"))
    client = Client(served, delta=True)
    client.ask(ROUTE_CONFIGURATION, "a/web")

    replies = client.finish(client.ask(VIRTUAL_HOST, "a/web/x.test", "a/web/none.test"))

    answered = {r.name: r for reply in replies for r in reply.message.resources}
    assert {"a/web/x.test", "a/web/none.test"} == set(answered)
    assert ["a/web/none.test"] == list(answered["a/web/none.test"].aliases)
    assert not answered["a/web/none.test"].HasField("resource")
    put(served, host("a/web/none.test"))
    assert [["a/web/none.test"]] == [reply.names for reply in client.settle()]


def test_all_hosts_of_a_route_configuration_may_be_asked_for_by_its_name() -> None:
    """X37: the namespace form."""
    served = table(vhds_routes("a/web"), host("a/web/x.test"), host("a/web/y.test"), host("b/z.test"))

    client = Client(served, delta=True)
    replies = client.finish(client.ask(VIRTUAL_HOST, "a/web"))

    assert ["a/web/x.test", "a/web/y.test"] == [name for reply in replies for name in reply.names]


def test_an_unknown_cluster_is_answered_at_once() -> None:
    """X38: on demand: the removal comes with the next write, not with a timeout."""
    assert [["nobody"]] == [reply.removed for reply in Client(table(), delta=True).ask(CLUSTER, "nobody")]


def test_streams_that_need_the_same_share_its_bytes() -> None:
    """A response for many streams is built once, its nonce included."""
    served = table(*(thing(SECRET, f"n{n}") for n in range(10)))
    clients = [Client(served, delta=True, node=f"n{n}") for n in range(10)]
    for client in clients:
        client.request(SECRET, resource_names_subscribe=[f"n{n}" for n in range(10)])

    pushes = [push.payload for client in clients for push in client.stream.pending()]

    assert 10 == len(pushes)
    assert 1 == len({id(push) for push in pushes})
