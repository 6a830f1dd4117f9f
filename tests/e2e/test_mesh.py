"""Routes of Services, from manifests to a real Envoy: each connection follows those of its own namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.redirected import CLIENT, NODE, Network, network
from tests.e2e.translated import Backend
from tests.envoy_validate import running
from xds_server.files.directory import Directory
from xds_server.ingestion.sources import Settings
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings

CONSUMER, STRANGER = ("10.99.0.3", "fd99::3"), ("10.99.0.4", "fd99::4")
SHOP, BARE = ("192.0.2.10", "2001:db8::10"), ("192.0.2.11",)

SERVICES = """
apiVersion: v1
kind: Service
metadata: {{name: shop, namespace: shop}}
spec:
  clusterIPs: [192.0.2.10, "2001:db8::10"]
  ports: [{{name: http, port: 80, appProtocol: http}}, {{name: more, port: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: bare, namespace: shop}}
spec: {{clusterIP: 192.0.2.11, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: new, namespace: shop}}
spec: {{clusterIP: 192.0.2.12, ports: [{{port: 80}}]}}
"""
ENDPOINTS = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {service}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: {ports}
endpoints: [{{addresses: [{address}]}}]
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {namespace}, namespace: {namespace}, uid: {namespace}}}
spec: {{nodeName: a}}
status: {{phase: Running, podIPs: [{{ip: {v4}}}, {{ip: "{v6}"}}]}}
"""
ROUTES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: producer, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop, port: 80}]
  hostnames: [nobody.asks.for.this]
  rules:
  - matches: [{path: {value: /new}}]
    backendRefs: [{name: new, port: 80}]
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: producer}]}}]
    matches: [{path: {value: /shop}}]
    backendRefs: [{name: shop, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: consumer, namespace: consumer}
spec:
  parentRefs: [{group: "", kind: Service, name: shop, namespace: shop}]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: consumer}]}}]
    matches: [{path: {value: /shop}}]
    backendRefs: [{name: shop, namespace: shop, port: 80}]
  - matches: [{path: {value: /away}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bare, namespace: consumer}
spec:
  parentRefs: [{group: "", kind: Service, name: bare, namespace: shop}]
  rules:
  - matches: [{path: {value: /consumer}}]
    backendRefs: [{name: new, namespace: shop, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: consumer, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: consumer}]
  to: [{group: "", kind: Service, name: new}]
"""


@pytest.fixture(scope="module")
def mesh(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    manifests, directory = tmp_path_factory.mktemp("manifests"), tmp_path_factory.mktemp("mesh")
    with ExitStack() as stack:
        made = stack.enter_context(network(*CONSUMER, *STRANGER))
        texts = [SERVICES.format(), ROUTES]
        for name in ("shop", "bare", "new"):
            backend = stack.enter_context(Backend(name, made.listening(NODE[0])).serving())
            number = backend.server_port
            ports = f"[{{name: http, port: {number}}}, {{name: more, port: {number}}}]"
            texts.append(
                ENDPOINTS.format(
                    service=name, address=NODE[0], ports=ports if name == "shop" else f"[{{port: {number}}}]"
                )
            )
        for namespace, (v4, v6) in (("consumer", CONSUMER), ("stranger", STRANGER)):
            texts.append(POD.format(namespace=namespace, v4=v4, v6=v6))
        for position, text in enumerate(texts):
            (manifests / f"{position}.yaml").write_text(text)
        scan = Directory([manifests]).load()
        assert () == scan.problems
        pipeline = Pipeline.declare(
            Settings(datapath=True, allow_local_endpoints=True), TranslationSettings(datapath=True)
        )
        pipeline.apply(scan.changes.items())
        assert {} == dict(pipeline.graph.faults)
        stack.enter_context(running(made.wrapped(envoy, directory), dict(pipeline.resources), directory))
        yield made


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_route_of_the_service_is_for_all_clients(mesh: Network, family: int) -> None:
    """Whoever calls, by whichever Host header; its hostnames say nothing. The backend sees the pod's address."""
    for client in (CLIENT, STRANGER):
        answer = mesh.ask(SHOP[family], 80, "/shop", source=client[family])

        assert "shop" == answer.seen["backend"]
        assert "producer" == answer.headers["x-route"]
        assert [client[family]] == answer.seen_headers["x-forwarded-for"]
    assert "new" == mesh.ask(SHOP[family], 80, "/new", host="other.example").seen["backend"]
    assert 404 == mesh.ask(SHOP[family], 80, "/").status


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_route_of_another_namespace_is_for_its_pods_alone(mesh: Network, family: int) -> None:
    """They follow no other: what it does not match is not found, also where a route of the Service would match."""
    for port in (80, 8080):
        assert "consumer" == mesh.ask(SHOP[family], port, "/shop", source=CONSUMER[family]).headers["x-route"]
        assert 404 == mesh.ask(SHOP[family], port, "/new", source=CONSUMER[family]).status
    assert 404 == mesh.ask(SHOP[family], 80, "/away", source=STRANGER[family]).status
    assert "http://other.example/away" == mesh.ask(SHOP[family], 80, "/away", source=CONSUMER[family]).location


def test_no_header_makes_a_client_of_another_namespace(mesh: Network) -> None:
    """The address is the connection's own."""
    headers = dict.fromkeys(("x-forwarded-for", "x-real-ip", "x-envoy-external-address"), CONSUMER[0])

    assert "producer" == mesh.ask(SHOP[0], 80, "/shop", source=STRANGER[0], **headers).headers["x-route"]


def test_a_port_without_a_route_of_the_service_goes_where_it_went(mesh: Network) -> None:
    """For all but the clients of a namespace that has one."""
    for path in ("/", "/consumer", "/shop"):
        assert "shop" == mesh.ask(SHOP[0], 8080, path, source=STRANGER[0]).seen["backend"]
        assert "bare" == mesh.ask(BARE[0], 80, path, source=STRANGER[0]).seen["backend"]
    assert "new" == mesh.ask(BARE[0], 80, "/consumer", source=CONSUMER[0]).seen["backend"]
    assert 404 == mesh.ask(BARE[0], 80, "/", source=CONSUMER[0]).status


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_what_is_not_http_goes_on_as_bytes(mesh: Network, family: int) -> None:
    """Where a port does not say what it speaks, a route takes requests, and leaves TLS and all else alone."""
    envoys, backends = (first(mesh, SHOP[family], port, b"hello there\n") for port in (80, 8080))

    assert envoys.startswith("HTTP/1.1 400")
    assert backends.startswith("<!DOCTYPE HTML>")
    assert "consumer" == mesh.ask(SHOP[family], 8080, "/shop", source=CONSUMER[family]).headers["x-route"]


def first(mesh: Network, address: str, port: int, said: bytes) -> str:
    """What comes back."""
    with mesh.connect(address, port) as connection:
        connection.sendall(said)
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()
