"""Segments of connections: whose they are where a socket of the node, or an entry of a map, could have them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from datapath.kernel.events import Events
from datapath.kernel.layout import (
    BACKENDS,
    CONNECTIONS,
    MARK_FROM_PROXY,
    MARK_FROM_PROXY_AS,
    Backend,
    BackendKey,
    Connection,
    Flow,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
)
from datapath.kernel.maps import opened
from tests.bpf.lab import ADDRESSES, BACKEND, FAMILIES, NODE, OUTSIDE, POD, Lab, run, transparent
from tests.bpf.test_steering import SO_MARK, Family, accepted, both, converse, converse_at

SERVICE = ("10.96.0.77", "fd00:96::77")
HTTP, BACKEND_PORT = 80, 8080
FIREWALL = "table inet firewall { chain input { type filter hook input priority 0; ct state invalid drop; }; }"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With a service that fails open, to a pod of its own."""
    with Lab(tmp_path_factory.mktemp("bpffs")) as lab:
        for number, (service, backend) in enumerate(zip(SERVICE, ADDRESSES[BACKEND], strict=True), 700):
            lab.stand.map(BACKENDS).put(BackendKey(number, 1, 0), Backend(ip_address(backend), BACKEND_PORT))
            flags = ServiceFlag.PROXY | ServiceFlag.FAIL_OPEN
            lab.services.put(ServiceKey(ip_address(service), HTTP, socket.IPPROTO_TCP), Service(flags, number, 1, 1))
        yield lab


@both
def test_one_that_envoy_has_a_socket_for_is_envoys(node: Lab, family: Family) -> None:
    """Whatever is remembered of a flow with the same addresses and ports, which was before."""
    to = (SERVICE[family], HTTP)
    pod, service, backend = map(ip_address, (ADDRESSES[POD][family], to[0], ADDRESSES[BACKEND][family]))
    with node.capture(FAMILIES[family]) as envoy, node.connect(POD, to) as client:
        server, _, _ = accepted(envoy)
        flow = Flow(pod, service, client.getsockname()[1], HTTP, socket.IPPROTO_TCP)
        with server, opened(CONNECTIONS, node.pins.maps) as connections:
            connections.put(flow, Connection(backend, BACKEND_PORT, 1, 1, 0, None, 0))
            converse(client, server)
            connections.delete_all([flow])


@both
def test_a_socket_in_time_wait_has_nothing_more(node: Lab, family: Family) -> None:
    """Envoy closed first and is away; from the same port its client gets a backend, and goes on with that."""
    to, backend = (SERVICE[family], HTTP), (ADDRESSES[BACKEND][family], BACKEND_PORT)
    with node.capture(FAMILIES[family]) as envoy, node.connect(POD, to, port=40111) as client:
        server, _, _ = accepted(envoy)
        converse(client, server)
        server.close()
        assert b"" == client.recv(1)
    with node.listener(BACKEND, *backend) as listener, node.connect(POD, to, port=40111) as again:
        converse_at(listener, again)


@both
def test_one_that_the_kernel_balances_is_told_of_as_that_alone(node: Lab, family: Family) -> None:
    """While Envoy is away, and when it is back: nobody refuses it, and no listener is selected for it."""
    to, backend = (SERVICE[family], HTTP), (ADDRESSES[BACKEND][family], BACKEND_PORT)
    with node.listener(BACKEND, *backend) as listener, Events(node.pins.maps) as events:
        list(events.read())
        before = node.counted()
        with node.connect(POD, to) as client:
            server, _, _ = accepted(listener)
            with server:
                converse(client, server)
                with node.capture(FAMILIES[family]):
                    converse(client, server)
        told = {Reason(event.reason) for event in events.read()}
        counted = {reason for (reason, _), number in node.counted().items() if number != before.get((reason, _), 0)}

    assert {Reason.BALANCED} == told
    assert set() == counted & {Reason.REFUSED_NO_LISTENER, Reason.SELECTED}
    assert Reason.PASS_BALANCED in counted


@both
@pytest.mark.parametrize("flags", [None, ServiceFlag(0), ServiceFlag.EXTERNAL])
@pytest.mark.parametrize("who", [BACKEND, OUTSIDE])
@pytest.mark.parametrize("port", [2000, 20001])
@pytest.mark.parametrize("mark", [MARK_FROM_PROXY, MARK_FROM_PROXY_AS])
def test_replies_to_envoy_are_not_tracked_either(
    node: Lab, family: Family, mark: int, port: int, who: str, flags: ServiceFlag | None
) -> None:
    """What it sends is not: a firewall that drops what belongs to no connection would drop them.

    From any port, also from one that is a service's at this address, which the kernel balances.
    """
    own, backend = ADDRESSES[NODE][family], (ADDRESSES[who][family], BACKEND_PORT)
    key = ServiceKey(ip_address(own), port, socket.IPPROTO_TCP)
    if flags is not None:
        node.services.put(key, Service(flags, 700 + family, 1, 1))
    run("ip", "netns", "exec", node.name(NODE), "nft", FIREWALL)
    try:
        with node.listener(who, *backend) as listener, node.endpoint(NODE, FAMILIES[family]) as upstream:
            transparent(upstream)
            upstream.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            upstream.bind((own, port))
            upstream.connect(backend)
            converse_at(listener, upstream)
    finally:
        run("ip", "netns", "exec", node.name(NODE), "nft", "delete", "table", "inet", "firewall")
        node.services.delete_all([key])


def test_the_nodes_own_connections_are_left_alone(node: Lab) -> None:
    """What a process of the node gets from a pod is not Envoy's."""
    to = (ADDRESSES[NODE][0], BACKEND_PORT)
    before = node.counted()
    with node.listener(NODE, *to) as listener, node.connect(POD, to) as client:
        converse_at(listener, client)

    grown = {reason for (reason, _), number in node.counted().items() if number > before.get((reason, _), 0)}
    assert set() == grown & {Reason.STEERED, Reason.STEERED_REPLY}
