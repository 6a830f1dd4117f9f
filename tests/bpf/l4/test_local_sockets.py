"""Ports of the node that its own processes have: no connection of a client is made from one of them."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from datapath.kernel.layout import NODE_PORT_FIRST, NODE_PORTS, Reason
from tests.bpf.l4.node import KINDS, Kind, Node, ports
from tests.bpf.lab import inside
from tests.bpf.socket_stand import network

_FREEBIND = {socket.AF_INET: (socket.SOL_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}


@contextmanager
def files(wanted: int) -> Iterator[None]:
    """As many may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def taken(stack: ExitStack, kind: Kind, address: str, port: int) -> None:
    """By a socket that listens, or waits for datagrams."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = stack.enter_context(socket.socket(family, socket.SOCK_STREAM if kind.protocol == 6 else socket.SOCK_DGRAM))
    one.setsockopt(*_FREEBIND[family], 1)
    one.bind((address, port))
    if kind.protocol == 6:
        one.listen(1)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2], KINDS[6], KINDS[8]], ids=lambda kind: kind.name)
def test_a_port_of_a_process_of_the_node_is_not_taken(node: Node, kind: Kind) -> None:
    """While processes have all of the range, a client is dropped; when they have gone, it is served."""
    backend, address = f"{kind.family.stranger}2", kind.family.node
    at = node.service(kind, [backend])
    sent = kind.frame((kind.family.client, next(ports)), at)
    with network() as place, inside(place.name):
        with files(2 * NODE_PORTS), ExitStack() as stack:
            for port in range(NODE_PORT_FIRST, NODE_PORT_FIRST + NODE_PORTS):
                taken(stack, kind, address, port)
            during = node.outcome("from_network", sent)
        after = node.outcome("from_network", sent)

    assert [(Reason.DROP_NO_SOURCE,), (Reason.BALANCED,)] == [during.reasons, after.reasons]
