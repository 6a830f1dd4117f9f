"""What the daemon takes away of what programs have written: the same as they would take, and all of it."""

from __future__ import annotations

import time
from ipaddress import ip_address
from itertools import product

import pytest

from datapath.ageing import Ageing, life_s
from datapath.kernel.layout import NODE_PORT_FIRST, NODE_PORTS, Flow, Progress, Reason, Translation
from tests.bpf.frames import ACK, RST, SYN
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, Kind, Node, numbers, ports

MARGIN_S = 3


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]], ids=lambda kind: kind.name)
def test_programs_and_daemon_mean_the_same_by_over(node: Node, kind: Kind) -> None:
    """For each progress: a port that the one gives away is one that the other would take."""
    found = {}
    backend = f"{kind.family.remote}{next(numbers) % 10}"
    at = node.service(kind, [backend])
    for bits, late in product(range(16), (False, True)):
        life = life_s(bits, kind.protocol, masqueraded=True)
        seen_s = (time.monotonic_ns() // 10**9 - life + (-MARGIN_S if late else MARGIN_S)) % 2**32
        client = Translation(ip_address(kind.family.neighbour), 1, Reason.RETURNED, bits, seen_s)
        for port in range(NODE_PORTS):
            node.translations.delete(answer(kind, backend, port))
        node.translations.put_all((answer(kind, backend, port), client) for port in range(NODE_PORTS))
        [reason] = node.outcome("from_network", kind.frame((kind.family.client, next(ports)), at)).reasons
        found[bits, late] = reason is Reason.BALANCED

    assert {(bits, late): late for bits, late in found} == found


def answer(kind: Kind, backend: str, port: int) -> Flow:
    node = ip_address(kind.family.node)
    return Flow(ip_address(backend), node, BACKEND_PORT, NODE_PORT_FIRST + port, kind.protocol)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6], KINDS[2], KINDS[8]], ids=lambda kind: kind.name)
@pytest.mark.parametrize("where", ["pod", "remote"])
def test_nothing_is_left_of_a_connection_that_is_over(node: Node, kind: Kind, where: str) -> None:
    """Neither its backend nor what its packets are translated to, in either direction; what goes on is left alone."""
    node.connections.delete_all([key for key, _ in node.connections.items()])
    node.translations.delete_all([key for key, _ in node.translations.items()])
    at = node.service(kind, [getattr(kind.family, where)])
    for port in (1, 2):
        _, _, came = node.stand.pass_through("from_network", kind.frame((kind.family.client, port), at))
        node.stand.pass_through("to_network", came)
    ageing = Ageing(node.connections, node.translations)
    kept = [ageing.sweep(time.monotonic), ageing.sweep(time.monotonic)]
    both = len(dict(node.translations.items()))
    node.translations.put_all(
        [
            (key, entry._replace(seen_s=entry.seen_s - 40))
            for key, entry in node.translations.items()
            if 1 in key_ports(key, entry)
        ]
    )

    gone = ageing.sweep(time.monotonic)

    assert [[], []] == kept
    assert [1] == [each.flow.source_port for each in gone]
    assert [2] == [flow.source_port for flow, _ in node.connections.items()]
    assert both == 2 * len(dict(node.translations.items()))


def key_ports(key: Flow, entry: Translation) -> set[int]:
    """Ports that tell a client."""
    return {key.source_port, key.destination_port, entry.port}


def test_the_next_segment_of_a_connection_that_was_forgotten_is_refused(node: Node) -> None:
    """Its client learns at once that it has ended, and may open it again."""
    kind, client = KINDS[0], (V4.client, next(ports))
    at = node.service(kind, [V4.pod])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.run("from_network", kind.frame(client, at, RST), Reason.PASS_BALANCED)
    entry = node.kept(kind, (V4.pod, BACKEND_PORT), client)
    key = Flow(ip_address(V4.pod), ip_address(client[0]), BACKEND_PORT, client[1], kind.protocol)
    node.translations.put(key, entry._replace(seen_s=entry.seen_s - 70))

    gone = Ageing(node.connections, node.translations).sweep(time.monotonic)

    assert [(client[1], Progress.CLOSED)] == [(each.flow.source_port, each.progress) for each in gone]
    node.run("from_network", kind.frame(client, at, ACK), Reason.REFUSED_NO_CONNECTION)
    node.run("from_network", kind.frame(client, at, SYN), Reason.BALANCED)
