"""Pods on a bridge, whose frames to each other pass no route: their ports have the programs, as links of pods have."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from datapath.kernel import routing
from datapath.kernel.layout import Direction, Reason, ServiceFlag
from tests.bpf.frames import TCP, frame, ipv4, ipv6, tcp
from tests.bpf.lab import ADDRESSES, BACKEND, BRIDGE, FAMILIES, NODE, POD, Lab, inside

MESH, HTTP, BACKEND_PORT = ("10.96.0.10", "fd00:96::10"), 80, 8080
SELF = ("192.0.0.8", "100:0:0:1::8")

both = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module", params=["0", "1"], ids=["paths not checked", "paths checked strictly"])
def node(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("bpffs"), bridged=True) as lab:
        for mesh in MESH:
            lab.serve(mesh, HTTP, ServiceFlag.PROXY)
        lab.sysctl(NODE, "ipv4/conf/all/rp_filter", request.param)
        with inside(lab.name(NODE)):
            routing.install()
            routing.loosen(BRIDGE)
        yield lab


def told(client: socket.socket, listener: socket.socket) -> tuple[str, str]:
    """To whom a connection is, and from whom, once both have heard each other."""
    server, _ = listener.accept()
    with server:
        server.settimeout(client.gettimeout())
        for one, other in ((client, server), (server, client)):
            one.sendall(b"x")
            assert b"x" == other.recv(1)
        return server.getsockname()[0], server.getpeername()[0]


@both
def test_a_pod_reaches_a_proxied_service(node: Lab, family: int) -> None:
    """As over a link of its own."""
    with node.capture(FAMILIES[family]) as envoy, node.connect(POD, (MESH[family], HTTP)) as client:
        seen = told(client, envoy)

    assert (MESH[family], ADDRESSES[POD][family]) == seen


@both
def test_the_backend_is_on_the_same_bridge(node: Lab, family: int) -> None:
    """Its replies to the client's address, which the bridge would bring to the client, are Envoy's."""
    backend = ADDRESSES[BACKEND][family], BACKEND_PORT
    with node.listener(BACKEND, *backend) as listener, node.upstream(ADDRESSES[POD][family], backend) as upstream:
        seen = told(upstream, listener)

    assert (ADDRESSES[BACKEND][family], ADDRESSES[POD][family]) == seen


@both
def test_a_pod_is_its_own_backend(node: Lab, family: int) -> None:
    """By its stand-in, whose address is not of the bridge."""
    own = ADDRESSES[POD][family]
    with node.listener(POD, own, BACKEND_PORT) as listener, node.upstream(own, (own, BACKEND_PORT)) as upstream:
        seen = told(upstream, listener)

    assert (own, SELF[family]) == seen


@both
def test_pods_reach_each_other(node: Lab, family: int) -> None:
    """Past the node."""
    backend = ADDRESSES[BACKEND][family], BACKEND_PORT
    with node.listener(BACKEND, *backend) as listener, node.connect(POD, backend) as client:
        seen = told(client, listener)

    assert (ADDRESSES[BACKEND][family], ADDRESSES[POD][family]) == seen


@both
def test_a_pod_is_not_its_neighbour(node: Lab, family: int) -> None:
    """Of one bridge too, each has its own addresses."""
    packet, to = (ipv4, ipv6)[family], MESH[family]
    stolen = frame(packet(ADDRESSES[BACKEND][family], to, TCP, tcp(40000, HTTP)))
    before = node.count(Reason.DROP_SPOOFED, Direction.FROM_WORKLOAD)
    with inside(node.name(POD)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(stolen)

    assert 1 == node.grown(Reason.DROP_SPOOFED, Direction.FROM_WORKLOAD, before)
