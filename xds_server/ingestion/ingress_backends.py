"""Backends of Ingress paths: from what a path names to a Service's port, or to an answer of 500 and a condition."""

from __future__ import annotations

from xds_server.graph import Fetch
from xds_server.ingestion.backends import service_backend
from xds_server.ingestion.ingress_plan import Findings, IngressPlan, PathPlan
from xds_server.ingestion.sources import Sources
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ClusterRef, Protocol
from xds_server.model.route import WeightedBackend


def backend(
    fetch: Fetch,
    sources: Sources,
    plan: IngressPlan,
    path: PathPlan,
    protocol: Protocol | None,
    findings: Findings | None = None,
) -> WeightedBackend:
    """A path's backend; `findings` learns why it cannot be used."""
    found = cluster(fetch, sources, plan, path, protocol)
    if not isinstance(found, InvalidBackend):
        return WeightedBackend(found)
    if findings is not None:
        field = path.field if path.catches_all else f"{path.field}.backend"
        findings.fault("ResolvedRefs", found.reason, f"{field}: {found.message}")
    return WeightedBackend(None)


def cluster(
    fetch: Fetch, sources: Sources, plan: IngressPlan, path: PathPlan, protocol: Protocol | None
) -> ClusterRef | InvalidBackend:
    resource, service = path.backend.resource, path.backend.service
    if resource is not None:
        kind = f"{resource.api_group}/{resource.kind}".removeprefix("/")
        return InvalidBackend("InvalidKind", f"{kind} {resource.name} is a resource; only Services are backends")
    if service is None:
        return InvalidBackend("BackendNotFound", "names no Service")
    port = service.port.name or service.port.number or None
    return service_backend(fetch, sources, plan.ref.namespace, service.name, port, protocol)
