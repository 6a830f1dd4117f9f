"""Real sockets of processes in a cgroup with the programs: whom they reach, and what they are told of it."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from itertools import count
from math import sqrt
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from datapath.kernel.layout import (
    AFFINITY,
    LISTENERS_PER_FAMILY,
    MARK_MASK,
    MARK_TO_PROXY,
    NODE_ADDRESSES,
    AddressKey,
    Client,
    ClientKind,
    NodeAddress,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
)
from datapath.kernel.libbpf import call
from datapath.kernel.programs import cgroup_id
from tests.bpf.socket_stand import Actor, Endpoint, Sockets, cgroup, network

NODE4: Final = "10.9.0.100"
NODE6: Final = "fd09::64"
BACKENDS: Final = tuple(f"10.9.0.{number}" for number in range(1, 5))
KINDS: Final = ("tcp", "udp")
STEERING: Final = (
    "rule add pref 9 fwmark 0x200/0xf00 lookup 2004",
    "-6 rule add pref 9 fwmark 0x200/0xf00 lookup 2004",
    f"route add local default dev lo src {NODE4} table 2004",
    f"-6 addr add {NODE6}/128 dev lo nodad",
    f"-6 route add local default dev lo src {NODE6} table 2004",
)
"""As a node has it: what is marked is delivered here."""


class Way(NamedTuple):
    """How a client writes addresses, and those of a service of its own in this way."""

    name: str
    service: str
    backend: str
    asked: str
    """The service, as the client has it."""


WAYS: Final = (
    Way("IPv4", "10.96.0.{}", "10.9.0.{}", "10.96.0.{}"),
    Way("IPv6", "fd96::{}", "fd09::{}", "fd96::{}"),
    Way("IPv4 through an IPv6 socket", "10.96.0.{}", "10.9.0.{}", "::ffff:10.96.0.{}"),
)
numbers = count(1)


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def node(stack: ExitStack) -> Path:
    return stack.enter_context(network(*STEERING))


@pytest.fixture(scope="module")
def sockets(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Sockets:
    sockets = Sockets(stack, tmp_path_factory.mktemp("sockets"))
    sockets.attach()
    return sockets


@pytest.fixture(scope="module")
def servers(stack: ExitStack, node: Path) -> Actor:
    """Outside the cgroup with the programs, as if on other nodes."""
    outside = stack.enter_context(cgroup())
    actor = Actor(outside, node)
    stack.callback(actor.close)
    for kind in KINDS:
        actor.ask("serve", kind, *((backend, 8080) for backend in BACKENDS), *((f"fd09::{n}", 8080) for n in (1, 2, 3)))
    return actor


@pytest.fixture(scope="module")
def pod(sockets: Sockets, node: Path, servers: Actor) -> Actor:
    return sockets.actor(node)


@pytest.fixture(autouse=True)
def settings(sockets: Sockets) -> None:
    """No process is the node's own, and there is no Envoy."""
    sockets.set()


@contextmanager
def listener(sockets: Sockets, slot: int) -> Iterator[None]:
    """A listening socket where Envoy's are published."""
    fd, key = sockets.loaded.maps["listeners"], slot.to_bytes(4, sys.byteorder)
    with socket.create_server(("127.0.0.1", 0)) as server:
        call("bpf_map_update_elem", "listeners", fd, key, server.fileno().to_bytes(8, sys.byteorder), 0)
        yield
        call("bpf_map_delete_elem", "listeners", fd, key)


def served(outcomes: list[dict[str, Any]]) -> Counter[str]:
    return Counter(each.get("error") or f"{each['backend'][0]} {each['backend'][1]}" for each in outcomes)


def names(*endpoints: Endpoint) -> set[str]:
    return {f"{address} {port}" for address, port in endpoints}


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


def test_datagrams_of_one_socket_stay_with_one_backend(sockets: Sockets, pod: Actor) -> None:
    """What belongs together, as QUIC's packets do, is not spread, although nothing is connected."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "udp", [(address, 443)], [(backend, 8080) for backend in BACKENDS])

    each = [len(served(pod.ask("send", (address, 443), times=20))) for _ in range(20)]

    assert [1] * 20 == each


def test_sockets_are_spread_over_backends(sockets: Sockets, pod: Actor) -> None:
    """Each socket chooses anew: 100 of them leave none of four backends out."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "udp", [(address, 443)], [(backend, 8080) for backend in BACKENDS])

    seen = {name for _ in range(100) for name in served(pod.ask("send", (address, 443)))}

    assert names(*((backend, 8080) for backend in BACKENDS)) == seen


def test_a_socket_whose_backend_has_gone_gets_another(sockets: Sockets, pod: Actor) -> None:
    """A datagram after the change goes to a backend that is there, and one that is still there is kept."""
    number = next(numbers)
    at, all_of_them = [(f"10.96.1.{number}", 443)], [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "udp", at, all_of_them[:1])
    pod.ask("open", *at[0])
    first = pod.ask("say")
    sockets.service(number, "udp", at, all_of_them, generation=2)
    kept = [pod.ask("say") for _ in range(20)]
    sockets.service(number, "udp", at, all_of_them[1:], generation=3)
    sockets.forget(number, 1, 1)
    sockets.forget(number, 2, 4)
    moved = [pod.ask("say") for _ in range(20)]

    assert [BACKENDS[0], 8080] == first
    assert [first] * 20 == kept
    assert moved == [moved[0]] * 20
    assert moved[0][0] in BACKENDS[1:]


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


def test_a_pod_keeps_its_backend(sockets: Sockets, pod: Actor) -> None:
    """With affinity all connections of a network namespace go to one backend."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    all_of_them = [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "tcp", [(address, 80)], all_of_them, flags=ServiceFlag.AFFINITY, affinity_s=60)

    assert 1 == len(served(pod.ask("connect", "tcp", address, 80, times=40)))


def test_affinity_ends_after_its_time(sockets: Sockets, pod: Actor) -> None:
    """A client that was away for longer chooses anew: 40 times it would not get the same one of four."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    all_of_them = [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "tcp", [(address, 80)], all_of_them, flags=ServiceFlag.AFFINITY, affinity_s=60)
    key = Client(None, pod.ask("netns"), ClientKind.NAMESPACE, number)

    seen: set[str] = set()
    with sockets.open(AFFINITY) as affinity:
        for _ in range(40):
            seen |= set(served(pod.ask("connect", "tcp", address, 80, times=2)))
            held = affinity.get(key)
            assert held
            affinity.put(key, held._replace(seen_ns=(time.monotonic_ns() - 61 * 10**9) % 2**64))

    assert names(*all_of_them) == seen


def test_each_connection_prolongs_affinity(sockets: Sockets, pod: Actor) -> None:
    """The time counts from the last connection, not from the first."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    all_of_them = [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "tcp", [(address, 80)], all_of_them, flags=ServiceFlag.AFFINITY, affinity_s=60)
    key = Client(None, pod.ask("netns"), ClientKind.NAMESPACE, number)

    seen: set[str] = set()
    with sockets.open(AFFINITY) as affinity:
        for _ in range(40):
            seen |= set(served(pod.ask("connect", "tcp", address, 80)))
            held = affinity.get(key)
            assert held
            affinity.put(key, held._replace(seen_ns=(held.seen_ns - 50 * 10**9) % 2**64))

    assert 1 == len(seen)


def test_affinity_follows_a_backend_to_another_slot(sockets: Sockets, pod: Actor) -> None:
    """Backends come and go, and a client stays with the one it has, wherever that is now."""
    number = next(numbers)
    at, flags = [(f"10.96.1.{number}", 80)], ServiceFlag.AFFINITY
    first = [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "tcp", at, first, flags=flags)
    [had] = served(pod.ask("connect", "tcp", *at[0], times=10))
    own = [each for each in first if had in names(each)]
    others = [(f"10.9.1.{index}", 8080) for index in range(250)]

    for generation, slots in enumerate((own + others, others + own, others[:120] + own + others[120:], own), 2):
        sockets.service(number, "tcp", at, slots, flags=flags, generation=generation)
        sockets.forget(number, generation - 1, 251)

        assert Counter({had: 10}) == served(pod.ask("connect", "tcp", *at[0], times=10))


def test_affinity_leaves_a_backend_that_has_gone(sockets: Sockets, pod: Actor) -> None:
    """A client whose backend was removed gets another, and keeps that one."""
    number = next(numbers)
    at, flags = [(f"10.96.1.{number}", 80)], ServiceFlag.AFFINITY
    all_of_them = [(backend, 8080) for backend in BACKENDS]
    sockets.service(number, "tcp", at, all_of_them, flags=flags)
    [had] = served(pod.ask("connect", "tcp", *at[0], times=10))
    others = [each for each in all_of_them if had not in names(each)]
    sockets.service(number, "tcp", at, others, flags=flags, generation=2)

    has = served(pod.ask("connect", "tcp", *at[0], times=40))

    assert 1 == len(has)
    assert set(has) <= names(*others)


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


def test_a_pod_s_connection_to_a_proxied_service_is_left_to_its_link(sockets: Sockets, pod: Actor) -> None:
    """Packets are steered there; the socket keeps the address and gets no mark."""
    number = next(numbers)
    sockets.service(number, "udp", [(BACKENDS[3], 81)], [(BACKENDS[0], 8080)], flags=ServiceFlag.PROXY)

    again = pod.ask("again", (BACKENDS[3], 81), (BACKENDS[3], 81))

    assert {"peers": [[BACKENDS[3], 81]] * 2, "marks": [0, 0]} == again


def test_the_node_s_own_connection_to_a_proxied_service_is_marked(sockets: Sockets, pod: Actor) -> None:
    """It has no link to be steered at; what else the process has in its mark stays, and ours goes with the address."""
    number = next(numbers)
    sockets.set(host_netns=pod.ask("netns"))
    sockets.service(number, "udp", [(BACKENDS[3], 81)], [(BACKENDS[0], 8080)], flags=ServiceFlag.PROXY)

    again = pod.ask("again", (BACKENDS[3], 81), (BACKENDS[2], 81), mark=0x4000_8001)

    assert [0x4000_8001 & ~MARK_MASK | MARK_TO_PROXY, 0x4000_8001] == again["marks"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_process_of_the_node_reaches_the_listener_at_a_proxied_service(
    sockets: Sockets, pod: Actor, servers: Actor, way: Way
) -> None:
    """The mark delivers it on the node, from the node's address, with the service's address as it was."""
    number = next(numbers)
    service = way.service.format(number)
    sockets.set(host_netns=pod.ask("netns"))
    sockets.service(number, "tcp", [(service, 80)], [], flags=ServiceFlag.PROXY)
    servers.ask("serve", "tcp", (service, 80))

    [outcome] = pod.ask("connect", "tcp", way.asked.format(number), 80)

    assert [service, 80] == outcome["backend"]
    assert [way.asked.format(number), 80] == outcome["peer"]
    assert outcome["source"][0].removeprefix("::ffff:") == (NODE6 if way is WAYS[1] else NODE4)


def test_envoy_s_own_connection_to_a_proxied_service_goes_to_a_backend(
    stack: ExitStack, sockets: Sockets, pod: Actor, node: Path
) -> None:
    """It never comes back to Envoy, also where it is a process of the node."""
    number = next(numbers)
    inner = stack.enter_context(cgroup(sockets.cgroup))
    envoy = sockets.actor(node, inner)
    sockets.set(host_netns=pod.ask("netns"), envoy_cgroup=cgroup_id(inner))
    sockets.service(number, "tcp", [(f"10.96.1.{number}", 80)], [(BACKENDS[0], 8080)], flags=ServiceFlag.PROXY)

    [outcome] = envoy.ask("connect", "tcp", f"10.96.1.{number}", 80)

    assert [BACKENDS[0], 8080] == outcome["backend"]


@pytest.mark.parametrize(
    ("way", "slots", "stopped", "balanced"),
    [
        (WAYS[0], (), 0, True),
        (WAYS[1], (), 0, True),
        (WAYS[0], (0,), 0, False),
        (WAYS[0], (LISTENERS_PER_FAMILY - 1,), 0, False),
        (WAYS[0], (LISTENERS_PER_FAMILY,), 0, True),
        (WAYS[1], (LISTENERS_PER_FAMILY,), 0, False),
        (WAYS[1], (2 * LISTENERS_PER_FAMILY - 1,), 0, False),
        (WAYS[2], (3,), 0, False),
        (WAYS[2], (), 0, True),
        (WAYS[0], (0, LISTENERS_PER_FAMILY), 1, True),
        (WAYS[1], (0, LISTENERS_PER_FAMILY), 1, True),
    ],
)
def test_a_service_that_fails_open_is_balanced_while_there_is_no_envoy(
    sockets: Sockets, pod: Actor, way: Way, slots: tuple[int, ...], stopped: int, *, balanced: bool
) -> None:
    """A listener of the family counts, unless Envoy is being stopped; without one, connect() chooses a backend."""
    number = next(numbers)
    flags = ServiceFlag.PROXY | ServiceFlag.FAIL_OPEN
    asked = (way.asked.format(number), 80)
    sockets.set(stopped=stopped)
    sockets.service(number, "tcp", [(way.service.format(number), 80)], [(way.backend.format(1), 8080)], flags=flags)
    before = sockets.count(Reason.STEERED), sockets.count(Reason.BALANCED)
    with ExitStack() as listeners:
        for slot in slots:
            listeners.enter_context(listener(sockets, slot))
        pod.ask("attempt", *asked)

    after = sockets.count(Reason.STEERED), sockets.count(Reason.BALANCED)

    assert (before[0] + (not balanced), before[1] + balanced) == after


def test_a_service_that_fails_closed_never_goes_past_envoy(sockets: Sockets, pod: Actor) -> None:
    """Without a listener, and with backends, the address is left as it is."""
    number = next(numbers)
    sockets.service(number, "udp", [(BACKENDS[3], 81)], [(BACKENDS[0], 8080)], flags=ServiceFlag.PROXY)
    sockets.set(stopped=1)

    assert [[BACKENDS[3], 81]] * 2 == pod.ask("again", (BACKENDS[3], 81), (BACKENDS[3], 81))["peers"]


def test_the_verifier_needs_less_than_half_of_its_limit(sockets: Sockets) -> None:
    """A kernel that looks a little further loads the programs too."""
    most = max(program.verified_instructions for program in sockets.loaded.programs.values())

    assert most < 500_000
