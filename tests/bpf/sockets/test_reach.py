"""Real sockets of processes in a cgroup with the programs: whom they reach."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address
from math import sqrt

import pytest

from datapath.kernel.layout import NODE_ADDRESSES, AddressKey, NodeAddress, Reason, Service, ServiceKey
from tests.bpf.socket_stand import PROTOCOLS, Actor, Sockets
from tests.bpf.sockets.ways import BACKENDS, KINDS, NODE4, WAYS, Way, names, numbers, served


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_who_connects_to_a_service_reaches_a_backend_and_is_told_the_service(
    sockets: Sockets, pod: Actor, way: Way, kind: str
) -> None:
    """connect() goes to a backend, and getpeername() and recvfrom() have the address and port that were asked for."""
    number = next(numbers)
    asked = [way.asked.format(number), 80]
    sockets.service(number, kind, [(way.service.format(number), 80)], [(way.backend.format(1), 8080)])

    [outcome] = pod.ask("connect", kind, *asked)

    assert way.backend.format(1) == outcome["backend"][0].removeprefix("::ffff:")
    assert asked == outcome["peer"]
    assert outcome["from"] == (asked if kind == "udp" else None)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_datagram_to_a_service_reaches_a_backend_and_its_answer_has_the_service_s_name(
    sockets: Sockets, pod: Actor, way: Way
) -> None:
    """A socket that is not connected needs not know of backends."""
    number = next(numbers)
    asked = [way.asked.format(number), 53]
    sockets.service(number, "udp", [(way.service.format(number), 53)], [(way.backend.format(2), 8080)])

    [outcome] = pod.ask("send", asked)

    assert way.backend.format(2) == outcome["backend"][0].removeprefix("::ffff:")
    assert asked == outcome["from"]


def test_sockets_are_spread_over_backends(sockets: Sockets, pod: Actor) -> None:
    """Each socket chooses anew: 100 of them leave none of four backends out."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "udp", [(address, 443)], [(backend, 8080) for backend in BACKENDS])

    seen = {name for _ in range(100) for name in served(pod.ask("send", (address, 443)))}

    assert names(*((backend, 8080) for backend in BACKENDS)) == seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_service_without_backends_refuses_and_counts(sockets: Sockets, pod: Actor, way: Way, kind: str) -> None:
    """connect() and sendto() fail at once, as they do with a closed port."""
    number = next(numbers)
    sockets.service(number, kind, [(way.service.format(number), 80)], [])
    before = sockets.count(Reason.REFUSED_NO_BACKEND)

    outcomes = pod.ask("connect", kind, way.asked.format(number), 80, times=3)
    if kind == "udp":
        outcomes += pod.ask("send", (way.asked.format(number), 80), times=2)

    assert {"error": "ECONNREFUSED"} == outcomes[0]
    assert outcomes == [outcomes[0]] * len(outcomes)
    assert before + len(outcomes) == sockets.count(Reason.REFUSED_NO_BACKEND)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_share_of_nobody_is_refused(sockets: Sockets, pod: Actor, way: Way) -> None:
    """Of 200 connections half, within six standard deviations; the others are served."""
    number = next(numbers)
    slots = [(way.backend.format(1), 8080), ("", 0)]
    sockets.service(number, "tcp", [(way.service.format(number), 80)], slots)

    found = Counter(
        each.get("error", "") for each in pod.ask("connect", "tcp", way.asked.format(number), 80, times=200)
    )

    assert {"", "ECONNREFUSED"} == set(found)
    assert abs(found[""] - 100) < 6 * (200 * 0.25) ** 0.5


def test_backends_that_are_not_written_are_not_there(sockets: Sockets, pod: Actor) -> None:
    """A service that points to a generation which nobody has written refuses."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "tcp", [(address, 80)], [(BACKENDS[0], 8080)])
    sockets.forget(number, 1, 1)

    assert [{"error": "ECONNREFUSED"}] == pod.ask("connect", "tcp", address, 80)


@pytest.mark.parametrize(("way", "other"), [(WAYS[0], WAYS[1]), (WAYS[1], WAYS[0])], ids=["IPv4", "IPv6"])
def test_a_backend_of_the_other_family_is_none(sockets: Sockets, pod: Actor, way: Way, other: Way) -> None:
    """A socket cannot go to the other family; the service is as good as without backends."""
    number = next(numbers)
    sockets.service(number, "tcp", [(way.service.format(number), 80)], [(other.backend.format(1), 8080)])

    assert [{"error": "ECONNREFUSED"}] == pod.ask("connect", "tcp", way.asked.format(number), 80)


def test_a_port_of_every_address_is_reached_at_each_of_the_node(sockets: Sockets, pod: Actor) -> None:
    """A frontend of address zero is at the node's addresses, and nowhere else."""
    number = next(numbers)
    sockets.service(number, "tcp", [], [(BACKENDS[0], 8080)])
    sockets.services.put(ServiceKey(None, 30080, 6), Service(0, number, 1, 1))
    with sockets.open(NODE_ADDRESSES) as addresses:
        addresses.put(AddressKey(ip_address(NODE4)), NodeAddress(1))

    [at_node] = pod.ask("connect", "tcp", NODE4, 30080)
    [elsewhere] = pod.ask("connect", "tcp", BACKENDS[1], 30080)

    assert [BACKENDS[0], 8080] == at_node["backend"]
    assert {"error": "ECONNREFUSED"} == elsewhere


@pytest.mark.parametrize(("zero", "loopback"), [("::", "::1"), ("0.0.0.0", "127.0.0.1")])
def test_address_zero_is_loopback_and_no_address_of_the_node(
    sockets: Sockets, pod: Actor, servers: Actor, zero: str, loopback: str
) -> None:
    """Who connects or sends to it reaches what listens there, whatever is at that port of the node."""
    number = next(numbers)
    for kind, protocol in PROTOCOLS.items():
        servers.ask("serve", kind, (loopback, 30081))
        sockets.service(number, kind, [], [(BACKENDS[0], 8080)])
        sockets.services.put(ServiceKey(None, 30081, protocol), Service(0, number, 1, 1))

    outcomes = [*pod.ask("connect", "tcp", zero, 30081), *pod.ask("connect", "udp", zero, 30081)]
    outcomes += pod.ask("send", (zero, 30081))

    assert [[loopback, 30081]] * 3 == [each.get("backend") for each in outcomes]


def test_every_slot_is_as_likely(sockets: Sockets, pod: Actor) -> None:
    """A backend of weight n has n slots: 8,000 connections come within six standard deviations of 5 : 2 : 1."""
    number = next(numbers)
    weights = {BACKENDS[0]: 5, BACKENDS[1]: 2, BACKENDS[2]: 1}
    slots = [(backend, 8080) for turn in range(5) for backend, weight in weights.items() if turn < weight]
    sockets.service(number, "udp", [(f"10.96.1.{number}", 80)], slots)

    peers = Counter(pod.ask("sources", f"10.96.1.{number}", 80, times=8000))

    for backend, weight in weights.items():
        chance = weight / 8
        assert abs(peers[backend] - 8000 * chance) < 6 * sqrt(8000 * chance * (1 - chance))
    assert 8000 == sum(peers.values())


def test_backends_change_under_load_and_no_connection_fails(sockets: Sockets, pod: Actor) -> None:
    """10,000 switches between sets of backends, while two threads connect: all are served."""
    number = next(numbers)
    at, all_of_them = [(f"10.96.1.{number}", 80)], [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "tcp", at, all_of_them)
    pod.ask("load", *at[0], threads=2)
    for generation in range(2, 10_002):
        sockets.service(number, "tcp", at, all_of_them[: 1 + generation % 4], generation=generation)
        sockets.forget(number, generation - 2, 4)

    outcomes = pod.ask("loaded")

    assert {"served"} == set(outcomes)
    assert outcomes["served"] > 0


def test_the_verifier_needs_less_than_half_of_its_limit(sockets: Sockets) -> None:
    """A kernel that looks a little further loads the programs too."""
    most = max(program.verified_instructions for program in sockets.loaded.programs.values())

    assert most < 500_000
