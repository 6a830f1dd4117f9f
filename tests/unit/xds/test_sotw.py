"""X11-X22: the state of the world."""

from __future__ import annotations

import pytest

from tests.unit.xds.conversation import (
    EVERY_TYPE,
    NAMED_TYPES,
    WHOLE_TYPES,
    Client,
    Reply,
    cluster,
    host,
    put,
    remove,
    table,
    thing,
    vhds_routes,
)
from xds_server.model.resource import CLUSTER, LISTENER, ROUTE_CONFIGURATION
from xds_server.xds.events import Rejected, Withheld
from xds_server.xds.resources import ResourceTable
from xds_server.xds.stream import SOTW_TTL_FEATURE


@EVERY_TYPE
def test_a_refusal_is_told_by_its_error_alone(type_url: str) -> None:
    """X11: a request with an error refuses, also when its version is the one that was sent."""
    client = Client(table(thing(type_url, "a")), delta=False)
    [first] = client.ask(type_url, "a")
    version = first.message.version_info

    events = client.request(type_url, nonce=first.nonce, error="no", version_info=version, resource_names=["a"])

    assert [("a", "no")] == [(e.name, e.detail) for e in events if isinstance(e, Rejected)]


@EVERY_TYPE
def test_an_acceptance_is_told_by_its_nonce_alone(type_url: str) -> None:
    """X11: without an error it is an acceptance, whatever version it repeats."""
    client = Client(table(thing(type_url, "a")), delta=False)
    [first] = client.ask(type_url, "a")

    client.request(type_url, nonce=first.nonce, version_info="older", resource_names=["a"])

    assert ["ACKED"] == [status.state for status in client.stream.statuses(type_url)]


@EVERY_TYPE
def test_a_request_with_a_stale_nonce_gets_no_response(type_url: str) -> None:
    """X13: its wish is not taken either; the answer to the newest response repeats it."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=False)
    [first] = client.ask(type_url, "a")
    client.ack(first)
    put(served, thing(type_url, "a", "2"))
    [second] = client.read()

    client.request(type_url, nonce=first.nonce, resource_names=["a", "b"])
    assert [] == client.read()

    client.wishes[type_url] = ["a", "b"]
    [third] = client.ack(second)
    assert "b" in third.resources


@WHOLE_TYPES
def test_listeners_and_clusters_come_all_together(type_url: str) -> None:
    """X14: one of a hundred is added, changed and removed; the response has all that are left."""
    served = table(*(thing(type_url, f"n{n}") for n in range(100)))
    client = Client(served, delta=False)
    client.load(type_url)

    put(served, thing(type_url, "n100"))
    [added] = client.settle()
    put(served, thing(type_url, "n7", "2"))
    [changed] = client.settle()
    remove(served, thing(type_url, "n7"))
    [removed] = client.settle()

    assert (101, 101, 100) == (len(added.names), len(changed.names), len(removed.names))
    assert "n7" not in removed.names


@WHOLE_TYPES
def test_the_last_removal_is_told_by_an_empty_response(type_url: str) -> None:
    """X14: empty means that all are gone."""
    served = table(thing(type_url, "a"))
    client = Client(served, delta=False)
    client.load(type_url)

    remove(served, thing(type_url, "a"))

    assert [[]] == [reply.names for reply in client.settle()]


@WHOLE_TYPES
def test_nothing_at_all_is_an_answer_too(type_url: str) -> None:
    """X15: once the sources are known to be empty, a client that starts is told so and need not wait."""
    assert [[]] == [reply.names for reply in Client(ResourceTable(), delta=False).ask(type_url)]


@NAMED_TYPES
def test_a_response_of_a_named_type_has_what_changed(type_url: str) -> None:
    """X16: routes, endpoints and secrets come in part; the rest stays, and removal is implied by the parent."""
    served = table(*(thing(type_url, f"n{n}") for n in range(10)))
    client = Client(served, delta=False)
    client.load(type_url, names=[f"n{n}" for n in range(10)])

    put(served, thing(type_url, "n3", "2"))
    assert [["n3"]] == [reply.names for reply in client.settle()]
    remove(served, thing(type_url, "n4"))
    assert [] == client.settle()


@EVERY_TYPE
def test_a_name_that_is_asked_for_again_is_sent_again(type_url: str) -> None:
    """X17: a newly added name is sent even if it was sent before and has not changed."""
    client = Client(table(thing(type_url, "a"), thing(type_url, "b")), delta=False)
    client.finish(client.ask(type_url, "a", "b"))

    assert [] == client.ask(type_url, "b")
    [again] = client.ask(type_url, "a", "b")

    assert "a" in again.names


@EVERY_TYPE
def test_a_dropped_name_gets_no_updates(type_url: str) -> None:
    """X18: neither does any name once all are dropped: no names after some are no wish, and no wildcard."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=False)
    client.finish(client.ask(type_url, "a", "b"))

    client.ask(type_url, "b")
    put(served, thing(type_url, "a", "2"))
    assert [] == client.settle()
    client.ask(type_url)
    put(served, thing(type_url, "b", "2"))
    assert [] == client.settle()


@WHOLE_TYPES
def test_the_history_of_a_wildcard(type_url: str) -> None:
    """X19: no names: all; then "*" and a name: still all; then the name: it alone; then none: nothing."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=False)

    client.finish(client.ask(type_url))
    put(served, thing(type_url, "b", "2"))
    assert [["a", "b"]] == [reply.names for reply in client.settle()]

    client.finish(client.ask(type_url, "*", "a"))
    put(served, thing(type_url, "b", "3"))
    assert [["a", "b"]] == [reply.names for reply in client.settle()]

    client.ask(type_url, "a")
    put(served, thing(type_url, "b", "4"))
    assert [] == client.settle()
    put(served, thing(type_url, "a", "2"))
    assert [["a"]] == [reply.names for reply in client.settle()]

    client.ask(type_url)
    put(served, thing(type_url, "a", "3"), thing(type_url, "b", "5"))
    assert [] == client.settle()


@NAMED_TYPES
def test_no_names_are_no_wildcard_for_named_types(type_url: str) -> None:
    """X19: only listeners and clusters have the wildcard without a name; "*" works for all."""
    served = table(thing(type_url, "a"))

    assert [] == Client(served, delta=False).ask(type_url)
    assert [["a"]] == [reply.names for reply in Client(served, delta=False).ask(type_url, "*")]


@EVERY_TYPE
def test_a_missing_name_is_sent_when_it_appears(type_url: str) -> None:
    """X20, X45: what exists is answered at once, what does not is remembered."""
    served = table(thing(type_url, "a"))
    client = Client(served, delta=False)
    [first] = client.ask(type_url, "a", "later")
    assert ["a"] == first.names
    client.ack(first)

    put(served, thing(type_url, "later"))

    [second] = client.settle()
    assert "later" in second.names


@EVERY_TYPE
def test_a_reconnecting_client_is_sent_everything_again(type_url: str) -> None:
    """X21: what it had may have grown meanwhile, and nobody can tell."""
    client = Client(table(thing(type_url, "a")), delta=False)
    client.load(type_url, names=["a"])
    client.reconnect()

    assert [["a"]] == [reply.names for reply in client.ask(type_url, *client.wishes[type_url])]


@EVERY_TYPE
@pytest.mark.parametrize("able", [True, False], ids=["able", "unable"])
def test_a_time_to_live_is_for_clients_that_know_it(type_url: str, able: bool) -> None:
    """X22: resources are wrapped with their time to live for clients with the feature, and bare for others."""
    served = ResourceTable({type_url: 30})
    put(served, thing(type_url, "a"))
    client = Client(served, delta=False, features=(SOTW_TTL_FEATURE,) if able else ())

    [reply] = client.ask(type_url, "a")
    client.ack(reply)
    client.stream.heartbeat()
    beats = client.read()

    assert ["a"] == reply.names
    assert able == reply.message.resources[0].type_url.endswith("discovery.v3.Resource")
    assert able == bool(beats)
    assert [] == [beat.resources["a"] for beat in beats if beat.resources["a"]]


def test_routes_come_with_their_virtual_hosts_inside() -> None:
    """X37: virtual host discovery is delta only: others get the stem with each host appended."""
    served = table(vhds_routes("web"), host("web/b.test"), host("web/a.test"))
    client = Client(served, delta=False)
    [first] = client.ask(ROUTE_CONFIGURATION, "web")
    client.ack(first)

    put(served, host("web/b.test", "2"))
    [second] = client.settle()

    assert b"web=1\x12\x0cweb/a.test=1\x12\x0cweb/b.test=1" == first.message.resources[0].value
    assert b"web=1\x12\x0cweb/a.test=1\x12\x0cweb/b.test=2" == second.message.resources[0].value


def test_the_version_of_a_type_is_that_of_its_content() -> None:
    """X33, X56: another replica, with another history, gives the same version to the same content."""
    one = table(thing(CLUSTER, "a", "old"), thing(CLUSTER, "b"), thing(CLUSTER, "gone"))
    put(one, thing(CLUSTER, "a"))
    remove(one, thing(CLUSTER, "gone"))
    other = table(thing(CLUSTER, "b"), thing(CLUSTER, "a"))
    [here], [there] = (Client(t, delta=False).ask(CLUSTER) for t in (one, other))

    assert here.message.version_info == there.message.version_info
    put(other, thing(LISTENER, "l"), thing(CLUSTER, "a", "2"))
    [changed] = Client(other, delta=False).ask(CLUSTER)
    assert here.message.version_info != changed.message.version_info


def refuse_until_rest(client: Client, todo: list[Reply], bad: str) -> list[Reply]:
    """Refuse what has a content, accept all else, until nothing more comes."""
    seen: list[Reply] = []
    while todo:
        seen += todo
        todo = [r for reply in todo for r in (client.nack if bad in reply.resources.values() else client.ack)(reply)]
    return seen


@WHOLE_TYPES
def test_a_client_that_comes_back_and_refuses_one_keeps_all_others(type_url: str) -> None:
    """X14: the version tells what it has, so the bad one is found without ever leaving out what is in use."""
    served = table(*(thing(type_url, name) for name in "abcdefgh"))
    client = Client(served, delta=False)
    client.load(type_url)
    put(served, thing(type_url, "d", "bad"), thing(type_url, "e", "2"))
    client.reconnect()

    replies = refuse_until_rest(client, client.ask(type_url), "bad")

    assert [list("abcdefgh")] * len(replies) == [reply.names for reply in replies]
    assert ("1", "2") == (replies[-1].resources["d"], replies[-1].resources["e"])
    assert ["d"] == [event.name for event in client.events if isinstance(event, Rejected)]


@WHOLE_TYPES
def test_a_client_that_comes_back_from_elsewhere_is_sent_all_or_nothing(type_url: str) -> None:
    """X12, X14: of a client whose version nobody knows, a refusal is final until something changes; then all comes."""
    served = table(*(thing(type_url, name) for name in "abc"), thing(type_url, "d", "bad"))
    client = Client(served, delta=False)
    client.versions[type_url] = "of another replica"

    refused = refuse_until_rest(client, client.ask(type_url), "bad")
    states, parked = [status.state for status in client.stream.statuses(type_url)], client.stream.parked()
    put(served, thing(type_url, "d", "2"))
    mended = client.settle()

    assert [list("abcd")] == [reply.names for reply in refused]
    assert [Withheld(type_url, 4, "refused")] == [e for e in client.events if isinstance(e, Withheld)]
    assert (["NACKED"] * 4, {type_url: 4}) == (states, parked)
    assert [list("abcd")] == [reply.names for reply in mended]


@WHOLE_TYPES
def test_a_client_that_comes_back_loses_what_was_removed_meanwhile(type_url: str) -> None:
    """X14: what the client had and nobody serves any more is left out."""
    served = table(thing(type_url, "a"), thing(type_url, "b"))
    client = Client(served, delta=False)
    client.load(type_url)
    remove(served, thing(type_url, "b"))
    client.reconnect()

    client.finish(client.ask(type_url))
    for _ in range(2):
        client.stream.expire()
        client.settle()
    put(served, thing(type_url, "a", "2"))

    assert [["a"]] == [reply.names for reply in client.settle()]


def test_a_new_client_that_refuses_one_is_served_the_others() -> None:
    """X14: who has nothing has nothing to lose, so the search may begin with a part."""
    client = Client(table(*(thing(CLUSTER, name) for name in "abc"), thing(CLUSTER, "d", "bad")), delta=False)

    replies = refuse_until_rest(client, client.ask(CLUSTER), "bad")

    assert list("abc") == [reply.names for reply in replies if "bad" not in reply.resources.values()][-1]


def test_clients_that_come_back_alike_share_a_response() -> None:
    """X10: after a restart a herd that brings the same version is answered with the same bytes, made once."""
    first = Client(table(cluster("a"), cluster("b")), delta=False)
    first.load(CLUSTER)
    herd = [Client(table(cluster("a"), cluster("b")), delta=False)]
    herd += [Client(herd[0].table, delta=False) for _ in range(2)]

    for client in herd:
        client.request(CLUSTER, version_info=first.versions[CLUSTER])
    payloads = [push.payload for client in herd for push in client.stream.pending()]

    assert (3, 1) == (len(payloads), len(set(map(id, payloads))))
