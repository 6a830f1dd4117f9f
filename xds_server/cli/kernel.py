"""Of connections that no proxy sees: what the objects say, where the daemon is told addresses alone."""

from __future__ import annotations

from typing import NamedTuple

from xds_server.ingestion.service_addresses import cluster_addresses
from xds_server.model.refs import ObjectRef
from xds_server.pipeline import Pipeline


class LeftAlone(NamedTuple):
    parent: str
    reason: str


def transport_route(pipeline: Pipeline, parent: str, address: str, port: int) -> ObjectRef | None:
    """The TCPRoute that an address and port of a Service or a Gateway follow; None where they follow none."""
    for ref, found in pipeline.ingested.kernel_services.items():
        at = {(each.address, each.port) for each in found.frontages}
        if ref.protocol == "TCP" and str(ref.object) == parent and not at.isdisjoint({(address, port), ("", port)}):
            return found.route
    return None


def left_alone(pipeline: Pipeline, address: str, port: int) -> LeftAlone | None:
    """The Service at an address that is nothing of the mesh there, and why; None for an address that is nobody's."""
    for ref, service in pipeline.sources.services.items():
        if address in cluster_addresses(service):
            numbers = [each.port for each in service.spec.ports if each.protocol == "TCP"]
            if port not in numbers:
                why = f"it has no TCP port {port}; there are: {', '.join(map(str, numbers)) or 'none'}"
            elif service.spec.internal_traffic_policy == "Local":
                why = "its internalTrafficPolicy is Local and it has no route, so that it is left to kube-proxy"
            else:
                continue
            return LeftAlone(str(ref), why)
        if address in {each.ip for each in service.status.load_balancer.ingress}:
            why = "it is the address of its load balancer, which is left to kube-proxy"
            return LeftAlone(str(ref), why)
    return None
