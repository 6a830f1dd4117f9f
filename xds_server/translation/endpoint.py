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
    message = envoy.ClusterLoadAssignment(
        cluster_name=name, endpoints=_localities(endpoints.endpoints if endpoints else ())
    )
    return resource(CLUSTER_LOAD_ASSIGNMENT, name, envoy.serialised(message))


def _localities(endpoints: Iterable[Endpoint]) -> list[envoy.LocalityLbEndpoints]:
    zones: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        zones.setdefault(endpoint.zone, []).append(endpoint)
    return [
        envoy.LocalityLbEndpoints(
            locality=envoy.Locality(zone=zone) if zone else None,
            lb_endpoints=[
                envoy.LbEndpoint(
                    endpoint=envoy.Endpoint(
                        address=envoy.Address(
                            socket_address=envoy.SocketAddress(address=each.address, port_value=each.port)
                        )
                    )
                )
                for each in members
            ],
        )
        for zone, members in sorted(zones.items())
    ]
