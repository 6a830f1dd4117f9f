"""GRPCRoute: as HTTPRoute, with services and methods for paths, and HTTP/2 towards the backends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from xds_server.ingestion import values
from xds_server.ingestion.filters import Resolve
from xds_server.ingestion.http_route import ANY_PATH, RuleAction, affinity, checked_matches, header_matches, rule_action
from xds_server.ingestion.precedence import ANY_SERVICE
from xds_server.ingestion.route_result import ERROR, Findings
from xds_server.ingestion.values import Refusal
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ClusterRef, ObjectRef, Protocol, RouteRef
from xds_server.model.route import PathMatch, Route, RouteMatch
from xds_server.objects.gateway import BackendObjectReference
from xds_server.objects.meta import ObjectMeta
from xds_server.objects.routes import GRPCMethodMatch, GRPCRoute, GRPCRouteMatch, GRPCRouteRule

_NOT_FOR_GRPC: Final = frozenset({"RequestRedirect", "URLRewrite", "CORS", "ExternalAuth"})
_HTTP2: Final[dict[Protocol, Protocol]] = {"http": "h2c", "https": "h2"}
_SERVICE: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*\Z")
_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*\Z")


def grpc_routes(ref: ObjectRef, route: GRPCRoute, resolve: Resolve, findings: Findings) -> Iterator[Route]:
    """Every match of every rule; only gRPC requests match."""
    resolve = over_http2(resolve)
    for position, rule in enumerate(route.spec.rules):
        yield from rule_routes(ref, route.metadata, route.spec.hostnames, position, rule, resolve, findings)


def rule_routes(
    ref: ObjectRef,
    metadata: ObjectMeta,
    hostnames: tuple[str, ...],
    position: int,
    rule: GRPCRouteRule,
    resolve: Resolve,
    findings: Findings,
) -> Iterator[Route]:
    field = f"rules[{position}]"
    matches = list(checked_matches(field, position, rule.matches or (GRPCRouteMatch(),), route_match, findings))
    session, act = None, RuleAction()
    try:
        check_filters(field, rule)
        session = affinity(f"{field}.sessionPersistence", RouteRef(ref, position, 0), rule.session_persistence)
        act = rule_action(field, rule.filters, rule.backend_refs, resolve, findings, prefixed=False)
    except Refusal as refusal:
        findings.refuse(position, refusal)
    for number, match in matches:
        yield Route(
            RouteRef(ref, position, number),
            metadata.creation_timestamp,
            match,
            ERROR if position in findings.refused else act.action,
            act.filters,
            hostnames or ("*",),
            rule.name,
            affinity=session,
        )


def over_http2(resolve: Resolve) -> Resolve:
    """Calls need HTTP/2 towards the backend, which a port that says nothing is taken to speak."""

    def resolved(backend: BackendObjectReference) -> ClusterRef | InvalidBackend:
        found = resolve(backend)
        if isinstance(found, InvalidBackend):
            return found
        return found._replace(protocol=_HTTP2.get(found.protocol, found.protocol))

    return resolved


def check_filters(field: str, rule: GRPCRouteRule) -> None:
    for entry in (*rule.filters, *(entry for backend in rule.backend_refs for entry in backend.filters)):
        if entry.type in _NOT_FOR_GRPC:
            raise Refusal(f"{field}: GRPCRoute has no filter {entry.type}")


def route_match(field: str, match: GRPCRouteMatch) -> RouteMatch:
    path = ANY_PATH if match.method is None else method_path(f"{field}.method", match.method)
    return RouteMatch(path, headers=header_matches(f"{field}.headers", match.headers), grpc=True)


def method_path(field: str, match: GRPCMethodMatch) -> PathMatch:
    """The path of a gRPC call is "/SERVICE/METHOD"; "at least one of Service and Method MUST be a non-empty string"."""
    if not match.service and not match.method:
        raise Refusal(f"{field}: names neither service nor method")
    if match.type == "RegularExpression":
        service = values.regex(f"{field}.service", match.service) if match.service else "[^/]+"
        method = values.regex(f"{field}.method", match.method) if match.method else "[^/]+"
        # Each part is a pattern of its own: a group keeps an alternative of one from reaching into the other.
        return PathMatch("Regex", values.regex(field, f"/(?:{service})/(?:{method})"))
    if match.service and not _SERVICE.match(match.service):
        raise Refusal(f"{field}.service: {values.shown(match.service)} is not the name of a gRPC service")
    if match.method and not _METHOD.match(match.method):
        raise Refusal(f"{field}.method: {values.shown(match.method)} is not the name of a gRPC method")
    if not match.method:
        return PathMatch("Prefix", f"/{match.service}")
    if not match.service:
        return PathMatch("Regex", values.regex(f"{field}.method", f"{ANY_SERVICE}{match.method}"))
    return PathMatch("Exact", f"/{match.service}/{match.method}")
