"""gateway.networking.k8s.io: GatewayClass, Gateway, ReferenceGrant, with every field of v1 in both channels."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from xds_server.objects.meta import Labels, LabelSelector, Model, ObjectMeta, Port

GROUP = "gateway.networking.k8s.io"


class ParametersReference(Model, frozen=True, kw_only=True):
    group: str
    kind: str
    name: str
    namespace: str = ""


class GatewayClassSpec(Model, frozen=True, kw_only=True):
    controller_name: str
    parameters_ref: ParametersReference | None = None
    description: str = ""


class GatewayClass(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: GatewayClassSpec


class SecretObjectReference(Model, frozen=True, kw_only=True):
    name: str
    group: str = ""
    kind: str = "Secret"
    namespace: str = ""


class ObjectReference(Model, frozen=True, kw_only=True):
    group: str
    kind: str
    name: str
    namespace: str = ""


class ListenerTLSConfig(Model, frozen=True, kw_only=True):
    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: tuple[SecretObjectReference, ...] = ()
    options: Labels = field(default_factory=dict)


class RouteNamespaces(Model, frozen=True, kw_only=True):
    from_: Literal["All", "Selector", "Same", "None"] = field(name="from", default="Same")
    selector: LabelSelector | None = None


class RouteGroupKind(Model, frozen=True, kw_only=True):
    kind: str
    group: str = GROUP


class AllowedRoutes(Model, frozen=True, kw_only=True):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()


class LocalObjectReference(Model, frozen=True, kw_only=True):
    group: str
    kind: str
    name: str


class BackendObjectReference(Model, frozen=True, kw_only=True):
    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    port: Port | None = None


class ForwardBody(Model, frozen=True, kw_only=True):
    max_size: int = 0


class GRPCAuthConfig(Model, frozen=True, kw_only=True):
    allowed_headers: tuple[str, ...] = ()


class HTTPAuthConfig(Model, frozen=True, kw_only=True):
    path: str = ""
    allowed_headers: tuple[str, ...] = ()
    allowed_response_headers: tuple[str, ...] = ()


class ExternalAuth(Model, frozen=True, kw_only=True):
    protocol: Literal["HTTP", "GRPC"]
    backend_ref: BackendObjectReference
    grpc: GRPCAuthConfig | None = None
    http: HTTPAuthConfig | None = None
    forward_body: ForwardBody | None = None


class ListenerRequestFilter(Model, frozen=True, kw_only=True):
    type: Literal["ExternalAuth", "ExtensionRef"]
    external_auth: ExternalAuth | None = None
    extension_ref: LocalObjectReference | None = None


class ListenerFilters(Model, frozen=True, kw_only=True):
    requests: tuple[ListenerRequestFilter, ...] = ()


class Listener(Model, frozen=True, kw_only=True):
    name: str
    port: Port
    protocol: str
    hostname: str = ""
    tls: ListenerTLSConfig | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()
    filters: ListenerFilters | None = None


class GatewayAddress(Model, frozen=True, kw_only=True):
    type: str = "IPAddress"
    value: str = ""
    routability: str = ""


class GatewayInfrastructure(Model, frozen=True, kw_only=True):
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    parameters_ref: LocalObjectReference | None = None


class FrontendTLSValidation(Model, frozen=True, kw_only=True):
    ca_certificate_refs: tuple[ObjectReference, ...]
    mode: Literal["AllowValidOnly", "AllowInsecureFallback"] = "AllowValidOnly"


class TLSConfig(Model, frozen=True, kw_only=True):
    validation: FrontendTLSValidation | None = None


class TLSPortConfig(Model, frozen=True, kw_only=True):
    port: Port
    tls: TLSConfig


class FrontendTLSConfig(Model, frozen=True, kw_only=True):
    default: TLSConfig
    per_port: tuple[TLSPortConfig, ...] = ()


class GatewayBackendTLS(Model, frozen=True, kw_only=True):
    client_certificate_ref: SecretObjectReference | None = None


class GatewayTLSConfig(Model, frozen=True, kw_only=True):
    backend: GatewayBackendTLS | None = None
    frontend: FrontendTLSConfig | None = None


class AllowedListeners(Model, frozen=True, kw_only=True):
    namespaces: RouteNamespaces = RouteNamespaces(from_="None")


class GatewaySpec(Model, frozen=True, kw_only=True):
    gateway_class_name: str
    listeners: tuple[Listener, ...]
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: GatewayInfrastructure | None = None
    allowed_listeners: AllowedListeners | None = None
    tls: GatewayTLSConfig | None = None
    default_scope: Literal["All", "None", ""] = ""


class GatewayStatusAddress(Model, frozen=True, kw_only=True):
    type: str = ""
    value: str = ""


class GatewayStatus(Model, frozen=True, kw_only=True):
    """Only the addresses that the Gateway has: it keeps them."""

    addresses: tuple[GatewayStatusAddress, ...] = ()


class Gateway(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: GatewaySpec
    status: GatewayStatus = GatewayStatus()


class ReferenceGrantFrom(Model, frozen=True, kw_only=True):
    group: str
    kind: str
    namespace: str


class ReferenceGrantTo(Model, frozen=True, kw_only=True):
    group: str
    kind: str
    name: str = ""


class ReferenceGrantSpec(Model, frozen=True, kw_only=True):
    from_: tuple[ReferenceGrantFrom, ...] = field(name="from")
    to: tuple[ReferenceGrantTo, ...]


class ReferenceGrant(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: ReferenceGrantSpec
