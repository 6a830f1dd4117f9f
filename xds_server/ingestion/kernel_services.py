"""Services as the kernel serves them: where clients connect to, and which endpoints take it.

Ports of Services, with the backends of a TCPRoute or UDPRoute in the place of their own where there is one, and
listeners of Gateways for bytes and datagrams.
It must not know how a route came to its backends, nor why Envoy takes a port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Final, NamedTuple, cast

from xds_server.graph import Collection, Fetch, Graph, Index
from xds_server.ingestion.age import age
from xds_server.ingestion.endpoints import Slices, canonical_address, is_ready, is_serving, reachable
from xds_server.ingestion.mesh import TRANSPORT_KINDS
from xds_server.ingestion.service_addresses import OwnAddresses
from xds_server.ingestion.sources import Settings, Sources
from xds_server.ingestion.virtual_hosts import AttachmentKey
from xds_server.model.interception import (
    NOBODY,
    Frontage,
    Intercepted,
    KernelBackend,
    ServiceRef,
    TransportProtocol,
    frontages,
)
from xds_server.model.listener import Attachment, Frontend
from xds_server.model.refs import ObjectRef, PortRef
from xds_server.model.route import Forward, Route, WeightedBackend
from xds_server.objects.core import Service, ServicePort

_PROTOCOLS: Final = frozenset({"TCP", "UDP"})
_MOST_AFFINITY_S: Final = 86_400
MOST_SHARES: Final = 1024
"""So many parts a service's weights are divided into at most: each is a slot in a map of the kernel."""


class KernelInputs(NamedTuple):
    """`proxied` are the ports that Envoy takes, `routed` those that a TCPRoute or UDPRoute is for."""

    by_service: Slices
    proxied: Index[PortRef, AttachmentKey, Attachment]
    routed: Index[ServiceRef, AttachmentKey, Attachment]
    rules: Collection[ObjectRef, Route]
    transports: Collection[ServiceRef, ServiceRef]
    frontends: Collection[ObjectRef, Frontend]
    addresses: OwnAddresses


def transport_ports(attachment: Attachment) -> tuple[ServiceRef, ...]:
    source, table = attachment.source, attachment.table
    if source is None or source.kind not in TRANSPORT_KINDS or not attachment.hostnames:
        return ()
    return (ServiceRef(table.frontend, table.port, "TCP" if source.kind == "TCPRoute" else "UDP"),)


def declare_kernel_services(
    graph: Graph, sources: Sources, settings: Settings, inputs: KernelInputs
) -> Collection[ServiceRef, Intercepted]:
    """One for each port of each Service that has addresses of its own; endpoints change theirs and nothing else."""

    def services(fetch: Fetch, ref: ObjectRef, service: Service) -> Iterator[tuple[ServiceRef, Intercepted]]:
        named = fetch.get(inputs.addresses, ref)
        addresses = named.own if named is not None else ()
        for port in service.spec.ports if addresses else ():
            if port.protocol not in _PROTOCOLS:
                continue
            key = ServiceRef(ref, port.port, cast("TransportProtocol", port.protocol))
            by_envoy = port.protocol == "TCP" and len(fetch.by(inputs.proxied, key.port_ref)) > 0
            rule = None if by_envoy else first_rule(fetch, inputs, key)
            # "Local" means something else on each node, which is for kube-proxy to know.
            if not by_envoy and rule is None and service.spec.internal_traffic_policy == "Local":
                continue
            found = Intercepted(
                key,
                tuple(Frontage(address, port.port) for address in addresses),
                proxied=by_envoy,
                fail_open=by_envoy,
                affinity_s=affinity_s(service),
            )
            if rule is None:
                yield key, replace(found, backends=backends(fetch, settings, inputs.by_service, ref, port))
            else:
                routed = weighted(fetch, sources, settings, inputs.by_service, rule)
                yield key, replace(found, backends=routed, route=rule.ref.source)

    def gateways(fetch: Fetch, key: ServiceRef, _: ServiceRef) -> Iterator[tuple[ServiceRef, Intercepted]]:
        frontend = fetch.get(inputs.frontends, key.object)
        at = frontages(key.port, frontend) if frontend is not None else ()
        rule = first_rule(fetch, inputs, key)
        if at:
            found = weighted(fetch, sources, settings, inputs.by_service, rule) if rule is not None else ()
            route = rule.ref.source if rule is not None else None
            yield key, Intercepted(key, at, external=True, backends=found, route=route)

    return graph.union(
        "kernel_services",
        graph.derive("kernel_services/services", sources.services, services),
        graph.derive("kernel_services/gateways", inputs.transports, gateways),
    )


def first_rule(fetch: Fetch, inputs: KernelInputs, port: ServiceRef) -> Route | None:
    """That of the oldest route: nothing in a connection could choose between two."""
    attached = (attachment.source for attachment in fetch.by(inputs.routed, port))
    found = [rule for ref in attached if ref is not None and (rule := fetch.get(inputs.rules, ref)) is not None]
    return min(found, key=lambda rule: (age(rule.created), rule.ref), default=None)


def weighted(
    fetch: Fetch, sources: Sources, settings: Settings, by_service: Slices, rule: Route
) -> tuple[KernelBackend, ...]:
    """The endpoints of all backends of a rule; those of one have its weight together.

    "If unspecified or invalid (refers to a nonexistent resource or a Service with no endpoints), the underlying
    implementation MUST actively reject connection attempts to this backend. Connection rejections must respect weight;
    if an invalid backend is requested to have 80% of connections, then 80% of connections must be rejected instead."
    — TCPRoute, rules[].backendRefs
    """
    shares: list[tuple[Fraction, KernelBackend]] = []
    rejected = Fraction(0)
    for backend in rule.action.backends if isinstance(rule.action, Forward) else ():
        own = endpoints_of(fetch, sources, settings, by_service, backend)
        new = [each for each in own if not each.terminating] or own
        shares += [(Fraction(backend.weight, len(new)), each) for each in own]
        rejected += 0 if own else backend.weight
    if shares and rejected:
        shares.append((rejected, NOBODY))
    return tuple(sorted(replace_weights(shares)))


def endpoints_of(
    fetch: Fetch, sources: Sources, settings: Settings, by_service: Slices, backend: WeightedBackend
) -> tuple[KernelBackend, ...]:
    if backend.cluster is None:
        return ()
    ref = ObjectRef("Service", backend.cluster.namespace, backend.cluster.service)
    service = fetch.get(sources.services, ref)
    protocol = "UDP" if backend.cluster.protocol == "udp" else "TCP"
    ports = service.spec.ports if service is not None else ()
    port = next((each for each in ports if (each.port, each.protocol) == (backend.cluster.port, protocol)), None)
    return backends(fetch, settings, by_service, ref, port) if port is not None else ()


def replace_weights(shares: Sequence[tuple[Fraction, KernelBackend]]) -> Iterator[KernelBackend]:
    """The smallest whole numbers in the same proportion; approximately, where they are too large for a map."""
    unit = lcm(*(share.denominator for share, _ in shares)) if shares else 1
    total = sum(share for share, _ in shares)
    exact = total * unit <= MOST_SHARES
    for share, backend in shares:
        weight = int(share * unit) if exact else max(1, round(share * MOST_SHARES / total))
        yield backend._replace(weight=weight)


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
    """At most a day, which is what Kubernetes allows."""
    spec = service.spec
    if spec.session_affinity != "ClientIP":
        return 0
    return min(max(spec.session_affinity_config.client_ip.timeout_seconds, 1), _MOST_AFFINITY_S)
