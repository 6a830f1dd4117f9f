"""From a cluster's name to its endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from envoy.config.core.v3.health_check_pb2 import DEGRADED, HEALTHY, UNKNOWN

from xds_server.model.resource import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, Resource, ResourceKey
from xds_server.translation.envoy import Cluster, ClusterLoadAssignment

_USABLE: Final = frozenset({UNKNOWN, HEALTHY, DEGRADED})


def endpoints(resources: Mapping[ResourceKey, Resource], name: str) -> tuple[str, ...] | None:
    """The usable endpoints of a cluster as "ip:port"; None when there is no such cluster."""
    found = resources.get(ResourceKey(CLUSTER, name))
    if found is None:
        return None
    cluster = Cluster.FromString(found.body)
    if cluster.type != Cluster.EDS:
        return _addresses(cluster.load_assignment)
    service = cluster.eds_cluster_config.service_name or cluster.name
    assignment = resources.get(ResourceKey(CLUSTER_LOAD_ASSIGNMENT, service))
    return _addresses(ClusterLoadAssignment.FromString(assignment.body)) if assignment is not None else ()


def _addresses(assignment: Any) -> tuple[str, ...]:
    return tuple(
        _address(each.endpoint.address)
        for locality in assignment.endpoints
        for each in locality.lb_endpoints
        if each.health_status in _USABLE
    )


def _address(address: Any) -> str:
    if address.WhichOneof("address") == "pipe":
        return str(address.pipe.path)
    return endpoint(address.socket_address.address, address.socket_address.port_value)


def endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
