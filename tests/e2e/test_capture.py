"""A real Envoy whose listeners are not bound, in network namespaces: what is led to it reaches the right one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any, NamedTuple

import pytest

from tests.e2e.redirected import CLIENT, NODE, Network, network
from tests.e2e.translated import GATEWAY, Backend, prefix, serve, to
from tests.envoy_validate import World, endpoints, running
from xds_server.model.listener import Frontend, FrontendPort, Listener
from xds_server.model.refs import ListenerRef, ObjectRef, TableRef
from xds_server.model.route import DirectResponse
from xds_server.translation.settings import TranslationSettings

V4, V6 = "192.0.2.1", "2001:db8::1"
OTHER = ObjectRef("Gateway", "default", "other")
AT_NODE = ObjectRef("Gateway", "default", "at-node")


class Served(NamedTuple):
    network: Network
    admin: Path


def gateway(world: World, frontend: Frontend, port: int) -> TableRef:
    listener = Listener(ListenerRef(frontend.ref, f"http-{port}"), frontend.ref, port, "HTTP", "*")
    world.put(frontend, listener)
    return listener.table


@pytest.fixture(scope="module")
def served(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("capture")
    with ExitStack() as stack:
        made = stack.enter_context(network())
        backends = {version: stack.enter_context(Backend(version, made.listening(NODE[n])).serving())
                    for n, version in enumerate(("v4", "v6"))}  # fmt: skip
        world = World(TranslationSettings(datapath=True))
        for address, backend in zip(NODE, backends.values(), strict=True):
            world.put(endpoints(backend.cluster, (address, backend.server_port)))
        table = gateway(world, Frontend(GATEWAY, (V4, V6)), 80)
        serve(world, table, "*", prefix(0, "/v4", to(backends["v4"])), prefix(1, "/v6", to(backends["v6"])))
        answers = {
            gateway(world, Frontend(GATEWAY, (V4, V6)), 81): 281,
            gateway(world, Frontend(OTHER, ("192.0.2.2",)), 80): 282,
            gateway(world, Frontend(AT_NODE, (), bind=("0.0.0.0",), ports=(FrontendPort(80, 30080, 30080),)), 80): 283,
        }
        for rule, (each, status) in enumerate(answers.items(), 2):
            serve(world, each, "*", prefix(rule, "/", DirectResponse(status)))
        world.commit()
        admin = directory / "admin.sock"
        stack.enter_context(running(made.wrapped(envoy, directory), world.resources, directory, admin))
        yield Served(made, admin)


@pytest.mark.parametrize("path", ["/v4", "/v6"])
@pytest.mark.parametrize(("address", "client"), [(V4, CLIENT[0]), (V6, CLIENT[1])], ids=["IPv4", "IPv6"])
def test_backends_see_the_client(served: Served, address: str, client: str, path: str) -> None:
    """X-Forwarded-For and X-Envoy-External-Address are the address that the connection came from, in each family."""
    answer = served.network.ask(address, 80, path)

    assert path[1:] == answer.seen["backend"]
    assert [client] == answer.seen_headers["x-forwarded-for"]
    assert [client] == answer.seen_headers["x-envoy-external-address"]


@pytest.mark.parametrize(
    ("address", "port", "status"),
    [(V4, 81, 281), (V6, 81, 281), ("192.0.2.2", 80, 282), (NODE[0], 30080, 283)],
    ids=["another port", "another port, IPv6", "another address", "a port of the node"],
)
def test_each_destination_reaches_its_own_listener(served: Served, address: str, port: int, status: int) -> None:
    """Listeners that share a port or an address are told apart by the original destination."""
    assert status == served.network.ask(address, port).status


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_capture_port_serves_nobody_who_calls_it(served: Served, address: str) -> None:
    """A direct call is closed without a byte, and Envoy does not call itself."""
    with suppress(ConnectionResetError), served.network.connect(address, 15001, on_node=True) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")

        assert b"" == connection.recv(1)
    assert 0 == passed(served)


def test_an_address_that_calls_itself_is_not_served(served: Served) -> None:
    """Envoy's own connection that was led back to it ends there: nothing is sent on."""
    before = passed(served)
    with suppress(ConnectionResetError), served.network.connect(NODE[0], 30081, on_node=True) as connection:
        assert b"" == connection.recv(1)
    assert before == passed(served)


def test_what_no_listener_serves_is_passed_on(served: Served) -> None:
    """The connection goes on to where it was going, as bytes."""
    before = passed(served)
    with suppress(ConnectionResetError), served.network.connect("192.0.2.9", 9) as connection:
        connection.sendall(b"x")

        assert b"" == connection.recv(1)
    assert before + 1 == passed(served)


def test_admin_lists_the_listeners_that_are_not_bound(served: Served) -> None:
    """The daemon learns there which listeners Envoy has, and all but the two for capture are without a port."""
    names = {each["name"] for each in asked(served, "/listeners?format=json")["listener_statuses"]}

    assert {
        "capture/ipv4",
        "capture/ipv6",
        *(f"gateway/default/web/{port}/{address}" for port in (80, 81) for address in (V4, V6)),
        "gateway/default/other/80/192.0.2.2",
        "gateway/default/at-node/80/0.0.0.0",
    } == names


def test_a_node_without_ipv6_has_both_capture_listeners(envoy: Path, tmp_path: Path) -> None:
    """A transparent socket needs no address of the node, so that none of the two is refused there."""
    with network() as made:
        subprocess.run(
            ["ip", "netns", "exec", made.node, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True
        )
        resources = dict(World(TranslationSettings(datapath=True)).commit().resources)
        admin = tmp_path / "admin.sock"
        with running(made.wrapped(envoy, tmp_path), resources, tmp_path, admin):
            found = asked(Served(made, admin), "/listeners?format=json")["listener_statuses"]

    assert {"capture/ipv4", "capture/ipv6"} == {each["name"] for each in found}


def passed(served: Served) -> int:
    """How often Envoy connected to an original destination."""
    found = asked(served, "/stats?format=json&filter=cluster.capture/original_dst.upstream_cx_total")
    return int(next((each["value"] for each in found["stats"]), 0))


def asked(served: Served, path: str) -> Any:
    connection = HTTPConnection("admin")
    connection.sock = socket(AF_UNIX)
    connection.sock.connect(str(served.admin))
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())
