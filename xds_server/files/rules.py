"""What the API server checks across fields: the validation rules of Gateway API, and those that core kinds have in code.

Each rule reads a Struct whose fields are already known to be well-formed, and yields findings.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from itertools import combinations
from typing import Any, Final

from xds_server.files.problems import Finding
from xds_server.objects import core, gateway, networking, routes
from xds_server.objects.meta import Model, ObjectMeta

Findings = Iterator[Finding]
Bodies = dict[str, tuple[str, str]]  # type -> the field that belongs to it, and its attribute

LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_KEY: Final = re.compile(r"(?:(?P<prefix>[^/]+)/)?(?P<name>[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_DATA_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_PATH: Final = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_GRPC_SERVICE: Final = re.compile(r"\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*", re.IGNORECASE)
_GRPC_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_DURATION: Final = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_MILLISECONDS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_ANNOTATION_BYTES: Final = 256 << 10
_DATA_BYTES: Final = 1 << 20
_MATCHES: Final = 128


def findings(obj: Model) -> list[Finding]:
    """All that is wrong with an object of well-formed fields."""
    return [*metadata(obj.metadata), *RULES.get(type(obj), _nothing)(obj)]  # type: ignore[attr-defined]


def _nothing(_: Any) -> Findings:
    yield from ()


def metadata(meta: ObjectMeta) -> Findings:
    for key, text in meta.labels.items():
        if not _qualified(key):
            yield Finding(
                ("metadata", "labels", key), "is no label name", "use letters, digits, - _ . and at most one prefix/"
            )
        if not _LABEL_VALUE.fullmatch(text):
            yield Finding(("metadata", "labels", key), "is no label value", "use up to 63 letters, digits, - _ .")
    for key in meta.annotations:
        if not _qualified(key.lower()):
            yield Finding(
                ("metadata", "annotations", key),
                "is no annotation name",
                "use letters, digits, - _ . and at most one prefix/",
            )
    if sum(len(key) + len(text) for key, text in meta.annotations.items()) > _ANNOTATION_BYTES:
        yield Finding(("metadata", "annotations"), f"is larger than {_ANNOTATION_BYTES} bytes", "shorten it")


def _qualified(key: str) -> bool:
    match = _LABEL_KEY.fullmatch(key)
    if match is None:
        return False
    prefix = match["prefix"]
    return prefix is None or (len(prefix) <= 253 and SUBDOMAIN.fullmatch(prefix) is not None)


def address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def duration_ms(text: str) -> int:
    """Milliseconds of a Gateway API duration such as "1h30m"."""
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _DURATION.findall(text))


def unique(parts: Iterable[tuple[tuple[str | int, ...], Any]], what: str) -> Findings:
    """`parts` are paths with what must differ between them."""
    seen: dict[Any, tuple[str | int, ...]] = {}
    for path, identity in parts:
        if identity in seen:
            yield Finding(path, f"{what} must be unique, and this one is there twice", "remove one, or tell them apart")
        seen.setdefault(identity, path)


# --- core kinds ---


def service(obj: core.Service) -> Findings:
    ports = obj.spec.ports
    if obj.spec.type == "ExternalName" and not SUBDOMAIN.fullmatch(obj.spec.external_name.removesuffix(".")):
        yield Finding(("spec", "externalName"), "must be a host name when type is ExternalName", "set it to a DNS name")
    if obj.spec.type != "ExternalName" and not ports and obj.spec.cluster_ip != "None":
        yield Finding(("spec", "ports"), "is required", "list a port, or set clusterIP: None")
    if len(ports) > 1:
        for at, port in enumerate(ports):
            if not port.name:
                yield Finding(
                    ("spec", "ports", at, "name"), "is required when there are several ports", "name the port"
                )
    yield from unique(
        ((("spec", "ports", at, "name"), p.name) for at, p in enumerate(ports) if p.name), "the name of a port"
    )
    yield from unique(
        ((("spec", "ports", at), (p.port, p.protocol)) for at, p in enumerate(ports)), "port and protocol"
    )


def endpoint_slice(obj: core.EndpointSlice) -> Findings:
    version = {"IPv4": 4, "IPv6": 6}.get(obj.address_type)
    for at, endpoint in enumerate(obj.endpoints):
        for position, text in enumerate(endpoint.addresses):
            path = ("endpoints", at, "addresses", position)
            if version is None:
                if not SUBDOMAIN.fullmatch(text):
                    yield Finding(
                        path, f"{text[:80]!r} is no domain name, as addressType FQDN asks for", "write a DNS name"
                    )
            elif not address(text) or ip_address(text).version != version or "%" in text:
                yield Finding(
                    path, f"{text[:80]!r} is no {obj.address_type} address", "write an address, or change addressType"
                )
    yield from unique(((("ports", at, "name"), p.name) for at, p in enumerate(obj.ports)), "the name of a port")


def secret(obj: core.Secret) -> Findings:
    """Names keys, never values."""
    size = 0
    for field, texts in (("data", obj.data), ("stringData", obj.string_data)):
        for key, text in texts.items():
            if not _DATA_KEY.fullmatch(key):
                yield Finding((field, key), "is no key", "use letters, digits, - _ .")
            size += len(text)
            if field == "data" and not _is_base64(text):
                yield Finding(
                    (field, key), "is no base64", "encode it with `base64 -w0`, or move it to stringData as plain text"
                )
    if size > _DATA_BYTES * 4 // 3:
        yield Finding(("data",), f"is larger than {_DATA_BYTES} bytes", "split the Secret")


def _is_base64(text: str) -> bool:
    try:
        b64decode("".join(text.split()), validate=True)
    except (Base64Error, ValueError):
        return False
    return True


def config_map(obj: core.ConfigMap) -> Findings:
    for key in obj.data:
        if not _DATA_KEY.fullmatch(key):
            yield Finding(("data", key), "is no key", "use letters, digits, - _ .")


# --- networking.k8s.io ---


def ingress(obj: networking.Ingress) -> Findings:
    spec = obj.spec
    if spec.default_backend is None and not spec.rules:
        yield Finding(("spec",), "needs rules or defaultBackend", "add one of them")
    if spec.default_backend is not None:
        yield from _ingress_backend(spec.default_backend, ("spec", "defaultBackend"))
    for at, rule in enumerate(spec.rules):
        yield from _ingress_host(rule.host, ("spec", "rules", at, "host"))
        for position, path in enumerate(rule.http.paths if rule.http else ()):
            below = ("spec", "rules", at, "http", "paths", position)
            yield from _ingress_backend(path.backend, (*below, "backend"))
            if path.path_type != "ImplementationSpecific" or path.path:
                yield from _ingress_path(path, (*below, "path"))
    for at, tls in enumerate(spec.tls):
        for position, host in enumerate(tls.hosts):
            yield from _ingress_host(host, ("spec", "tls", at, "hosts", position))


def _ingress_path(path: networking.HTTPIngressPath, where: tuple[str | int, ...]) -> Findings:
    text = path.path
    if not text.startswith("/"):
        yield Finding(where, f"{text[:80]!r} does not begin with /", "write an absolute path")
    elif path.path_type != "ImplementationSpecific":
        bad = next((part for part in ("//", "/./", "/../", "%2f", "%2F") if part in text), None)
        bad = bad or next((part for part in ("/.", "/..") if text.endswith(part)), None)
        if bad is not None:
            yield Finding(
                where, f"{text[:80]!r} contains {bad!r}", "write the path as a request has it once it is normalised"
            )


def _ingress_host(host: str, where: tuple[str | int, ...]) -> Findings:
    if not host:
        return
    if address(host):
        yield Finding(where, f"{host[:80]!r} is an address", "write a DNS name, or leave it out")
    elif not _hostname(host):
        yield Finding(where, f"{host[:80]!r} is no host name", 'write a DNS name in lower case; "*." may come first')


def _hostname(host: str) -> bool:
    bare = host.removeprefix("*.")
    return len(host) <= 253 and SUBDOMAIN.fullmatch(bare) is not None


def _ingress_backend(backend: networking.IngressBackend, where: tuple[str | int, ...]) -> Findings:
    if (backend.service is None) == (backend.resource is None):
        yield Finding(where, "needs either service or resource", "set one of them")
    if backend.service is not None and bool(backend.service.port.name) == bool(backend.service.port.number):
        yield Finding((*where, "service", "port"), "needs either name or number", "set one of them")


# --- gateway.networking.k8s.io ---


def gateway_(obj: gateway.Gateway) -> Findings:
    spec = obj.spec
    for at, address_ in enumerate(spec.addresses):
        where = ("spec", "addresses", at, "value")
        if address_.type == "IPAddress" and address_.value and not address(address_.value):
            yield Finding(where, f"{address_.value[:80]!r} is no IP address", "write an address, or set type: Hostname")
        if address_.type == "Hostname" and address_.value and not _hostname(address_.value):
            yield Finding(where, f"{address_.value[:80]!r} is no host name", "write a DNS name in lower case")
    yield from unique(
        ((("spec", "addresses", at), (a.type, a.value)) for at, a in enumerate(spec.addresses) if a.value), "an address"
    )
    for at, listener in enumerate(spec.listeners):
        for finding in _listener(listener):
            yield finding.below("spec", "listeners", at)
    yield from unique(
        (
            (("spec", "listeners", at), (each.port, each.protocol, each.hostname))
            for at, each in enumerate(spec.listeners)
        ),
        "the combination of port, protocol and hostname",
    )
    frontend = spec.tls.frontend if spec.tls else None
    for at, port in enumerate(frontend.per_port if frontend else ()):
        if port.tls.validation is not None and not port.tls.validation.ca_certificate_refs:
            yield Finding(
                ("spec", "tls", "frontend", "perPort", at, "tls"), "validation needs caCertificateRefs", "list one"
            )


_LISTENER_FILTER_BODIES: Final[Bodies] = {
    "ExternalAuth": ("externalAuth", "external_auth"),
    "ExtensionRef": ("extensionRef", "extension_ref"),
}


def _listener(listener: gateway.Listener) -> Findings:
    tls, protocol = listener.tls, listener.protocol
    if protocol in {"HTTP", "TCP", "UDP"} and tls is not None:
        yield Finding(("tls",), f"must not be set for protocol {protocol}", "remove it, or set protocol: HTTPS or TLS")
    if protocol == "HTTPS" and tls is not None and tls.mode != "Terminate":
        yield Finding(
            ("tls", "mode"), "must be Terminate for protocol HTTPS", "set protocol: TLS to pass connections through"
        )
    if protocol == "TLS" and tls is None:
        yield Finding(("tls",), "is required for protocol TLS", "set tls.mode: Passthrough or Terminate")
    if tls is not None and tls.mode == "Terminate" and not tls.certificate_refs and not tls.options:
        yield Finding(
            ("tls", "certificateRefs"), "is required when mode is Terminate", "name a Secret of type kubernetes.io/tls"
        )
    if protocol in {"TCP", "UDP"} and listener.hostname:
        yield Finding(("hostname",), f"must not be set for protocol {protocol}", "remove it")
    if listener.hostname and address(listener.hostname):
        yield Finding(("hostname",), f"{listener.hostname!r} is an address", "write a DNS name, or leave it out")
    if listener.filters is not None and protocol not in {"HTTP", "HTTPS"}:
        yield Finding(("filters",), f"must not be set for protocol {protocol}", "remove it")
    for at, request in enumerate(listener.filters.requests if listener.filters else ()):
        for finding in _bodies(request, _LISTENER_FILTER_BODIES):
            yield finding.below("filters", "requests", at)


def _route(obj: routes.HTTPRoute | routes.GRPCRoute | routes.TLSRoute) -> Findings:
    """The rules that all routes share."""
    spec = obj.spec
    for (_, one), (at, other) in combinations(enumerate(spec.parent_refs), 2):
        if (one.group, one.kind, one.namespace, one.name) != (other.group, other.kind, other.namespace, other.name):
            continue
        where = ("spec", "parentRefs", at)
        if (one.section_name, one.port) == (other.section_name, other.port):
            yield Finding(where, "names the same parent as another parentRef", "tell them apart by sectionName or port")
        elif bool(one.section_name) != bool(other.section_name) or bool(one.port) != bool(other.port):
            yield Finding(
                where,
                "names a part of a parent that another parentRef names as a whole",
                "give both a sectionName, or both a port",
            )
    for at, host in enumerate(spec.hostnames):
        if address(host):
            yield Finding(
                ("spec", "hostnames", at), f"{host[:80]!r} is an address", "write a DNS name, or leave it out"
            )
    yield from unique(
        ((("spec", "rules", at, "name"), rule.name) for at, rule in enumerate(spec.rules) if rule.name),
        "the name of a rule",
    )
    for at, rule in enumerate(spec.rules):
        for position, backend in enumerate(rule.backend_refs):
            for finding in _backend(backend):
                yield finding.below("spec", "rules", at, "backendRefs", position)


def http_route(obj: routes.HTTPRoute) -> Findings:
    yield from _route(obj)
    yield from _few_matches(obj.spec.rules)
    for at, rule in enumerate(obj.spec.rules):
        for finding in _http_rule(rule):
            yield finding.below("spec", "rules", at)


def grpc_route(obj: routes.GRPCRoute) -> Findings:
    yield from _route(obj)
    yield from _few_matches(obj.spec.rules)
    for at, rule in enumerate(obj.spec.rules):
        below = ("spec", "rules", at)
        for finding in _filters(rule.filters):
            yield finding.below(*below, "filters")
        for position, backend in enumerate(rule.backend_refs):
            for finding in _filters(backend.filters):
                yield finding.below(*below, "backendRefs", position, "filters")
        for position, match in enumerate(rule.matches):
            if match.method is not None:
                for finding in _grpc_method(match.method):
                    yield finding.below(*below, "matches", position, "method")
        if rule.session_persistence is not None:
            for finding in _session(rule.session_persistence):
                yield finding.below(*below, "sessionPersistence")


def tls_route(obj: routes.TLSRoute) -> Findings:
    yield from _route(obj)
    for at, host in enumerate(obj.spec.hostnames):
        if not address(host) and not _hostname(host):
            yield Finding(
                ("spec", "hostnames", at), f"{host[:80]!r} is no host name", 'only the first label may be "*"'
            )


def _few_matches(rules: tuple[routes.HTTPRouteRule, ...] | tuple[routes.GRPCRouteRule, ...]) -> Findings:
    total = sum(len(rule.matches) for rule in rules)
    if total > _MATCHES:
        yield Finding(
            ("spec", "rules"), f"have {total} matches, and {_MATCHES} are allowed in a route", "split the route"
        )


def _grpc_method(method: routes.GRPCMethodMatch) -> Findings:
    if not method.service and not method.method:
        yield Finding((), "needs service or method", "set one of them, or leave the match out")
    if method.type != "Exact":
        return
    if method.service and not _GRPC_SERVICE.fullmatch(method.service):
        yield Finding(("service",), f"{method.service[:80]!r} is no gRPC service", "write package.Service")
    if method.method and not _GRPC_METHOD.fullmatch(method.method):
        yield Finding(("method",), f"{method.method[:80]!r} is no gRPC method", "write its name without a slash")


def _backend(backend: gateway.BackendObjectReference) -> Findings:
    if (backend.group, backend.kind) == ("", "Service") and backend.port is None:
        yield Finding(("port",), "is required for a Service", "set the Service's port")


def _http_rule(rule: routes.HTTPRouteRule) -> Findings:
    for at, match in enumerate(rule.matches):
        for finding in _path(match.path):
            yield finding.below("matches", at, "path", "value")
    everywhere = [(("filters",), rule.filters)]
    everywhere += [(("backendRefs", at, "filters"), ref.filters) for at, ref in enumerate(rule.backend_refs)]  # type: ignore[misc]
    for where, filters in everywhere:
        for finding in (*_filters(filters), *_one_prefix(rule, filters)):
            yield finding.below(*where)
    if rule.backend_refs and any(each.request_redirect for each in rule.filters):
        yield Finding(
            ("filters",), "a RequestRedirect answers itself, so backendRefs must be empty", "remove one of them"
        )
    times = rule.timeouts
    if (
        times
        and times.request
        and times.backend_request
        and 0 < duration_ms(times.request) < duration_ms(times.backend_request)
    ):
        yield Finding(("timeouts", "backendRequest"), "is longer than timeouts.request", "shorten it")
    if rule.session_persistence is not None:
        for finding in _session(rule.session_persistence):
            yield finding.below("sessionPersistence")


def _path(path: routes.HTTPPathMatch) -> Findings:
    if path.type == "RegularExpression":
        return
    text = path.value
    if not text.startswith("/"):
        yield Finding((), f"{text[:80]!r} does not begin with /", "write an absolute path")
        return
    bad = next((part for part in ("//", "/./", "/../", "%2f", "%2F", "#") if part in text), None)
    bad = bad or next((part for part in ("/..", "/.") if text.endswith(part)), None)
    if bad is not None:
        yield Finding((), f"{text[:80]!r} contains {bad!r}", "write the path as a request has it once it is normalised")
    elif not _PATH.fullmatch(text):
        yield Finding((), f"{text[:80]!r} contains a character that no path has", "escape it as %XX")


def _one_prefix(rule: routes.HTTPRouteRule, filters: tuple[routes.HTTPRouteFilter, ...]) -> Findings:
    """A prefix can be replaced only where the rule has exactly one match, and it is a PathPrefix."""
    if len(rule.matches) == 1 and rule.matches[0].path.type == "PathPrefix":
        return
    for at, each in enumerate(filters):
        for field, body in (("requestRedirect", each.request_redirect), ("urlRewrite", each.url_rewrite)):
            if body and body.path and body.path.replace_prefix_match is not None:
                yield Finding(
                    (at, field, "path", "replacePrefixMatch"),
                    "needs exactly one match in its rule, of type PathPrefix",
                    "split the rule, or use ReplaceFullPath",
                )


_FILTER_BODIES: Final[Bodies] = {
    "RequestHeaderModifier": ("requestHeaderModifier", "request_header_modifier"),
    "ResponseHeaderModifier": ("responseHeaderModifier", "response_header_modifier"),
    "RequestMirror": ("requestMirror", "request_mirror"),
    "RequestRedirect": ("requestRedirect", "request_redirect"),
    "URLRewrite": ("urlRewrite", "url_rewrite"),
    "ExtensionRef": ("extensionRef", "extension_ref"),
    "CORS": ("cors", "cors"),
    "ExternalAuth": ("externalAuth", "external_auth"),
}
_ONCE: Final = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS"})


def _filters(filters: tuple[routes.HTTPRouteFilter, ...]) -> Findings:
    if not filters:
        return
    yield from unique(
        (((at,), each.type) for at, each in enumerate(filters) if each.type in _ONCE), "the type of this filter"
    )
    if {"RequestRedirect", "URLRewrite"} <= {each.type for each in filters}:
        yield Finding((), "RequestRedirect and URLRewrite exclude each other", "remove one")
    for at, each in enumerate(filters):
        for finding in (*_bodies(each, _FILTER_BODIES), *_filter(each)):
            yield finding.below(at)


def _bodies(each: Any, bodies: Bodies) -> Findings:
    """Exactly the field that belongs to a filter's type is set."""
    for type_, (field, attribute) in bodies.items():
        there = getattr(each, attribute) is not None
        if there and each.type != type_:
            yield Finding(
                (field,), f"does not belong to a filter of type {each.type}", f"set type: {type_}, or remove {field}"
            )
        if not there and each.type == type_:
            yield Finding((field,), f"is required for a filter of type {type_}", f"add {field}")


def _filter(each: routes.HTTPRouteFilter) -> Findings:
    for field, body, check in (
        ("requestMirror", each.request_mirror, _mirror),
        ("requestRedirect", each.request_redirect, _location),
        ("urlRewrite", each.url_rewrite, _location),
        ("cors", each.cors, _cors),
        ("externalAuth", each.external_auth, _external_auth),
    ):
        if body is not None:
            for finding in check(body):  # type: ignore[operator]
                yield finding.below(field)


def _mirror(mirror: routes.HTTPRequestMirrorFilter) -> Findings:
    if mirror.percent is not None and mirror.fraction is not None:
        yield Finding((), "percent and fraction exclude each other", "remove one")
    if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
        yield Finding(("fraction",), "is more than one: numerator exceeds denominator", "lower numerator")
    for finding in _backend(mirror.backend_ref):
        yield finding.below("backendRef")


def _location(body: routes.HTTPRequestRedirectFilter | routes.HTTPURLRewriteFilter) -> Findings:
    if body.hostname and address(body.hostname):
        yield Finding(("hostname",), f"{body.hostname!r} is an address", "write a DNS name")
    if body.path is not None:
        for finding in _path_modifier(body.path):
            yield finding.below("path")


def _path_modifier(path: routes.HTTPPathModifier) -> Findings:
    for type_, field, text in (
        ("ReplaceFullPath", "replaceFullPath", path.replace_full_path),
        ("ReplacePrefixMatch", "replacePrefixMatch", path.replace_prefix_match),
    ):
        if path.type == type_ and text is None:
            yield Finding((field,), f"is required when type is {type_}", f"add {field}")
        if path.type != type_ and text is not None:
            yield Finding((field,), f"does not belong to type {path.type}", f"set type: {type_}, or remove {field}")


def _cors(cors: routes.HTTPCORSFilter) -> Findings:
    for field, texts in (
        ("allowOrigins", cors.allow_origins),
        ("allowMethods", cors.allow_methods),
        ("allowHeaders", cors.allow_headers),
    ):
        if "*" in texts and len(texts) > 1:
            yield Finding((field,), '"*" stands for all, and must stand alone', 'remove "*" or the others')


def _external_auth(auth: gateway.ExternalAuth) -> Findings:
    for finding in _backend(auth.backend_ref):
        yield finding.below("backendRef")
    for protocol, field, body in (("GRPC", "grpc", auth.grpc), ("HTTP", "http", auth.http)):
        if auth.protocol == protocol and body is None:
            yield Finding((field,), f"is required when protocol is {protocol}", f"add {field}")
        if auth.protocol != protocol and body is not None:
            yield Finding((field,), f"does not belong to protocol {auth.protocol}", f"remove {field}")


def _session(session: routes.SessionPersistence) -> Findings:
    for type_, field, body in (("Cookie", "cookie", session.cookie), ("Header", "header", session.header)):
        if session.type == type_ and body is None:
            yield Finding((field,), f"is required when type is {type_}", f"add {field}")
        if session.type != type_ and body is not None:
            yield Finding((field,), f"does not belong to type {session.type}", f"remove {field}")
    if session.cookie is not None and session.cookie.lifetime_type == "Permanent" and not session.absolute_timeout:
        yield Finding(("absoluteTimeout",), "is required for a permanent cookie", "set how long it lives")


RULES: Final[dict[type[Model], Callable[[Any], Findings]]] = {
    core.Service: service,
    core.EndpointSlice: endpoint_slice,
    core.Secret: secret,
    core.ConfigMap: config_map,
    networking.Ingress: ingress,
    gateway.Gateway: gateway_,
    routes.HTTPRoute: http_route,
    routes.GRPCRoute: grpc_route,
    routes.TLSRoute: tls_route,
}
