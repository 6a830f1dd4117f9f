"""Endpoints: from a Service's EndpointSlices to the addresses that may get requests.

It must not know which routes use them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from xds_server.graph import Fetch, Index
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.backend import Endpoint, Endpoints
from xds_server.model.refs import ClusterRef, Kept, ObjectRef
from xds_server.objects.core import EndpointSlice, SliceEndpoint

SERVICE_NAME: Final = "kubernetes.io/service-name"

FORBIDDEN: Final = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata service of most clouds
        "100.100.100.200/32",  # metadata of Alibaba Cloud
        "168.63.129.16/32",  # the host of Azure
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "fe80::/10",
        "fd00:ec2::254/128",  # metadata of AWS
        "ff00::/8",
    )
)
"""Where no backend may be (S11): what an author of a slice could reach through the proxy but not by himself."""

Slices = Index[tuple[str, str], ObjectRef, EndpointSlice]


def slices(sources: Sources) -> Slices:
    """The slices by namespace and name of their Service."""
    return sources.endpoint_slices.index(services_of)


def services_of(found: EndpointSlice) -> Iterator[tuple[str, str]]:
    service = found.metadata.labels.get(SERVICE_NAME)
    if service:
        yield found.metadata.namespace, service


def endpoints(fetch: Fetch, sources: Sources, slices: Slices, settings: Settings, ref: ClusterRef) -> Endpoints:
    """The ready endpoints of a Service's port; those that serve while they terminate, only where none is ready."""
    service = fetch.get(sources.services, ObjectRef("Service", ref.namespace, ref.service))
    if service is None:
        return Endpoints(ref, ())
    names = {port.name for port in service.spec.ports if port.port == ref.port and port.protocol == "TCP"}
    found = [one for one in fetch.by(slices, (ref.namespace, ref.service)) if is_of_family(one, ref.kept)]
    candidates = [pair for one in found if one.address_type != "FQDN" for pair in slice_endpoints(one, names)]
    ready = [endpoint for source, endpoint in candidates if is_ready(source)]
    usable = set(ready or (endpoint for source, endpoint in candidates if is_serving(source)))
    if not settings.allow_local_endpoints:
        usable = {endpoint for endpoint in usable if reachable(endpoint.address)}
    return Endpoints(ref, tuple(sorted(usable)))


def is_of_family(found: EndpointSlice, kept: Kept) -> bool:
    """Whether clients whose address is kept reach it; all others reach all."""
    return not kept or found.address_type.lower() == kept


def slice_endpoints(found: EndpointSlice, names: Iterable[str]) -> Iterator[tuple[SliceEndpoint, Endpoint]]:
    """Every endpoint of a slice on each of its ports with one of these names; its addresses stand for one another."""
    for port in found.ports:
        if port.name not in names or port.port is None or port.protocol != "TCP":
            continue
        for endpoint in found.endpoints:
            for address in endpoint.addresses[:1]:
                if canonical := canonical_address(address):
                    yield endpoint, Endpoint(canonical, port.port, endpoint.zone)


def is_ready(endpoint: SliceEndpoint) -> bool:
    """An unset condition counts as ready; a terminating endpoint is never ready."""
    return endpoint.conditions.ready is not False and endpoint.conditions.terminating is not True


def is_serving(endpoint: SliceEndpoint) -> bool:
    """Still answers, ready or not."""
    if endpoint.conditions.serving is None:
        return endpoint.conditions.ready is not False
    return endpoint.conditions.serving


def canonical_address(text: str) -> str:
    """An address in its one form; "" for what is none."""
    if _IPV4.fullmatch(text):
        return text
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    # An IPv6 zone names an interface of the proxy's own machine.
    return "" if isinstance(address, IPv6Address) and address.scope_id else str(address)


def reachable(text: str) -> bool:
    """Whether an address may be a backend, also when IPv6 wraps an IPv4 address."""
    ipv4 = _IPV4.fullmatch(text)
    if ipv4:
        return _is_allowed(4, int.from_bytes(map(int, ipv4.groups())))
    address = ip_address(text)
    inner = _wrapped(address) if isinstance(address, IPv6Address) else None
    return _is_allowed(6, int(address)) if inner is None else _is_allowed(4, int(inner))


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return inner


def _is_allowed(version: int, number: int) -> bool:
    return all(number & mask != first for first, mask in _FORBIDDEN[version])


# Most addresses are such, in one form each, and a large cluster has many: `ipaddress` takes several times as long.
_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}")
_FORBIDDEN: Final = {
    version: tuple((int(each.network_address), int(each.netmask)) for each in FORBIDDEN if each.version == version)
    for version in (4, 6)
}
_NAT64: Final = ip_network("64:ff9b::/96")
