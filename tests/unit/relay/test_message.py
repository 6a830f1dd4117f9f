"""What replicas say to each other, on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from xds_server.model.delivery import NodeRef
from xds_server.model.resource import CLUSTER, LISTENER, ROUTE_CONFIGURATION, ResourceKey
from xds_server.proto.tidegate.relay.v1 import relay_pb2
from xds_server.relay import message
from xds_server.relay.words import BATCH, Outbox, Refusal, Said, Words

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
    """A batch has an end."""
    many = relay_pb2.TellRequest(envoys=[relay_pb2.Envoy(node="n1")] * (BATCH + 1)).SerializeToString()
    for raw in (b"\xff\xff", many):
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
    """After 1,000 changes of each of 1,000 Envoys there is one message for each of them, in batches."""
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
        sizes.append(len(said))

    assert (BATCH, 1000) == (max(sizes), sum(sizes))
    assert 0 == len(outbox)
