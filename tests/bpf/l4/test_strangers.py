"""Who only sends in a client's name: what goes on does not end by it, nor is it led to anybody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

import pytest

from datapath.kernel.layout import BALANCED, ONLY, Index, Reason
from tests.bpf.frames import ACK, FIN, PUSH, RST, SYN, TCP, frame, ipv4, tcp
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, Kind, Node, ports
from tests.bpf.stand import TC_ACT_SHOT, TC_ACT_UNSPEC
from tests.bpf.translated import seen

TCP4, TCP6 = KINDS[0], KINDS[6]
BOTH = pytest.mark.parametrize("kind", [TCP4, TCP6], ids=lambda kind: kind.name)
FLOOD = 90_000
"""More than the maps have room for."""


class Established(NamedTuple):
    """A connection through the node that both sides have agreed upon."""

    client: tuple[str, int]
    at: tuple[str, int]
    backend: tuple[str, int]
    goes_on: Callable[[], Reason]
    """What becomes of the client's next segment."""
    answered_by: Callable[[], tuple[str, int]]
    """Who the client sees in the next answer."""


def established(node: Node, kind: Kind) -> Established:
    client, backend = (kind.family.client, next(ports)), (kind.family.pod, BACKEND_PORT)
    at = node.service(kind, [backend[0]])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.run("to_network", kind.frame(backend, client, SYN | ACK, sequence=4000, acknowledged=2), Reason.ANSWERED)

    def goes_on() -> Reason:
        [reason] = node.outcome("from_network", kind.frame(client, at, PUSH | ACK, acknowledged=4001)).reasons
        return reason

    def answered_by() -> tuple[str, int]:
        found = node.sent("to_network", kind.frame(backend, client, ACK, sequence=4001, acknowledged=2))
        return found.source, found.source_port

    assert Reason.PASS_BALANCED is goes_on()
    return Established(client, at, backend, goes_on, answered_by)


def liars() -> Iterator[tuple[str, int]]:
    first = int(ip_address("100.64.0.0"))
    for number in range(FLOOD):
        yield str(ip_address(first + number // 50_000)), 1024 + number % 50_000


def test_a_flood_of_openings_pushes_out_no_connection(node: Node) -> None:
    """90,000 are opened in others' names, each of them twice, and the backend answers; 20 connections go on."""
    kept = [established(node, TCP4) for _ in range(20)]
    at = node.service(TCP4, [V4.pod])
    for source, port in liars():
        opening = frame(ipv4(source, at[0], TCP, tcp(port, at[1])))
        for _ in range(2):
            node.stand.pass_through("from_network", opening)
        node.stand.pass_through("to_network", frame(ipv4(V4.pod, source, TCP, tcp(BACKEND_PORT, port, SYN | ACK))))

    assert [Reason.PASS_BALANCED] * 20 == [each.goes_on() for each in kept]


@BOTH
def test_who_opens_another_one_in_a_clients_name_leads_no_answer_astray(node: Node, kind: Kind) -> None:
    """By another service with the same backend: it is dropped while the client's own connection goes on."""
    own = established(node, kind)
    other = node.service(kind, [own.backend[0]])

    outcome = node.outcome("from_network", kind.frame(own.client, other))

    assert (TC_ACT_SHOT, (Reason.DROP_TAKEN,)) == (outcome.action, outcome.reasons)
    assert own.at == own.answered_by()
    assert Reason.PASS_BALANCED is own.goes_on()


@pytest.mark.parametrize("where", ["pod", "remote"])
@pytest.mark.parametrize("again", ["the same", "another"])
def test_a_clients_port_is_free_when_its_connection_has_ended(node: Node, where: str, again: str) -> None:
    """Who opens one from it gets the answers of that, and all its segments are of one client to the backend."""
    client, backend = (V4.client, next(ports)), (getattr(V4, where), BACKEND_PORT)
    one, another = node.service(TCP4, [backend[0]]), node.service(TCP4, [backend[0]])
    node.open(TCP4, client, one, backend)
    node.run("from_network", TCP4.frame(client, one, RST, sequence=2), Reason.PASS_BALANCED)

    first, second = node.open(TCP4, client, one if again == "the same" else another, backend)

    assert first == second


def test_who_has_got_no_answer_keeps_nobody_from_a_backend(node: Node) -> None:
    """Somebody opens a connection in a client's name and acknowledges what he has not got: it is the client's still."""
    client, backend = (V4.client, next(ports)), (V4.remote, BACKEND_PORT)
    one, another = node.service(TCP4, [V4.remote]), node.service(TCP4, [V4.remote])
    for flags in (SYN, ACK):
        node.sent("from_network", TCP4.frame(client, another, flags, acknowledged=1))

    first, second = node.open(TCP4, client, one, backend)

    assert first == second


def test_a_backend_that_has_an_older_connection_still_is_heard(node: Node) -> None:
    """By its answer to an opening in TIME_WAIT a client knows that it is to reset that (RFC 9293, 3.5.1)."""
    own = established(node, TCP4)
    ends = TCP4.frame(own.backend, own.client, FIN | ACK, sequence=4001, acknowledged=2)
    node.run("to_network", ends, Reason.ANSWERED)
    node.run("from_network", TCP4.frame(own.client, own.at, FIN | ACK, sequence=2), Reason.PASS_BALANCED)
    node.run("from_network", TCP4.frame(own.client, own.at, SYN), Reason.PASS_BALANCED)

    assert own.at == own.answered_by()


def test_who_tries_again_may_get_a_backend_that_the_client_has_no_connection_to(node: Node) -> None:
    """A client's port may meet one backend by two services: the second one has others."""
    own = established(node, TCP4)
    other = node.service(TCP4, [own.backend[0], V4.neighbour])

    tries = [node.outcome("from_network", TCP4.frame(own.client, other)).action for _ in range(64)]

    assert TC_ACT_UNSPEC in tries
    assert own.at == own.answered_by()


@BOTH
def test_who_is_connected_to_a_pod_directly_goes_on_with_that(node: Node, kind: Kind) -> None:
    """Somebody opens one to a service in its name, which the pod does not accept: it has one of that client."""
    client, pod = (kind.family.client, next(ports)), (kind.family.pod, BACKEND_PORT)
    at = node.service(kind, [pod[0]])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)

    for flags in (ACK, PUSH | ACK, RST):
        sent = kind.frame(pod, client, flags, sequence=4001, acknowledged=7)
        assert sent == node.run("to_network", sent, Reason.PASS_NO_SERVICE)


@BOTH
@pytest.mark.parametrize("flags", [SYN | ACK, RST | ACK], ids=["accepted", "refused"])
def test_what_answers_an_opening_is_of_the_service(node: Node, kind: Kind, flags: int) -> None:
    """A backend accepts a connection, or refuses it."""
    client, pod = (kind.family.client, next(ports)), (kind.family.pod, BACKEND_PORT)
    at = node.service(kind, [pod[0]])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)

    answer = node.run("to_network", kind.frame(pod, client, flags, sequence=0, acknowledged=2), Reason.ANSWERED)

    assert at == seen(answer)[:2]


def test_a_later_second_of_another_cpu_ends_nothing(node: Node) -> None:
    """One notes that a packet was balanced just after another one has read the time."""
    own = established(node, TCP4)
    node.stand.map(BALANCED).put(ONLY, Index(time.monotonic_ns() // 10**9 + 2))

    assert Reason.PASS_BALANCED is own.goes_on()
