"""What a process is told of its peer: the name that it has asked for."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bpf.socket_stand import Actor, Sockets
from tests.bpf.sockets.ways import BACKENDS, numbers


def test_an_answer_from_somebody_else_has_his_name(sockets: Sockets, pod: Actor) -> None:
    """What a socket receives is renamed only if it comes from the backend that it was given."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "udp", [(address, 53)], [(BACKENDS[0], 8080)])

    assert [BACKENDS[1], 9999] == pod.ask("unasked", (address, 53), (BACKENDS[1], 9999))
    assert [BACKENDS[0], 9999] == pod.ask("unasked", (address, 53), (BACKENDS[0], 9999))


def test_a_peer_has_the_name_that_was_asked_for_last(sockets: Sockets, pod: Actor) -> None:
    """Two services and the backend itself, by one socket one after the other: each answer has the name just used."""
    number = next(numbers)
    one, two, backend = (f"10.96.1.{number}", 53), (f"10.96.2.{number}", 53), (BACKENDS[0], 8080)
    sockets.service(number, "udp", [one, two], [backend])

    asked = [one, two, backend, one, backend, two]
    outcomes = pod.ask("send", *asked)

    assert [list(name) for name in asked] == [each["from"] for each in outcomes]


def test_a_connected_socket_that_connects_again_forgets_the_service(sockets: Sockets, pod: Actor) -> None:
    """connect() to the backend itself after connect() to the service: the peer has its own name."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "udp", [(address, 53)], [(BACKENDS[0], 8080)])

    again = pod.ask("again", (address, 53), (BACKENDS[0], 8080))

    assert [[address, 53], [BACKENDS[0], 8080]] == again["peers"]


def test_a_socket_that_is_not_connected_any_more_forgets_the_service(sockets: Sockets, pod: Actor) -> None:
    """Another service with the same backend, and that itself: the name that was asked for last counts."""
    number = next(numbers)
    one, two, backend = (f"10.96.1.{number}", 53), (f"10.96.2.{number}", 53), (BACKENDS[0], 8080)
    sockets.service(number, "udp", [one, two], [backend])

    assert [list(two), list(backend)] == pod.ask("dissolved", one, two, backend)
    assert [list(backend), list(two)] == pod.ask("dissolved", one, backend, two)


def test_a_datagram_to_somebody_leaves_a_connected_socket_its_peer(sockets: Sockets, pod: Actor) -> None:
    """By the name that was asked for last, which may be the same."""
    number = next(numbers)
    one, two = (f"10.96.1.{number}", 53), (f"10.96.2.{number}", 53)
    sockets.service(number, "udp", [one, two], [(BACKENDS[0], 8080)])

    assert [list(one), list(two)] == pod.ask("sent", one, one, two)


@pytest.mark.parametrize(("kind", "port"), [("tcp", 80), ("udp", 53)])
def test_each_socket_keeps_its_name_however_many_there_are(
    stack: ExitStack, node: Path, servers: Actor, tmp_path: Path, kind: str, port: int
) -> None:
    """It is pushed out by no other."""
    sockets = Sockets(stack, tmp_path, {"asked": 64})
    sockets.attach()
    sockets.set()
    address = "10.96.3.1"
    sockets.service(1, kind, [(address, port)], [(BACKENDS[0], 8080)])

    peers = sockets.actor(node).ask("peers", kind, address, port, 300)

    assert 300 * [[address, port]] == peers


def test_of_several_peers_of_one_socket_each_has_its_name(sockets: Sockets, pod: Actor) -> None:
    """Datagrams to three services, whose backends differ, and again; and to a backend itself in between."""
    number = next(numbers)
    services = [(f"10.96.{4 + each}.{number}", 53) for each in range(len(BACKENDS))]
    for each, (service, backend) in enumerate(zip(services, BACKENDS, strict=True)):
        sockets.service(1000 * (1 + each) + number, "udp", [service], [(backend, 8080)])
    direct = (BACKENDS[0], 8080)

    asked = [*services, *services, direct, *services]
    outcomes = pod.ask("send", *asked)

    assert [list(name) for name in asked] == [each["from"] for each in outcomes]


def test_what_is_no_service_is_left_alone(sockets: Sockets, pod: Actor) -> None:
    """Another port or protocol of a service's address, and any other address, are what they are."""
    number = next(numbers)
    sockets.service(number, "tcp", [(BACKENDS[1], 80)], [(BACKENDS[0], 8080)])

    [other_port] = pod.ask("connect", "tcp", BACKENDS[1], 8080)
    [other_protocol] = pod.ask("connect", "udp", BACKENDS[1], 80)
    [no_service] = pod.ask("connect", "tcp", BACKENDS[2], 8080)

    assert [BACKENDS[1], 8080] == other_port["backend"] == other_port["peer"]
    assert {"error": "ECONNREFUSED"} == other_protocol
    assert [BACKENDS[2], 8080] == no_service["backend"] == no_service["peer"]
