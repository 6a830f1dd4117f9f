"""Services that Envoy serves: whose connections are left to links, marked, or go past it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from datapath.kernel.layout import LISTENERS_PER_FAMILY, MARK_MASK, MARK_TO_PROXY, Reason, ServiceFlag
from datapath.kernel.programs import cgroup_id
from tests.bpf.socket_stand import Actor, Sockets, cgroup
from tests.bpf.sockets.ways import BACKENDS, NODE4, NODE6, WAYS, Way, listener, numbers


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
    ("way", "slots", "balanced"),
    [
        (WAYS[0], (), True),
        (WAYS[1], (), True),
        (WAYS[0], (0,), False),
        (WAYS[0], (LISTENERS_PER_FAMILY - 1,), False),
        (WAYS[0], (LISTENERS_PER_FAMILY,), True),
        (WAYS[1], (LISTENERS_PER_FAMILY,), False),
        (WAYS[1], (2 * LISTENERS_PER_FAMILY - 1,), False),
        (WAYS[2], (3,), False),
        (WAYS[2], (), True),
    ],
)
def test_a_service_that_fails_open_is_balanced_while_there_is_no_envoy(
    sockets: Sockets, pod: Actor, way: Way, slots: tuple[int, ...], *, balanced: bool
) -> None:
    """A listener of the family counts; without one, connect() chooses a backend."""
    number = next(numbers)
    flags = ServiceFlag.PROXY | ServiceFlag.FAIL_OPEN
    asked = (way.asked.format(number), 80)
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

    assert [[BACKENDS[3], 81]] * 2 == pod.ask("again", (BACKENDS[3], 81), (BACKENDS[3], 81))["peers"]
