"""Calls of processes, which the socket programs lead to a backend."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from datapath.kernel import layout
from datapath.kernel.layout import Backend, BackendKey, Service, ServiceKey
from datapath.kernel.maps import opened
from datapath.kernel.programs import Pins, attach_cgroup, detach
from tests.kernels.inside.loading import loaded
from tests.kernels.inside.mesh import AF, FAMILIES, LOOPBACK, TRANSPARENT, Family, address, mesh, name
from tests.kernels.inside.rig import PATIENCE_S, Rig, inside, member_of

PROGRAMS: Final = "connect4 connect6 sendmsg4 sendmsg6 recvmsg4 recvmsg6 getpeername4 getpeername6".split()
ADDRESS: Final = {"ipv4": "10.98.0.1", "ipv6": "fd00:98::1"}
NOWHERE: Final = {"ipv4": "10.98.0.2", "ipv6": "fd00:98::2"}
OWN_PORTS: Final = range(16_384, 30_000)
_PORT: Final = 53
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_AS_CLIENT: Final = (
    (socket.SOL_SOCKET, socket.SO_MARK, layout.MARK_FROM_PROXY_AS),
    (socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1),
    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
)
_KINDS: Final = {socket.IPPROTO_TCP: socket.SOCK_STREAM, socket.IPPROTO_UDP: socket.SOCK_DGRAM}


def a_connection_goes_to_the_backend_by_the_name_that_was_asked_for(rig: Rig) -> None:
    """connect() to a service's address reaches its backend, and the peer has the service's name."""
    with attached(rig):
        for family in FAMILIES:
            with serving(rig, family, socket.IPPROTO_TCP) as backend, client(family, socket.SOCK_STREAM) as caller:
                caller.connect((ADDRESS[family], _PORT))
                accepted, peer = backend.accept()
                with accepted:
                    assert caller.getsockname()[:2] == peer[:2]
                    assert (ADDRESS[family], _PORT) == name(caller, "peer")


def a_datagram_goes_to_the_backend_and_the_answer_has_the_name_that_was_asked_for(rig: Rig) -> None:
    """sendto() a service's address, and what is received comes from that address."""
    with attached(rig):
        for family in FAMILIES:
            with serving(rig, family, socket.IPPROTO_UDP) as backend, client(family, socket.SOCK_DGRAM) as caller:
                caller.sendto(b"asked", (ADDRESS[family], _PORT))
                asked, sender = backend.recvfrom(16)
                backend.sendto(b"answered", sender)
                answered, answerer = caller.recvfrom(16)

                assert (b"asked", b"answered") == (asked, answered)
                assert (ADDRESS[family], _PORT) == answerer[:2]


def a_service_without_a_backend_refuses(rig: Rig) -> None:
    """The caller is told at once: "connection refused", or EPERM where a program cannot say more (before 6.1)."""
    with attached(rig):
        said = []
        for family in FAMILIES:
            tell(rig, NOWHERE[family], socket.IPPROTO_TCP, [])
            with client(family, socket.SOCK_STREAM) as caller:
                try:
                    caller.connect((NOWHERE[family], _PORT))
                except OSError as error:
                    said.append(type(error))
        rig.found["refusal"] = said[0].__name__

        assert said in ([ConnectionRefusedError] * 2, [PermissionError] * 2)


def envoy_reaches_a_backend_as_its_client_from_a_port_of_its_own(rig: Rig) -> None:
    """The backend sees the pod's address and a port that pods do not have, and its answers reach Envoy."""
    with attached(rig):
        for family in FAMILIES:
            with inside("outside"):
                backend = socket.create_server((address("outside", family), 0), family=AF[family])
            with backend, client(family, socket.SOCK_STREAM) as envoy:
                backend.settimeout(PATIENCE_S)
                for level, option, value in (TRANSPARENT[family], *_AS_CLIENT):
                    envoy.setsockopt(level, option, value)
                envoy.bind((address("pod", family), 0))
                envoy.connect(backend.getsockname()[:2])
                accepted, peer = backend.accept()
                with accepted:
                    accepted.sendall(b"answer")

                    assert (address("pod", family), True) == (peer[0], peer[1] in OWN_PORTS)
                    assert b"answer" == envoy.recv(16)


@contextmanager
def attached(rig: Rig) -> Iterator[Path]:
    """This process is in a cgroup that all socket programs are attached to."""
    pins: Pins = mesh(rig).pins
    group = rig.group("calls")
    programs = loaded(rig, "sockets").programs
    links = [attach_cgroup(programs[each], group, each, pins).link for each in PROGRAMS]
    try:
        with member_of(group):
            yield group
    finally:
        for link in links:
            assert link is not None
            detach(link)


@contextmanager
def serving(rig: Rig, family: Family, protocol: int) -> Iterator[socket.socket]:
    """A backend of the service, on loopback."""
    with socket.socket(AF[family], _KINDS[protocol]) as backend:
        backend.settimeout(PATIENCE_S)
        backend.bind((LOOPBACK[family], 0))
        if protocol == socket.IPPROTO_TCP:
            backend.listen()
        tell(rig, ADDRESS[family], protocol, [Backend(ip_address(LOOPBACK[family]), backend.getsockname()[1])])
        yield backend


def tell(rig: Rig, frontend: str, protocol: int, backends: list[Backend]) -> None:
    """The slots first, then the service; its number tells families and protocols apart."""
    at, maps = ip_address(frontend), mesh(rig).pins.maps
    number = 100 * at.version + protocol
    with opened(layout.BACKENDS, maps) as slots, opened(layout.SERVICES, maps) as services:
        slots.put_all((BackendKey(number, 1, slot), backend) for slot, backend in enumerate(backends))
        services.put(ServiceKey(at, _PORT, protocol), Service(0, number, 1, len(backends)))


def client(family: Family, kind: socket.SocketKind) -> socket.socket:
    found = socket.socket(AF[family], kind)
    found.settimeout(PATIENCE_S)
    return found
