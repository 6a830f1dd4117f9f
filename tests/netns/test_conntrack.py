"""B11: the kernel's table of connections may lose all that it has; nothing of ours is in it that would be missed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import pack, unpack_from

import pytest

from tests.bpf.lab import inside
from tests.netns.load import load
from tests.netns.mesh import address_of
from tests.netns.stand import FAMILIES, Node
from tests.netns.table import World, tracked

FLUSHES = 10
# Of netfilter's netlink: an order to delete entries of the table of connections, and to say so; all of them.
_NETFILTER = 12
_DELETE_ALL = pack("=IHHIIBBH", 20, 0x0102, 0x5, 1, 0, socket.AF_UNSPEC, 0, 0)


@pytest.fixture
def tracking(world: World) -> Iterator[World]:
    """With rules of a kube-proxy for all that is asked, so that there is a table, and it is asked at every packet."""
    names = ("near", "far", "plain", "edge")
    rules = [(address_of(name, f), 80, world.impostor.address(f), 8080) for name in names for f in FAMILIES]
    rules += [(address_of("lines", family), 9000, world.impostor.address(family), 8080) for family in FAMILIES]
    for node in world.mesh.stand.nodes:
        node.kube_proxy(*rules)
    yield world
    for node in world.mesh.stand.nodes:
        node.sh("nft delete table inet kube-proxy")


def flush(node: Node) -> int:
    """How many there were that are gone now."""
    before = len(tracked(node))
    with inside(node.namespace.name), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as netlink:
        netlink.send(_DELETE_ALL)
        (refused,) = unpack_from("=i", netlink.recv(4096), 16)
    assert 0 == refused
    return before


def test_connections_outlive_the_table_of_connections(tracking: World) -> None:
    """By Envoy, by a socket's choice and translated packet by packet, kept and new ones: of 10 flushes none is felt."""
    nodes = tracking.mesh.stand.nodes
    with load(tracking) as going:
        for family in FAMILIES:
            tracking.outside.ask("load", address=address_of("lines", family), port=9000, clients=2)
        flushed = []
        for _ in range(FLUSHES):
            going.go_on(200)
            flushed += [flush(node) for node in nodes]
        going.go_on(1000)
        failed = going.failed

    assert ({}, []) == (failed, [count for count in flushed if not count])
