"""A stream has the secrets of what it is served, and no other exists for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xds.conversation import Client, put, remove, table, thing
from xds_server.model.resource import CLUSTER, LISTENER, SECRET, Resource, ResourceKey
from xds_server.xds.events import NotItsNodeError, Unserved

BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def listener(name: str, *secrets: str, content: str = "1") -> Resource:
    return thing(LISTENER, name, content, *(ResourceKey(SECRET, secret) for secret in secrets))


def secret(name: str, content: str = "1") -> Resource:
    return thing(SECRET, name, content)


def sent(client: Client, *names: str) -> set[str]:
    """Names of secrets whose content comes when they are asked for."""
    replies = client.finish(client.ask(SECRET, *names))
    return {name for reply in replies if reply.type_url == SECRET for name in reply.resources}


def named(client: Client) -> list[Unserved]:
    return [event for event in client.events if isinstance(event, Unserved)]


@BOTH
def test_a_secret_comes_with_the_listener_that_uses_it(delta: bool) -> None:
    """What a listener refers to is sent; a neighbour, which exists and is nobody's, is not, and that is told."""
    client = Client(table(listener("l", "mine"), secret("mine"), secret("other")), delta=delta, rule=True)
    client.load(LISTENER)

    assert {"mine"} == sent(client, "mine", "other")
    assert [Unserved(SECRET, 1, ("other",))] == named(client)


@BOTH
def test_who_asks_for_secrets_alone_gets_none(delta: bool) -> None:
    """A tool that serves nothing reads no keys."""
    client = Client(table(listener("l", "mine"), secret("mine")), delta=delta, rule=True)

    assert set() == sent(client, "mine")
    assert set() == sent(client, "*")


@BOTH
def test_a_wildcard_is_the_secrets_that_are_served(delta: bool) -> None:
    """ "*" means everything that there is for this client; names of others are not even removed."""
    served = table(listener("l", "mine"), secret("mine"), secret("other"))
    client = Client(served, delta=delta, rule=True)
    client.load(LISTENER)
    replies = client.finish(client.ask(SECRET, "*"))
    put(served, secret("other", "2"))
    replies += client.settle()
    remove(served, secret("other"))
    replies += client.settle()

    assert ["mine"] == [name for reply in replies for name in reply.resources]
    assert [] == [name for reply in replies for name in reply.removed]
    assert [] == named(client)


def test_in_delta_an_unserved_name_does_not_exist() -> None:
    """The same answer as for a name that nobody ever gave to anything, in one response."""
    client = Client(table(listener("l", "mine"), secret("mine"), secret("other")), delta=True, rule=True)
    client.load(LISTENER)
    [reply] = client.ask(SECRET, "other", "nothing")

    assert ({}, ["nothing", "other"]) == (reply.resources, sorted(reply.removed))


@BOTH
def test_it_comes_once_a_listener_uses_it(delta: bool) -> None:
    """Who has asked in vain is sent the secret with the listener that needs it, and its changes from then on."""
    served = table(listener("l"), secret("late"))
    client = Client(served, delta=delta, rule=True)
    client.load(LISTENER)
    assert set() == sent(client, "late")
    put(served, listener("l", "late", content="2"))
    replies = client.settle()
    put(served, secret("late", "2"))
    replies += client.settle()

    assert [LISTENER, SECRET, SECRET] == [reply.type_url for reply in replies if reply.resources]
    assert ["1", "2"] == [reply.resources["late"] for reply in replies if reply.type_url == SECRET and reply.resources]


@BOTH
def test_the_order_of_requests_does_not_matter(delta: bool) -> None:
    """Asked for before the listeners were, it comes after them."""
    client = Client(table(listener("l", "mine"), secret("mine")), delta=delta, rule=True)
    assert set() == sent(client, "mine")

    assert {"mine"} == {n for reply in client.load(LISTENER) if reply.type_url == SECRET for n in reply.resources}


@BOTH
def test_what_is_no_longer_served_is_not_sent_any_more(delta: bool) -> None:
    """Its changes stay here; delta withdraws it, once the client has accepted that the listener lets go of it."""
    served = table(listener("l", "mine"), secret("mine"))
    client = Client(served, delta=delta, rule=True)
    client.load(LISTENER)
    sent(client, "mine")
    put(served, listener("l", content="2"))
    [first] = client.read()
    assert (LISTENER, []) == (first.type_url, first.removed)
    replies = client.finish(client.ack(first))
    put(served, secret("mine", "2"))
    replies += client.settle()

    assert [] == [name for reply in replies for name in reply.resources]
    assert ["mine"] * delta == [name for reply in replies for name in reply.removed]


@BOTH
def test_while_the_old_listener_stays_its_secret_does(delta: bool) -> None:
    """A client that refuses the new listener goes on with the old one, and keeps its certificate."""
    served = table(listener("l", "mine"), secret("mine"))
    client = Client(served, delta=delta, rule=True)
    client.load(LISTENER)
    sent(client, "mine")
    put(served, listener("l", content="2"))
    [reply] = client.read()
    after = client.nack(reply)
    client.stream.expire()
    client.stream.expire()
    after += client.settle()

    assert [] == [name for each in after for name in each.removed]


@BOTH
def test_a_listener_that_is_not_asked_for_gives_nothing(delta: bool) -> None:
    """Only the listeners of this stream count: who asks for one by name has the secrets of that one."""
    served = table(listener("a", "of-a"), listener("b", "of-b"), secret("of-a"), secret("of-b"))
    client = Client(served, delta=delta, rule=True)
    client.finish(client.ask(LISTENER, "a"))

    assert {"of-a"} == sent(client, "of-a", "of-b")
    replies = client.finish(client.ask(LISTENER, "a", "b"))
    assert ["of-b"] == [name for reply in replies if reply.type_url == SECRET for name in reply.resources]


@BOTH
def test_a_cluster_counts_as_a_listener_does(delta: bool) -> None:
    """Certificates for backends are the cluster's."""
    cluster = thing(CLUSTER, "c", "1", ResourceKey(SECRET, "of-c"))
    client = Client(table(cluster, secret("of-c")), delta=delta, rule=True)
    client.load(CLUSTER)

    assert {"of-c"} == sent(client, "of-c")


def test_a_client_that_comes_back_keeps_its_secrets_until_it_says_what_it_serves() -> None:
    """X31: secrets that are named before the listeners are not withdrawn in between."""
    served = table(listener("l", "mine"), secret("mine"))
    client = Client(served, delta=True, rule=True)
    assert [] == client.ask(SECRET, "mine", initial={"mine": secret("mine").version})
    replies = client.load(LISTENER)

    assert [] == [name for each in replies for name in each.removed]


def test_a_client_that_comes_back_with_secrets_of_others_loses_them() -> None:
    """To say that one has a secret gives no right to it; nothing is withheld for longer than a gate lasts."""
    served = table(listener("l", "mine"), secret("mine"), secret("other"))
    client = Client(served, delta=True, rule=True)
    client.load(LISTENER)
    replies = client.finish(client.ask(SECRET, "*", initial={name: secret(name).version for name in ("mine", "other")}))

    assert [["other"]] == [reply.removed for reply in replies if reply.type_url == SECRET]
    assert [] == [name for reply in replies for name in reply.resources]


@BOTH
def test_what_is_named_in_vain_is_told_in_few_words(delta: bool) -> None:
    """However many and long the names are, the event has three, cut."""
    client = Client(table(), delta=delta, rule=True)
    client.ask(SECRET, *(f"{n}" + "x" * 1000 for n in range(500)))

    [event] = named(client)
    assert (500, 3, 128) == (event.number, len(event.names), max(map(len, event.names)))


@BOTH
def test_an_unserved_secret_is_shown_as_absent(delta: bool) -> None:
    """Client status does not tell that it exists."""
    client = Client(table(secret("other")), delta=delta, rule=True)
    sent(client, "other")

    assert [("other", "", "DOES_NOT_EXIST", "")] == list(client.stream.statuses(SECRET))


STEPS = st.lists(
    st.tuples(st.sampled_from(["use", "release", "change", "delete", "ask", "drop"]), st.sampled_from("ab")),
    max_size=20,
)


@BOTH
@given(steps=STEPS)
def test_whatever_happens_no_other_secret_is_sent(delta: bool, steps: list[tuple[str, str]]) -> None:
    """S9: at each response, every secret in it is used by a listener; at the end, the client has the newest of each."""
    served, used = table(listener("l")), set[str]()
    client = Client(served, delta=delta, rule=True)
    client.load(LISTENER)
    had: dict[str, str] = {}
    wishes: set[str] = set()
    for number, (step, name) in enumerate(steps):
        match step:
            case "use" | "release":
                (used.add if step == "use" else used.discard)(name)
                put(served, listener("l", *sorted(used), content=f"{number}"))
            case "change":
                put(served, secret(name, f"{number}"))
            case "delete":
                remove(served, secret(name))
            case _:
                (wishes.add if step == "ask" else wishes.discard)(name)
        replies = client.ask(SECRET, *sorted(wishes)) if step in {"ask", "drop"} else client.read()
        if step == "drop":
            had.pop(name, None)
        for reply in client.finish(replies):
            if reply.type_url == SECRET:
                assert set(reply.resources) <= used
                had |= reply.resources
                for gone in reply.removed:
                    had.pop(gone, None)

    live = served.type(SECRET).live
    expected = {n: live[n].resource.body.decode().partition("=")[2] for n in wishes & used if n in live}
    assert expected == {name: content for name, content in had.items() if name in expected}


@BOTH
@pytest.mark.parametrize("node", ["node-b", "", "node-a ", "node-a/x", "NODE-A"])
def test_a_node_says_its_own_name(delta: bool, node: str) -> None:
    """S9: the id of another node, or one that is nearly its own, ends the stream, and the text has both names."""
    client = Client(table(), delta=delta, node=node, bound_to="node-a")

    with pytest.raises(NotItsNodeError, match=f"node.id is '{node}'.* 'node-a'"):
        client.ask(LISTENER)


@BOTH
def test_a_node_does_not_become_another_one_later(delta: bool) -> None:
    """S9: each request that names a node names that one; none is the same as before."""
    client = Client(table(), delta=delta, node="node-a", bound_to="node-a")
    client.load(LISTENER)
    client.node = ""
    client.load(CLUSTER)
    client.node = "node-b"

    with pytest.raises(NotItsNodeError, match="'node-b'"):
        client.ask(SECRET, "x")
