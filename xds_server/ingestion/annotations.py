"""The annotations of an Ingress: one table of names, syntax and meaning, and what an object's annotations come to.

It must not know what its fields do to routes and listeners.
The syntax of values is in `annotations_syntax`; docs/ingress.md describes every row, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from xds_server.ingestion import annotations_syntax as syntax
from xds_server.model.refs import Protocol

NATIVE: Final = "ingress.tidegate.dev/"
CILIUM: Final = "ingress.cilium.io/"
CILIUM_OLD: Final = "io.cilium.ingress/"
NGINX: Final = "nginx.ingress.kubernetes.io/"
PREFIXES: Final = (NATIVE, CILIUM, CILIUM_OLD, NGINX)

MOST_PROBLEMS: Final = 32
"""So many problems of one object are told one by one."""

_PROTOCOLS: Final[dict[str, Protocol]] = {"HTTP": "http", "HTTPS": "https", "GRPC": "h2c", "GRPCS": "h2"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One row: the field that it sets ("" for none), its syntax, and a value that would do ("" where none would).

    `guards` marks protection: a value that cannot be honoured closes the Ingress rather than leave it open.
    """

    field: str
    parse: Callable[[str], Any]
    example: str
    guards: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an annotation has no effect."""

    annotation: str
    message: str


@dataclass(frozen=True, slots=True)
class Annotations:
    """What the annotations of one Ingress ask for; None and () where they say nothing.

    `closed` says why nobody may pass: protection was asked for that cannot be given.
    """

    loadbalancer_mode: str | None = None
    loadbalancer_class: str | None = None
    service_type: Literal["LoadBalancer", "NodePort", "ClusterIP"] | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    insecure_node_port: int | None = None
    secure_node_port: int | None = None
    host_listener_port: int | None = None
    tls_passthrough: bool = False
    force_https: bool | None = None
    force_https_without_tls: bool = False
    request_timeout_ms: int | None = None
    read_timeout_ms: int | None = None
    send_timeout_ms: int | None = None
    connect_timeout_ms: int | None = None
    max_request_bytes: int | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    permanent_redirect: syntax.Address | None = None
    permanent_redirect_code: int = 301
    temporal_redirect: syntax.Address | None = None
    temporal_redirect_code: int = 302
    app_root: str | None = None
    rewrite_target: str | None = None
    use_regex: bool = False
    backend_protocol: Protocol | None = None
    upstream_vhost: str | None = None
    enable_cors: bool = False
    cors_allow_origin: tuple[str, ...] = ("*",)
    cors_allow_methods: tuple[str, ...] = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
    cors_allow_headers: tuple[str, ...] = (
        "DNT",
        "Keep-Alive",
        "User-Agent",
        "X-Requested-With",
        "If-Modified-Since",
        "Cache-Control",
        "Content-Type",
        "Range",
        "Authorization",
    )
    cors_expose_headers: tuple[str, ...] = ()
    cors_allow_credentials: bool | None = None
    cors_max_age_s: int = 1_728_000
    canary: bool = False
    canary_weight: int | None = None
    canary_weight_total: int = 100
    canary_header: str | None = None
    canary_header_value: str | None = None
    canary_header_pattern: str | None = None
    canary_cookie: str | None = None
    affinity: str | None = None
    session_cookie_name: str = "INGRESSCOOKIE"
    session_cookie_path: str = "/"
    session_cookie_max_age_s: int | None = None
    limit_rps: int | None = None
    custom_headers: str | None = None
    closed: tuple[str, ...] = ()


def unlimited_if_zero(text: str, parse: Callable[[str], int]) -> int | None:
    return parse(text) or None


def rewrite_target(text: str) -> str:
    """A path in which "$1" to "$9" stand for what the path's groups captured; nginx's other variables are unknown."""
    target = text.strip()
    for group in range(1, 10):
        target = target.replace(f"${group}", "")
    if "$" in target:
        raise ValueError("contains a variable other than $1 to $9")
    syntax.path(target)
    return text.strip()


def backend_protocol(text: str) -> Protocol:
    return _PROTOCOLS[syntax.one_of(text, tuple(_PROTOCOLS))]


def canary_pattern(text: str) -> str:
    """A regular expression that is looked for anywhere in a header's value."""
    return syntax.regex(f".*(?:{syntax.regex(text)}).*")


def unsupported(text: str, problem: str) -> None:
    """The syntax of what is not given here: every value is refused."""
    raise ValueError(problem)


def unless_off(text: str, problem: str) -> None:
    """The syntax of protection that is not given here and may be asked not to be."""
    if text.strip().lower() not in {"off", *syntax.FALSE}:
        raise ValueError(problem)


def refused(problem: str) -> Annotation:
    """Protection that is never given here: asking for it closes the Ingress."""
    return Annotation("", partial(unsupported, problem=problem), "", guards=True)


def refused_if_on(problem: str) -> Annotation:
    return Annotation("", partial(unless_off, problem=problem), "", guards=True)


def unenforced(problem: str) -> Annotation:
    """What may protect and may do something else, and does nothing here: its author is told, and served."""
    return Annotation("", partial(unsupported, problem=f"NOTHING OF IT IS ENFORCED: {problem}"), "")


def one_of(*choices: str) -> Callable[[str], str]:
    return partial(syntax.one_of, choices=choices)


def limit(parse: Callable[[str], int]) -> Callable[[str], int | None]:
    return partial(unlimited_if_zero, parse=parse)


_MODE = Annotation("loadbalancer_mode", one_of("dedicated", "shared"), "dedicated")
_PASSTHROUGH = Annotation("tls_passthrough", syntax.boolean, "enabled")
_FORCE_HTTPS = Annotation("force_https", syntax.boolean, "enabled")
_REQUEST_TIMEOUT = Annotation("request_timeout_ms", syntax.duration_ms, "30s")
_SERVICE_TYPE = Annotation("service_type", one_of("LoadBalancer", "NodePort", "ClusterIP"), "LoadBalancer")
_TRAFFIC_POLICY = Annotation("external_traffic_policy", one_of("Cluster", "Local"), "Cluster")
_CLASS = Annotation("loadbalancer_class", syntax.object_class, "example.com/balancer")
_NOT_GIVEN: Final = "this protection is not given here; check requests in the backend and delete the annotation"
_UNVERIFIED: Final = "certificates of backends are not verified here, nor is one shown to them; delete the annotation"
_LIMIT: Final = "requests are not limited by it; limit-rps is"
_SNIPPET: Final = "directives of nginx are never read, and what they deny or limit is open"

_OWN: Final = {
    "loadbalancer-mode": _MODE,
    "loadbalancer-class": _CLASS,
    "service-type": _SERVICE_TYPE,
    "service-external-traffic-policy": _TRAFFIC_POLICY,
    "insecure-node-port": Annotation("insecure_node_port", syntax.port, "30080"),
    "secure-node-port": Annotation("secure_node_port", syntax.port, "30443"),
    "host-listener-port": Annotation("host_listener_port", syntax.port, "8080"),
    "tls-passthrough": _PASSTHROUGH,
    "force-https": _FORCE_HTTPS,
    "request-timeout": _REQUEST_TIMEOUT,
}
_OLD: Final = ("loadbalancer-mode", "service-type", "insecure-node-port", "secure-node-port", "tls-passthrough")

_FROM_NGINX: Final = {
    "rewrite-target": Annotation("rewrite_target", rewrite_target, "/$2"),
    "use-regex": Annotation("use_regex", syntax.boolean, "true"),
    "ssl-redirect": Annotation("force_https", syntax.boolean, "true"),
    "force-ssl-redirect": Annotation("force_https_without_tls", syntax.boolean, "true"),
    "ssl-passthrough": _PASSTHROUGH,
    "backend-protocol": Annotation("backend_protocol", backend_protocol, "GRPC"),
    "proxy-connect-timeout": Annotation("connect_timeout_ms", syntax.positive_seconds_ms, "5"),
    "proxy-read-timeout": Annotation("read_timeout_ms", syntax.positive_seconds_ms, "60"),
    "proxy-send-timeout": Annotation("send_timeout_ms", syntax.positive_seconds_ms, "60"),
    "proxy-body-size": Annotation("max_request_bytes", limit(syntax.size), "8m"),
    "whitelist-source-range": Annotation("allow", syntax.networks, "10.0.0.0/8, 192.0.2.1", guards=True),
    "allowlist-source-range": Annotation("allow", syntax.networks, "10.0.0.0/8, 192.0.2.1", guards=True),
    "denylist-source-range": Annotation("deny", syntax.networks, "203.0.113.0/24", guards=True),
    "permanent-redirect": Annotation("permanent_redirect", syntax.address, "https://example.com/new"),
    "permanent-redirect-code": Annotation("permanent_redirect_code", syntax.redirect_status, "308"),
    "temporal-redirect": Annotation("temporal_redirect", syntax.address, "https://example.com/soon"),
    "temporal-redirect-code": Annotation("temporal_redirect_code", syntax.redirect_status, "307"),
    "app-root": Annotation("app_root", syntax.path, "/app"),
    "upstream-vhost": Annotation("upstream_vhost", syntax.hostname, "internal.example.com"),
    "enable-cors": Annotation("enable_cors", syntax.boolean, "true"),
    "cors-allow-origin": Annotation(
        "cors_allow_origin", syntax.origins, "https://app.example.com, https://*.example.org"
    ),
    "cors-allow-methods": Annotation("cors_allow_methods", syntax.tokens, "GET, POST"),
    "cors-allow-headers": Annotation("cors_allow_headers", syntax.tokens, "X-Requested-With, Content-Type"),
    "cors-expose-headers": Annotation("cors_expose_headers", syntax.tokens, "X-Total"),
    "cors-allow-credentials": Annotation("cors_allow_credentials", syntax.boolean, "true"),
    "cors-max-age": Annotation("cors_max_age_s", syntax.seconds, "600"),
    "canary": Annotation("canary", syntax.boolean, "true"),
    "canary-weight": Annotation("canary_weight", syntax.weight, "10"),
    "canary-weight-total": Annotation("canary_weight_total", syntax.positive_weight, "100"),
    "canary-by-header": Annotation("canary_header", syntax.header, "x-canary"),
    "canary-by-header-value": Annotation("canary_header_value", syntax.field_value, "yes"),
    "canary-by-header-pattern": Annotation("canary_header_pattern", canary_pattern, "^(yes|true)$"),
    "canary-by-cookie": Annotation("canary_cookie", syntax.token, "canary"),
    "affinity": Annotation("affinity", one_of("cookie"), "cookie"),
    "affinity-mode": Annotation("", one_of("balanced", "persistent"), "balanced"),
    "session-cookie-name": Annotation("session_cookie_name", syntax.token, "route"),
    "session-cookie-path": Annotation("session_cookie_path", syntax.cookie_path, "/"),
    "session-cookie-max-age": Annotation("session_cookie_max_age_s", syntax.seconds, "172800"),
    "session-cookie-expires": Annotation("session_cookie_max_age_s", syntax.seconds, "172800"),
    "limit-rps": Annotation("limit_rps", limit(syntax.rate), "50"),
    "custom-headers": Annotation("custom_headers", syntax.object_name, "default/security-headers"),
    **dict.fromkeys(
        ("auth-secret", "auth-snippet", "auth-tls-match-cn", "auth-tls-secret", "auth-type", "auth-url"),
        refused(_NOT_GIVEN),
    ),
    "auth-tls-verify-client": refused_if_on(_NOT_GIVEN),
    "enable-global-auth": refused_if_on(_NOT_GIVEN),
    "enable-modsecurity": refused_if_on(_NOT_GIVEN),
    "enable-owasp-core-rules": refused_if_on(_NOT_GIVEN),
    "modsecurity-snippet": refused(_NOT_GIVEN),
    "proxy-ssl-verify": refused_if_on(_UNVERIFIED),
    "proxy-ssl-secret": refused(_UNVERIFIED),
    **dict.fromkeys(("limit-rpm", "limit-connections", "limit-rate", "limit-whitelist"), unenforced(_LIMIT)),
    **dict.fromkeys(("configuration-snippet", "server-snippet", "stream-snippet"), unenforced(_SNIPPET)),
}

TABLE: Final[Mapping[str, Annotation]] = {
    **{NATIVE + name: row for name, row in _OWN.items()},
    **{CILIUM + name: row for name, row in _OWN.items()},
    **{CILIUM_OLD + name: _OWN[name] for name in _OLD},
    **{NGINX + name: row for name, row in _FROM_NGINX.items()},
}
"""Every annotation that is known. Where two rows set one field, the first in the table that is given counts."""


def annotations_of(given: Mapping[str, str]) -> tuple[Annotations, tuple[Problem, ...]]:
    """What an object's annotations ask for, and why some of them ask for nothing."""
    values: dict[str, Any] = {}
    set_by: dict[str, str] = {}
    problems: list[Problem] = []
    closed: list[str] = []
    if not any(name.startswith(PREFIXES) for name in given):
        return Annotations(), ()
    for name, row in TABLE.items():
        text = given.get(name)
        if text is None:
            continue
        try:
            value = row.parse(syntax.printable(text))
        except ValueError as problem:
            message = f"{problem}; an example: {row.example}" if row.example else str(problem)
            if row.guards:
                closed.append(f"{name}: {message}")
            else:
                problems.append(Problem(name, f"ignored: {message}"))
            continue
        if row.field in set_by:
            problems.append(Problem(name, f"ignored: {set_by[row.field]} says the same and comes first"))
        elif row.field:
            values[row.field], set_by[row.field] = value, name
    unknown = (name for name in sorted(given) if name.startswith(PREFIXES) and name not in TABLE)
    problems.extend(
        Problem(name, "unknown, and changes nothing; docs/ingress.md lists what is known") for name in unknown
    )
    return Annotations(**values, closed=tuple(closed)), tuple(bounded(problems))


def bounded(problems: list[Problem]) -> list[Problem]:
    """The first problems and the number of the others, so that an object cannot flood those who read them."""
    if len(problems) <= MOST_PROBLEMS:
        return problems
    rest = len(problems) - MOST_PROBLEMS
    return [*problems[:MOST_PROBLEMS], Problem("", f"{rest} more annotations have no effect")]


def without_effect(asked: Annotations, mode: str, usual: str) -> str:
    """Why what is asked of the Service does nothing; "" where it does, or nothing is."""
    ports = asked.insecure_node_port, asked.secure_node_port
    of_service = any((asked.loadbalancer_class, asked.external_traffic_policy, *ports))
    if not (of_service or asked.service_type or asked.host_listener_port):
        return ""
    if mode == "shared":
        return "annotations about Services and ports are for dedicated Ingresses: set loadbalancer-mode to dedicated"
    if asked.host_listener_port and asked.service_type:
        return "host-listener-port is ignored beside service-type: delete one of them"
    if of_service and not asked.service_type and usual != "Service":
        return "annotations about a Service have no effect without one: set service-type"
    return ""
