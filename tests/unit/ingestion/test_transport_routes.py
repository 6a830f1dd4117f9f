from __future__ import annotations

from fractions import Fraction

import pytest

from tests.unit.ingestion.test_mesh import at, route, service
from tests.unit.ingestion.test_workloads import DATAPATH
from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.kernel_services import MOST_SHARES, replace_weights
from xds_server.model.interception import NOBODY, Frontage, Intercepted, KernelBackend, ServiceRef
from xds_server.model.refs import ObjectRef

GATEWAY = ObjectRef("Gateway", "default", "gw")
BOTH = pytest.mark.parametrize("protocol", ["TCP", "UDP"])
DNS = "clusterIP: 10.96.0.1, ports: [{name: udp, port: 53, protocol: UDP}, {name: tcp, port: 53}]"
OTHER_DNS = DNS.replace("0.1", "0.2")


def gateway(*listeners: str, more: str = "") -> str:
    return f"""
kind: Gateway
metadata: {{name: gw}}
spec: {{gatewayClassName: tidegate, addresses: [{{value: 127.64.0.9}}], listeners: [{", ".join(listeners)}]{more}}}
"""


def listener(protocol: str, name: str = "l", port: int = 53, more: str = "") -> str:
    return f"{{name: {name}, port: {port}, protocol: {protocol}{more}}}"


def transport_route(
    protocol: str, *backends: str, name: str = "r", parent: str = "name: gw", created: str = "2026-01-01T00:00:00Z"
) -> str:
    refs = ", ".join(f"{{{backend}}}" for backend in backends or ("name: web, port: 53",))
    return f"""
kind: {protocol}Route
metadata: {{name: {name}, creationTimestamp: "{created}"}}
spec: {{parentRefs: [{{{parent}}}], rules: [{{backendRefs: [{refs}]}}]}}
"""


def slices(name: str, *addresses: str) -> str:
    return f"""
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: udp, port: 5353, protocol: UDP}}, {{name: tcp, port: 5354}}]
endpoints: [{", ".join(map(at, addresses))}]
"""


def led(world: World, protocol: str, of: ObjectRef = GATEWAY) -> Intercepted:
    return world.ingested.kernel_services[ServiceRef(of, 53, protocol)]  # type: ignore[arg-type]


def weights(found: Intercepted) -> dict[str, int]:
    return {backend.address: backend.weight for backend in found.backends}


@BOTH
def test_a_listener_of_bytes_or_datagrams_is_served_in_the_kernel(protocol: str) -> None:
    """At the Gateway's address, for all that reaches the node, without a listener of Envoy."""
    world = World(
        gateway(listener(protocol)), service(DNS), slices("web", "10.0.0.1"), transport_route(protocol),
        settings=DATAPATH,
    )  # fmt: skip
    found = led(world, protocol)

    assert ((Frontage("127.64.0.9", 53),), True, False) == (found.frontages, found.external, found.proxied)
    assert (KernelBackend("10.0.0.1", 5353 if protocol == "UDP" else 5354),) == found.backends
    assert {} == dict(world.ingested.listeners.items())
    assert {} == dict(world.ingested.virtual_hosts.items())
    assert "True/Accepted" == world.reason("Accepted", "Gateway", "gw", "l")
    assert (f"{protocol}Route",) == world.verdict("Gateway", "gw", "l").supported_kinds
    assert 1 == world.verdict("Gateway", "gw", "l").attached_routes
    assert "True/Accepted" == world.reason("Accepted", f"{protocol}Route", "r", "")
    assert "True/ResolvedRefs" == world.reason("ResolvedRefs", f"{protocol}Route", "r", "")


@BOTH
def test_without_daemons_such_a_protocol_is_not_served(protocol: str) -> None:
    """Envoy does not have it, so its listener is refused, and its routes say nothing."""
    world = World(gateway(listener(protocol)), service(DNS), transport_route(protocol), settings=DIRECTORY)

    assert "False/UnsupportedProtocol" == world.reason("Accepted", "Gateway", "gw", "l")
    assert {} == dict(world.ingested.kernel_services.items())


def test_a_listener_without_routes_is_there() -> None:
    """Its connections are refused and go nowhere else."""
    assert () == led(World(gateway(listener("TCP")), settings=DATAPATH), "TCP").backends


def test_udp_and_tcp_share_a_port() -> None:
    """And UDP shares it with HTTP; TCP with HTTP does not, nor with itself."""
    apart = World(gateway(listener("TCP", "a"), listener("UDP", "b")), settings=DATAPATH)
    beside = World(gateway(listener("HTTP", "a"), listener("UDP", "b")), settings=DATAPATH)
    same = World(gateway(listener("HTTP", "a"), listener("TCP", "b")), settings=DATAPATH)
    twice = World(gateway(listener("TCP", "a"), listener("TCP", "b")), settings=DATAPATH)

    assert ["True/Accepted"] * 4 == [w.reason("Accepted", "Gateway", "gw", s) for w in (apart, beside) for s in "ab"]
    assert ["False/ProtocolConflict"] * 2 == [same.reason("Accepted", "Gateway", "gw", s) for s in "ab"]
    assert ["False/HostnameConflict"] * 2 == [twice.reason("Accepted", "Gateway", "gw", s) for s in "ab"]


def test_datagrams_do_not_come_from_behind_a_service() -> None:
    """What balances load there is asked for TCP alone."""
    parameters = """
kind: GatewayParameters
metadata: {name: p}
spec: {exposure: {type: Service}}
"""
    behind = ", infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayParameters, name: p}}"
    world = World(parameters, gateway(listener("UDP", "a"), listener("TCP", "b"), more=behind), settings=DATAPATH)

    assert "False/UnsupportedProtocol" == world.reason("Accepted", "Gateway", "gw", "a")
    assert "True/Accepted" == world.reason("Accepted", "Gateway", "gw", "b")


def test_weights_are_of_backends_and_not_of_their_endpoints() -> None:
    """Two endpoints of a backend have its weight together; a weight of 0 gets nothing."""
    backends = (f"name: {name}, port: 53, weight: {weight}" for name, weight in (("web", 3), ("two", 1), ("zero", 0)))
    world = World(
        gateway(listener("TCP")),
        *(service(DNS, name) for name in ("web", "two", "zero")),
        slices("web", "10.0.0.1"), slices("two", "10.0.0.2", "10.0.0.3"), slices("zero", "10.0.0.4"),
        transport_route("TCP", *backends),
        settings=DATAPATH,
    )  # fmt: skip

    assert {"10.0.0.1": 6, "10.0.0.2": 1, "10.0.0.3": 1} == weights(led(world, "TCP"))


@BOTH
@pytest.mark.parametrize("bad", ["name: nowhere, port: 53", "name: idle, port: 53", "name: web, kind: Pod, port: 53"])
def test_the_share_of_a_backend_that_is_none_is_refused(protocol: str, bad: str) -> None:
    """Also of a Service without endpoints: others do not get more because of it."""
    world = World(
        gateway(listener(protocol)), service(DNS), service(OTHER_DNS, "idle"), slices("web", "10.0.0.1", "10.0.0.2"),
        transport_route(protocol, "name: web, port: 53, weight: 1", f"{bad}, weight: 4"),
        settings=DATAPATH,
    )  # fmt: skip
    found = led(world, protocol)

    assert {"10.0.0.1": 1, "10.0.0.2": 1, "": 8} == weights(found)
    assert NOBODY._replace(weight=8) in found.backends


def test_large_weights_stay_in_proportion_and_small_enough() -> None:
    """A map of the kernel has a slot for each part."""
    shares = [(Fraction(999_983), KernelBackend("10.0.0.1", 1)), (Fraction(1, 7), KernelBackend("10.0.0.2", 1))]
    found = [each.weight for each in replace_weights(shares)]

    assert [MOST_SHARES, 1] == found
    assert [] == list(replace_weights([]))


@BOTH
def test_the_oldest_route_of_a_port_is_the_one(protocol: str) -> None:
    """Nothing in a connection could choose between two."""
    world = World(
        gateway(listener(protocol)),
        service(DNS), service(OTHER_DNS, "old"), slices("web", "10.0.0.1"), slices("old", "10.0.0.2"),
        transport_route(protocol, name="a", created="2026-02-01T00:00:00Z"),
        transport_route(protocol, "name: old, port: 53", name="z"),
        settings=DATAPATH,
    )  # fmt: skip

    assert {"10.0.0.2": 1} == weights(led(world, protocol))


@BOTH
@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("name: nowhere, port: 53", "False/BackendNotFound"),
        ("name: web, port: 54", "False/BackendNotFound"),
        ("name: web, namespace: west, port: 53", "False/RefNotPermitted"),
        ("name: web, kind: Pod, port: 53", "False/InvalidKind"),
    ],
)
def test_a_backend_that_is_none_is_told(protocol: str, backend: str, reason: str) -> None:
    """Nothing goes there."""
    world = World(
        gateway(listener(protocol)), service(DNS), service(DNS, namespace="west"), transport_route(protocol, backend),
        settings=DATAPATH,
    )  # fmt: skip

    assert reason == world.reason("ResolvedRefs", f"{protocol}Route", "r", "")
    assert {} == weights(led(world, protocol))


def test_a_port_of_another_protocol_is_no_backend() -> None:
    """Datagrams need a port of UDP."""
    world = World(gateway(listener("UDP")), service("ports: [{port: 53}]"), transport_route("UDP"), settings=DATAPATH)

    assert "False/UnsupportedProtocol" == world.reason("ResolvedRefs", "UDPRoute", "r", "")


@BOTH
def test_a_service_goes_where_its_route_leads(protocol: str) -> None:
    """In the place of its own endpoints, and back when the route goes."""
    service_parent = 'group: "", kind: Service, name: web, port: 53'
    world = World(
        service(DNS), service(OTHER_DNS, "other"), slices("web", "10.0.0.1"), slices("other", "10.0.0.2"),
        transport_route(protocol, "name: other, port: 53", parent=service_parent),
        settings=DATAPATH,
    )  # fmt: skip
    web = ObjectRef("Service", "default", "web")
    other = "TCP" if protocol == "UDP" else "UDP"

    assert {"10.0.0.2": 1} == weights(led(world, protocol, web))
    assert {"10.0.0.1": 1} == weights(led(world, other, web))

    world.delete(f"{protocol}Route", "r")

    assert {"10.0.0.1": 1} == weights(led(world, protocol, web))


def test_a_route_of_another_namespace_leads_no_service_elsewhere() -> None:
    """The kernel does not tell the clients of one namespace from others."""
    world = World(
        service(DNS),
        route("name: web, namespace: default", "r", "east", "TCPRoute", "backendRefs: [{name: web, port: 53}]"),
        settings=DATAPATH,
    )
    [verdict] = [found for ref, found in world.ingested.verdicts.items() if ref.object.kind == "TCPRoute"]

    assert ("Accepted", "False", "UnsupportedValue") == (
        verdict.conditions[0].type, verdict.conditions[0].status, verdict.conditions[0].reason
    )  # fmt: skip


def test_what_envoy_takes_keeps_its_own_endpoints() -> None:
    """Where a port has an HTTPRoute too, that one decides; without Envoy the Service is as without routes."""
    world = World(
        service("clusterIP: 10.96.0.1, ports: [{name: tcp, port: 53}]"), service(OTHER_DNS, "other"),
        slices("web", "10.0.0.1"), slices("other", "10.0.0.2"),
        transport_route("TCP", "name: other, port: 53", parent='group: "", kind: Service, name: web'),
        route(rule="backendRefs: [{name: web, port: 53}]"),
        settings=DATAPATH,
    )  # fmt: skip
    found = led(world, "TCP", ObjectRef("Service", "default", "web"))

    assert (True, True, {"10.0.0.1": 1}) == (found.proxied, found.fail_open, weights(found))
