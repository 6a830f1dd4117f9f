"""Which backend a flow gets that no socket has chosen one for, and how long it keeps it."""

from __future__ import annotations

import time
from collections import Counter
from ipaddress import ip_address

import pytest

from datapath.kernel.layout import MARK_MASK, MARK_REFUSE, BackendKey, Client, ClientKind, Reason, ServiceFlag
from tests.bpf.frames import ACK, SYN
from tests.bpf.l4.node import KINDS, V4, Kind, Node, numbers, ports
from tests.bpf.stand import TC_ACT_UNSPEC
from tests.bpf.translated import seen


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_flow_keeps_its_backend(node: Node, kind: Kind) -> None:
    """Also what opens it once more, and also when that backend moves to another slot."""
    backends = [f"{kind.family.pod}{number}" for number in range(4)]
    client, number = (kind.family.client, next(ports)), next(numbers)
    at = node.service(kind, backends, number=number)
    [first] = {node.sent("from_network", kind.frame(client, at)).destination for _ in range(10)}
    node.service(kind, backends[::-1], number=number, generation=2)
    node.backends.delete_all(BackendKey(number, 1, slot) for slot in range(4))

    assert {first} == {node.sent("from_network", kind.frame(client, at)).destination for _ in range(10)}


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
def test_a_connection_outlives_its_backend_s_slot(node: Node, kind: Kind) -> None:
    """A backend that is being stopped finishes what it has; who connects anew gets another."""
    client, number = (kind.family.client, next(ports)), next(numbers)
    at = node.service(kind, [kind.family.pod], number=number)
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.service(kind, [kind.family.neighbour], number=number, generation=2)

    later = seen(node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED))
    anew = seen(node.run("from_network", kind.frame(client, at, SYN), Reason.BALANCED))

    assert (kind.family.pod, kind.family.neighbour) == (later.destination, anew.destination)


@pytest.mark.parametrize("kind", [KINDS[2], KINDS[8]], ids=lambda kind: kind.name)
def test_datagrams_leave_a_backend_that_has_gone(node: Node, kind: Kind) -> None:
    """Nothing else would tell them."""
    client, number = (kind.family.client, next(ports)), next(numbers)
    at = node.service(kind, [kind.family.pod], number=number)
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.service(kind, [kind.family.neighbour], number=number, generation=2)

    moved = seen(node.run("from_network", kind.frame(client, at), Reason.BALANCED))

    assert kind.family.neighbour == moved.destination


def test_flows_are_spread_by_weight(node: Node) -> None:
    """4,000 flows over a backend of three slots and one of one come within six standard deviations of that."""
    kind = KINDS[0]
    at = node.service(kind, [V4.pod, V4.pod, V4.pod, V4.neighbour])
    found = Counter(
        node.sent("from_network", kind.frame((V4.client, port), at)).destination for port in range(10_000, 14_000)
    )

    assert {V4.pod, V4.neighbour} == set(found)
    assert abs(found[V4.neighbour] - 1000) < 6 * (4000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("flags", [ServiceFlag.EXTERNAL, ServiceFlag.EXTERNAL | ServiceFlag.AFFINITY])
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2], KINDS[6], KINDS[8]], ids=lambda kind: kind.name)
def test_the_share_of_nobody_is_refused(node: Node, kind: Kind, flags: ServiceFlag) -> None:
    """Of 2,000 flows three in four, within six standard deviations; with affinity, until a client has a backend."""
    at = node.service(kind, [kind.family.pod, "", "", ""], flags=flags)
    refused = 0
    for port in range(10_000, 12_000):
        sent = kind.frame((f"{kind.family.client}{port % 10}", port), at)
        action, mark, left = node.stand.pass_through("from_network", sent)
        assert TC_ACT_UNSPEC == action
        refused += mark & MARK_MASK == MARK_REFUSE
        assert (left == sent) == (mark & MARK_MASK == MARK_REFUSE)

    if flags & ServiceFlag.AFFINITY:
        assert 0 < refused < 500
    else:
        assert abs(refused - 1500) < 6 * (2000 * 0.75 * 0.25) ** 0.5


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
def test_a_client_keeps_its_backend(node: Node, kind: Kind) -> None:
    """With affinity all flows of an address go to one backend, until it was away for longer than that lasts."""
    backends = [f"{kind.family.pod}{number}" for number in range(4)]
    number, flags = next(numbers), ServiceFlag.EXTERNAL | ServiceFlag.AFFINITY
    at = node.service(kind, backends, number=number, flags=flags)
    key = Client(ip_address(kind.family.client), 0, ClientKind.ADDRESS, number)

    def reached(flows: int) -> set[str]:
        sent = [kind.frame((kind.family.client, next(ports)), at) for _ in range(flows)]
        return {node.sent("from_network", each).destination for each in sent}

    kept, later = reached(40), set()
    for _ in range(40):
        held = node.affinity.get(key)
        assert held
        node.affinity.put(key, held._replace(seen_ns=(time.monotonic_ns() - 61 * 10**9) % 2**64))
        later |= reached(1)

    assert 1 == len(kept)
    assert set(backends) == later
