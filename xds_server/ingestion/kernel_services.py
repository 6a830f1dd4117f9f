"""Services as the kernel serves them: where clients connect to, and which endpoints take it.

It must not know routes, but whether Envoy takes a port because of some.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from xds_server.graph import Collection, Fetch, Graph, Index
from xds_server.ingestion.endpoints import Slices, canonical_address, is_ready, is_serving, reachable
from xds_server.ingestion.mesh import cluster_addresses
from xds_server.ingestion.sources import Settings, Sources
from xds_server.ingestion.virtual_hosts import AttachmentKey
from xds_server.model.interception import Frontage, Intercepted, KernelBackend, ServiceRef, TransportProtocol
from xds_server.model.listener import Attachment
from xds_server.model.refs import ObjectRef, PortRef
from xds_server.objects.core import Service, ServicePort

_PROTOCOLS: Final = frozenset({"TCP", "UDP"})

ByPort = Index[PortRef, AttachmentKey, Attachment]


def declare_kernel_services(
    graph: Graph, sources: Sources, settings: Settings, by_service: Slices, proxied: ByPort
) -> Collection[ServiceRef, Intercepted]:
    """One for each port of each Service that has addresses of its own; endpoints change theirs and nothing else."""

    def services(fetch: Fetch, ref: ObjectRef, service: Service) -> Iterator[tuple[ServiceRef, Intercepted]]:
        addresses = cluster_addresses(service)
        for port in service.spec.ports if addresses else ():
            if port.protocol not in _PROTOCOLS:
                continue
            key = ServiceRef(ref, port.port, cast("TransportProtocol", port.protocol))
            by_envoy = port.protocol == "TCP" and len(fetch.by(proxied, key.port_ref)) > 0
            # "Local" means something else on each node, which is for kube-proxy to know.
            if not by_envoy and service.spec.internal_traffic_policy == "Local":
                continue
            yield (
                key,
                Intercepted(
                    key,
                    tuple(Frontage(address, port.port) for address in addresses),
                    proxied=by_envoy,
                    fail_open=by_envoy,
                    backends=backends(fetch, settings, by_service, ref, port),
                    affinity_s=affinity_s(service),
                ),
            )

    return graph.derive("kernel_services", sources.services, services)


def backends(
    fetch: Fetch, settings: Settings, by_service: Slices, service: ObjectRef, port: ServicePort
) -> tuple[KernelBackend, ...]:
    """The ready endpoints of a Service's port, and those that serve while they terminate."""
    found: dict[tuple[str, int], bool] = {}
    for each in fetch.by(by_service, (service.namespace, service.name)):
        numbers = [other.port for other in each.ports if (other.name, other.protocol) == (port.name, port.protocol)]
        for endpoint in each.endpoints if each.address_type != "FQDN" else ():
            address = canonical_address(endpoint.addresses[0]) if endpoint.addresses else ""
            if not address or not (settings.allow_local_endpoints or reachable(address)):
                continue
            for number in filter(None, numbers):
                if is_ready(endpoint):
                    found[address, number] = False
                elif endpoint.conditions.terminating and is_serving(endpoint):
                    found.setdefault((address, number), True)
    return tuple(KernelBackend(*at, terminating=terminating) for at, terminating in sorted(found.items()))


def affinity_s(service: Service) -> int:
    spec = service.spec
    return spec.session_affinity_config.client_ip.timeout_seconds if spec.session_affinity == "ClientIP" else 0
