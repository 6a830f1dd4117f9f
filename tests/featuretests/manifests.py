"""The smallest world that serves: a Gateway, a route, a Service with one endpoint; and what a cluster needs besides."""

from __future__ import annotations


def gateway(name: str = "web", secret: str = "") -> str:
    """One listener in plain text, and one over TLS where there is a Secret for it."""
    secured = f"\n  - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: {secret}}}]}}}}"
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: tidegate
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}{secured if secret else ""}
"""


def route(parent: str = "web") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: {parent}}}]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
"""


def service(address: str = "127.90.1.1", port: int = 8080) -> str:
    """With its one endpoint."""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [{address}]}}]
"""


GATEWAY, ROUTE, SERVICE = gateway(), route(), service()
GATEWAY_CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: tidegate}
spec: {controllerName: tidegate.dev/controller}
"""
INGRESS_CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: tidegate}
spec: {controller: tidegate.dev/controller}
"""
