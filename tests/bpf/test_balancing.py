"""Services that no socket and no Envoy serves, over real links: what translates packets is seen by real stacks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from typing import Final

import pytest

from datapath.ageing import translated_by
from datapath.kernel import layout
from datapath.kernel.layout import (
    NODE_PORT_FIRST,
    ONLY,
    Backend,
    BackendKey,
    Direction,
    Progress,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Settings,
)
from tests.bpf.lab import ADDRESSES, BACKEND, FAMILIES, NODE, OUTSIDE, PATIENCE_S, POD, Lab, inside

PORT: Final = 80
BACKEND_PORT: Final = 8080
FAR: Final = "far"
ELSEWHERE: Final = ("192.0.2.10", "fd00:fe::10")
"""Of a backend that is reached over the network."""
SERVICES: Final = ("203.0.113.{}", "2001:db8:203::{}")
MUCH: Final = 200_000
numbers = count(200)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    client: str
    backend: str
    masqueraded: bool


CASES: Final = (
    Case("a client outside, and a pod", OUTSIDE, BACKEND, masqueraded=False),
    Case("a client outside, and a backend elsewhere", OUTSIDE, FAR, masqueraded=True),
    Case("a pod, and another", POD, BACKEND, masqueraded=False),
    Case("a pod, and a backend elsewhere", POD, FAR, masqueraded=False),
    Case("a pod, and itself", POD, POD, masqueraded=True),
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Without Envoy, and with addresses to reach backends elsewhere from."""
    with Lab(tmp_path_factory.mktemp("bpffs")) as lab:
        lab.stand.map(layout.SETTINGS).put(
            ONLY, Settings(node4=ip_address(ADDRESSES[NODE][0]), node6=ip_address(ADDRESSES[NODE][1]))
        )
        yield lab


@contextmanager
def backend(node: Lab, case: Case, family: int) -> Iterator[str]:
    """Its address, while it is there."""
    if case.backend != FAR:
        yield ADDRESSES[case.backend][family]
        return
    with node.behind_outside(ELSEWHERE[family], 1500):
        yield ELSEWHERE[family]


def service(node: Lab, case: Case, family: int, address: str | None, protocol: int) -> tuple[str, int]:
    """Of one backend, or of none."""
    number = next(numbers)
    at = SERVICES[family].format(number)
    if address:
        node.stand.map(layout.BACKENDS).put(BackendKey(number, 1, 0), Backend(ip_address(address), BACKEND_PORT))
    value = Service(ServiceFlag.EXTERNAL, number, 1, 1 if address else 0)
    node.services.put(ServiceKey(ip_address(at), PORT, protocol), value)
    return at, PORT


def expected(case: Case, family: int, source: tuple[str, int], seen: tuple[str, int]) -> bool:
    """Whether a backend sees its client as it should: as it is, or as the node at a port of the range."""
    if not case.masqueraded:
        return source == seen
    return seen[0] == ADDRESSES[NODE][family] and seen[1] >= NODE_PORT_FIRST


def carry(sender: socket.socket, receiver: socket.socket) -> None:
    """Many packets, all of which arrive."""
    writing = threading.Thread(target=sender.sendall, args=(bytes(MUCH),))
    writing.start()
    received = 0
    while received < MUCH:
        received += len(receiver.recv(65536))
    writing.join()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_connection_carries_what_both_sides_say(node: Lab, case: Case, family: int) -> None:
    """Many packets each way, whose checksums real stacks accept; the client talks to the service's address."""
    with (
        backend(node, case, family) as address,
        node.listener(case.backend, address, BACKEND_PORT) as listener,
        node.connect(case.client, service(node, case, family, address, socket.IPPROTO_TCP)) as client,
    ):
        server, peer = listener.accept()
        with server:
            for sender, receiver in ((client, server), (server, client)):
                carry(sender, receiver)

        assert expected(case, family, client.getsockname()[:2], peer[:2])


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_datagrams_are_answered_by_the_service(node: Lab, case: Case, family: int) -> None:
    """Small ones, and ones that come in fragments; a connected socket would take no answer from anybody else."""
    with (
        backend(node, case, family) as address,
        datagrams(node, case.backend, family) as server,
        datagrams(node, case.client, family) as client,
    ):
        server.bind((address, BACKEND_PORT))
        client.connect(service(node, case, family, address, socket.IPPROTO_UDP))
        for length in (0, 1, 1200, 4000, 1):
            client.send(bytes(length))
            received, peer = server.recvfrom(65536)
            server.sendto(received + b"!", peer)

            assert expected(case, family, client.getsockname()[:2], peer[:2])
            assert bytes(length) + b"!" == client.recv(65536)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_a_connection_is_known_from_its_handshake_to_its_end(node: Lab, case: Case, family: int) -> None:
    """By what real stacks say; and who goes on with one that was forgotten is told at once, by a reset."""
    said = []
    connections, translations = node.stand.map(layout.CONNECTIONS), node.stand.map(layout.TRANSLATIONS)
    with (
        backend(node, case, family) as address,
        node.listener(case.backend, address, BACKEND_PORT) as listener,
        node.connect(case.client, service(node, case, family, address, socket.IPPROTO_TCP)) as client,
    ):
        port = client.getsockname()[1]
        server, _ = listener.accept()
        with server:
            client.sendall(b"x")
            server.recv(1)
            [known] = [item for item in connections.items() if item[0].source_port == port]
            said.append(translations.get(translated_by(*known)[0]))
            connections.delete(known[0])
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    assert [Progress.REPLIED | Progress.ESTABLISHED] == [entry.progress for entry in said if entry]


# Over IPv4 a router does not take its own word from somebody else: there, one elsewhere is in the tests of packets.
@pytest.mark.parametrize(("to", "family"), [(BACKEND, 0), (BACKEND, 1), (OUTSIDE, 1)])
def test_a_smaller_link_on_the_way_to_a_client_is_found(node: Lab, to: str, family: int) -> None:
    """The router's word on it reaches the backend, here or elsewhere, which sends smaller segments then."""
    case = Case("", FAR, to, masqueraded=to == OUTSIDE)
    where = Direction.FROM_NETWORK
    with (
        node.behind_outside(ELSEWHERE[family], 1300),
        node.listener(to, ADDRESSES[to][family], BACKEND_PORT) as listener,
        node.connect(FAR, service(node, case, family, ADDRESSES[to][family], socket.IPPROTO_TCP)) as client,
    ):
        server, peer = listener.accept()
        before = node.count(Reason.BALANCED_ERROR, where)
        with server:
            carry(server, client)

        assert expected(case, family, client.getsockname()[:2], peer[:2])
        assert node.count(Reason.BALANCED_ERROR, where) > before


@pytest.mark.parametrize(("to", "family"), [(BACKEND, 0), (BACKEND, 1), (FAR, 1)])
def test_a_smaller_link_on_the_way_to_a_backend_is_found(node: Lab, to: str, family: int) -> None:
    """A client is told by this node, where the link is its own, or by a router behind it; it knows only the service."""
    case = Case("", OUTSIDE, to, masqueraded=to == FAR)
    where = Direction.TO_NETWORK
    with (
        smaller(node, to, family) as address,
        node.listener(to, address, BACKEND_PORT) as listener,
        node.connect(OUTSIDE, service(node, case, family, address, socket.IPPROTO_TCP)) as client,
    ):
        server, _ = listener.accept()
        before = node.count(Reason.BALANCED_ERROR, where)
        with server:
            server.settimeout(PATIENCE_S)
            carry(client, server)

        assert node.count(Reason.BALANCED_ERROR, where) > before


@contextmanager
def smaller(node: Lab, to: str, family: int) -> Iterator[str]:
    """The address of a backend that only packets of 1,300 bytes reach; it does not know that."""
    if to == FAR:
        with node.behind_outside(ELSEWHERE[family], 1300):
            yield ELSEWHERE[family]
        return
    node.ip(NODE, f"link set {to}0 mtu 1300")
    yield ADDRESSES[to][family]
    node.ip(NODE, f"link set {to}0 mtu 1500")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("who", [POD, OUTSIDE])
def test_a_connection_to_a_service_without_backends_is_refused(node: Lab, who: str, family: int) -> None:
    """At once, by a reset."""
    before = node.count(Reason.REFUSED_NO_BACKEND, Direction.FROM_WORKLOAD if who == POD else Direction.FROM_NETWORK)
    at = service(node, CASES[0], family, None, socket.IPPROTO_TCP)

    with pytest.raises(ConnectionRefusedError):
        node.connect(who, at)

    where = Direction.FROM_WORKLOAD if who == POD else Direction.FROM_NETWORK
    assert 1 == node.grown(Reason.REFUSED_NO_BACKEND, where, before)


def datagrams(node: Lab, who: str, family: int) -> socket.socket:
    with inside(node.name(who)):
        opened = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
    opened.settimeout(PATIENCE_S)
    return opened
