from __future__ import annotations

import pytest

from tests.unit.ingestion.test_workloads import DATAPATH, pod
from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.sources import Settings
from xds_server.model.interception import Frontage, KernelBackend, ServiceRef
from xds_server.model.refs import ClusterRef, ObjectRef

WEB = ObjectRef("Service", "default", "web")


def service(spec: str = "", name: str = "web", namespace: str = "default", created: str = "") -> str:
    spec = spec or "clusterIP: 10.96.0.1, ports: [{port: 80}]"
    return f"""
kind: Service
metadata: {{name: {name}, namespace: {namespace}{created and f", creationTimestamp: '{created}'"}}}
spec: {{{spec}}}
"""


def route(
    parent: str = "name: web", name: str = "web", namespace: str = "default", kind: str = "HTTPRoute", rule: str = ""
) -> str:
    return f"""
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{group: "", kind: Service, {parent}}}]
  rules: [{{{rule or "backendRefs: [{name: web, port: 80}]"}}}]
"""


def slice_(*endpoints: str, name: str = "web-1", port: str = "port: 8080", type_: str = "IPv4") -> str:
    return f"""
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}
addressType: {type_}
ports: [{{{port}}}]
endpoints: [{", ".join(endpoints)}]
"""


def at(address: str, **conditions: bool) -> str:
    said = ", ".join(f"{name}: {str(holds).lower()}" for name, holds in conditions.items())
    return f"{{addresses: ['{address}'], conditions: {{{said}}}}}"


def hosts(world: World) -> dict[tuple[int, str], list[str]]:
    """By port and clients, the sources of the routes of the Service `web`."""
    return {
        (ref.table.port, ref.clients): [f"{each.source.kind}/{each.source.name}" for each in host.routes]
        for ref, host in world.ingested.virtual_hosts.items()
        if ref.table.frontend == WEB
    }


def kernel(world: World, port: int = 80, protocol: str = "TCP") -> object:
    return world.ingested.kernel_services[ServiceRef(WEB, port, protocol)]  # type: ignore[arg-type]


# --- parents ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_route_is_accepted_by_a_service(kind: str) -> None:
    """It opens a listener at each of the Service's addresses, and its status names the parent as it was written."""
    dual = service("clusterIPs: [10.96.0.1, '2001:db8::1'], ports: [{port: 80}]")
    world = World(dual, route(kind=kind), settings=DATAPATH)
    verdict = world.verdict(kind, "web", "")

    assert "True/Accepted" == world.reason("Accepted", kind, "web", "")
    assert "True/ResolvedRefs" == world.reason("ResolvedRefs", kind, "web", "")
    assert ("", "Service", "", "web") == verdict.parent[:4] if verdict.parent else False
    assert {(80, ""): [f"{kind}/web"]} == hosts(world)
    assert ("10.96.0.1", "2001:db8::1") == world.ingested.frontends[WEB].addresses


@pytest.mark.parametrize(
    ("spec", "parent", "why"),
    [
        ("clusterIP: 10.96.0.1, ports: [{port: 80}]", "name: other", "does not exist"),
        ("clusterIP: None, ports: [{port: 80}]", "name: web", "is headless"),
        ("type: ExternalName, externalName: a.example, ports: [{port: 80}]", "name: web", "is of type ExternalName"),
        ("clusterIP: 10.96.0.1, ports: [{port: 80}]", "name: web, port: 81", "has no port 81; it has: 80"),
        ("clusterIP: 10.96.0.1, ports: [{port: 80, name: a}]", "name: web, sectionName: b", "has no b; it has: 80 a"),
        ("clusterIP: 10.96.0.1, ports: [{port: 53, protocol: UDP}]", "name: web", "takes a HTTPRoute: 53 (UDP)"),
        ("clusterIP: 10.96.0.1, ports: [{port: 443, appProtocol: https}]", "name: web", "443 (https)"),
        ("clusterIP: 10.96.0.1, ports: [{port: 25, appProtocol: tcp}]", "name: web", "25 (tcp)"),
    ],
    ids=["nowhere", "headless", "external", "no port", "no name", "UDP", "TLS", "bytes"],
)
def test_a_service_that_nobody_reaches_so_is_no_parent(spec: str, parent: str, why: str) -> None:
    """The condition says why, and nothing is served."""
    world = World(service(spec), route(parent), settings=DATAPATH)
    [verdict] = [found for ref, found in world.ingested.verdicts.items() if ref.object.kind == "HTTPRoute"]
    accepted = verdict.conditions[0]

    assert ("Accepted", "False", "NoMatchingParent") == (accepted.type, accepted.status, accepted.reason)
    assert why in accepted.message
    assert {} == hosts(world)
    assert WEB not in world.ingested.frontends


def test_a_route_is_for_the_port_that_it_names_or_for_all_that_speak_http() -> None:
    """Others stay as they are."""
    ports = (
        "clusterIP: 10.96.0.1, ports: [{port: 80, name: a}, {port: 81, name: b, appProtocol: grpc}, "
        "{port: 443, name: c, appProtocol: https}]"
    )
    found = [
        sorted(port for port, _ in hosts(World(service(ports), route(parent), settings=DATAPATH)))
        for parent in ("name: web", "name: web, port: 81", "name: web, sectionName: a")
    ]

    assert [[80, 81], [81], [80]] == found


def test_a_port_that_says_nothing_keeps_what_is_not_http() -> None:
    """Its other connections go to its own endpoints, as bytes; one that says that it speaks HTTP has no others."""
    ports = "clusterIP: 10.96.0.1, ports: [{port: 80, name: a, appProtocol: http}, {port: 443, name: b}]"
    world = World(service(ports), route(), settings=DATAPATH)

    assert {443: [ClusterRef("default", "web", 443, "tcp")]} == {
        ref.table.port: [backend.cluster for backend in found.backends]
        for ref, found in world.ingested.tls_routes.items()
    }


def test_routes_of_one_namespace_are_merged_and_others_are_apart() -> None:
    """Those of the Service's own for all, those of another for its clients, in the order of any routes."""
    world = World(
        service(),
        route(name="b", rule="matches: [{path: {value: /long}}], backendRefs: [{name: web, port: 80}]"),
        route(name="a"),
        route("name: web, namespace: default", "c", "east"),
        pod("x", "10.0.0.1").replace("metadata: {", "metadata: {namespace: east, "),
        settings=DATAPATH,
    )

    assert {(80, ""): ["HTTPRoute/b", "HTTPRoute/a"], (80, "east"): ["HTTPRoute/c"]} == hosts(world)
    assert {"east": ("10.0.0.1",)} == dict(world.ingested.clients)


def test_where_only_others_have_routes_everybody_else_goes_where_he_went() -> None:
    """A route that nobody wrote leads to the Service's own endpoints."""
    world = World(service(), route("name: web, namespace: default", "c", "east"), settings=DATAPATH)

    assert {(80, ""): ["Service/web"], (80, "east"): ["HTTPRoute/c"]} == hosts(world)

    world.apply(route(name="own"))

    assert ["HTTPRoute/own"] == hosts(world)[80, ""]


def test_a_route_that_is_refused_is_none() -> None:
    """ "The rejected routes should be ignored": the Service is as without it."""
    world = World(
        service(), route(rule="filters: [{type: ExtensionRef}], matches: [{path: {value: /}}]"), settings=DATAPATH
    )

    assert "False" == world.reason("Accepted", "HTTPRoute", "web", "").partition("/")[0]
    assert {} == hosts(world)


def test_a_service_loses_its_listener_with_its_last_route() -> None:
    """It is then served in the kernel again."""
    world = World(service(), route(), slice_(at("10.0.0.1")), settings=DATAPATH)

    assert kernel(world).proxied  # type: ignore[attr-defined]

    world.delete("HTTPRoute", "web")

    assert not kernel(world).proxied  # type: ignore[attr-defined]
    assert [] == [ref for ref in world.ingested.listeners if ref.parent == WEB]
    assert WEB not in world.ingested.frontends


def test_pods_come_and_go_without_a_listener() -> None:
    """Of what Envoy drains nothing is touched."""
    world = World(service(), route("name: web, namespace: default", "c", "default-2"), settings=DATAPATH)
    world.apply(pod("x", "10.0.0.1").replace("metadata: {", "metadata: {namespace: default-2, "))

    assert {"pods", "workloads", "mesh/clients"} == set(world.changed)


@pytest.mark.parametrize(
    ("parents", "backend", "reason"),
    [
        ("{group: '', kind: Service, name: web, namespace: default}", "default", "True/ResolvedRefs"),
        ("{group: '', kind: Service, name: web, namespace: default}", "west", "False/RefNotPermitted"),
        ("{group: '', kind: Service, name: web, namespace: default}, {name: gw}", "default", "False/RefNotPermitted"),
        ("{group: '', kind: Service, name: other, namespace: default}", "default", "False/RefNotPermitted"),
        (
            "{group: '', kind: Service, name: web, namespace: default}, {group: '', kind: Service, name: mine}",
            "default",
            "False/RefNotPermitted",
        ),
    ],
    ids=["its parent", "another", "of a Gateway too", "another of the namespace", "of a Service of its own too"],
)
def test_a_backend_that_is_the_only_parent_needs_no_grant(parents: str, backend: str, reason: str) -> None:
    """The client asked for it; by any other parent a route would lead clients there who have not."""
    made = f"""
kind: HTTPRoute
metadata: {{name: web, namespace: east}}
spec: {{parentRefs: [{parents}], rules: [{{backendRefs: [{{name: web, namespace: {backend}, port: 80}}]}}]}}
"""
    world = World(service(), service(namespace="west"), made, settings=DATAPATH)
    verdicts = [found for ref, found in world.ingested.verdicts.items() if ref.object.kind == "HTTPRoute"]
    resolved = {each for verdict in verdicts for each in verdict.conditions if each.type == "ResolvedRefs"}

    assert {reason} == {f"{each.status}/{each.reason}" for each in resolved}


def test_without_daemons_a_service_is_nobodys_parent() -> None:
    """Another mesh may have it: there is no verdict, and nothing is served."""
    world = World(service(), route(), slice_(at("10.0.0.1")), settings=DIRECTORY)

    assert [] == [ref for ref in world.ingested.verdicts if ref.object.kind == "HTTPRoute"]
    assert {} == hosts(world)
    assert {} == dict(world.ingested.kernel_services.items())


# --- in the kernel ----------------------------------------------------------------------------------------------------


def test_every_port_of_a_service_is_served_in_the_kernel() -> None:
    """At all its addresses; a headless one has none."""
    ports = "ports: [{port: 80, name: a}, {port: 53, name: b, protocol: UDP}, {port: 9, name: c, protocol: SCTP}]"
    world = World(
        service(f"clusterIPs: [10.96.0.1, '2001:db8::1'], {ports}"),
        service(f"clusterIP: None, {ports}", "headless"),
        settings=DATAPATH,
    )

    assert {(80, "TCP"), (53, "UDP")} == {(ref.port, ref.protocol) for ref in world.ingested.kernel_services}
    assert (Frontage("10.96.0.1", 53), Frontage("2001:db8::1", 53)) == kernel(world, 53, "UDP").frontages  # type: ignore[attr-defined]


def test_backends_are_ready_or_finish_what_they_have() -> None:
    """Of both families, of this port; neither those that are not ready nor those that nobody may reach."""
    world = World(
        service(),
        slice_(
            at("10.0.0.1"),
            at("10.0.0.2", ready=False, serving=True, terminating=True),
            at("10.0.0.3", ready=False),
            at("10.0.0.4", ready=False, serving=False, terminating=True),
            at("169.254.169.254"),
        ),
        slice_(at("2001:db8::9"), name="web-2", type_="IPv6"),
        slice_(at("10.0.0.9"), name="web-3", port="port: 8080, name: other"),
        slice_(at("10.0.0.9"), name="web-4", port="port: 8080, protocol: UDP"),
        settings=Settings(datapath=True),
    )

    assert (
        KernelBackend("10.0.0.1", 8080),
        KernelBackend("10.0.0.2", 8080, terminating=True),
        KernelBackend("2001:db8::9", 8080),
    ) == kernel(world).backends  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ("", 0),
        (", sessionAffinity: None", 0),
        (", sessionAffinity: ClientIP", 10_800),
        (", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 30}}", 30),
        (", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 100000}}", 86_400),
    ],
)
def test_affinity_is_that_of_the_service(spec: str, seconds: int) -> None:
    """Three hours where it says no number, as kube-proxy has it."""
    world = World(service(f"clusterIP: 10.96.0.1, ports: [{{port: 80}}]{spec}"), settings=DATAPATH)

    assert seconds == kernel(world).affinity_s  # type: ignore[attr-defined]


def test_endpoints_of_this_node_alone_are_left_to_kube_proxy() -> None:
    """What is local differs from node to node."""
    world = World(service("clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}]"), settings=DATAPATH)

    assert {} == dict(world.ingested.kernel_services.items())


def test_endpoints_touch_their_service_alone() -> None:
    """The hot path: one resource, and no collection besides those of endpoints."""
    world = World(
        service(),
        service("clusterIP: 10.96.0.2, ports: [{port: 80}]", "other"),
        slice_(at("10.0.0.1")),
        settings=DATAPATH,
    )
    world.apply(slice_(at("10.0.0.2")))

    assert {"endpoint_slices": 1, "kernel_services/services": 1, "kernel_services": 1} == world.changed


OLD, NEW = "2024-01-01T00:00:00Z", "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("thief", ["aaa-steal", "zzz-steal"])
def test_an_address_is_the_oldest_service_s(thief: str) -> None:
    """Whatever a newcomer is called: it is served nowhere there, neither by the kernel nor by Envoy, and is told so."""
    stolen = "clusterIP: 10.96.0.1, ports: [{port: 80}, {port: 81}]"
    world = World(
        service(created=OLD), route(), service(stolen, name=thief, created=NEW), route(f"name: {thief}", name="steal"),
        settings=DATAPATH,
    )  # fmt: skip

    assert {WEB} == {ref.object for ref in world.ingested.kernel_services}
    assert {WEB: ("10.96.0.1",), ObjectRef("Service", "default", thief): ()} == {
        ref: found.addresses for ref, found in world.ingested.frontends.items()
    }
    [warning] = world.ingested.warnings.values()
    assert (thief, "spec.clusterIPs") == (warning.object.name, warning.field)
    assert "10.96.0.1 is Service/default/web's, which is older, or first by name" in warning.message


def test_an_address_goes_on_to_the_next_service_when_the_oldest_is_gone() -> None:
    """The name of another namespace's Service is told to nobody."""
    other = service(namespace="team", created=NEW)
    world = World(service(created=OLD), other, settings=DATAPATH)
    [warning] = world.ingested.warnings.values()
    world.delete("Service", "web")

    assert "10.96.0.1 is a Service of another namespace's" in warning.message
    assert [ObjectRef("Service", "team", "web")] == [ref.object for ref in world.ingested.kernel_services]
    assert {} == dict(world.ingested.warnings.items())
