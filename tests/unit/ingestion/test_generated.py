"""The objects that frontends need of the cluster: Services and their endpoints."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.unit.ingestion.test_exposure import CLASS, PROXIES, frontend, gateway, parameters
from tests.unit.ingestion.world import World
from xds_server.ingestion.service_names import label, service_ref
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import SHARED_INGRESS, ObjectRef

INFRASTRUCTURE = "infrastructure: {labels: {team: shop}, annotations: {example.com/note: hello},"


def manifests(world: World) -> dict[str, Any]:
    return {ref.name: msgspec.json.decode(found.manifest) for ref, found in world.ingested.generated.items()}


def test_a_service_leads_to_the_ports_of_envoy() -> None:
    """One port for each of the listeners, named by it; no selector, since the proxies are in another namespace."""
    world = World(gateway(), parameters("{type: Service}"))
    [service] = manifests(world).values()

    assert "tidegate-gateway-web" == service["metadata"]["name"]
    assert "default" == service["metadata"]["namespace"]
    assert {
        "type": "LoadBalancer",
        "ports": [{"name": "p80", "port": 80, "protocol": "TCP", "targetPort": frontend(world).bound_port(80)}],
    } == service["spec"]


def test_a_service_has_what_the_parameters_say() -> None:
    """Field by field, and nothing that is not set."""
    exposed = (
        "{type: Service, service: {type: LoadBalancer, loadBalancerClass: example.com/lb, "
        "externalTrafficPolicy: Local, loadBalancerSourceRanges: [192.0.2.0/24], ipFamilies: [IPv4], "
        "ipFamilyPolicy: SingleStack, "
        "allocateLoadBalancerNodePorts: false, nodePorts: [{port: 80, nodePort: 30080}], "
        "labels: {app.kubernetes.io/managed-by: me, zone: a}, annotations: {lb: internal}}}"
    )
    [service] = manifests(World(gateway(), parameters(exposed))).values()
    [port] = service["spec"].pop("ports")

    assert {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/lb",
        "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["192.0.2.0/24"],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "allocateLoadBalancerNodePorts": False,
    } == service["spec"]
    assert 30080 == port["nodePort"]
    assert ("tidegate", "a") == tuple(
        service["metadata"]["labels"][k] for k in ("app.kubernetes.io/managed-by", "zone")
    )
    assert {"lb": "internal"} == service["metadata"]["annotations"]


def test_a_cluster_ip_has_nothing_that_only_load_balancers_have() -> None:
    """The API server would refuse it."""
    exposed = "{type: Service, service: {type: ClusterIP, externalTrafficPolicy: Local, loadBalancerClass: a}}"
    [service] = manifests(World(gateway(), parameters(exposed))).values()

    assert {"type", "ports"} == set(service["spec"])


def test_the_endpoints_are_the_proxies_at_the_ports_of_the_frontend() -> None:
    """With their nodes and their readiness, so that `externalTrafficPolicy: Local` finds its node."""
    world = World(gateway(), parameters("{type: Service}"), PROXIES)
    found = manifests(world)["tidegate-gateway-web-ipv4-0"]

    assert [("10.0.0.1", "a", {}), ("10.0.0.2", "b", {}), ("10.0.0.3", "c", {"ready": False})] == [
        (each["addresses"][0], each["nodeName"], each["conditions"]) for each in found["endpoints"]
    ]
    assert [{"name": "p80", "port": frontend(world).bound_port(80), "protocol": "TCP"}] == found["ports"]
    assert "tidegate-gateway-web" == found["metadata"]["labels"]["kubernetes.io/service-name"]


def test_labels_and_annotations_of_the_infrastructure_are_passed_on() -> None:
    """Also for a Gateway that needs no Service: then it has one without endpoints, which carries them."""
    behind = World(gateway().replace("infrastructure: {", INFRASTRUCTURE), parameters("{type: Service}"))
    alone = World(gateway().replace("infrastructure: {", INFRASTRUCTURE), parameters("{type: Address}"))

    for world in (behind, alone):
        [service] = manifests(world).values()
        assert {"team": "shop", "gateway.networking.k8s.io/gateway-name": "web"}.items() <= service["metadata"][
            "labels"
        ].items()
        assert {"example.com/note": "hello"} == service["metadata"]["annotations"]
    assert "None" == service["spec"]["clusterIP"]


def test_nothing_is_generated_for_a_gateway_that_needs_nothing() -> None:
    """An address of its own, or the nodes' ports, need no object."""
    assert {} == manifests(World(gateway(), parameters("{type: Address}")))
    assert {} == manifests(World(gateway(), parameters("{type: HostPort}"), PROXIES))


def test_what_was_generated_is_not_wanted_when_its_gateway_is_gone() -> None:
    """Whatever the proxies do."""
    world = World(gateway(), parameters("{type: Service}"), PROXIES)
    owners = {found.owner for found in world.ingested.generated.values()}
    world.delete("Gateway", "web")

    assert ({ObjectRef("Gateway", "default", "web")}, {}) == (owners, dict(world.ingested.generated))


def test_names_are_labels_and_do_not_meet() -> None:
    """Of up to 63 characters, whatever objects are called."""
    settings = Settings()
    long, dotted = "a" * 253, "a.b"
    found = [
        service_ref(ObjectRef(kind, "default", name), settings).name
        for kind in ("Gateway", "Ingress")
        for name in ("web", long, long[:-1] + "b", dotted, "a-b")
    ]

    assert len(found) == len(set(found))
    assert all(len(name) <= 63 and name == label(name) for name in found)
    assert ("tidegate-system", "tidegate-ingress") == service_ref(SHARED_INGRESS, settings)[1:]


TLS = """
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  gatewayClassName: tidegate
  infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayParameters, name: p}}
  listeners:
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: missing}]}}
"""


def kept(world: World) -> set[str]:
    return {ref.name for ref, found in world.ingested.generated.items() if not found.manifest}


def test_a_passing_mistake_of_a_gateway_keeps_what_was_generated() -> None:
    """Parameters that are gone, parameters of the class that cannot be used: neither changed nor removed."""
    for mistake in ("parameters", "class"):
        world = World(gateway(), parameters("{type: Service}"), PROXIES)
        before = set(manifests_kept(world))
        if mistake == "class":
            world.apply(CLASS_OF_NOTHING)
        else:
            world.delete("GatewayParameters", "p")

        assert {"tidegate-gateway-web", "tidegate-gateway-web-ipv4-0"} == before == kept(world)


CLASS_OF_NOTHING = CLASS.format(reference="{group: tidegate.dev, kind: GatewayParameters, name: x, namespace: default}")


def manifests_kept(world: World) -> list[str]:
    """The names of all, kept or made."""
    return [ref.name for ref in world.ingested.generated]


def test_a_listener_without_its_certificate_keeps_its_port() -> None:
    """A load balancer is not to lose it until the Secret is there."""
    world = World(TLS, parameters("{type: Service}"))
    [service] = manifests(world).values()

    assert [443] == [port["port"] for port in service["spec"]["ports"]]


def test_what_is_exposed_otherwise_or_of_another_class_is_not_kept() -> None:
    """That is no mistake."""
    otherwise = World(gateway(), parameters("{type: HostPort}"), PROXIES)
    of_others = World(gateway("web", "gone").replace("gatewayClassName: tidegate", "gatewayClassName: other"), PROXIES)

    assert [] == manifests_kept(otherwise) == manifests_kept(of_others)
