"""Clients that keep their backend, and datagrams of one socket."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from datapath.kernel.layout import AFFINITY, Client, ClientKind, ServiceFlag
from tests.bpf.socket_stand import Actor, Sockets
from tests.bpf.sockets.ways import BACKENDS, names, numbers, served


def test_datagrams_of_one_socket_stay_with_one_backend(sockets: Sockets, pod: Actor) -> None:
    """What belongs together, as QUIC's packets do, is not spread, although nothing is connected."""
    number = next(numbers)
    address = f"10.96.1.{number}"
    sockets.service(number, "udp", [(address, 443)], [(backend, 8080) for backend in BACKENDS])

    each = [len(served(pod.ask("send", (address, 443), times=20))) for _ in range(20)]

    assert [1] * 20 == each


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


def test_sockets_of_datagrams_push_out_no_client_that_has_a_backend(
    stack: ExitStack, node: Path, servers: Actor, tmp_path: Path
) -> None:
    """A process may have as many as it likes: 300 of them, where there is room for 64 clients."""
    sockets = Sockets(stack, tmp_path, {"affinity": 64, "conversations": 64})
    sockets.attach()
    sockets.set()
    backends = [(backend, 8080) for backend in BACKENDS]
    affine = ("10.96.3.1", 80)
    sockets.service(1, "tcp", [affine], backends, flags=ServiceFlag.AFFINITY, affinity_s=60)
    sockets.service(2, "udp", [("10.96.3.2", 53)], backends)
    actor = sockets.actor(node)
    key = Client(None, actor.ask("netns"), ClientKind.NAMESPACE, 1)
    actor.ask("connect", "tcp", *affine)

    for _ in range(300):
        actor.ask("send", ("10.96.3.2", 53))

    with sockets.open(AFFINITY) as affinity:
        assert affinity.get(key)
