"""What is remembered of a fragmented packet: its ports, where the other fragments need them, and nothing of liars."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datapath.kernel.layout import FRAGMENTS, Reason
from tests.bpf.frames import FRAGMENT, TCP, UDP, fragment, frame, ipv4, ipv6, tcp, udp
from tests.bpf.packets import furnished
from tests.bpf.rows.setting import (
    CLIENT,
    CLIENT6,
    DNS,
    GATEWAY,
    GATEWAY6,
    HTTP,
    HTTPS,
    MESH,
    MESH6,
    NAMES,
    NAMES6,
    NEIGHBOUR,
    NEIGHBOUR6,
)
from tests.bpf.stand import Stand


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with furnished(tmp_path_factory.mktemp("bpffs")) as stand:
        yield stand


def first(source: str, destination: str, port: int, protocol: int, number: int) -> bytes:
    segment = tcp(40000, port) if protocol == TCP else udp(40000, port)
    if ":" in source:
        part = fragment(protocol, segment, more=True, identification=number)
        return frame(ipv6(source, destination, FRAGMENT, part))
    return frame(ipv4(source, destination, protocol, segment, more=True, identification=number))


@pytest.mark.parametrize(
    ("source", "destination", "port", "protocol"),
    [
        (NEIGHBOUR, MESH, HTTP, TCP),
        (NEIGHBOUR6, MESH6, HTTP, TCP),
        (NEIGHBOUR, NAMES, DNS, UDP),
        (NEIGHBOUR6, NAMES6, DNS, UDP),
        (CLIENT, GATEWAY, HTTPS, TCP),
        (CLIENT6, GATEWAY6, HTTPS, TCP),
    ],
)
def test_a_pod_that_sends_in_another_s_name_leaves_nothing(
    stand: Stand, source: str, destination: str, port: int, protocol: int
) -> None:
    """Its fragments would else push out those of others, or say their ports."""
    remembered = stand.map(FRAGMENTS)
    before = dict(remembered.items())

    outcome = stand.run("from_workload", first(source, destination, port, protocol, 900))

    assert (Reason.DROP_SPOOFED,) == outcome.reasons
    assert before == dict(remembered.items())


@pytest.mark.parametrize(("source", "destination"), [(CLIENT, GATEWAY), (CLIENT6, GATEWAY6)])
def test_what_is_steered_is_remembered_by_its_number(stand: Stand, source: str, destination: str) -> None:
    """One entry for a packet, with the ports that its later fragments do not have."""
    remembered = stand.map(FRAGMENTS)
    before = dict(remembered.items())
    stand.run("from_network", first(source, destination, HTTPS, TCP, 902))
    [(key, ports)] = [item for item in remembered.items() if item[0] not in before]

    assert ((source, destination, TCP), (40000, HTTPS)) == (
        (str(key.source), str(key.destination), key.protocol),
        ports,
    )
