"""Frontends as clients and Envoy see them: addresses of their own, of a Service, or of the nodes.

It must not know why a frontend is exposed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Final

from xds_server.graph import Collection, Fetch, Graph
from xds_server.ingestion.addresses import NOT_ASSIGNED, Given
from xds_server.ingestion.endpoints import Slices
from xds_server.ingestion.service_names import MANAGED_BY, TIDEGATE, service_ref
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.listener import Frontend, FrontendPort
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.objects.core import Service

WILDCARDS: Final = {"IPv4": "0.0.0.0", "IPv6": "::"}  # noqa: S104  # each at ports of its own
_MOST: Final = 16  # addresses in a status


Nodes = Callable[[tuple[str, ...]], tuple[str, ...]]
"""The nodes' addresses of some families."""


def declare_frontends(
    graph: Graph, sources: Sources, settings: Settings, given: Collection[ObjectRef, Given], by_service: Slices
) -> Collection[ObjectRef, Frontend]:
    def frontend(fetch: Fetch, ref: ObjectRef, found: Given) -> Iterator[tuple[ObjectRef, Frontend]]:
        if found.wanted.exposure.type == "Address" or found.frontend.unusable:
            yield ref, found.frontend
            return
        behind = found.wanted.exposure.type == "Service"
        service = fetch.get(sources.services, service_ref(ref, settings)) if behind else None
        refused = fetch.get(sources.refused, service_ref(ref, settings)) if behind else None
        nodes = partial(node_addresses, fetch, settings, by_service)
        exposed = (
            _behind_service(settings, service, refused, nodes, found) if behind else _at_nodes(settings, nodes, found)
        )
        yield ref, _with_static(exposed, found.wanted.static)

    return graph.derive("frontends/exposed", given, frontend)


def _with_static(exposed: Frontend, static: tuple[str, ...]) -> Frontend:
    """Addresses that are asked for must be there, and are then the only ones."""
    missing = [address for address in static if address not in exposed.addresses]
    if exposed.unusable or not static:
        return exposed
    if missing:
        text = f"address {missing[0]} is asked for, and is none of those that this is exposed at: name one of them"
        return replace(exposed, addresses=(), unusable=text)
    return replace(exposed, addresses=static)


def _behind_service(
    settings: Settings, service: Service | None, refused: str | None, nodes: Nodes, found: Given
) -> Frontend:
    """Bound at once, so that a load balancer that probes finds it, and published when the Service has an address."""
    wanted = found.wanted
    asked = wanted.exposure.service
    families: tuple[str, ...] = (asked.ip_families if asked else None) or tuple(WILDCARDS)
    ref = service_ref(wanted.ref, settings)
    addresses: tuple[str, ...] = ()
    client = dict.fromkeys(found.bound, 0)
    node: dict[int, int] = {}
    problem = f"{ref} is not there yet, by which this is exposed" + (f": {refused}" if refused else "")
    outdated = ""
    if service is not None and not is_generated(service, wanted.ref):
        problem = f"{ref} is somebody else's, and this would be exposed by it: delete or rename it"
    elif service is not None:
        addresses = service_addresses(service)
        node = {port.port: port.node_port for port in service.spec.ports}
        problem = f"{ref} has no address yet: see its events, and whether its load balancer is installed"
        if service.spec.type == "NodePort":
            addresses = nodes(families)
            client = node
            problem = f"no proxy of {settings.namespace}/{settings.proxy_service} is ready, whose node would be reached"
        outdated = f"{ref} is not as it is asked for, and goes on as it was: {refused}" if refused else ""
    return Frontend(
        wanted.ref,
        addresses,
        "" if addresses else problem,
        NOT_ASSIGNED,
        bind=tuple(WILDCARDS[family] for family in families),
        ports=_ports(found.bound, client, node),
        outdated=outdated if addresses else "",
    )


def is_generated(service: Service, frontend: ObjectRef) -> bool:
    """Whether a Service was made for a frontend: by its label, and by its owner, but for all shared Ingresses."""
    meta = service.metadata
    owners = ((owner.kind, owner.name) for owner in meta.owner_references if owner.controller)
    owned = frontend == SHARED_INGRESS or (frontend.kind, frontend.name) in owners
    return owned and meta.labels.get(MANAGED_BY) == TIDEGATE


def service_addresses(service: Service) -> tuple[str, ...]:
    """Where a Service is reached, but for the nodes: by its load balancer, or in the cluster."""
    if service.spec.type == "LoadBalancer":
        found = (each.ip or each.hostname for each in service.status.load_balancer.ingress)
        return tuple(filter(None, found))[:_MOST]
    own = service.spec.cluster_ips or (service.spec.cluster_ip,)
    return tuple(address for address in own if address not in {"", "None"})


def _at_nodes(settings: Settings, nodes: Nodes, found: Given) -> Frontend:
    addresses = nodes(tuple(WILDCARDS))
    problem = f"no proxy of {settings.namespace}/{settings.proxy_service} is ready, whose node would be reached"
    moved = {port: bound for port, bound in found.bound.items() if port != bound}
    return Frontend(
        found.wanted.ref,
        addresses,
        "" if addresses else problem,
        NOT_ASSIGNED,
        bind=tuple(WILDCARDS.values()),
        ports=_ports(moved, moved),
    )


def _ports(
    bound: Mapping[int, int], client: Mapping[int, int], node: Mapping[int, int] | None = None
) -> tuple[FrontendPort, ...]:
    nodes = node or {}
    return tuple(
        FrontendPort(port, bound[port], client.get(port) or port, nodes.get(port, 0)) for port in sorted(bound)
    )


def node_addresses(fetch: Fetch, settings: Settings, by_service: Slices, families: tuple[str, ...]) -> tuple[str, ...]:
    """Of the nodes whose proxy is ready: proxies use their node's network, so that their addresses are the node's."""
    found = {
        address
        for each in fetch.by(by_service, (settings.namespace, settings.proxy_service))
        if each.address_type in families
        for endpoint in each.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
    }
    return tuple(sorted(found, key=lambda a: (ip_address(a).version, ip_address(a))))[:_MOST] or settings.node_addresses
