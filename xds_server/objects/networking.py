"""networking.k8s.io/v1: Ingress and IngressClass."""

from __future__ import annotations

from typing import Literal

from xds_server.objects.core import WithLoadBalancer
from xds_server.objects.meta import Model, ObjectMeta


class IngressClassSpec(Model, frozen=True, kw_only=True):
    controller: str = ""


class IngressClass(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: IngressClassSpec = IngressClassSpec()


class ServiceBackendPort(Model, frozen=True, kw_only=True):
    """Either `name` or `number`."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(Model, frozen=True, kw_only=True):
    name: str
    port: ServiceBackendPort = ServiceBackendPort()


class TypedLocalObjectReference(Model, frozen=True, kw_only=True):
    kind: str
    name: str
    api_group: str = ""


class IngressBackend(Model, frozen=True, kw_only=True):
    service: IngressServiceBackend | None = None
    resource: TypedLocalObjectReference | None = None


class HTTPIngressPath(Model, frozen=True, kw_only=True):
    path_type: Literal["Exact", "Prefix", "ImplementationSpecific"]
    backend: IngressBackend
    path: str = ""


class HTTPIngressRuleValue(Model, frozen=True, kw_only=True):
    paths: tuple[HTTPIngressPath, ...]


class IngressRule(Model, frozen=True, kw_only=True):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Model, frozen=True, kw_only=True):
    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Model, frozen=True, kw_only=True):
    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()


class Ingress(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: IngressSpec = IngressSpec()
    status: WithLoadBalancer = WithLoadBalancer()
