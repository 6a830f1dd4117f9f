"""The daemon comes to a node whose pods have talked by a kube-proxy until then."""

from __future__ import annotations

import socket

import pytest

from tests.bpf.lab import inside
from tests.netns.mesh import address_of
from tests.netns.stand import FAMILIES, Family
from tests.netns.table import World, settle, told

REQUEST = b"GET / HTTP/1.1\r\nhost: any\r\n\r\n"


def answered(connection: socket.socket) -> str:
    """What came of one more request on a connection."""
    try:
        connection.sendall(REQUEST)
        return "answered" if connection.recv(4096).startswith(b"HTTP/1.1 200") else "closed"
    except ConnectionError:
        return "reset"


@pytest.mark.parametrize("family", FAMILIES)
def test_connections_that_kube_proxy_carries_go_on_unless_there_is_a_route(world: World, family: Family) -> None:
    """To a Service with a route none gets past it once Envoy serves that; there, the next one is Envoy's."""
    addresses = {name: address_of(name, family) for name in ("plain", "near")}
    world.mesh.command(world.node, "cleanup", "--force")
    world.mesh.daemons["node1"].end()
    world.node.kube_proxy(*((each, 80, world.one.address(family), 8080) for each in addresses.values()))
    with inside(world.client.namespace.name):
        held = {name: socket.create_connection((each, 80), timeout=10) for name, each in addresses.items()}
    try:
        before = {name: answered(each) for name, each in held.items()}
        world.mesh.daemons["node1"].start()
        world.mesh.until_tells(world.node)
        settle(world)
        after = {name: answered(each) for name, each in held.items()}
        again = told(world, world.client.get(addresses["near"]))
    finally:
        world.node.sh("nft delete table inet kube-proxy")
        for each in held.values():
            each.close()

    assert {"plain": "answered", "near": "answered"} == before
    assert {"plain": "answered", "near": "reset"} == after
    assert "200 one by envoy, route near, for client" == again
