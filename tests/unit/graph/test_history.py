"""Random histories of real objects: what is incremental equals what is rebuilt, and nothing leaks."""

# ruff: noqa: E501  # a manifest on one line reads better than one broken by Python

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.ingestion import tls
from tests.unit.ingestion.world import STRUCTS
from xds_server.graph import Collection
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings

NAMESPACES = ("east", "west")
SETTINGS = Settings(
    undeclared_classes=("tidegate",), pool=("127.64.0.0/28",), host_ports=(range(80, 81),), datapath=True
)
WHATEVER_THE_OBJECTS_SAY = "envoy_capture"

CERTIFICATE = "tls: {certificateRefs: [{name: pair, namespace: east}]}"
LISTENERS = (
    "{name: http, port: 80, protocol: HTTP}",
    "{name: http, port: 80, protocol: HTTP, hostname: '*.io', allowedRoutes: {namespaces: {from: All}}}",
    "{name: shop, port: 80, protocol: HTTP, hostname: shop.io}",
    "{name: shop, port: 80, protocol: HTTP, hostname: shop.io, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}",
    f"{{name: https, port: 443, protocol: HTTPS, hostname: shop.io, {CERTIFICATE}}}",
    f"{{name: more, port: 443, protocol: HTTPS, hostname: '*.io', {CERTIFICATE}}}",
    "{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}",
    "{name: tcp, port: 80, protocol: TCP}",
    "{name: udp, port: 53, protocol: UDP}",
)  # fmt: skip
PARENTS = (
    "{name: a}",
    "{name: b, namespace: west}",
    "{name: a, sectionName: shop}",
    "{name: nowhere}",
    "{group: '', kind: Service, name: a}",
    "{group: '', kind: Service, name: b, namespace: west, port: 80}",
)
HOSTNAMES = ("", "shop.io", "'*.io'", "a.shop.io", "SHOP.io")
BACKENDS = ("{name: a, port: 80}", "{name: b, namespace: west, port: 80}", "{name: missing, port: 80}", "{name: a, port: 80, weight: 0}")  # fmt: skip
RULES = (
    "",
    "matches: [{path: {value: /x}}, {path: {type: Exact, value: /y}, method: GET}], ",
    "matches: [{path: {type: RegularExpression, value: '['}}], ",
    "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}], ",
)
PARAMETERS = "infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayParameters, name: a}}"
TIMES = ("", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z")

some = st.sampled_from


@st.composite
def gateway(draw: st.DrawFn) -> str:
    listeners = draw(st.lists(some(LISTENERS), min_size=1, max_size=4, unique=True))
    address = draw(some(("", "addresses: [{value: 127.64.0.3}]", "addresses: [{type: Hostname, value: a.io}]")))
    infrastructure = draw(some(("", PARAMETERS, "infrastructure: {labels: {a: b}}")))
    parts = ", ".join(filter(None, (f"listeners: [{', '.join(listeners)}]", address, infrastructure)))
    status = draw(some(("", "\nstatus: {addresses: [{value: 127.64.0.3}]}")))
    return f"spec: {{gatewayClassName: {draw(some(('tidegate', 'other')))}, {parts}}}{status}"


@st.composite
def route(draw: st.DrawFn, rules: tuple[str, ...] = RULES) -> str:
    parents = ", ".join(draw(st.lists(some(PARENTS), max_size=2, unique=True)))
    made = ", ".join(
        f"{{{draw(some(rules))}backendRefs: [{draw(some(BACKENDS))}]}}" for _ in range(draw(st.integers(1, 2)))
    )
    return f"spec: {{parentRefs: [{parents}], hostnames: [{draw(some(HOSTNAMES))}], rules: [{made}]}}"


@st.composite
def ingress(draw: st.DrawFn) -> str:
    entries = some(
        (
            "",
            "tls: [{hosts: [shop.io], secretName: pair}], ",
            "defaultBackend: {service: {name: b, port: {number: 80}}}, ",
        )
    )
    path = f"{{path: {draw(some(('/', '/x')))}, pathType: {draw(some(('Prefix', 'Exact')))}, backend: {{service: {{name: a, port: {{number: 80}}}}}}}}"
    host = draw(some(("", "host: shop.io, ", "host: '*.shop.io', ")))
    return f"spec: {{ingressClassName: tidegate, {draw(entries)}rules: [{{{host}http: {{paths: [{path}]}}}}]}}"  # fmt: skip


@st.composite
def transport_route(draw: st.DrawFn) -> str:
    parents = ", ".join(draw(st.lists(some(PARENTS), max_size=2, unique=True)))
    backends = ", ".join(draw(st.lists(some(BACKENDS), min_size=1, max_size=2)))
    return f"spec: {{parentRefs: [{parents}], rules: [{{backendRefs: [{backends}]}}]}}"


SPECS: dict[str, st.SearchStrategy[str]] = {
    "GatewayClass": some(("spec: {controllerName: tidegate.dev/controller}", "spec: {controllerName: example.com/other}")),
    "Gateway": gateway(),
    "HTTPRoute": route(),
    "GRPCRoute": route(("", "matches: [{method: {service: s, method: m}}], ", "matches: [{method: {}}], ")),
    "TLSRoute": route(("",)),
    "TCPRoute": transport_route(),
    "UDPRoute": transport_route(),
    "ReferenceGrant": some(
        [
            f"spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}], to: [{{group: '', kind: {to}}}]}}"
            for kind, to in (("HTTPRoute", "Service"), ("Gateway", "Secret"), ("TLSRoute", "Service"))
            for namespace in NAMESPACES
        ]
    ),
    "Service": some(
        [
            f"spec: {{{text}}}"
            for text in (
                "ports: [{port: 80}]",
                "clusterIP: 10.96.0.1, ports: [{port: 80, appProtocol: kubernetes.io/h2c}]",
                "clusterIPs: [10.96.0.2], sessionAffinity: ClientIP, ports: [{port: 80, name: a}, {port: 53, protocol: UDP, name: b}]",
                "type: ExternalName, ports: [{port: 80}]",
            )
        ]
    ),
    "EndpointSlice": some(
        [
            f"addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{{addresses: ['{address}'], conditions: {{ready: {ready}}}}}]"
            for address in ("10.0.0.1", "10.0.0.2", "127.0.0.1")
            for ready in ("true", "false")
        ]
    ),
    "Pod": some(
        [
            f"spec: {{nodeName: {node}{more}}}\nstatus: {{phase: {phase}, podIPs: [{{ip: {address}}}]}}"
            for address, node, more, phase in (
                ("10.0.0.1", "n1", "", "Running"),
                ("10.0.0.2", "n2", "", "Running"),
                ("10.0.0.1", "n1", "", "Succeeded"),
                ("10.0.0.1", "n1", ", hostNetwork: true", "Running"),
            )
        ]
    ),
    "Secret": some(
        [
            "\n".join(tls.secret("pair", crt=crt, key=tls.private(which=which)).strip().splitlines()[2:])
            for crt, which in ((tls.chain(), 0), (tls.chain(which=1), 1), (tls.chain(), 1))
        ]
    ),
    "Namespace": some(("{}",)),
    "IngressClass": some(("spec: {controller: tidegate.dev/controller}", "spec: {controller: example.com/other}")),
    "Ingress": ingress(),
    "GatewayParameters": some(("spec: {exposure: {type: Service}}", "spec: {exposure: {type: HostPort}}", "spec: {}")),
    "L2AnnouncementPolicy": some(
        ("spec: {loadBalancerIPs: true, interfaces: [eth0, 'eth[']}", "spec: {loadBalancerIPs: true}", "spec: {}")
    ),
    "LoadBalancerIPPool": some(
        ("spec: {blocks: [{cidr: 127.64.0.0/29}]}", "spec: {disabled: true, blocks: [{start: 127.64.0.3}]}")
    ),
}  # fmt: skip
CLUSTER_SCOPED = frozenset({"GatewayClass", "IngressClass", "L2AnnouncementPolicy", "LoadBalancerIPPool", "Namespace"})

Step = tuple[ObjectRef, Any]
"""An object that is put, or None for one that is deleted."""


@st.composite
def step(draw: st.DrawFn) -> Step:
    kind = draw(some(sorted(SPECS)))
    name = "tidegate" if kind.endswith("Class") else draw(some(("a", "b")))
    namespace = "" if kind in CLUSTER_SCOPED else draw(some(NAMESPACES))
    if kind == "Secret":
        name = "pair"
    if kind == "Namespace":
        name = draw(some(NAMESPACES))
    ref = ObjectRef(kind, namespace, name)
    if draw(st.integers(0, 3)) == 0:
        return ref, None
    labels = (
        {"kubernetes.io/service-name": draw(some(("a", "b")))}
        if kind == "EndpointSlice"
        else {"team": draw(some("ab"))}
    )
    metadata = {"name": name, "namespace": namespace, "labels": labels, "creationTimestamp": draw(some(TIMES))}
    document = {**(yaml.safe_load(draw(SPECS[kind])) or {}), "metadata": metadata}
    return ref, msgspec.convert(document, STRUCTS[kind])


def put(kind: str, name: str, spec: str, namespace: str = "east", labels: dict[str, str] | None = None) -> Step:
    namespace = "" if kind in CLUSTER_SCOPED else namespace
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return ObjectRef(kind, namespace, name), msgspec.convert(
        {**(yaml.safe_load(spec) or {}), "metadata": metadata}, STRUCTS[kind]
    )


ALIVE: list[Step] = [
    put("Gateway", "a", f"spec: {{gatewayClassName: tidegate, listeners: [{', '.join(LISTENERS[1:3])}, {LISTENERS[4]}, {LISTENERS[6]}], {PARAMETERS}}}"),
    put("GatewayParameters", "a", "spec: {exposure: {type: Service}}"),
    put("HTTPRoute", "a", f"spec: {{parentRefs: [{{name: a}}], hostnames: [shop.io], rules: [{{{RULES[1]}backendRefs: [{BACKENDS[0]}, {BACKENDS[1]}]}}]}}"),
    put("GRPCRoute", "a", f"spec: {{parentRefs: [{{name: a}}], hostnames: ['*.io'], rules: [{{backendRefs: [{BACKENDS[0]}]}}]}}"),
    put("TLSRoute", "a", f"spec: {{parentRefs: [{{name: a}}], hostnames: [a.shop.io], rules: [{{backendRefs: [{BACKENDS[0]}]}}]}}"),
    put("Ingress", "a", "spec: {ingressClassName: tidegate, tls: [{hosts: [shop.io], secretName: pair}], rules: [{host: shop.io, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}"),
    put("Service", "a", "spec: {ports: [{port: 80}]}"),
    put("Service", "b", "spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}", "west"),
    put("HTTPRoute", "b", f"spec: {{parentRefs: [{PARENTS[5]}], rules: [{{backendRefs: [{BACKENDS[1]}]}}]}}"),
    put("ReferenceGrant", "a", "spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: east}], to: [{group: '', kind: Service}]}", "west"),
    put("EndpointSlice", "a", "addressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]", labels={"kubernetes.io/service-name": "a"}),
    put("Pod", "a", "spec: {nodeName: n1}\nstatus: {phase: Running, podIPs: [{ip: 10.0.0.1}]}"),
    put("L2AnnouncementPolicy", "a", "spec: {loadBalancerIPs: true, interfaces: [eth0]}", ""),
    put("Secret", "pair", "\n".join(tls.secret("pair").strip().splitlines()[2:])),
]  # fmt: skip
"""A world in which every collection has something to lose."""

histories = st.lists(st.lists(step(), min_size=1, max_size=4), min_size=1, max_size=10).map(lambda made: [ALIVE, *made])


def replayed(*commits: list[Step]) -> Pipeline:
    pipeline = Pipeline.declare(SETTINGS, TranslationSettings(datapath=True))
    for commit in commits:
        pipeline.apply(commit)
        assert {} == dict(pipeline.graph.faults)
    return pipeline


def contents(pipeline: Pipeline) -> dict[str, dict[Any, Any]]:
    return {collection.name: dict(collection) for collection in pipeline.graph.collections}


@settings(max_examples=150)
@given(histories)
def test_commits_equal_a_rebuild(history: list[list[Step]]) -> None:
    """After any history every collection holds what one commit of the final objects gives."""
    final = dict(one for commit in history for one in commit)

    assert contents(replayed([*final.items()])) == contents(replayed(*history))


@settings(max_examples=75)
@given(histories)
def test_nothing_leaks(history: list[list[Step]]) -> None:
    """After everything is deleted, every collection, index and table of readers is empty."""
    pipeline = replayed(*history)
    pipeline.apply([(ref, None) for ref in dict(one for commit in history for one in commit)])
    collections: list[Collection[Any, Any]] = pipeline.graph.collections
    left = {collection.name for collection in collections if len(collection) or collection.leftovers()}

    assert {WHATEVER_THE_OBJECTS_SAY, pipeline.resources.name} == left
    assert len(pipeline.resources) == sum(len(each) for each in collections if each.name == WHATEVER_THE_OBJECTS_SAY)


@settings(max_examples=75)
@given(histories)
def test_the_same_objects_again_change_nothing(history: list[list[Step]]) -> None:
    """A resync of every object ripples nowhere."""
    pipeline = replayed(*history)
    final = dict(one for commit in history for one in commit)

    assert {} == pipeline.apply([*final.items()])


def test_the_first_commit_is_alive() -> None:
    """What random edits start from fills every collection that is served, but for who announces what: that is decided."""
    found = replayed(ALIVE).ingested._asdict()

    assert ["warnings", "announced"] == [name for name, collection in found.items() if not collection]
