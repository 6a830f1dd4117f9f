"""Backends that are reached from the node: whose port there is whose, and for how long."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from datapath.kernel.layout import NODE_PORT_FIRST, NODE_PORTS, Flow, Progress, Reason, Translation
from tests.bpf.frames import ACK, SYN
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, Kind, Node, numbers, ports
from tests.bpf.stand import TC_ACT_SHOT, TC_ACT_UNSPEC

TCP4, UDP4, TCP6 = KINDS[0], KINDS[2], KINDS[6]
OPEN = Progress.REPLIED | Progress.ESTABLISHED


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_each_flow_to_another_node_has_a_port_of_its_own(node: Node, kind: Kind) -> None:
    """300 clients of one backend are 300 ports of the node."""
    at = node.service(kind, [kind.family.remote])
    came = [
        node.stand.pass_through("from_network", kind.frame((kind.family.client, next(ports)), at))[2]
        for _ in range(300)
    ]
    left = {node.sent("to_network", each).source_port for each in came}

    assert 300 == len(left)


def taken(
    node: Node, kind: Kind, backend: str, *, progress: Progress, idle_s: int, by: tuple[str, int] | None = None
) -> None:
    """All ports of the node, by one client of before."""
    family, seen_s = kind.family, (time.monotonic_ns() // 10**9 - idle_s) % 2**32
    address, port = by or (family.neighbour, 1)
    client = Translation(ip_address(address), port, Reason.RETURNED, progress, seen_s)
    node.translations.put_all(
        (
            Flow(ip_address(backend), ip_address(family.node), BACKEND_PORT, NODE_PORT_FIRST + port, kind.protocol),
            client,
        )
        for port in range(NODE_PORTS)
    )


@pytest.mark.parametrize(
    ("kind", "progress", "idle_s", "reason"),
    [
        (TCP4, OPEN, 7400, Reason.DROP_NO_SOURCE),
        (TCP4, OPEN, 7500, Reason.BALANCED),
        (TCP4, OPEN | Progress.CLIENT_CLOSED, 110, Reason.DROP_NO_SOURCE),
        (TCP4, OPEN | Progress.BACKEND_CLOSED, 130, Reason.BALANCED),
        (TCP4, OPEN | Progress.CLOSED, 5, Reason.DROP_NO_SOURCE),
        (TCP4, OPEN | Progress.CLOSED, 15, Reason.BALANCED),
        (TCP4, Progress(0), 20, Reason.BALANCED_RECLAIMED),
        (TCP4, Progress.REPLIED, 20, Reason.BALANCED_RECLAIMED),
        (TCP4, Progress.REPLIED, 35, Reason.BALANCED),
        (TCP4, Progress.CLOSED, 5, Reason.BALANCED_RECLAIMED),
        (UDP4, OPEN, 170, Reason.DROP_NO_SOURCE),
        (UDP4, OPEN, 190, Reason.BALANCED),
        (UDP4, Progress.REPLIED, 20, Reason.BALANCED_RECLAIMED),
        (UDP4, Progress.REPLIED, 35, Reason.BALANCED),
        (TCP6, OPEN, 7400, Reason.DROP_NO_SOURCE),
        (TCP6, OPEN | Progress.CLOSED, 15, Reason.BALANCED),
        (TCP6, Progress(0), 20, Reason.BALANCED_RECLAIMED),
    ],
)
def test_a_port_is_free_again_when_its_connection_has_ended_or_is_long_silent(
    node: Node, kind: Kind, progress: Progress, idle_s: int, reason: Reason
) -> None:
    """While all are taken, a new flow gets that of one that was not established, and else is dropped and counted."""
    backend = f"{kind.family.remote}{next(numbers) % 10}"
    at = node.service(kind, [backend])
    taken(node, kind, backend, progress=progress, idle_s=idle_s)

    outcome = node.outcome("from_network", kind.frame((kind.family.client, next(ports)), at))

    assert (reason,) == outcome.reasons
    assert outcome.action == (TC_ACT_SHOT if reason is Reason.DROP_NO_SOURCE else TC_ACT_UNSPEC)


def opened(node: Node, kind: Kind, client: tuple[str, int], at: tuple[str, int], backend: tuple[str, int]) -> int:
    """The port of the node with which a connection was established."""
    _, _, came = node.stand.pass_through("from_network", kind.frame(client, at))
    port = node.sent("to_network", came).source_port
    answer = kind.frame(backend, (kind.family.node, port), SYN | ACK)
    _, _, returned = node.stand.pass_through("from_network", answer)
    node.sent("to_network", returned)
    node.sent("from_network", kind.frame(client, at, ACK, acknowledged=2))
    return port


@pytest.mark.parametrize("kind", [TCP4, UDP4, TCP6], ids=lambda kind: kind.name)
def test_a_flood_of_openings_keeps_nobody_out_and_takes_nobody_s_port(node: Node, kind: Kind) -> None:
    """20,000 clients that never go on: who was there stays, who comes gets in, and other backends have all ports."""
    family, backend, other = kind.family, (f"{kind.family.stranger}0", BACKEND_PORT), f"{kind.family.stranger}1"
    at, beside = node.service(kind, [backend[0]]), node.service(kind, [other])
    before = {(family.client, port): 0 for port in range(1000, 1020)}
    before |= {client: opened(node, kind, client, at, backend) for client in before}
    for port in range(20_000):
        node.stand.pass_through("from_network", kind.frame((family.stranger, port), at))

    late = opened(node, kind, (family.client, 2000), at, backend)
    elsewhere = node.outcome("from_network", kind.frame((family.client, 2001), beside))
    after = {client: node.sent("to_network", again(node, kind, client, at)).source_port for client in before}

    assert before == after
    assert OPEN == node.kept(kind, backend, (family.node, late)).progress
    assert (Reason.BALANCED,) == elsewhere.reasons


def again(node: Node, kind: Kind, client: tuple[str, int], at: tuple[str, int]) -> bytes:
    """What goes on of a connection."""
    return node.run("from_network", kind.frame(client, at, ACK, acknowledged=2), Reason.PASS_BALANCED)


@pytest.mark.parametrize("to", [V4.neighbour, V4.client], ids=["another client", "another port of the client"])
def test_who_has_lost_his_port_gets_another_when_he_opens_again(node: Node, to: str) -> None:
    """His opening is seen once more by the backend; anything else of his is refused."""
    kind, client = TCP4, (V4.client, next(ports))
    backend = str(ip_address(V4.remote) + 100 + next(numbers) % 100)
    at = node.service(kind, [backend])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    taken(node, kind, backend, progress=Progress.REPLIED, idle_s=20, by=(to, 1))

    lost = node.outcome("from_network", kind.frame(client, at, ACK, acknowledged=2))
    anew = node.outcome("from_network", kind.frame(client, at))

    assert [(Reason.REFUSED_NO_CONNECTION,), (Reason.BALANCED_RECLAIMED,)] == [lost.reasons, anew.reasons]


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_node_without_an_address_reaches_only_its_own_pods(node: Node, kind: Kind) -> None:
    """It has nothing to be for backends elsewhere."""
    node.set(with_addresses=False)
    far, near = node.service(kind, [kind.family.remote]), node.service(kind, [kind.family.pod])
    client = (kind.family.client, next(ports))
    outcomes = [node.outcome("from_network", kind.frame(client, at)) for at in (far, near)]
    node.set(with_addresses=True)

    assert [(Reason.DROP_NO_SOURCE,), (Reason.BALANCED,)] == [outcome.reasons for outcome in outcomes]
