"""X39-X47, and how far one bad resource spreads: X12, X51, X52, X55."""

from __future__ import annotations

import pytest

from tests.unit.xds.conversation import (
    NAMED,
    TYPES,
    Client,
    Reply,
    cluster,
    endpoints,
    host,
    put,
    remove,
    routes,
    table,
    thing,
    vhds_routes,
)
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.xds.events import Divided, Rejected

BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
EVERY_TYPE = pytest.mark.parametrize("type_url", TYPES, ids=lambda url: url.rpartition(".")[2])
NAMED_TYPES = pytest.mark.parametrize("type_url", NAMED, ids=lambda url: url.rpartition(".")[2])


def of(type_url: str, replies: list[Reply]) -> list[Reply]:
    return [reply for reply in replies if reply.type_url == type_url]


def proxy(delta: bool) -> Client:
    """Has cluster a with its endpoints, a listener and a route to the cluster."""
    client = Client(table(cluster("a"), endpoints("a"), routes("r", to=["a"]), thing(LISTENER, "web")), delta)
    client.load(CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, names=["a"])
    client.load(ROUTE_CONFIGURATION, names=["r"])
    return client


@BOTH
def test_what_is_referred_to_is_pushed_first(delta: bool) -> None:
    """X39: clusters, endpoints, listeners, routes, secrets, in whatever order they were asked for."""
    order = (SECRET, ROUTE_CONFIGURATION, LISTENER, CLUSTER_LOAD_ASSIGNMENT, CLUSTER)
    served = table(*(thing(type_url, "a") for type_url in order))
    client = Client(served, delta)
    client.load(*order, names=["a"])

    put(served, *(thing(type_url, "a", "2") for type_url in order))

    assert [CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION, SECRET] == [
        reply.type_url for reply in client.read()
    ]


@BOTH
def test_a_route_waits_for_its_cluster_and_the_endpoints(delta: bool) -> None:
    """X40: the older version stays until both are accepted."""
    client = proxy(delta)
    put(client.table, cluster("b"), endpoints("b"), routes("r", "2", to=["b"]))

    [clusters] = client.read()
    assert CLUSTER == clusters.type_url
    assert [] == client.ack(clusters)
    [found] = client.ask(CLUSTER_LOAD_ASSIGNMENT, "a", "b")
    assert "b" in found.names
    assert [] == client.read()
    assert client.stream.waiting

    assert [{"r": "2"}] == [reply.resources for reply in client.ack(found)]
    assert not client.stream.waiting


@BOTH
def test_endpoints_may_be_asked_for_before_the_cluster_is_accepted(delta: bool) -> None:
    """X40: as Envoy does."""
    client = proxy(delta)
    put(client.table, cluster("b"), endpoints("b"), routes("r", "2", to=["b"]))
    [clusters] = client.read()

    [found] = client.ask(CLUSTER_LOAD_ASSIGNMENT, "a", "b")
    assert [] == client.ack(found)

    assert [{"r": "2"}] == [reply.resources for reply in client.ack(clusters)]


@pytest.mark.parametrize("type_url", [LISTENER, ROUTE_CONFIGURATION, VIRTUAL_HOST], ids=lambda u: u.rpartition(".")[2])
def test_whatever_names_a_cluster_waits_for_it_alone(type_url: str) -> None:
    """X40: listeners, routes and virtual hosts wait each for themselves; their neighbours go out."""
    served = table(cluster("a"), vhds_routes("w"))
    client = Client(served, delta=True)
    client.load(CLUSTER)
    client.load(ROUTE_CONFIGURATION, names=["w", "w/x", "w/y"])
    client.load(LISTENER)
    client.finish(client.ask(VIRTUAL_HOST))
    put(served, cluster("b"), thing(type_url, "w/x", "1", ResourceKey(CLUSTER, "b")), thing(type_url, "w/y"))

    replies = client.read()
    [clusters] = of(CLUSTER, replies)
    assert [["w/y"]] == [reply.names for reply in of(type_url, replies)]
    [later] = client.finish(of(type_url, replies)) and client.ack(clusters)
    assert ["w/x"] == later.names


@BOTH
def test_a_client_without_clusters_waits_for_none(delta: bool) -> None:
    """X40: who does not subscribe to clusters, or not to this one, is sent its routes at once."""
    served = table(cluster("a"), routes("r", to=["a"]))
    client = Client(served, delta)

    assert [["r"]] == [reply.names for reply in client.ask(ROUTE_CONFIGURATION, "r")]
    other = Client(served, delta)
    other.finish(other.ask(CLUSTER, "another"))
    assert [["r"]] == [reply.names for reply in other.ask(ROUTE_CONFIGURATION, "r")]


@BOTH
def test_the_start_of_an_envoy_does_not_lock(delta: bool) -> None:
    """X40: clusters; their endpoints; then listeners; then their routes; nothing waits for what comes later."""
    served = table(cluster("a"), endpoints("a"), thing(LISTENER, "web"), routes("r", to=["a"]))
    client = Client(served, delta)

    [clusters] = client.ask(CLUSTER)
    [found] = client.ask(CLUSTER_LOAD_ASSIGNMENT, "a")
    assert [] == client.ack(clusters)
    assert [] == client.ack(found)
    [listeners] = client.ask(LISTENER)
    [routed] = client.ask(ROUTE_CONFIGURATION, "r")

    assert [] == client.ack(listeners, routed)


@BOTH
def test_a_client_that_asks_in_the_other_order_does_not_lock(delta: bool) -> None:
    """X40: listeners and routes first, and the clusters by the names found there, as gRPC does."""
    served = table(cluster("a"), endpoints("a"), thing(LISTENER, "web"), routes("r", to=["a"]))
    client = Client(served, delta)
    for type_url, name in (
        (LISTENER, "web"),
        (ROUTE_CONFIGURATION, "r"),
        (CLUSTER, "a"),
        (CLUSTER_LOAD_ASSIGNMENT, "a"),
    ):
        assert [[name]] == [reply.names for reply in client.finish(client.ask(type_url, name))]

    put(served, cluster("b"), routes("r", "2", to=["b"]))

    assert [{"r": "2"}] == [reply.resources for reply in client.read()]


@BOTH
def test_a_refused_cluster_holds_nobody_up(delta: bool) -> None:
    """X40: it will not become ready, and its neighbours in the route have a right to their news."""
    client = proxy(delta)
    put(client.table, cluster("b"), endpoints("b"), routes("r", "2", to=["a", "b"]))
    [clusters] = client.read()

    assert [{"r": "2"}] == [reply.resources for reply in client.nack(clusters)]


@BOTH
def test_a_gate_does_not_stay_closed_for_ever(delta: bool) -> None:
    """X40: the second expiry that finds it closed opens it, and it alone."""
    client = proxy(delta)
    put(client.table, cluster("b"), endpoints("b"), routes("r", "2", to=["b"]))
    client.read()

    assert 0 == client.stream.expire()
    assert [] == client.read()
    assert 1 == client.stream.expire()

    assert [{"r": "2"}] == [reply.resources for reply in client.read()]


@BOTH
def test_a_cluster_goes_when_no_route_uses_it_any_more(delta: bool) -> None:
    """X41: after the route without it is accepted."""
    client = proxy(delta)
    put(client.table, routes("r", "2"))
    remove(client.table, cluster("a"), endpoints("a"))

    [routed] = client.read()
    assert ROUTE_CONFIGURATION == routed.type_url
    gone = of(CLUSTER, client.ack(routed))

    assert ([[]], [["a"] if delta else []]) == ([reply.names for reply in gone], [reply.removed for reply in gone])


@BOTH
def test_a_cluster_stays_as_long_as_a_refused_route_uses_it(delta: bool) -> None:
    """X41: the client goes on with the version before; no expiry changes that, but a better route does."""
    client = proxy(delta)
    put(client.table, routes("r", "bad"))
    remove(client.table, cluster("a"), endpoints("a"))
    [refused] = client.read()
    assert [] == of(CLUSTER, client.nack(refused))
    for _ in range(5):
        client.stream.expire()
        assert [] == of(CLUSTER, client.settle())

    put(client.table, routes("r", "3"))

    [fixed, gone] = [reply for reply in client.settle() if reply.type_url in (CLUSTER, ROUTE_CONFIGURATION)]
    assert ({"r": "3"}, CLUSTER) == (fixed.resources, gone.type_url)


@BOTH
def test_other_clusters_change_while_one_waits_to_be_removed(delta: bool) -> None:
    """X41: what is kept for a route is kept as it was, next to what is new."""
    client = proxy(delta)
    put(client.table, routes("r", "bad"))
    remove(client.table, cluster("a"), endpoints("a"))
    [refused] = client.read()
    client.nack(refused)

    put(client.table, cluster("b"))

    [clusters] = client.settle()
    assert ({"b": "1"} if delta else {"a": "1", "b": "1"}, []) == (clusters.resources, clusters.removed)


def test_a_cluster_waits_for_virtual_hosts_too() -> None:
    """X41: a host that named it is replaced first."""
    served = table(cluster("a"), vhds_routes("w"), host("w/x", to=["a"]))
    client = Client(served, delta=True)
    client.load(CLUSTER)
    client.load(ROUTE_CONFIGURATION, names=["w"])
    client.finish(client.ask(VIRTUAL_HOST))
    put(served, host("w/x", "2"))
    remove(served, cluster("a"))

    [hosts] = client.read()
    assert VIRTUAL_HOST == hosts.type_url
    assert [(CLUSTER, ["a"])] == [(reply.type_url, reply.removed) for reply in client.ack(hosts)]


def test_virtual_hosts_stay_with_routes_that_a_draining_listener_uses() -> None:
    """X37, X41: routes that are gone keep their hosts, however long; when the routes come back, the hosts go."""
    served = table(vhds_routes("w"), host("w/x"), host("w/y"))
    client = Client(served, delta=True)
    client.load(ROUTE_CONFIGURATION, names=["w"])
    client.finish(client.ask(VIRTUAL_HOST))
    remove(served, vhds_routes("w"), host("w/x"), host("w/y"))

    client.stream.expire()
    client.stream.expire()
    assert [] == of(VIRTUAL_HOST, client.settle())
    assert client.stream.waiting
    put(served, vhds_routes("w", "2"), host("w/y"))
    assert [(["w/y"], ["w/x"])] == [(reply.names, reply.removed) for reply in of(VIRTUAL_HOST, client.settle())]


def test_virtual_hosts_that_were_kept_are_forgotten_with_their_routes() -> None:
    """X37: once the listener has drained, the client drops the routes, and nothing of their hosts is remembered."""
    served = table(vhds_routes("w"), host("w/x"))
    client = Client(served, delta=True)
    client.load(ROUTE_CONFIGURATION, names=["w"])
    client.finish(client.ask(VIRTUAL_HOST))
    remove(served, vhds_routes("w"), host("w/x"))
    client.settle()

    client.ask(ROUTE_CONFIGURATION)

    assert not client.stream.waiting


def test_virtual_hosts_are_not_removed_from_routes_that_have_them_inside() -> None:
    """X37: Envoy would take the removal for one from the routes that have come, and answer 404."""
    served = table(vhds_routes("w"), host("w/x"))
    client = Client(served, delta=True)
    client.load(ROUTE_CONFIGURATION, names=["w"])
    client.finish(client.ask(VIRTUAL_HOST))
    served.apply({routes("w", "3").key: routes("w", "3"), host("w/x").key: None})

    assert [ROUTE_CONFIGURATION] == [reply.type_url for reply in client.settle()]


@BOTH
def test_routes_of_a_draining_listener_keep_their_clusters(delta: bool) -> None:
    """X41: as long as the client asks for routes that are gone, it may use them; until the gate expires."""
    client = proxy(delta)
    remove(client.table, cluster("a"), endpoints("a"), routes("r"), thing(LISTENER, "web"))

    assert [] == of(CLUSTER, client.settle())
    assert 1 == len(of(CLUSTER, client.finish(client.ask(ROUTE_CONFIGURATION))))


@BOTH
def test_after_a_cluster_its_endpoints_are_sent_again(delta: bool) -> None:
    """X43: even if they are the same, because the cluster warms again."""
    client = proxy(delta)

    put(client.table, cluster("a", "2"))

    assert [(CLUSTER, ["a"]), (CLUSTER_LOAD_ASSIGNMENT, ["a"])] == [(r.type_url, r.names) for r in client.read()]


@BOTH
def test_endpoints_that_were_asked_for_before_the_cluster_are_sent_again(delta: bool) -> None:
    """X43: a reconnecting client may ask in any order."""
    client = Client(table(cluster("a"), endpoints("a")), delta)
    client.finish(client.ask(CLUSTER_LOAD_ASSIGNMENT, "a"))

    assert [CLUSTER, CLUSTER_LOAD_ASSIGNMENT] == [reply.type_url for reply in client.finish(client.ask(CLUSTER))]


@BOTH
def test_endpoints_of_a_new_cluster_wait_for_it(delta: bool) -> None:
    """X44: while a response of clusters is in flight, endpoints of the next ones do not overtake them."""
    client = proxy(delta)
    put(client.table, cluster("a", "2"))
    [clusters, again] = client.read()
    client.ack(again)
    put(client.table, cluster("b"), endpoints("b"))

    assert [] == client.ask(CLUSTER_LOAD_ASSIGNMENT, "a", "b")

    assert [CLUSTER, CLUSTER_LOAD_ASSIGNMENT] == [reply.type_url for reply in client.ack(clusters)]


@BOTH
def test_endpoints_of_several_clusters_come_together(delta: bool) -> None:
    """X44, X45: those that exist, in one response; one that does not exist holds up nobody."""
    client = Client(table(*(endpoints(name) for name in "abc")), delta)

    [reply] = client.ask(CLUSTER_LOAD_ASSIGNMENT, "a", "b", "c", "deleted")

    assert ["a", "b", "c"] == reply.names


@BOTH
def test_a_response_is_made_for_the_wish_of_the_moment(delta: bool) -> None:
    """X46: what was wished for when it changed, and is not when it could be sent, is not sent."""
    served = table(*(thing(SECRET, name) for name in "ab"))
    client = Client(served, delta)
    [first] = client.ask(SECRET, "a")
    put(served, thing(SECRET, "a", "2"))
    client.wishes[SECRET] = ["b"]
    fields = (
        {"resource_names_subscribe": ["b"], "resource_names_unsubscribe": ["a"]} if delta else {"resource_names": "b"}
    )
    client.request(SECRET, nonce=first.nonce, **fields)

    assert [["b"]] == [reply.names for reply in client.read()]


@BOTH
@pytest.mark.parametrize("type_url", [LISTENER, CLUSTER], ids=["listener", "cluster"])
def test_after_what_names_a_secret_it_is_sent_again(delta: bool, type_url: str) -> None:
    """X47: a listener or cluster that changes takes its certificate anew."""
    served = table(thing(type_url, "x", "1", ResourceKey(SECRET, "cert")), thing(SECRET, "cert"))
    client = Client(served, delta)
    client.load(type_url)
    client.load(SECRET, names=["cert"])

    put(served, thing(type_url, "x", "2", ResourceKey(SECRET, "cert")))

    assert [type_url, SECRET] == [reply.type_url for reply in client.read()]


@BOTH
@EVERY_TYPE
def test_a_refused_version_is_sent_once(delta: bool, type_url: str) -> None:
    """X12, X51: then it is parked until its content changes, which is sent at once; the refusal names it."""
    client = Client(table(thing(type_url, "good"), thing(type_url, "x")), delta)
    client.load(type_url, names=["good", "x"])
    put(client.table, thing(type_url, "x", "bad"))
    [first] = client.read()

    assert [] == client.nack(first, "no such thing")
    bad = client.table.type(type_url).live["x"].resource.version
    assert Rejected(type_url, "x", bad, "no such thing") == client.events[-1]
    for content in ("2", "3", "4"):
        put(client.table, thing(type_url, "good", content))
        assert "bad" not in [text for reply in client.settle() for text in reply.resources.values()]

    put(client.table, thing(type_url, "x", "fixed"))
    assert ["fixed"] == [reply.resources["x"] for reply in client.settle()]
    assert {} == client.stream.parked()


@BOTH
@EVERY_TYPE
@pytest.mark.parametrize("size", [2, 3, 10, 100])
def test_a_bad_resource_does_not_hold_up_its_neighbours(delta: bool, type_url: str, size: int) -> None:
    """X12: however many change together, the bad one is found, alone in its response, and the others are delivered."""
    names = [f"n{n}" for n in range(size)]
    served = table(*(thing(type_url, name) for name in names))
    client = Client(served, delta)
    client.load(type_url, names=names)
    put(served, *(thing(type_url, name, "bad" if name == "n1" else "2") for name in names))
    have: dict[str, str] = {}
    alone = refusals = 0
    todo = client.read()
    while todo:
        reply = todo.pop(0)
        changed = {name: text for name, text in reply.resources.items() if text != "1"}
        if "bad" in changed.values():
            refusals += 1
            alone += sum(
                1 for text in changed.values() if have.get("n1") != text and text == "bad" and _news(changed, have) == 1
            )
            todo += client.nack(reply, "bad proto")
        else:
            have.update(changed)
            todo += client.ack(reply)

    assert {name: "2" for name in names if name != "n1"} == have
    assert 1 == alone
    assert refusals <= size.bit_length() + 1
    assert [("n1", "NACKED")] == [(s.name, s.state) for s in client.stream.statuses(type_url) if s.state != "ACKED"]


def _news(changed: dict[str, str], have: dict[str, str]) -> int:
    return sum(1 for name, text in changed.items() if have.get(name) != text)


@BOTH
def test_a_refusal_that_names_its_cause_is_believed_as_a_hint(delta: bool) -> None:
    """X12: the accused is tried apart from the others, which saves most of the search."""
    names = [f"cluster-{n:03}" for n in range(100)]
    served = table(*(thing(CLUSTER, name) for name in names))
    client = Client(served, delta)
    [first] = client.ask(CLUSTER)

    todo = client.nack(first, "cluster-042: invalid")
    assert Divided(CLUSTER, 100, "cluster-042: invalid") == client.events[-1]
    assert [99] == [len(reply.names) for reply in todo]
    [second] = client.ack(*todo)
    client.nack(second, "cluster-042: invalid")

    assert "cluster-042" in second.names
    assert {CLUSTER: 1} == client.stream.parked()


@BOTH
@EVERY_TYPE
def test_a_client_that_refuses_everything_comes_to_rest(delta: bool, type_url: str) -> None:
    """X12: no loop: each version is tried alone at most once."""
    names = [f"n{n}" for n in range(20)]
    client = Client(table(*(thing(type_url, name) for name in names)), delta)
    todo = client.ask(type_url, *(() if type_url in (LISTENER, CLUSTER) else names))
    count = 0
    while todo:
        count += 1
        todo = [*todo[1:], *client.nack(todo[0])]

    assert count <= 2 * len(names)
    assert {type_url: 20} == client.stream.parked()


@BOTH
@NAMED_TYPES
def test_a_refused_resource_that_is_asked_for_again_is_sent(delta: bool, type_url: str) -> None:
    """X12, X27: the client's own wish is a reason."""
    client = Client(table(thing(type_url, "a")), delta)
    [first] = client.ask(type_url, "a")
    client.nack(first)
    client.ask(type_url)

    assert [["a"]] == [reply.names for reply in client.ask(type_url, "a")]


@BOTH
@EVERY_TYPE
def test_the_refusal_of_one_proxy_changes_nothing_for_another(delta: bool, type_url: str) -> None:
    """X55: an old Envoy refuses what a new one takes."""
    served = table(thing(type_url, "a"))
    old, new = Client(served, delta, node="old"), Client(served, delta, node="new")
    [one], [two] = (client.ask(type_url, "a") for client in (old, new))

    old.nack(one)
    new.ack(two)

    assert ["NACKED"] == [status.state for status in old.stream.statuses(type_url)]
    assert ["ACKED"] == [status.state for status in new.stream.statuses(type_url)]


@BOTH
def test_a_first_load_with_one_bad_listener_serves_the_others(delta: bool) -> None:
    """X12: also when nothing has been accepted before."""
    served = table(*(thing(LISTENER, f"n{n}", "bad" if n == 5 else "1") for n in range(9)))
    client = Client(served, delta)
    todo = client.ask(LISTENER)
    have: dict[str, str] = {}
    while todo:
        reply = todo.pop(0)
        if "bad" in reply.resources.values():
            todo += client.nack(reply)
            continue
        have = {**have, **reply.resources} if delta else reply.resources
        todo += client.ack(reply)

    assert {f"n{n}": "1" for n in range(9) if n != 5} == have


@BOTH
def test_a_cluster_stays_until_a_client_that_came_back_says_what_it_uses(delta: bool) -> None:
    """X41, X31: between its first request of clusters and that of routes, the client still uses what it had."""
    client = proxy(delta)
    versions = {"a": client.table.type(CLUSTER).live["a"].resource.version}
    client.reconnect()
    client.nonces.clear()
    client.wishes.clear()
    client.finish(client.ask(CLUSTER, initial=versions))
    remove(client.table, cluster("a"), endpoints("a"), routes("r"), thing(LISTENER, "web"))

    assert [] == of(CLUSTER, client.settle())
    client.load(LISTENER)
    client.load(ROUTE_CONFIGURATION)
    assert not client.stream.waiting


@BOTH
def test_a_gate_that_was_opened_once_is_closed_for_what_comes_later(delta: bool) -> None:
    """X40: patience begins anew with each version."""
    client = proxy(delta)
    put(client.table, cluster("b"), endpoints("b"), routes("r", "2", to=["b"]))
    client.read()
    client.stream.expire()
    client.stream.expire()
    put(client.table, routes("r", "3", to=["b"]))

    assert [] == client.read()
    client.stream.expire()
    assert [{"r": "3"}] == [reply.resources for reply in client.read()]


@BOTH
def test_a_route_that_is_queued_passes_the_gate_as_it_is_sent(delta: bool) -> None:
    """X40: a route that waits for its turn, and names a new cluster meanwhile, waits for the cluster too."""
    served = table(cluster("old"), endpoints("old"), *(routes(name, to=["old"]) for name in ("r1", "r2")))
    client = Client(served, delta)
    client.load(CLUSTER, CLUSTER_LOAD_ASSIGNMENT, names=["old"])
    client.load(ROUTE_CONFIGURATION, names=["r1", "r2"])
    put(served, routes("r1", "2", to=["old"]), routes("r2", "2", to=["old"]))
    [first] = client.read()
    put(served, cluster("new"), endpoints("new"), routes("r2", "3", to=["new"]))

    [clusters] = client.ack(first)
    asked = client.ack(clusters)
    [of_new] = client.ask(CLUSTER_LOAD_ASSIGNMENT, "old", "new")
    replies = client.ack(of_new)

    assert (["r1"], CLUSTER, []) == (first.names, clusters.type_url, of(ROUTE_CONFIGURATION, asked))
    assert [{"r2": "3"}] == [reply.resources for reply in replies]


@BOTH
def test_a_response_is_made_when_its_turn_comes_to_be_written(delta: bool) -> None:
    """X46: an unsubscription that is read between two writes drops what would have been written later."""
    client = Client(table(cluster("a"), routes("r"), routes("s")), delta)
    client.load(CLUSTER)
    client.load(ROUTE_CONFIGURATION, names=["r"])
    put(client.table, cluster("a", "2"), routes("r", "2"))
    writes = client.stream.pending()
    written = next(writes)

    if delta:
        client.request(ROUTE_CONFIGURATION, resource_names_unsubscribe=["r"])
    else:
        client.request(ROUTE_CONFIGURATION, resource_names=["s"], nonce=client.nonces[ROUTE_CONFIGURATION])
    later = [client.reply(push.payload).names for push in writes]

    assert CLUSTER == written.type_url
    assert ([] if delta else [["s"]]) == later


def test_a_client_may_come_back_with_a_version_before_the_last() -> None:
    """X41: a route changed twice while the client was away, and its cluster is gone; what it has still names it."""
    served = table(cluster("a"), endpoints("a"), routes("r", to=["a"]))
    client = Client(served, delta=True)
    client.load(CLUSTER, CLUSTER_LOAD_ASSIGNMENT, names=["a"])
    client.load(ROUTE_CONFIGURATION, names=["r"])
    had = {type_url: dict(served.type(type_url).versions()) for type_url in (CLUSTER, ROUTE_CONFIGURATION)}
    put(served, routes("r", "2"))
    put(served, routes("r", "3"))
    client.reconnect()
    client.request(CLUSTER, initial_resource_versions=had[CLUSTER])
    client.request(
        ROUTE_CONFIGURATION, resource_names_subscribe=["r"], initial_resource_versions=had[ROUTE_CONFIGURATION]
    )
    remove(served, cluster("a"))

    [route] = client.read()
    [removal] = client.ack(route)

    assert (["r"], ["a"]) == (route.names, removal.removed)
