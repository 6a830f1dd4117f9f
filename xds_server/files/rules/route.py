"""The validation rules of HTTPRoute, GRPCRoute and TLSRoute, across fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Final

from xds_server.files.problems import Finding, Path
from xds_server.files.rules import filters
from xds_server.files.rules.names import Findings, duration_ms, is_address, is_hostname, unique
from xds_server.objects import routes

Rule = routes.HTTPRouteRule | routes.GRPCRouteRule | routes.TLSRouteRule | routes.TransportRule
Filters = tuple[routes.HTTPRouteFilter, ...]

_PATH: Final = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_GRPC_SERVICE: Final = re.compile(r"\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*", re.IGNORECASE)
_GRPC_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_MATCHES: Final = 128


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
        for where, given in _filters(rule):
            for finding in filters.findings(given):
                yield finding.below(*below, *where)
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
        if not is_address(host) and not is_hostname(host):
            yield Finding(
                ("spec", "hostnames", at), f"{host[:80]!r} is no host name", 'only the first label may be "*"'
            )


def transport_route(obj: routes.TCPRoute | routes.UDPRoute) -> Findings:
    yield from _route(obj)


def _route(obj: routes.HTTPRoute | routes.GRPCRoute | routes.TLSRoute | routes.TCPRoute | routes.UDPRoute) -> Findings:
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
    hostnames: tuple[str, ...] = () if isinstance(spec, routes.TransportRouteSpec) else spec.hostnames
    for at, host in enumerate(hostnames):
        if is_address(host):
            yield Finding(
                ("spec", "hostnames", at), f"{host[:80]!r} is an address", "write a DNS name, or leave it out"
            )
    rules: tuple[Rule, ...] = spec.rules
    yield from unique(
        ((("spec", "rules", at, "name"), rule.name) for at, rule in enumerate(rules) if rule.name),
        "the name of a rule",
    )
    for at, rule in enumerate(rules):
        for position, ref in enumerate(rule.backend_refs):
            for finding in filters.backend(ref):
                yield finding.below("spec", "rules", at, "backendRefs", position)


def _filters(rule: routes.HTTPRouteRule | routes.GRPCRouteRule) -> Iterator[tuple[Path, Filters]]:
    """Each list of filters of a rule, and where it stands."""
    yield ("filters",), rule.filters
    for at, ref in enumerate(rule.backend_refs):
        yield ("backendRefs", at, "filters"), ref.filters


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


def _http_rule(rule: routes.HTTPRouteRule) -> Findings:
    for at, match in enumerate(rule.matches):
        for finding in _path(match.path):
            yield finding.below("matches", at, "path", "value")
    for where, given in _filters(rule):
        for finding in (*filters.findings(given), *_one_prefix(rule, given)):
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


def _one_prefix(rule: routes.HTTPRouteRule, given: Filters) -> Findings:
    """A prefix can be replaced only where the rule has exactly one match, and it is a PathPrefix."""
    if len(rule.matches) == 1 and rule.matches[0].path.type == "PathPrefix":
        return
    for at, each in enumerate(given):
        for field, body in (("requestRedirect", each.request_redirect), ("urlRewrite", each.url_rewrite)):
            if body and body.path and body.path.replace_prefix_match is not None:
                yield Finding(
                    (at, field, "path", "replacePrefixMatch"),
                    "needs exactly one match in its rule, of type PathPrefix",
                    "split the rule, or use ReplaceFullPath",
                )


def _session(session: routes.SessionPersistence) -> Findings:
    for type_, field, body in (("Cookie", "cookie", session.cookie), ("Header", "header", session.header)):
        if session.type == type_ and body is None:
            yield Finding((field,), f"is required when type is {type_}", f"add {field}")
        if session.type != type_ and body is not None:
            yield Finding((field,), f"does not belong to type {session.type}", f"remove {field}")
    if session.cookie is not None and session.cookie.lifetime_type == "Permanent" and not session.absolute_timeout:
        yield Finding(("absoluteTimeout",), "is required for a permanent cookie", "set how long it lives")
