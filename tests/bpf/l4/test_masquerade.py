"""Backends that are reached from the node: whose port there is whose, and for how long."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from datapath.kernel.layout import NODE_PORT_FIRST, NODE_PORTS, Flow, Reason, Translation
from tests.bpf.frames import ACK, FIN, RST, TCP
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, Kind, Node, numbers, ports
from tests.bpf.stand import TC_ACT_SHOT, TC_ACT_UNSPEC
from tests.bpf.translated import seen


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


def taken(node: Node, kind: Kind, backend: str, *, closed: int, idle_s: int) -> None:
    """All ports of the node, by clients of before."""
    family, seen_s = kind.family, (time.monotonic_ns() // 10**9 - idle_s) % 2**32
    client = Translation(ip_address(family.neighbour), 1, Reason.RETURNED, closed, seen_s)
    node.translations.put_all(
        (
            Flow(ip_address(backend), ip_address(family.node), BACKEND_PORT, NODE_PORT_FIRST + port, kind.protocol),
            client,
        )
        for port in range(NODE_PORTS)
    )


@pytest.mark.parametrize(
    ("kind", "closed", "idle_s", "reason"),
    [
        (KINDS[0], 0, 7000, Reason.DROP_NO_SOURCE),
        (KINDS[0], 0, 7300, Reason.BALANCED),
        (KINDS[0], 1, 5, Reason.DROP_NO_SOURCE),
        (KINDS[0], 1, 15, Reason.BALANCED),
        (KINDS[2], 0, 170, Reason.DROP_NO_SOURCE),
        (KINDS[2], 0, 190, Reason.BALANCED),
        (KINDS[6], 0, 7000, Reason.DROP_NO_SOURCE),
        (KINDS[6], 1, 15, Reason.BALANCED),
    ],
)
def test_a_port_is_free_again_when_it_was_closed_or_is_long_silent(
    node: Node, kind: Kind, closed: int, idle_s: int, reason: Reason
) -> None:
    """While all are taken, a new flow is dropped and counted."""
    backend = f"{kind.family.remote}{next(numbers) % 10}"
    at = node.service(kind, [backend])
    taken(node, kind, backend, closed=closed, idle_s=idle_s)

    outcome = node.outcome("from_network", kind.frame((kind.family.client, next(ports)), at))

    assert (reason,) == outcome.reasons
    assert outcome.action == (TC_ACT_SHOT if reason is Reason.DROP_NO_SOURCE else TC_ACT_UNSPEC)


@pytest.mark.parametrize("flags", [FIN | ACK, RST], ids=["FIN", "RST"])
@pytest.mark.parametrize("closer", ["client", "backend"])
def test_who_closes_frees_the_port(node: Node, flags: int, closer: str) -> None:
    """Either side's word on it is remembered."""
    kind, client = KINDS[0], (V4.client, next(ports))
    at = node.service(kind, [V4.remote])
    came = node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    port = seen(node.run("to_network", came, Reason.MASQUERADED)).source_port
    key = Flow(ip_address(V4.remote), ip_address(V4.node), BACKEND_PORT, port, TCP)
    before = node.translations.get(key)

    if closer == "client":
        node.run("from_network", kind.frame(client, at, flags), Reason.PASS_BALANCED)
    else:
        node.run("from_network", kind.frame((V4.remote, BACKEND_PORT), (V4.node, port), flags), Reason.RETURNED)
    after = node.translations.get(key)

    assert before
    assert after
    assert (0, 1) == (before.closed, after.closed)


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_node_without_an_address_reaches_only_its_own_pods(node: Node, kind: Kind) -> None:
    """It has nothing to be for backends elsewhere."""
    node.set(with_addresses=False)
    far, near = node.service(kind, [kind.family.remote]), node.service(kind, [kind.family.pod])
    client = (kind.family.client, next(ports))
    outcomes = [node.outcome("from_network", kind.frame(client, at)) for at in (far, near)]
    node.set(with_addresses=True)

    assert [(Reason.DROP_NO_SOURCE,), (Reason.BALANCED,)] == [outcome.reasons for outcome in outcomes]
