"""Routes of several kinds at one port of a Service: which are applied, and what the others are told."""

from __future__ import annotations

import pytest

from tests.unit.ingestion.test_mesh import WEB, hosts, route, service
from tests.unit.ingestion.test_transport_routes import led, slices, weights
from tests.unit.ingestion.test_workloads import DATAPATH
from tests.unit.ingestion.world import World
from xds_server.model.verdict import Condition

OTHER = "backendRefs: [{name: other, port: 53}]"
PORTS = "clusterIP: 10.96.0.1, ports: [{name: a, port: 53}]"
OTHERS = PORTS.replace("0.1", "0.2")
TWO_PORTS = "clusterIP: 10.96.0.1, ports: [{name: a, port: 53}, {name: b, port: 54}]"


def world(*routes: str, ports: str = PORTS) -> World:
    return World(
        service(ports), service(OTHERS, "other"), slices_of("web", "10.0.0.1"), slices_of("other", "10.0.0.2"),
        *routes,
        settings=DATAPATH,
    )  # fmt: skip


def slices_of(name: str, address: str) -> str:
    return slices(name, address).replace("{name: tcp,", "{name: a,")


def accepted(world: World, kind: str, name: str = "web") -> Condition:
    [found] = [
        verdict
        for ref, verdict in world.ingested.verdicts.items()
        if (ref.object.kind, ref.object.name) == (kind, name)
    ]
    return found.conditions[0]


def of(kind: str, name: str = "web", namespace: str = "default", parent: str = "name: web") -> str:
    return route(parent, name, namespace, kind, OTHER)


@pytest.mark.parametrize(
    ("kinds", "winner"),
    [
        (("HTTPRoute", "TCPRoute"), "HTTPRoute"),
        (("GRPCRoute", "TCPRoute"), "GRPCRoute"),
        (("HTTPRoute", "GRPCRoute"), "GRPCRoute"),
        (("TCPRoute", "HTTPRoute", "GRPCRoute"), "GRPCRoute"),
    ],
)
def test_one_kind_of_route_is_applied_to_a_port(kinds: tuple[str, ...], winner: str) -> None:
    """The most specific one; each of the others is told whom it gives way to, and comes to nothing."""
    made = world(*map(of, kinds))
    losers = [accepted(made, kind) for kind in kinds if kind != winner]

    assert "True" == accepted(made, winner).status
    assert {("False", "Conflicted")} == {(each.status, each.reason) for each in losers}
    assert all(f"port 53 has {winner}/default/web" in each.message for each in losers)
    assert {(53, ""): [f"{winner}/web"]} == hosts(made)


def test_a_route_is_applied_when_the_one_before_it_goes() -> None:
    """And gives way again when that comes back."""
    made = world(of("HTTPRoute"), of("TCPRoute"))
    before = led(made, "TCP", WEB)

    made.delete("HTTPRoute", "web")
    after = led(made, "TCP", WEB)

    assert (True, {"10.0.0.1": 1}) == (before.proxied, weights(before))
    assert (False, {"10.0.0.2": 1}) == (after.proxied, weights(after))
    assert "True" == accepted(made, "TCPRoute").status


def test_routes_of_one_kind_and_of_other_protocols_do_not_conflict() -> None:
    """Two HTTPRoutes are merged; datagrams of the same number are another port."""
    both = "clusterIP: 10.96.0.1, ports: [{name: a, port: 53}, {name: udp, port: 53, protocol: UDP}]"
    made = world(of("HTTPRoute"), of("HTTPRoute", "more"), of("UDPRoute", "udp"), ports=both)

    assert ["True"] * 3 == [
        accepted(made, kind, name).status
        for kind, name in (("HTTPRoute", "web"), ("HTTPRoute", "more"), ("UDPRoute", "udp"))
    ]


def test_a_route_keeps_the_ports_that_no_other_kind_has() -> None:
    """It is accepted for these, and says which one it has lost."""
    made = world(of("TCPRoute"), of("HTTPRoute", parent="name: web, port: 53"), ports=TWO_PORTS)
    found = accepted(made, "TCPRoute")

    assert ("True", "Accepted") == (found.status, found.reason)
    assert "port 53 has HTTPRoute/default/web" in found.message
    assert (True, False) == (led(made, "TCP", WEB).proxied, kernel_of(made, 54))


def kernel_of(world: World, port: int) -> bool:
    [found] = [each for ref, each in world.ingested.kernel_services.items() if (ref.object, ref.port) == (WEB, port)]
    return found.proxied


def test_a_route_that_takes_no_port_is_in_nobody_s_way() -> None:
    """One that names a port that does not exist, another Service, or one of its own namespace by the same name."""
    made = world(
        of("TCPRoute"),
        of("HTTPRoute", "a", parent="name: web, port: 99"),
        of("HTTPRoute", "b", parent="name: other"),
        of("GRPCRoute", "c", namespace="east"),
    )

    assert "True" == accepted(made, "TCPRoute").status
    assert {"10.0.0.2": 1} == weights(led(made, "TCP", WEB))


def test_a_namespace_cannot_take_a_port_from_a_tcproute_that_is_for_all() -> None:
    """Its HTTPRoute would change what everybody else gets: it is the one that gives way."""
    consumer = of("HTTPRoute", "c", namespace="east", parent="name: web, namespace: default")
    made = world(of("TCPRoute"), consumer)
    found = accepted(made, "HTTPRoute", "c")

    assert ("False", "Conflicted") == (found.status, found.reason)
    assert "port 53 has TCPRoute/default/web" in found.message
    assert (False, {"10.0.0.2": 1}) == (led(made, "TCP", WEB).proxied, weights(led(made, "TCP", WEB)))


def test_a_namespace_s_own_kind_is_its_own_affair() -> None:
    """Where the Service has an HTTPRoute, a GRPCRoute of another namespace is for that one's pods alone."""
    consumer = of("GRPCRoute", "c", namespace="east", parent="name: web, namespace: default")
    made = world(of("TCPRoute"), of("HTTPRoute"), consumer)

    assert ["False", "True", "True"] == [
        accepted(made, kind, name).status
        for kind, name in (("TCPRoute", "web"), ("HTTPRoute", "web"), ("GRPCRoute", "c"))
    ]
    assert {(53, ""): ["HTTPRoute/web"], (53, "east"): ["GRPCRoute/c"]} == hosts(made)
