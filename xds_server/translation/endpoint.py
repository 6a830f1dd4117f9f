"""Endpoints by zone. This is the hot path: a change of one Service touches nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from xds_server.model.backend import Endpoint, Endpoints
from xds_server.model.refs import ClusterRef
from xds_server.model.resource import CLUSTER_LOAD_ASSIGNMENT, Resource, resource
from xds_server.translation import envoy, names


def cluster_load_assignment(ref: ClusterRef, endpoints: Endpoints | None) -> Resource:
    """A cluster without endpoints has an empty assignment, which answers 503 at once; without any, it would wait."""
    name = names.cluster(ref)
    message = envoy.ClusterLoadAssignment(cluster_name=name)
    for zone, members in _by_zone(endpoints.endpoints if endpoints else ()):
        locality = message.endpoints.add()
        if zone:
            locality.locality.zone = zone
        for each in members:
            socket_address = locality.lb_endpoints.add().endpoint.address.socket_address
            socket_address.address, socket_address.port_value = each.address, each.port
    return resource(CLUSTER_LOAD_ASSIGNMENT, name, envoy.serialised(message))


def _by_zone(endpoints: Iterable[Endpoint]) -> list[tuple[str, list[Endpoint]]]:
    zones: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        zones.setdefault(endpoint.zone, []).append(endpoint)
    return sorted(zones.items())
