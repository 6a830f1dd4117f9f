"""Exposure: by an address of its own, by a Service, or at the nodes' ports; and the parameters that say which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ingestion.world import DIRECTORY, World, service
from xds_server.ingestion.exposure import merged
from xds_server.ingestion.frontend_ports import COUNT, FIRST, WantedPorts, given_ports
from xds_server.ingestion.sources import Settings
from xds_server.model.listener import Frontend
from xds_server.model.refs import ObjectRef
from xds_server.objects.tidegate import ExposedService, Exposure

GATEWAY = """
kind: Gateway
metadata: {{name: {name}, namespace: default, creationTimestamp: "{created}"}}
spec:
  gatewayClassName: tidegate
  infrastructure: {{parametersRef: {{group: tidegate.dev, kind: GatewayParameters, name: {parameters}}}}}
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
"""
PARAMETERS = """
kind: GatewayParameters
metadata: {{name: {name}}}
spec: {{exposure: {exposure}}}
"""
PROXIES = """
kind: EndpointSlice
metadata: {name: p-1, namespace: tidegate-system, labels: {kubernetes.io/service-name: tidegate-proxy}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.2], nodeName: b}
- {addresses: [10.0.0.1], nodeName: a}
- {addresses: [10.0.0.3], nodeName: c, conditions: {ready: false}}
"""
CLASS = """
kind: GatewayClass
metadata: {{name: tidegate}}
spec:
  controllerName: tidegate.dev/controller
  parametersRef: {reference}
"""


def gateway(name: str = "web", parameters: str = "p", port: int = 80, created: str = "") -> str:
    return GATEWAY.format(name=name, parameters=parameters, port=port, created=created)


def parameters(exposure: str, name: str = "p") -> str:
    return PARAMETERS.format(name=name, exposure=exposure)


OURS = "{app.kubernetes.io/managed-by: tidegate}"


def generated(spec: str, status: str = "{}", labels: str = OURS, owner: str = "web") -> str:
    return f"""
kind: Service
metadata:
  name: tidegate-gateway-web
  labels: {labels}
  ownerReferences: [{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, name: {owner}, controller: true}}]
spec: {spec}
status: {status}
"""


def frontend(world: World, name: str = "web") -> Frontend:
    return world.ingested.frontends[ObjectRef("Gateway", "default", name)]


# --- a Service --------------------------------------------------------------------------------------------------------


def test_behind_a_service_envoy_listens_at_a_port_of_the_frontend_on_every_address() -> None:
    """Also before the Service has an address: a load balancer that probes finds it."""
    found = frontend(World(gateway(), parameters("{type: Service}")))

    assert ("0.0.0.0", "::") == found.bound
    assert FIRST <= found.bound_port(80) < FIRST + COUNT
    assert ((), "AddressNotAssigned") == (found.addresses, found.reason)
    assert "Service/default/tidegate-gateway-web is not there yet" in found.unusable


def test_the_addresses_are_those_of_the_load_balancer() -> None:
    """Addresses and host names; clients use the listener's own port."""
    status = "{loadBalancer: {ingress: [{ip: 203.0.113.7}, {hostname: lb.example.com}]}}"
    found = frontend(World(gateway(), parameters("{type: Service}"), generated("{type: LoadBalancer}", status)))

    assert (("203.0.113.7", "lb.example.com"), "", 80) == (found.addresses, found.unusable, found.client_port(80))


def test_of_a_node_port_the_addresses_are_those_of_the_ready_nodes() -> None:
    """Clients use the node port that the API server gave."""
    spec = "{type: NodePort, ports: [{name: http, port: 80, nodePort: 30080}]}"
    found = frontend(
        World(gateway(), parameters("{type: Service, service: {type: NodePort}}"), generated(spec), PROXIES)
    )

    assert (("10.0.0.1", "10.0.0.2"), 30080) == (found.addresses, found.client_port(80))


def test_a_cluster_ip_is_an_address_in_the_cluster() -> None:
    """Of both families where it has both."""
    spec = '{type: ClusterIP, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, "fd00::9"]}'
    found = frontend(World(gateway(), parameters("{type: Service, service: {type: ClusterIP}}"), generated(spec)))

    assert ("10.96.0.9", "fd00::9") == found.addresses


@pytest.mark.parametrize(("labels", "owner"), [("{}", "web"), (OURS, "other")])
def test_the_service_of_somebody_else_is_not_taken_for_ours(labels: str, owner: str) -> None:
    """S3: nobody can publish an address by a Service of the name that ours would have, nor by our label alone."""
    status = "{loadBalancer: {ingress: [{ip: 203.0.113.7}]}}"
    theirs = generated("{type: LoadBalancer}", status, labels, owner)
    found = frontend(World(gateway(), parameters("{type: Service}"), theirs))

    assert () == found.addresses
    assert "Service/default/tidegate-gateway-web is somebody else's" in found.unusable


def test_only_the_families_that_are_asked_for_are_bound() -> None:
    """A node without IPv6 could not bind its wildcard."""
    found = frontend(World(gateway(), parameters("{type: Service, service: {ipFamilies: [IPv4]}}")))

    assert ("0.0.0.0",) == found.bound


def test_an_address_that_is_asked_for_must_be_the_load_balancers() -> None:
    """Else the Gateway is not programmed, and nothing is published."""
    asks = gateway() + "  addresses: [{value: 203.0.113.8}]\n"
    status = "{loadBalancer: {ingress: [{ip: 203.0.113.7}]}}"
    found = frontend(World(asks, parameters("{type: Service}"), generated("{type: LoadBalancer}", status)))

    assert () == found.addresses
    assert "203.0.113.8 is asked for" in found.unusable


# --- ports ------------------------------------------------------------------------------------------------------------

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, min_size=1, max_size=30)


def behind(name: str, *ports: int) -> WantedPorts:
    return WantedPorts(ObjectRef("Gateway", "default", name), frozenset(ports))


@given(NAMES)
def test_every_listener_behind_a_service_has_a_port_of_its_own(names: list[str]) -> None:
    """Two frontends with one listener port do not meet, and a younger one moves nobody."""
    wanted = [behind(name, 80, 443) for name in names]
    found = given_ports(wanted)
    ports = [port for each in found.values() for port in each.bound.values()]

    assert 2 * len(names) == len(set(ports))
    assert found == {**found, **given_ports(wanted[:-1])}


def test_the_ports_run_out_with_a_reason() -> None:
    """Whoever is too late is told, and has none."""
    found = given_ports([behind("a", *range(1, COUNT + 1)), behind("b", 80)])
    last = found[ObjectRef("Gateway", "default", "b")]

    assert ({}, True) == (last.bound, "are in use: expose fewer" in last.unusable)


# --- the nodes' ports -------------------------------------------------------------------------------------------------


def test_at_the_nodes_ports_the_addresses_are_those_of_the_ready_nodes() -> None:
    """Envoy binds the listener's own port, of both families."""
    found = frontend(World(gateway(), parameters("{type: HostPort}"), PROXIES))

    assert (("0.0.0.0", "::"), 80, 80) == (found.bound, found.bound_port(80), found.client_port(80))
    assert ("10.0.0.1", "10.0.0.2") == found.addresses


def test_a_port_of_the_nodes_is_for_the_older_of_two_frontends() -> None:
    """The younger is told by whom it is used, and binds nothing."""
    world = World(
        gateway("old", created="2020"), gateway("new", created="2021"), parameters("{type: HostPort}"), PROXIES
    )

    assert ("", ()) == (frontend(world, "old").unusable, frontend(world, "new").bound)
    assert "port 80 of the nodes is in use by Gateway/default/old" in frontend(world, "new").unusable


def test_ports_of_envoy_behind_services_are_none_of_the_nodes() -> None:
    """One that would be taken for a Service another day is refused at once."""
    found = frontend(World(gateway(port=FIRST + 7), parameters("{type: HostPort}"), PROXIES))

    assert ((), True) == (found.bound, "is one of those behind Services" in found.unusable)


NOT_FOR_EVERYBODY = (
    "of the nodes is not for everybody: use another exposure, or let the operator add it to --host-ports"
)


@pytest.mark.parametrize("port", [80, 179, 8080, 9100, 10256])
def test_a_tenant_has_no_port_of_the_nodes_that_the_operator_does_not_give_away(port: int) -> None:
    """By default that is none; what is given away may be used, and nothing beside it."""
    objects = (CLASS.format(reference="null"), gateway(port=port), parameters("{type: HostPort}"), PROXIES)
    refused = frontend(World(*objects, settings=Settings(host_ports=(range(8000, 8080),))))
    allowed = frontend(World(*objects, settings=Settings(host_ports=(range(8000, 8080), range(port, port + 1)))))

    assert ((), True) == (refused.bound, f"port {port} {NOT_FOR_EVERYBODY}" in refused.unusable)
    assert (("0.0.0.0", "::"), "") == (allowed.bound, allowed.unusable)


@pytest.mark.parametrize("port", [15001, 15010, 15011, 15080, 15081, 15090, 15091])
def test_our_own_ports_of_the_nodes_are_nobodys(port: int) -> None:
    """Also where all are given away."""
    found = frontend(World(gateway(port=port), parameters("{type: HostPort}"), PROXIES))

    assert ((), f"port {port} of the nodes is one of Tidegate's own: use another") == (found.bound, found.unusable)


@pytest.mark.parametrize("by", ["class", "flag"])
def test_where_the_operator_exposes_by_the_nodes_the_usual_ports_are_there(by: str) -> None:
    """80, 443, 8080 and 8443, and no other: what a Gateway listens at is still its author's to write."""
    reference = "{group: tidegate.dev, kind: GatewayParameters, name: p, namespace: default}"
    class_ = CLASS.format(reference=reference if by == "class" else "null")
    settings = Settings() if by == "class" else Settings(exposure=Exposure(type="HostPort"))

    def unusable(port: int) -> str:
        plain = gateway(port=port).replace("  infrastructure:", "  x-infrastructure:")
        return frontend(World(class_, plain, parameters("{type: HostPort}"), PROXIES, settings=settings)).unusable

    assert [""] * 4 == [unusable(port) for port in (80, 443, 8080, 8443)]
    assert [True] * 2 == [f"port {port} {NOT_FOR_EVERYBODY}" in unusable(port) for port in (179, 9100)]


def test_parameters_of_a_tenant_that_say_what_its_class_says_change_nothing() -> None:
    """Who may have the usual ports by the class has them by parameters of its own, and no more."""
    reference = "{group: tidegate.dev, kind: GatewayParameters, name: p, namespace: default}"
    objects = (CLASS.format(reference=reference), parameters("{type: HostPort}"), PROXIES)

    assert "" == frontend(World(*objects, gateway(), settings=Settings())).unusable
    assert NOT_FOR_EVERYBODY in frontend(World(*objects, gateway(port=179), settings=Settings())).unusable


# --- parameters -------------------------------------------------------------------------------------------------------


def test_a_gateway_completes_and_overrides_its_class_field_by_field() -> None:
    """Annotations one by one, everything else as a whole."""
    of_class = Exposure(
        type="Service",
        service=ExposedService(type="NodePort", load_balancer_class="x", annotations={"a": "1", "b": "1"}),
    )
    own = Exposure(type="Service", service=ExposedService(type="LoadBalancer", annotations={"b": "2"}))
    found = merged(of_class, own)

    assert found is not None
    assert found.service == ExposedService(
        type="LoadBalancer", load_balancer_class="x", annotations={"a": "1", "b": "2"}
    )


def test_a_gateway_is_exposed_as_its_class_says() -> None:
    """Where it says nothing itself."""
    reference = "{group: tidegate.dev, kind: GatewayParameters, name: p, namespace: default}"
    plain = gateway().replace("  infrastructure:", "  x-infrastructure:")
    world = World(CLASS.format(reference=reference), parameters("{type: HostPort}"), plain, PROXIES)

    assert ("0.0.0.0", "::") == frontend(world).bound
    assert "True/Accepted" == world.reason("Accepted", "GatewayClass", "tidegate", namespace="")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("{group: example.com, kind: Other, name: p}", "no 'example.com/Other' is read here"),
        ("{group: tidegate.dev, kind: GatewayParameters, name: p}", "spec.parametersRef.namespace: is required"),
        (
            "{group: tidegate.dev, kind: GatewayParameters, name: p, namespace: x}",
            "GatewayParameters/x/p does not exist",
        ),
        ("{group: tidegate.dev, kind: GatewayParameters, name: odd, namespace: default}", "is no network"),
    ],
)
def test_parameters_of_a_class_that_cannot_be_used_make_it_invalid(reference: str, message: str) -> None:
    """So are its Gateways: InvalidParameters, with the field and the way out."""
    odd = parameters("{type: Service, service: {loadBalancerSourceRanges: [nonsense]}}", "odd")
    plain = gateway().replace("  infrastructure:", "  x-infrastructure:")
    world = World(CLASS.format(reference=reference), odd, plain)
    found = world.condition("Accepted", "GatewayClass", "tidegate", namespace="")
    of_gateway = world.condition("Accepted", "Gateway", "web")

    assert found is not None
    assert of_gateway is not None
    assert ("False", "InvalidParameters") == (found.status, found.reason)
    assert ("False", "InvalidParameters") == (of_gateway.status, of_gateway.reason)
    assert (True, True) == (message in found.message, message in of_gateway.message)


@pytest.mark.parametrize(
    ("given_parameters", "message"),
    [
        ("", "GatewayParameters/default/p does not exist; create it"),
        ("{type: HostPort, service: {type: NodePort}}", "spec.exposure.service: is for type Service"),
        ("{type: Service, service: {nodePorts: [{port: 1, nodePort: 2}, {port: 1, nodePort: 3}]}}", "is there twice"),
    ],
)
def test_parameters_of_a_gateway_that_cannot_be_used_make_it_invalid(given_parameters: str, message: str) -> None:
    """And it becomes valid when they do."""
    world = World(gateway(), *([parameters(given_parameters)] if given_parameters else []))
    found = world.condition("Accepted", "Gateway", "web")

    assert found is not None
    assert ("InvalidParameters", True) == (found.reason, message in found.message)
    assert {} == dict(world.ingested.frontends)

    world.apply(parameters("{type: HostPort}"))

    assert "True/Accepted" == world.reason("Accepted", "Gateway", "web")


def test_ready_proxies_that_come_and_go_change_no_listener() -> None:
    """Only addresses follow the nodes: what Envoy binds stays."""
    world = World(gateway(), parameters("{type: HostPort}"), service("a"), settings=DIRECTORY)
    before = frontend(world).bound
    world.apply(PROXIES)

    assert before == frontend(world).bound
    assert "frontends/given" not in world.changed


def test_why_a_service_is_not_made_is_told() -> None:
    """By the leader, which alone knows: what is bound is the same."""
    world = World(gateway(), parameters("{type: Service}"))
    before = frontend(world)
    world.sources.refused.put(ObjectRef("Service", "default", "tidegate-gateway-web"), "Forbidden: quota")
    world.commit()
    found = frontend(world)

    assert found.unusable.endswith("is not there yet, by which this is exposed: Forbidden: quota")
    assert (before.bind, before.ports) == (found.bind, found.ports)


def test_a_change_of_a_service_that_is_refused_is_told() -> None:
    """What is there serves on, with its addresses."""
    status = "{loadBalancer: {ingress: [{ip: 203.0.113.7}]}}"
    world = World(gateway(), parameters("{type: Service}"), generated("{type: LoadBalancer}", status))
    assert "" == frontend(world).outdated
    world.sources.refused.put(ObjectRef("Service", "default", "tidegate-gateway-web"), "Invalid: no such class")
    world.commit()
    found = frontend(world)

    assert (("203.0.113.7",), "") == (found.addresses, found.unusable)
    assert (
        "Service/default/tidegate-gateway-web is not as it is asked for, and goes on as it was: Invalid: no such class"
    ) == found.outdated
