"""gateway.networking.k8s.io: routes of every kind, with every field of v1 in both channels."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from xds_server.objects.gateway import GROUP, BackendObjectReference, ExternalAuth, LocalObjectReference
from xds_server.objects.meta import Model, ObjectMeta, Port

Weight = Annotated[int, Meta(ge=0, le=1_000_000)]
MatchType = Literal["Exact", "RegularExpression"]
Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]


class ParentReference(Model, frozen=True, kw_only=True):
    name: str
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    section_name: str = ""
    port: Port | None = None


class CommonRouteSpec(Model, frozen=True, kw_only=True):
    parent_refs: tuple[ParentReference, ...] = ()
    use_default_gateways: Literal["All", "None", ""] = ""


class HTTPPathMatch(Model, frozen=True, kw_only=True):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"


class HTTPHeaderMatch(Model, frozen=True, kw_only=True):
    name: str
    value: str
    type: MatchType = "Exact"


class HTTPQueryParamMatch(Model, frozen=True, kw_only=True):
    name: str
    value: str
    type: MatchType = "Exact"


class HTTPRouteMatch(Model, frozen=True, kw_only=True):
    path: HTTPPathMatch = HTTPPathMatch()
    headers: tuple[HTTPHeaderMatch, ...] = ()
    query_params: tuple[HTTPQueryParamMatch, ...] = ()
    method: Method | Literal[""] = ""


class HTTPHeader(Model, frozen=True, kw_only=True):
    name: str
    value: str


class HTTPHeaderFilter(Model, frozen=True, kw_only=True):
    set: tuple[HTTPHeader, ...] = ()
    add: tuple[HTTPHeader, ...] = ()
    remove: tuple[str, ...] = ()


class HTTPPathModifier(Model, frozen=True, kw_only=True):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class HTTPRequestRedirectFilter(Model, frozen=True, kw_only=True):
    scheme: Literal["http", "https", ""] = ""
    hostname: str = ""
    path: HTTPPathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class HTTPURLRewriteFilter(Model, frozen=True, kw_only=True):
    hostname: str = ""
    path: HTTPPathModifier | None = None


class Fraction(Model, frozen=True, kw_only=True):
    numerator: Annotated[int, Meta(ge=0)]
    denominator: Annotated[int, Meta(ge=1)] = 100


class HTTPRequestMirrorFilter(Model, frozen=True, kw_only=True):
    backend_ref: BackendObjectReference
    percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class HTTPCORSFilter(Model, frozen=True, kw_only=True):
    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Annotated[int, Meta(ge=1)] = 5


class HTTPRouteFilter(Model, frozen=True, kw_only=True):
    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "ExtensionRef",
        "CORS",
        "ExternalAuth",
    ]
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_mirror: HTTPRequestMirrorFilter | None = None
    request_redirect: HTTPRequestRedirectFilter | None = None
    url_rewrite: HTTPURLRewriteFilter | None = None
    extension_ref: LocalObjectReference | None = None
    cors: HTTPCORSFilter | None = None
    external_auth: ExternalAuth | None = None


class BackendRef(BackendObjectReference, frozen=True, kw_only=True):
    """A backend with its share; only HTTPRoute and GRPCRoute may name `filters`."""

    weight: Weight = 1
    filters: tuple[HTTPRouteFilter, ...] = ()


class HTTPRouteTimeouts(Model, frozen=True, kw_only=True):
    """Durations of the Gateway API: "500ms", "1h30m", "0s"."""

    request: str | None = None
    backend_request: str | None = None


class HTTPRouteRetry(Model, frozen=True, kw_only=True):
    codes: tuple[Annotated[int, Meta(ge=400, le=599)], ...] = ()
    attempts: Annotated[int, Meta(ge=0)] = 1
    backoff: str | None = None


class CookieConfig(Model, frozen=True, kw_only=True):
    name: str = ""
    path: str = "/"
    lifetime_type: Literal["Permanent", "Session"] = "Session"


class HeaderConfig(Model, frozen=True, kw_only=True):
    name: str


class SessionPersistence(Model, frozen=True, kw_only=True):
    type: Literal["Cookie", "Header"] = "Cookie"
    absolute_timeout: str | None = None
    cookie: CookieConfig | None = None
    header: HeaderConfig | None = None


class HTTPRouteRule(Model, frozen=True, kw_only=True):
    name: str = ""
    matches: tuple[HTTPRouteMatch, ...] = (HTTPRouteMatch(),)
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    timeouts: HTTPRouteTimeouts | None = None
    retry: HTTPRouteRetry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(CommonRouteSpec, frozen=True, kw_only=True):
    hostnames: tuple[str, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = (HTTPRouteRule(),)


class HTTPRoute(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: HTTPRouteSpec = HTTPRouteSpec()


class GRPCMethodMatch(Model, frozen=True, kw_only=True):
    type: MatchType = "Exact"
    service: str = ""
    method: str = ""


class GRPCRouteMatch(Model, frozen=True, kw_only=True):
    method: GRPCMethodMatch | None = None
    headers: tuple[HTTPHeaderMatch, ...] = ()


class GRPCRouteRule(Model, frozen=True, kw_only=True):
    name: str = ""
    matches: tuple[GRPCRouteMatch, ...] = (GRPCRouteMatch(),)
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[BackendRef, ...] = ()
    session_persistence: SessionPersistence | None = None


class GRPCRouteSpec(CommonRouteSpec, frozen=True, kw_only=True):
    hostnames: tuple[str, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = (GRPCRouteRule(),)


class GRPCRoute(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: GRPCRouteSpec = GRPCRouteSpec()


class TLSRouteRule(Model, frozen=True, kw_only=True):
    backend_refs: tuple[BackendRef, ...]
    name: str = ""


class TLSRouteSpec(CommonRouteSpec, frozen=True, kw_only=True):
    rules: tuple[TLSRouteRule, ...]
    hostnames: tuple[str, ...] = ()


class TLSRoute(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: TLSRouteSpec


class TransportRule(Model, frozen=True, kw_only=True):
    """Of TCPRoute and UDPRoute."""

    backend_refs: tuple[BackendRef, ...]
    name: str = ""


class TransportRouteSpec(CommonRouteSpec, frozen=True, kw_only=True):
    rules: tuple[TransportRule, ...]


class TCPRoute(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: TransportRouteSpec


class UDPRoute(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: TransportRouteSpec
