"""How long the table remembers what is no more: long enough for who needs it, and within bounds."""

from __future__ import annotations

import pytest

from tests.unit.xds.conversation import Client, cluster, endpoints, put, remove, routes, table, thing
from xds_server.model.resource import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET, ResourceKey
from xds_server.xds.events import Divided, ProtocolError, Rejected
from xds_server.xds.resource_type import Entry, history_limit, version_of
from xds_server.xds.resources import ResourceTable

BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def churn(served: ResourceTable, client: Client | None = None, names: int = 20_000) -> int:
    """Create and remove so many clusters, each with a name of its own; return how much is remembered at most."""
    most = 0
    for number in range(names):
        passing = thing(CLUSTER, f"pod-{number}", "1", ResourceKey(SECRET, f"of-{number}"))
        put(served, passing)
        remove(served, passing)
        if client is not None:
            client.settle()
        if number % 100 == 0:
            most = max(most, remembered(served))
    return most


def remembered(served: ResourceTable) -> int:
    kind = served.type(CLUSTER)
    return max(len(kind._names), len(kind._removed), sum(map(len, served._dropped.values())))


def refusing(delta: bool) -> Client:
    """Has cluster a and a route to it, of which it refuses the newest version, which names nothing."""
    client = Client(table(cluster("a"), endpoints("a"), routes("r", to=["a"])), delta)
    client.load(CLUSTER, CLUSTER_LOAD_ASSIGNMENT, names=["a"])
    client.load(ROUTE_CONFIGURATION, names=["r"])
    put(client.table, routes("r", "bad"))
    [bad] = client.read()
    client.nack(bad)
    return client


@BOTH
def test_a_refused_resource_does_not_pin_history(delta: bool) -> None:
    """X12: one resource is refused for as long as it takes to create and remove 20,000 others."""
    client = refusing(delta)

    most = churn(client.table, client)

    assert most < history_limit(1)
    assert {ROUTE_CONFIGURATION: 1} == client.stream.parked()


@BOTH
def test_what_a_refusing_client_uses_outlives_all_else(delta: bool) -> None:
    """X41: after all that, the cluster of the route that it goes on with is still not taken away."""
    client = refusing(delta)
    churn(client.table, client, names=5_000)

    remove(client.table, cluster("a"))
    for _ in range(3):
        client.stream.expire()
    held = client.settle()
    put(client.table, routes("r", "3"))
    mended = client.settle()

    assert [] == held
    assert [(ROUTE_CONFIGURATION, ["r"]), (CLUSTER, [])] == [(reply.type_url, reply.names) for reply in mended]


@BOTH
def test_a_mute_client_does_not_pin_history(delta: bool) -> None:
    """X9: a client that answers nothing is overtaken within bounds, and others have nothing to do with it."""
    served = table(cluster("a"))
    mute, good = Client(served, delta), Client(served, delta)
    for client in (mute, good):
        client.load(CLUSTER)
    put(served, cluster("a", "2"))
    mute.read()

    most = churn(served, names=20_000)
    put(served, cluster("b"))

    assert most < 3 * history_limit(1)
    assert [] == mute.read()
    with pytest.raises(ProtocolError, match="connect again"):
        mute.request(CLUSTER)


def test_an_overtaken_client_compares_when_it_comes_back() -> None:
    """X31: what was removed before its time is told by the versions that it brings along."""
    served = table(cluster("a"), cluster("b"))
    client = Client(served, delta=True)
    client.load(CLUSTER)
    had = dict(served.type(CLUSTER).versions())
    put(served, cluster("a", "2"))
    client.read()
    remove(served, cluster("b"))
    churn(served, names=10_000)

    client.reconnect()
    replies = client.finish(client.ask(CLUSTER, initial=had))
    for _ in range(2):
        client.stream.expire()
        replies += client.settle()

    assert [(["a"], []), ([], ["b"])] == [(reply.names, reply.removed) for reply in replies]


def test_a_refused_removal_is_not_a_refused_resource() -> None:
    """X12: there is nothing to park and nothing to repeat; the name is forgotten."""
    served = table(cluster("a"), cluster("b"))
    client = Client(served, delta=True)
    client.load(CLUSTER)
    remove(served, cluster("b"))
    [removal] = client.read()

    later = client.nack(removal, "no removals today")

    assert ([], {}) == (later, client.stream.parked())
    assert [Divided(CLUSTER, 0, "no removals today")] == [e for e in client.events if isinstance(e, Divided | Rejected)]
    assert 0 == client.stream.debug()["types"][CLUSTER]["behind"]  # type: ignore[index]


def test_a_version_of_a_type_costs_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """X33: the hash of a set is a sum, so one change of a thousand hashes one resource; removal hashes none."""
    served = table(*(thing(CLUSTER_LOAD_ASSIGNMENT, f"n{number}") for number in range(1000)))
    kind = served.type(CLUSTER_LOAD_ASSIGNMENT)
    kind.version()
    hashed: list[str] = []

    def digest(entry: Entry) -> int:
        hashed.append(entry.resource.name)
        return original(entry)

    original = Entry.digest
    monkeypatch.setattr(Entry, "digest", digest)

    put(served, thing(CLUSTER_LOAD_ASSIGNMENT, "n7", "2"))
    changed = kind.version()
    remove(served, thing(CLUSTER_LOAD_ASSIGNMENT, "n8"))
    removed = kind.version()

    assert ["n7"] == hashed
    assert version_of(kind.live.values()) == removed != changed
