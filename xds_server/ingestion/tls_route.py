"""TLSRoute: bytes of TLS connections to backends, by SNI; TCPRoute and UDPRoute: bytes and datagrams of a port."""

from __future__ import annotations

from collections.abc import Iterator

from xds_server.ingestion.filters import Resolve
from xds_server.ingestion.http_route import ANY_PATH
from xds_server.ingestion.route_result import Findings
from xds_server.ingestion.values import Refusal
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ClusterRef, ObjectRef, RouteRef
from xds_server.model.route import Forward, Route, RouteMatch, WeightedBackend
from xds_server.objects.routes import TCPRoute, TLSRoute, UDPRoute


def tls_rules(
    ref: ObjectRef, route: TLSRoute | TCPRoute | UDPRoute, resolve: Resolve, findings: Findings
) -> Iterator[Route]:
    """The first rule as a route that matches everything; a second one could never be told from it."""
    if not route.spec.rules:
        return
    for position in range(1, len(route.spec.rules)):
        findings.refuse(position, Refusal(f"rules[{position}]: a {ref.kind} has one rule; write another {ref.kind}"))
    hostnames = route.spec.hostnames if isinstance(route, TLSRoute) else ()
    rule = route.spec.rules[0]
    backends = [
        weighted_backend(f"rules[0].backendRefs[{number}]", resolve(backend), backend.weight, findings)
        for number, backend in enumerate(rule.backend_refs)
    ]
    yield Route(
        RouteRef(ref, 0, 0),
        route.metadata.creation_timestamp,
        RouteMatch(ANY_PATH),
        Forward(tuple(backend for backend in backends if backend.weight)),
        written_hostnames=hostnames or ("*",),
        rule_name=rule.name,
    )


def weighted_backend(
    field: str, cluster: ClusterRef | InvalidBackend, weight: int, findings: Findings
) -> WeightedBackend:
    if isinstance(cluster, InvalidBackend):
        findings.unresolve(field, cluster)
        return WeightedBackend(None, weight)
    return WeightedBackend(cluster, weight)
