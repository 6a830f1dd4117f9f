"""Where Envoy connects from in its client's name: real sockets in a cgroup with the programs of sockets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from datapath.kernel.layout import MARK_FROM_PROXY, MARK_FROM_PROXY_AS
from tests.bpf.socket_stand import Actor, Sockets, cgroup, network

OWN_PORTS = range(16_384, 30_000)
CLIENT = {"IPv4": "10.9.7.7", "IPv6": "fd09::7:7"}
ONE = {"IPv4": ("10.9.0.1", 8080), "IPv6": ("fd09::1", 8080)}
MUTE = {"IPv4": ("10.9.0.3", 8080), "IPv6": ("fd09::3", 8080)}
OTHER = {"IPv4": ("10.9.0.2", 8080), "IPv6": ("fd09::2", 8080)}
both = pytest.mark.parametrize("family", ["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Actor]:
    with ExitStack() as stack:
        node = stack.enter_context(network())
        sockets = Sockets(stack, tmp_path_factory.mktemp("sockets"))
        sockets.attach()
        outside = stack.enter_context(cgroup())
        servers = Actor(outside, node)
        stack.callback(servers.close)
        servers.ask("serve", "tcp", *(ends[family] for ends in (ONE, OTHER) for family in CLIENT))
        for address, port in MUTE.values():
            servers.ask("listen", address, port)
        yield sockets.actor(node)


def sources(envoy: Actor, family: str, *to: tuple[str, int], mark: int = MARK_FROM_PROXY_AS) -> list[tuple[str, int]]:
    """Where connections came from that were open at once."""
    return [(address, port) for address, port in envoy.ask("upstream", mark, CLIENT[family], *to)]


@both
def test_envoy_connects_from_ports_that_clients_do_not_have(envoy: Actor, family: str) -> None:
    """From the client's address, each connection to a backend from another port, for many of them at once."""
    found = sources(envoy, family, *[ONE[family]] * 500)

    assert {CLIENT[family]} == {address for address, _ in found}
    assert 500 == len({port for _, port in found})
    assert set() == {port for _, port in found} - set(OWN_PORTS)


@both
def test_a_port_serves_for_several_backends(envoy: Actor, family: str) -> None:
    """So many connections that two to different backends share one: none of them fails for it."""
    found = sources(envoy, family, *[ONE[family], OTHER[family]] * 400)

    assert 800 == len(found)
    assert 400 == len(set(found[::2])) == len(set(found[1::2]))
    assert set(found[::2]) & set(found[1::2])


@both
def test_a_port_that_was_closed_is_left_alone_for_as_long_as_tcp_wants_it(envoy: Actor, family: str) -> None:
    """One in TIME_WAIT is not chosen again, and nothing fails."""
    before, after = (sources(envoy, family, *[MUTE[family]] * 300) for _ in range(2))

    assert set() == set(before) & set(after)


@both
def test_other_connections_of_envoy_have_the_ports_of_the_node(envoy: Actor, family: str) -> None:
    """Those from the node's address are not told apart."""
    found = sources(envoy, family, *[ONE[family]] * 20, mark=MARK_FROM_PROXY)

    assert set() == {port for _, port in found} & set(OWN_PORTS)
