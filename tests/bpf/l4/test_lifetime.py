"""What the two sides of a connection say to each other, and how far it has come by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from datapath.kernel.layout import MARK_MASK, MARK_REFUSE, Progress, Reason
from tests.bpf.frames import ACK, FIN, PUSH, RST, SYN
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, Kind, Node, ports
from tests.bpf.stand import TC_ACT_UNSPEC

TCP4, UDP4, TCP6, UDP6 = KINDS[0], KINDS[2], KINDS[6], KINDS[8]
NOTHING, REPLIED = Progress(0), Progress.REPLIED
OPEN = Progress.REPLIED | Progress.ESTABLISHED
BOTH = pytest.mark.parametrize("where", ["pod", "remote"])


class Call(NamedTuple):
    """A connection, of which both sides are the test."""

    client: Callable[..., Progress]
    """What it sends; and how far that has brought the connection."""
    backend: Callable[..., Progress]


def call(node: Node, kind: Kind, where: str) -> Call:
    """To a pod of this node, which answers to the client, or to another node's, which answers to this one."""
    family = kind.family
    client, backend = (family.client, next(ports)), (getattr(family, where), BACKEND_PORT)
    at = node.service(kind, [backend[0]])
    _, _, came = node.stand.pass_through("from_network", kind.frame(client, at))
    masqueraded = node.sent("to_network", came)
    peer = (masqueraded.source, masqueraded.source_port)

    def of_client(flags: int = ACK, **numbers: int) -> Progress:
        node.stand.pass_through("from_network", kind.frame(client, at, flags, **numbers))
        return Progress(node.kept(kind, backend, peer).progress)

    def of_backend(flags: int = ACK, **numbers: int) -> Progress:
        answer = kind.frame(backend, peer, flags, **numbers)
        if where == "remote":
            _, _, answer = node.stand.pass_through("from_network", answer)
        node.stand.pass_through("to_network", answer)
        return Progress(node.kept(kind, backend, peer).progress)

    return Call(of_client, of_backend)


@BOTH
@pytest.mark.parametrize("kind", [TCP4, TCP6], ids=lambda kind: kind.name)
def test_a_connection_is_established_by_who_has_got_the_answer(node: Node, kind: Kind, where: str) -> None:
    """Whoever sends from a client's address without being there cannot acknowledge what was sent to that."""
    client, backend = call(node, kind, where)

    said = [
        client(SYN),
        client(ACK, acknowledged=4001),
        backend(SYN | ACK, sequence=4000),
        client(ACK, acknowledged=4000),
        client(PUSH | ACK, acknowledged=2**31),
        client(SYN),
        client(ACK, acknowledged=4001),
    ]

    assert [NOTHING, NOTHING, REPLIED, REPLIED, REPLIED, REPLIED, OPEN] == said


@BOTH
def test_numbers_of_tcp_begin_anew_after_the_last(node: Node, where: str) -> None:
    """A server's first one may be the last but one."""
    client, backend = call(node, TCP4, where)
    backend(SYN | ACK, sequence=2**32 - 2)

    assert OPEN == client(ACK, acknowledged=2**32 - 1)
    assert OPEN == client(ACK, acknowledged=299)
    assert OPEN == backend(RST, sequence=298)
    assert OPEN | Progress.CLOSED == backend(RST, sequence=299)


@BOTH
@pytest.mark.parametrize("kind", [UDP4, UDP6], ids=lambda kind: kind.name)
def test_datagrams_are_a_conversation_from_the_second_question(node: Node, kind: Kind, where: str) -> None:
    """One question and one answer are over soon."""
    client, backend = call(node, kind, where)

    assert [NOTHING, REPLIED, REPLIED, OPEN] == [client(), backend(), backend(), client()]


def established(each: Call) -> None:
    """The client awaits the number 4001 next, the backend 1001."""
    each.backend(SYN | ACK, sequence=4000, acknowledged=1001)
    assert OPEN == each.client(ACK, sequence=1001, acknowledged=4001)


@BOTH
def test_a_connection_ends_when_both_sides_have_ended_it_or_one_has_reset_it(node: Node, where: str) -> None:
    """A side that has said all may be told much still."""
    one, other = call(node, TCP4, where), call(node, TCP4, where)
    for each in (one, other):
        established(each)

    assert OPEN | Progress.CLIENT_CLOSED == one.client(FIN | ACK, sequence=1001, acknowledged=4001)
    assert OPEN | Progress.CLIENT_CLOSED == one.backend(PUSH | ACK, sequence=4001, acknowledged=1002)
    assert OPEN | Progress.CLOSED == one.backend(FIN | ACK, sequence=4301, acknowledged=1002)
    assert OPEN | Progress.CLOSED == other.backend(RST, sequence=4001)


@BOTH
@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK], ids=["RST", "RST ACK", "FIN ACK"])
@pytest.mark.parametrize(
    ("ahead", "ends"),
    [(-(2**31), False), (-1, False), (0, True), (2**24 - 1, True), (2**24, False), (2**31 - 1, False)],
)
def test_nobody_ends_a_connection_who_does_not_know_its_numbers(
    node: Node, where: str, flags: int, ahead: int, ends: bool
) -> None:
    """What the other side has acknowledged is awaited next, or what may be on its way before that."""
    by_client, by_backend = call(node, TCP4, where), call(node, TCP4, where)
    for client, backend in (by_client, by_backend):
        established(Call(client, backend))
        client(PUSH | ACK, sequence=1001, acknowledged=4001)
        backend(ACK, sequence=4001, acknowledged=1501)
        backend(PUSH | ACK, sequence=4001, acknowledged=1501)
        client(ACK, sequence=1501, acknowledged=4701)

    of_client = by_client.client(flags, sequence=(1501 + ahead) % 2**32, acknowledged=4701)
    of_backend = by_backend.backend(flags, sequence=(4701 + ahead) % 2**32, acknowledged=1501)

    closed = [Progress.CLOSED] * 2 if flags & RST else [Progress.CLIENT_CLOSED, Progress.BACKEND_CLOSED]
    assert [OPEN | each if ends else OPEN for each in closed] == [of_client, of_backend]


@BOTH
def test_what_comes_late_takes_back_nothing_that_was_acknowledged(node: Node, where: str) -> None:
    """An older acknowledgement does not let in who knows older numbers."""
    client, backend = call(node, TCP4, where)
    established(Call(client, backend))
    backend(ACK, sequence=4001, acknowledged=1501)
    backend(ACK, sequence=4001, acknowledged=1001)

    assert OPEN == client(RST, sequence=1001)


@BOTH
def test_who_refuses_a_connection_ends_it(node: Node, where: str) -> None:
    """Before anything is acknowledged."""
    _, backend = call(node, TCP4, where)

    assert Progress.CLOSED == backend(RST | ACK, sequence=0, acknowledged=2)


@BOTH
def test_what_is_opened_again_begins_anew(node: Node, where: str) -> None:
    """From the same port after it was closed; a mere claim to open it does not end what goes on."""
    client, backend = call(node, TCP4, where)
    backend(SYN | ACK)
    client(ACK, acknowledged=2)

    assert OPEN == client(SYN)
    assert OPEN | Progress.CLOSED == client(RST)
    assert REPLIED == client(SYN)
    assert REPLIED == client(ACK, acknowledged=1)


@BOTH
def test_what_was_never_answered_and_is_opened_again_is_not_known(node: Node, where: str) -> None:
    """Somebody may only have said so, and reset it."""
    client, _ = call(node, TCP4, where)

    assert Progress.CLOSED == client(RST)
    assert NOTHING == client(SYN)


@BOTH
def test_who_speaks_in_a_backends_name_accepts_no_connection_again(node: Node, where: str) -> None:
    """Of one that goes on: what he says then is in no sequence, and ends nothing."""
    client, backend = call(node, TCP4, where)
    established(Call(client, backend))
    backend(SYN | ACK, sequence=77, acknowledged=99)
    backend(ACK, sequence=4001, acknowledged=1001 + 2**25)

    assert OPEN == backend(RST, sequence=78)
    assert OPEN == client(RST, sequence=1001 + 2**25)


@pytest.mark.parametrize("kind", [TCP4, TCP6], ids=lambda kind: kind.name)
@pytest.mark.parametrize("where", ["pod", "remote"])
@pytest.mark.parametrize("flags", [0, ACK, PUSH | ACK, FIN | ACK, RST, SYN | ACK, SYN | FIN, SYN | RST, 0xFF])
def test_what_opens_nothing_leaves_nothing(node: Node, kind: Kind, where: str, flags: int) -> None:
    """It is marked for a reset, which tells whoever has really sent it that the connection is not known."""
    at = node.service(kind, [getattr(kind.family, where)], number=250)
    sent = kind.frame((kind.family.client, next(ports)), at, flags)
    before = dict(node.connections.items()), dict(node.translations.items())

    outcome = node.outcome("from_network", sent)

    assert (TC_ACT_UNSPEC, MARK_REFUSE, (Reason.REFUSED_NO_CONNECTION,), sent) == (
        outcome.action,
        outcome.mark & MARK_MASK,
        outcome.reasons,
        outcome.packet,
    )
    assert before == (dict(node.connections.items()), dict(node.translations.items()))


@BOTH
def test_what_was_pushed_out_of_an_established_connection_is_established(node: Node, where: str) -> None:
    """Where only its backend is remembered, what is written again does not begin anew."""
    kind, client = TCP4, (V4.client, next(ports))
    backend = (getattr(V4, where), BACKEND_PORT)
    at = node.service(kind, [backend[0]])
    node.open(kind, client, at, backend)
    node.translations.delete_all([key for key, entry in node.translations.items() if entry.reason == Reason.ANSWERED])
    node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED)

    assert OPEN == node.kept(kind, backend, client).progress & OPEN
