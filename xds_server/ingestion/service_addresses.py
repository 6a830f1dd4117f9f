"""Which of the addresses that a Service names are its own: an address is one Service's, the oldest's that names it.

The API server gives none twice. Manifests may name one twice, and a newcomer must not take what somebody is reached at.
It must not know what is served there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xds_server.graph import Collection, Fetch, Graph
from xds_server.ingestion.age import age
from xds_server.ingestion.endpoints import canonical_address
from xds_server.ingestion.sources import Sources
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.core import Service

_FIELD = "spec.clusterIPs"


class ServiceAddresses(NamedTuple):
    """`lost` are those that another Service has, which comes first."""

    own: tuple[str, ...] = ()
    lost: tuple[tuple[str, ObjectRef], ...] = ()


OwnAddresses = Collection[ObjectRef, ServiceAddresses]


def cluster_addresses(service: Service) -> tuple[str, ...]:
    """Where clients of the cluster reach a Service; none where it is headless, or not a Service of addresses at all."""
    if service.spec.type == "ExternalName":
        return ()
    own = service.spec.cluster_ips or (service.spec.cluster_ip,)
    return tuple(filter(None, map(canonical_address, own)))


def declare_service_addresses(graph: Graph, sources: Sources) -> OwnAddresses:
    by_address = sources.services.index(cluster_addresses)

    def addresses(fetch: Fetch, ref: ObjectRef, service: Service) -> Iterator[tuple[ObjectRef, ServiceAddresses]]:
        named = tuple(dict.fromkeys(cluster_addresses(service)))
        first = {address: min(map(_order, fetch.by(by_address, address)))[1] for address in named}
        lost = tuple((address, first[address]) for address in named if first[address] != ref)
        yield ref, ServiceAddresses(tuple(address for address in named if first[address] == ref), lost)

    return graph.derive("services/addresses", sources.services, addresses)


def declare_address_warnings(graph: Graph, addresses: OwnAddresses) -> Collection[tuple[ObjectRef, str], Remark]:
    def warning(_: Fetch, ref: ObjectRef, found: ServiceAddresses) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        if found.lost:
            told = "; ".join(f"{address} is {_told(holder, ref)}'s" for address, holder in found.lost)
            text = f"{told}, which is older, or first by name: this Service is not reached there; give it another"
            yield (ref, _FIELD), Remark(ref, _FIELD, text)

    return graph.derive("warnings/service_addresses", addresses, warning)


def _order(service: Service) -> tuple[str, ObjectRef]:
    metadata = service.metadata
    return age(metadata.creation_timestamp), ObjectRef("Service", metadata.namespace, metadata.name)


def _told(holder: ObjectRef, asking: ObjectRef) -> str:
    """By name only to those of the same namespace."""
    return str(holder) if holder.namespace == asking.namespace else "a Service of another namespace"
