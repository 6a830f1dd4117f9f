"""Routes: what a request must look like, and what happens to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xds_server.model.refs import ClusterRef, HostRef, RouteRef

PathKind = Literal["Exact", "Prefix", "Regex"]
ValueKind = Literal["Exact", "Regex"]


@dataclass(frozen=True, slots=True)
class PathMatch:
    """`Prefix` matches whole segments: "/a" takes "/a" and "/a/b", not "/ab". `Regex` must match the whole path."""

    kind: PathKind
    value: str


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter; header names are lower case."""

    name: str
    kind: ValueKind
    value: str


@dataclass(frozen=True, slots=True)
class RouteMatch:
    path: PathMatch
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query_params: tuple[ValueMatch, ...] = ()
    grpc: bool = False
    """Only gRPC requests (content-type application/grpc) match."""


@dataclass(frozen=True, slots=True)
class HeaderModifier:
    """Changes to headers, names in lower case; `set` and `add` in the order of the object."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathModifier:
    r"""`full` replaces the path, `prefix` the matched prefix, `regex` what `pattern` (RE2) matches; \1 is a capture."""

    kind: Literal["full", "prefix", "regex"]
    value: str
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Empty fields keep the request's own value; `port` None is the specification's default for scheme or listener.

    `location` is a whole URL that is answered as it stands.
    """

    status: int = 302
    scheme: str = ""
    hostname: str = ""
    port: int | None = None
    path: PathModifier | None = None
    location: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    hostname: str = ""
    path: PathModifier | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """`fraction` is (numerator, denominator); None mirrors every request."""

    cluster: ClusterRef
    fraction: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Cors:
    """`allow_origins` are "*", exact origins, or origins with one "*" label."""

    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age_s: int | None = None
    allow_credentials: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` counts retries after the first try; 0 disables all."""

    attempts: int = 1
    codes: tuple[int, ...] = ()
    backoff_ms: int | None = None
    grpc: bool = False


@dataclass(frozen=True, slots=True)
class CookieAffinity:
    """Requests with this cookie go to the endpoint it names; `ttl_s` None makes a session cookie."""

    name: str
    path: str = "/"
    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class SourceRanges:
    """CIDRs of clients that may use a route (`allow`, everyone when empty) and may not (`deny`); others answer 403."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """What is done to a request that matched, in the order that the specification leaves open and Envoy gives."""

    request_headers: HeaderModifier = HeaderModifier()
    response_headers: HeaderModifier = HeaderModifier()
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None


@dataclass(frozen=True, slots=True)
class WeightedBackend:
    """A share of a rule's requests. `cluster` None answers 500 for that share: its reference cannot be resolved.

    `filters` apply to this share alone, after those of the rule; `redirect` answers it.
    """

    cluster: ClusterRef | None
    weight: int = 1
    filters: Filters = Filters()
    redirect: Redirect | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Send to one of `backends` by weight; those of weight 0 are left out. None at all answers 500."""

    backends: tuple[WeightedBackend, ...]


@dataclass(frozen=True, slots=True)
class DirectResponse:
    status: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One match of one rule. `created` and then `ref` order routes whose matches are equally specific.

    `written_hostnames` are the hostnames on the route object itself ("*" when it has none).
    `rule_name` is the name that the object gives to the rule.
    Timeouts are in milliseconds: None keeps the default, 0 disables.
    """

    ref: RouteRef
    created: str
    match: RouteMatch
    action: Forward | Redirect | DirectResponse
    filters: Filters = Filters()
    written_hostnames: tuple[str, ...] = ("*",)
    rule_name: str = ""
    request_timeout_ms: int | None = None
    backend_timeout_ms: int | None = None
    connect_timeout_ms: int | None = None
    idle_timeout_ms: int | None = None
    max_request_bytes: int | None = None
    retry: Retry | None = None
    affinity: CookieAffinity | None = None
    source_ranges: SourceRanges | None = None
    rate_limit_rps: int | None = None


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The routes for one hostname of one table, by reference and in the order in which they are tried.

    `one_label` restricts a wildcard hostname to one label, as Ingress wants it.
    `fallback` answers what no route takes.
    `force_https` redirects every request to HTTPS (308) instead.
    """

    ref: HostRef
    routes: tuple[RouteRef, ...]
    one_label: bool = False
    fallback: DirectResponse | None = None
    force_https: bool = False


@dataclass(frozen=True, slots=True)
class TlsRoute:
    """Bytes of TLS connections for one SNI hostname of a TLS listener, to backends by weight.

    `terminated` tells whether Envoy ends TLS first. No usable backend closes the connection.
    """

    ref: HostRef
    source: RouteRef
    backends: tuple[WeightedBackend, ...]
