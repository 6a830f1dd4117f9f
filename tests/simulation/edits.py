"""What users do to a cluster, as data: a world, and stories of edits, for a fake API server as for a real one."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import yaml

from tests.unit.ingestion import tls
from xds_server.kube.kinds import BY_KIND
from xds_server.model.refs import ObjectRef

Manifest = dict[str, Any]
GATEWAY_API: Final = "gateway.networking.k8s.io/v1"
LABELLED: Final = "kubernetes.io/service-name"


class Put(NamedTuple):
    manifest: Manifest

    @property
    def ref(self) -> ObjectRef:
        metadata = self.manifest["metadata"]
        kind = BY_KIND[self.manifest["kind"]]
        return ObjectRef(kind.kind, metadata.get("namespace", "default") if kind.namespaced else "", metadata["name"])


class Delete(NamedTuple):
    ref: ObjectRef


class Serve(NamedTuple):
    """From now on a kind has these versions of its API and no others; none at all is a kind that goes."""

    kind: str
    versions: tuple[str, ...]


Edit = Put | Delete | Serve


def kind_of(edit: Edit) -> str:
    return edit.kind if isinstance(edit, Serve) else edit.ref.kind


def put(text: str, **fields: str) -> Put:
    for name, value in fields.items():
        text = text.replace(name.upper(), value)
    return Put(yaml.safe_load(text))


def delete(kind: str, name: str) -> Delete:
    return Delete(ObjectRef(kind, "default" if BY_KIND[kind].namespaced else "", name))


def gateway(secret: str = "pair", *, extra: str = "") -> Put:
    return put(
        f"""
apiVersion: {GATEWAY_API}
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: tidegate
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
  - {{name: https, port: 443, protocol: HTTPS, hostname: a.example.com, tls: {{certificateRefs: [{{name: {secret}}}]}}}}
  - {{name: through, port: 8443, protocol: TLS, tls: {{mode: Passthrough}}}}{extra}
"""
    )


def exposed(kind: str = "Service", service: str = "LoadBalancer") -> Put:
    return put(
        f"""
apiVersion: tidegate.dev/v1alpha1
kind: GatewayParameters
metadata: {{name: cloud}}
spec: {{exposure: {{type: {kind}{f", service: {{type: {service}}}" if kind == "Service" else ""}}}}}
"""
    )


CLOUD: Final = put(f"""
apiVersion: {GATEWAY_API}
kind: Gateway
metadata: {{name: cloud}}
spec:
  gatewayClassName: tidegate
  infrastructure: {{parametersRef: {{group: tidegate.dev, kind: GatewayParameters, name: cloud}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
""")
LISTENER_MORE: Final = "\n  - {name: other, port: 81, protocol: HTTP}"


def route(name: str, service: str, path: str = "/", gateway: str = "web", namespace: str = "default") -> Put:
    return put(f"""
apiVersion: {GATEWAY_API}
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: {gateway}}}]
  rules:
  - matches: [{{path: {{value: {path}}}}}]
    backendRefs: [{{name: {service}, namespace: {namespace}, port: 80}}]
""")


def grpc_route(service: str) -> Put:
    return put(f"""
apiVersion: {GATEWAY_API}
kind: GRPCRoute
metadata: {{name: calls}}
spec:
  parentRefs: [{{name: web, sectionName: http}}]
  hostnames: [grpc.example.com]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
""")


def tls_route(service: str) -> Put:
    return put(f"""
apiVersion: {GATEWAY_API}
kind: TLSRoute
metadata: {{name: through}}
spec:
  parentRefs: [{{name: web, sectionName: through}}]
  hostnames: [tls.example.com]
  rules: [{{backendRefs: [{{name: {service}, port: 80}}]}}]
""")


GRANT: Final = put(f"""
apiVersion: {GATEWAY_API}
kind: ReferenceGrant
metadata: {{name: web, namespace: other}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}}]
  to: [{{group: "", kind: Service}}]
""")


def service(name: str, port: int = 80, namespace: str = "default") -> Put:
    return put(f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: {port}, targetPort: 8080}}]}}
""")


def endpoints(name: str, *addresses: str, namespace: str = "default") -> Put:
    each = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    return Put(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": {LABELLED: name}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": each,
        }
    )


@cache
def secret(name: str = "pair", which: int = 0) -> Put:
    return put("apiVersion: v1" + tls.secret(name, crt=tls.chain(which=which), key=tls.private(which=which)))


def config_map(value: str) -> Put:
    return put(f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: headers}}
data: {{x-frame-options: {value}}}
""")


def ingress(name: str = "shop", service: str = "a", mode: str = "dedicated") -> Put:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    path = {"path": f"/{name}", "pathType": "Prefix", "backend": backend}
    annotations = {
        "nginx.ingress.kubernetes.io/custom-headers": "default/headers",
        "ingress.cilium.io/loadbalancer-mode": mode,
    }
    return Put(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"ingressClassName": "tidegate", "rules": [{"http": {"paths": [path]}}]},
        }
    )


def pool(cidr: str, disabled: str = "false") -> Put:
    return put(f"""
apiVersion: tidegate.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {{name: main}}
spec: {{blocks: [{{cidr: {cidr}}}], disabled: {disabled}}}
""")


def namespace(name: str) -> Put:
    return Put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


CLASS: Final = put(f"""
apiVersion: {GATEWAY_API}
kind: GatewayClass
metadata: {{name: tidegate}}
spec: {{controllerName: tidegate.dev/controller}}
""")
INGRESS_CLASS: Final = put("""
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: tidegate}
spec: {controller: tidegate.dev/controller}
""")


@cache
def world() -> tuple[Put, ...]:
    """Something of every kind, in an order that an API server takes."""
    return (
        namespace("other"),
        CLASS,
        INGRESS_CLASS,
        pool("198.51.100.0/24"),
        exposed(),
        *(service(name) for name in "ab"),
        *(endpoints(name, f"10.0.0.{number}") for number, name in enumerate("ab", 1)),
        service("far", namespace="other"),
        endpoints("far", "10.0.9.1", namespace="other"),
        secret(),
        secret("next", which=1),
        config_map("DENY"),
        gateway(),
        CLOUD,
        route("web", "a"),
        route("cloud", "b", gateway="cloud"),
        route("far", "far", "/far", namespace="other"),
        GRANT,
        grpc_route("a"),
        tls_route("b"),
        ingress(),
        ingress("both", mode="shared"),
    )


@cache
def stories() -> dict[str, tuple[Edit, ...]]:
    """Edits that touch every kind: made, changed, deleted, made anew, and taken away with its definition."""
    return {
        "routes": (
            route("web", "b"),
            route("new", "a", "/new"),
            grpc_route("b"),
            tls_route("a"),
            delete("HTTPRoute", "web"),
            route("web", "a", "/again"),
            delete("GRPCRoute", "calls"),
            route("new", "b", "/new", gateway="cloud"),
            Delete(ObjectRef("ReferenceGrant", "other", "web")),
            GRANT,
            delete("TLSRoute", "through"),
        ),
        "backends": (
            endpoints("a", "10.0.0.1", "10.0.0.3"),
            service("c"),
            endpoints("c", "10.0.0.4"),
            route("web", "c"),
            service("a", 8080),
            endpoints("b"),
            delete("Service", "a"),
            service("a"),
            delete("EndpointSlice", "a-1"),
            endpoints("a", "10.0.0.5"),
            Delete(ObjectRef("Service", "other", "far")),
        ),
        "gateways": (
            gateway(extra=LISTENER_MORE),
            secret(which=2),
            gateway("next"),
            exposed(service="NodePort"),
            delete("Secret", "next"),
            secret("next", which=3),
            pool("203.0.113.0/24"),
            delete("Gateway", "cloud"),
            CLOUD,
            delete("GatewayParameters", "cloud"),
            delete("LoadBalancerIPPool", "main"),
            delete("GatewayClass", "tidegate"),
            CLASS,
            # While parameters are missing, what was generated by them stays: the end is to depend on nothing before.
            exposed(service="NodePort"),
        ),
        "ingresses": (
            ingress(service="b"),
            config_map("SAMEORIGIN"),
            ingress("third", mode="shared"),
            delete("ConfigMap", "headers"),
            config_map("DENY"),
            ingress("both"),
            delete("Ingress", "shop"),
            delete("IngressClass", "tidegate"),
            INGRESS_CLASS,
            ingress("shop", "a", mode="shared"),
            namespace("third"),
            Delete(ObjectRef("Namespace", "", "third")),
        ),
        "definitions": (
            Serve("TLSRoute", ("v1alpha3", "v1alpha2")),
            tls_route("a"),
            Serve("TLSRoute", ("v1", "v1alpha3")),
            Serve("TLSRoute", ()),
            Serve("TLSRoute", ("v1alpha2",)),
            tls_route("b"),
            Serve("GRPCRoute", ()),
            Serve("GRPCRoute", ("v1",)),
            grpc_route("b"),
        ),
    }
