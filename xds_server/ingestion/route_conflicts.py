"""Routes of different kinds at one port of a Service: those of one kind are applied, and the others are told so.

"If multiple routes with different types both bind to the same Service and Port pair, only a single route type should be
applied. The rejected routes should be ignored and have the `RouteConditionAccepted` status set to the (new) reason
`RouteReasonConflicted`." — GEP-1426, Route types
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from xds_server.graph import Collection, Fetch, Index
from xds_server.ingestion.age import age
from xds_server.ingestion.attachment import ACCEPTED, ParentOutcome, refused
from xds_server.ingestion.mesh import is_service, taken
from xds_server.ingestion.sources import Sources
from xds_server.model.refs import ObjectRef

SPECIFICITY: Final = ("GRPCRoute", "HTTPRoute", "TCPRoute")
""""Route type specificity is defined in the following order (first one wins)": TLSRoutes have no Services as parents
here, and UDP "is orthogonal to these precedence order"."""

Rivals = Mapping[str, Index[ObjectRef, ObjectRef, Any]]
"""Routes by the Services that they name as parents, of each kind."""


def rivals(sources: Sources) -> Rivals:
    own: tuple[Collection[ObjectRef, Any], ...] = (sources.grpc_routes, sources.http_routes, sources.tcp_routes)
    return {kind: of.index(services_of) for kind, of in zip(SPECIFICITY, own, strict=True)}


def services_of(route: Any) -> tuple[ObjectRef, ...]:
    named = (ref for ref in route.spec.parent_refs if is_service(ref))
    return tuple({ObjectRef("Service", ref.namespace or route.metadata.namespace, ref.name): None for ref in named})


def settled(
    fetch: Fetch, sources: Sources, known: Rivals, route: ObjectRef, outcomes: Iterable[ParentOutcome]
) -> Iterator[ParentOutcome]:
    """Without the ports that another kind has; an entry of `parentRefs` that is left none is refused."""
    for outcome in outcomes:
        lost = {
            listener.port: winner
            for listener, _ in outcome.listeners
            if (winner := stronger(fetch, sources, known, route, listener.ref.parent, listener.port))
        }
        left = tuple(each for each in outcome.listeners if each[0].port not in lost)
        told = "; ".join(
            f"port {port} has {winner}, and a {route.kind} gives way to it: name another port, or remove one of the two"
            for port, winner in sorted(lost.items())[:8]
        )
        if lost and not left:
            yield outcome._replace(accepted=refused("Conflicted", told), listeners=())
        elif lost:
            yield outcome._replace(accepted=replace(ACCEPTED, message=told), listeners=left)
        else:
            yield outcome


def stronger(
    fetch: Fetch, sources: Sources, known: Rivals, route: ObjectRef, service: ObjectRef, port: int
) -> ObjectRef | None:
    """A route of the same clients whose kind is before this one's; of all clients, where there is one kind for all.

    A route of another namespace is for that namespace's pods alone. It cannot take a port from a TCPRoute, which the
    kernel follows for everybody: what others get is not that namespace's to say.
    """
    if route.kind not in SPECIFICITY:
        return None
    above = SPECIFICITY[: SPECIFICITY.index(route.kind)]
    for kind in above:
        if found := first(fetch, sources, known, kind, service, port, route.namespace):
            return found
    if route.namespace == service.namespace or any(
        first(fetch, sources, known, kind, service, port, service.namespace) for kind in ("GRPCRoute", "HTTPRoute")
    ):
        return None
    return first(fetch, sources, known, "TCPRoute", service, port, service.namespace)


def first(
    fetch: Fetch, sources: Sources, known: Rivals, kind: str, service: ObjectRef, port: int, namespace: str
) -> ObjectRef | None:
    """The oldest route of a kind and a namespace that takes a port of a Service."""
    found = fetch.get(sources.services, service)
    ages = {}
    for route in fetch.by(known[kind], service):
        ref = ObjectRef(kind, route.metadata.namespace, route.metadata.name)
        for parent in route.spec.parent_refs if ref.namespace == namespace else ():
            if not is_service(parent) or (parent.namespace or namespace, parent.name) != service[1:]:
                continue
            ports = taken(service, found, ref, parent)
            if not isinstance(ports, str) and any(each.port == port for each in ports):
                ages[ref] = age(route.metadata.creation_timestamp), ref
    return min(ages, key=ages.__getitem__, default=None)
