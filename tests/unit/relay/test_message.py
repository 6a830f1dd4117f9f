"""What replicas say to each other, on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from xds_server.model.delivery import NodeRef
from xds_server.model.resource import CLUSTER, LISTENER, ROUTE_CONFIGURATION, ResourceKey
from xds_server.proto.tidegate.relay.v1 import relay_pb2
from xds_server.relay import message, words
from xds_server.relay.words import BATCH, Outbox, Refusal, Said, Words, after, parts

REF = NodeRef("n1", 7)
A, TABLE, BACKEND = ResourceKey(LISTENER, "a"), ResourceKey(ROUTE_CONFIGURATION, "t"), ResourceKey(CLUSTER, "b")
WORDS = Words(False, True, {A: "1", TABLE: ""}, {BACKEND: Refusal("2", "no such field")}, frozenset({"t"}))


@pytest.mark.parametrize(
    "said",
    [
        Said(REF, gone=True),
        Said(REF, began=True, words=WORDS),
        Said(REF, words=Words(), unaccepted=(A, TABLE), unrefused=(BACKEND,), caught_up=frozenset({"t"})),
    ],
)
def test_what_is_said_arrives(said: Said) -> None:
    """Both ways."""
    assert [said] == message.read_request(message.request([said]))
    assert [said] == message.read_response(message.response([said]))


def resource(**fields: Any) -> Any:
    return relay_pb2.Resource(**{"type_url": LISTENER, "name": "a", "version": "1", **fields})


@pytest.mark.parametrize(
    ("envoy", "field"),
    [
        ({"node": "n" * 257}, "node"),
        ({"node": "a\nb"}, "node"),
        ({"accepted": [resource(type_url=CLUSTER)]}, "accepted"),
        ({"accepted": [resource(type_url="x" * 100_000)]}, "accepted"),
        ({"accepted": [resource(name="a" * 5000)]}, "name"),
        ({"accepted": [resource(version="1" * 300)]}, "version"),
        ({"refused": [resource(type_url="")]}, "refused"),
        ({"no_longer_refused": [resource(type_url="nonsense")]}, "no_longer_refused"),
        ({"late": ["t" * 5000]}, "late"),
    ],
)
def test_what_no_replica_says_ends_the_stream(envoy: dict[str, Any], field: str) -> None:
    """With the field's name, and not much of what was in it."""
    raw = relay_pb2.TellRequest(envoys=[relay_pb2.Envoy(**{"node": "n1", **envoy})]).SerializeToString()
    with pytest.raises(message.MalformedError) as error:
        message.read_request(raw)

    assert (True, True) == (str(error.value).startswith(f"{field}: "), len(str(error.value)) < 300)


def test_neither_noise_nor_too_much_is_a_request() -> None:
    """A batch has an end, whether it is of many Envoys or of much that one said."""
    many = [relay_pb2.Envoy(node="n1")] * (BATCH + 1)
    much = [relay_pb2.Envoy(node="n1", accepted=[resource()] * BATCH, late=["t"])]
    for raw in (b"\xff\xff", *(relay_pb2.TellRequest(envoys=found).SerializeToString() for found in (many, much))):
        with pytest.raises(message.MalformedError):
            message.read_request(raw)


def test_a_refusal_of_a_peer_is_made_fit_to_be_shown() -> None:
    """As that of an Envoy is: a replica may be an older one, which did not."""
    pem = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"
    said = Said(REF, words=Words(refused={A: Refusal("1", f"a\x1b[2J {pem} " + "b" * 10_000)}))
    [read] = message.read_request(message.request([said]))
    detail = read.words.refused[A].detail

    assert (False, False, True) == ("\x1b" in detail, "MIIE" in detail, len(detail) <= 512)


def test_an_edit_of_routes_that_arrives_in_time_is_no_news() -> None:
    """What is sent is proportional to what changes for the leader: nothing, however often tables are accepted."""
    now = {REF: WORDS}
    outbox = Outbox(now, now.get)
    first = outbox.take()
    outbox.touch(REF)

    assert ([Said(REF, began=True, words=WORDS)], []) == (first, outbox.take())


def test_who_does_not_listen_is_not_queued_for() -> None:
    """After 1,000 changes of each of 1,000 Envoys each is told of once, in batches of what is read in a moment."""
    now = {NodeRef(f"n{i}", i): WORDS for i in range(1000)}
    outbox = Outbox(now, now.get)
    while outbox.take():
        pass
    for _ in range(1000):
        for ref in now:
            outbox.touch(ref)
    now |= {ref: Words(False, True, {A: "2"}) for ref in now}
    sizes = []
    while said := outbox.take():
        sizes.append(sum(each.entries for each in said))

    assert (BATCH, 2 * BATCH) == (max(sizes), sum(sizes))
    assert 0 == len(outbox)


def test_with_many_gateways_a_batch_is_of_few_envoys() -> None:
    """2,600 entries of each of 20 Envoys: no message has more than a batch, and all of it is told once."""
    much = Words(True, True, {ResourceKey(LISTENER, f"l{n}"): "1" for n in range(2600)})
    now = {NodeRef(f"n{i}", i): much for i in range(20)}
    outbox = Outbox(now, now.get)
    told: dict[NodeRef, Words | None] = {}
    sizes = []
    while said := outbox.take():
        assert said == message.read_request(message.request(said))
        sizes.append(sum(each.entries for each in said))
        told |= {each.envoy: after(told.get(each.envoy), each) for each in said}

    assert (BATCH, 20 * 2600) == (max(sizes), sum(sizes))
    assert now == told


def test_looking_for_news_has_an_end_too() -> None:
    """Of 100 Envoys with 2,600 entries each that say the same as before, one look is at few."""
    much = Words(True, True, {ResourceKey(LISTENER, f"l{n}"): "1" for n in range(2600)})
    now, looks = {NodeRef(f"n{i}", i): much for i in range(100)}, list[NodeRef]()

    def look(at: NodeRef) -> Words:
        looks.append(at)
        return now[at]

    outbox = Outbox(now, look)
    while outbox.take():
        pass
    for ref in now:
        outbox.touch(ref)
    looks.clear()

    assert [] == outbox.take()
    assert (True, 100) == (0 < len(looks) < 10, len(looks) + len(outbox))


@pytest.mark.parametrize("first", [1, 2, 3, 100])
def test_parts_come_to_the_whole(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """However small: what was told after all of them is what is; the first alone begins."""
    monkeypatch.setattr(words, "BATCH", 2)
    whole = Said(REF, began=True, words=WORDS)
    then = Said(
        REF, words=Words(True, False, {A: "2"}), unaccepted=(TABLE,), unrefused=(BACKEND,), caught_up=WORDS.late
    )
    for said, before in ((whole, None), (then, WORDS), (Said(REF, gone=True), WORDS)):
        found = list(parts(said, first))
        told = before
        for part in found:
            told = after(told, part)

        assert after(before, said) == told
        assert (said.entries, said.began) == (sum(part.entries for part in found), found[0].began)
        assert {False} >= {part.began for part in found[1:]}
