"""Services as parents of routes: which of their ports a route takes, and for whose connections.

A route of the Service's own namespace (a producer's) is for all clients, one of another namespace (a consumer's) for
the pods of that namespace alone, who then follow no other. What decides is the address that a connection came from.
It must not know what the route's rules say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from xds_server.graph import Collection, Fetch, Graph, Group, Index
from xds_server.ingestion.attachment import (
    ACCEPTED,
    ParentListener,
    ParentOutcome,
    refused,
    verdict_ref,
    written,
)
from xds_server.ingestion.backends import PROTOCOL_BY_APP_PROTOCOL
from xds_server.ingestion.hostnames import UNIVERSAL
from xds_server.ingestion.http_route import ANY_PATH
from xds_server.ingestion.service_addresses import OwnAddresses, cluster_addresses
from xds_server.ingestion.sources import Sources
from xds_server.ingestion.virtual_hosts import AttachmentKey, Rankings, hosts_of, virtual_host
from xds_server.model.interception import Workload
from xds_server.model.listener import Attachment, Frontend, FrontendPort, Listener
from xds_server.model.refs import UNSAID, ClusterRef, HostRef, ListenerRef, ObjectRef, PortRef, RouteRef, TableRef
from xds_server.model.route import Forward, Route, RouteMatch, TlsRoute, VirtualHost, WeightedBackend
from xds_server.objects.core import Service, ServicePort
from xds_server.objects.gateway import RouteNamespaces
from xds_server.objects.routes import ParentReference

_SPOKEN: Final = {app: protocol for app, protocol in PROTOCOL_BY_APP_PROTOCOL.items() if app != "tcp"}
_HTTP: Final = frozenset({"http", "h2c"})
TRANSPORT_KINDS: Final = frozenset({"TCPRoute", "UDPRoute"})
_EVERYBODY: Final = RouteNamespaces(from_="All")
_WHY: Final = "a Service with an address of its own is needed"


# --- parents ----------------------------------------------------------------------------------------------------------


def is_service(ref: ParentReference) -> bool:
    return (ref.group, ref.kind) == ("", "Service")


def spared_service(route: ObjectRef, refs: Sequence[ParentReference]) -> ObjectRef | None:
    """The backend for which a route needs no grant: its only parent, for which its clients have asked themselves.

    "For mesh, routes augment existing Services, rather than exposing them to a broader scope." That cannot be said of a
    route that has any other parent: clients of that one would get to the Service by it.
    """
    parents = {ObjectRef(ref.kind, ref.namespace or route.namespace, ref.name) for ref in refs}
    return parents.pop() if len(parents) == 1 and all(map(is_service, refs)) else None


def service_outcomes(
    fetch: Fetch, sources: Sources, route: ObjectRef, refs: Sequence[ParentReference]
) -> Iterator[ParentOutcome]:
    """One outcome for each `parentRefs` entry that names a Service; hostnames of the route say nothing there."""
    for position, ref in enumerate(refs):
        if not is_service(ref):
            continue
        namespace = ref.namespace or route.namespace
        service = ObjectRef("Service", namespace, ref.name)
        found = taken(service, fetch.get(sources.services, service), route, ref)
        verdict = verdict_ref(route, position, ref)
        if route.kind in TRANSPORT_KINDS and namespace != route.namespace:
            message = f"a {route.kind} is for all clients of a Service: it must be in namespace {namespace}"
            yield ParentOutcome(verdict, refused("UnsupportedValue", message), parent=written(ref))
            continue
        if isinstance(found, str):
            yield ParentOutcome(verdict, refused("NoMatchingParent", f"{service} {found}"), parent=written(ref))
            continue
        listeners = tuple((parent_listener(service, port, route.kind), (UNIVERSAL,)) for port in found)
        clients = "" if namespace == route.namespace else route.namespace
        yield ParentOutcome(verdict, ACCEPTED, listeners, written(ref), clients)


def taken(
    service: ObjectRef, found: Service | None, route: ObjectRef, ref: ParentReference
) -> tuple[ServicePort, ...] | str:
    """The ports of a Service that a route is for, or why there are none."""
    if found is None:
        return "does not exist"
    if found.spec.type == "ExternalName":
        return f"is of type ExternalName, so nobody connects to it: {_WHY}"
    if not cluster_addresses(found):
        return f"is headless, and its clients connect to pods, which are not captured: {_WHY}"
    # "If `port` is set, the implementation MUST associate the route only with that port", else "with all ports".
    selected = [
        port for port in found.spec.ports if ref.port in (None, port.port) and ref.section_name in ("", port.name)
    ]
    if not selected:
        asked = " and ".join(filter(None, (ref.section_name, f"port {ref.port}" if ref.port else "")))
        known = ", ".join(f"{port.port} {port.name}".strip() for port in found.spec.ports[:8])
        return f"has no {asked}; it has: {known}"
    taking = tuple(port for port in selected if takes(port, route.kind))
    if not taking:
        known = ", ".join(f"{port.port} ({port.app_protocol or port.protocol})" for port in selected[:8])
        return f"has no port there that takes a {route.kind}: {known}"
    return taking


def takes(port: ServicePort, kind: str) -> bool:
    if kind in {"HTTPRoute", "GRPCRoute"}:
        return port.protocol == "TCP" and _SPOKEN.get(port.app_protocol.lower()) in _HTTP
    return kind == f"{port.protocol}Route"


def parent_listener(service: ObjectRef, port: ServicePort, kind: str) -> ParentListener:
    apart = f"/{port.protocol}" if kind in TRANSPORT_KINDS else ""
    return ParentListener(
        ListenerRef(service, f"{port.port}{apart}"),
        port.port,
        UNIVERSAL,
        TableRef(service, port.port, apart),
        (kind,),
        _EVERYBODY,
        served=True,
        holds=False,
        keeps=False,
    )


# --- what it comes to -------------------------------------------------------------------------------------------------


class MeshParts(NamedTuple):
    """What Services with routes add to what is served; `clients` are the addresses of a namespace's pods.

    `bytes`: where connections go that turn out not to be HTTP, of ports that do not say what they speak.
    """

    frontends: Collection[ObjectRef, Frontend]
    listeners: Collection[ListenerRef, Listener]
    routes: Collection[RouteRef, Route]
    virtual_hosts: Collection[HostRef, VirtualHost]
    bytes: Collection[HostRef, TlsRoute]
    clients: Collection[str, tuple[str, ...]]


def without_mesh(graph: Graph) -> MeshParts:
    return MeshParts(*(graph.union(f"mesh/{name}") for name in MeshParts._fields))


def declare_mesh(
    graph: Graph,
    sources: Sources,
    attachments: Collection[AttachmentKey, Attachment],
    rankings: Rankings,
    workloads: Collection[ObjectRef, Workload],
    own: OwnAddresses,
) -> MeshParts:
    by_port = attachments.index(proxied_ports)
    by_host = attachments.index(lambda each: hosts_of(each) if proxied_ports(each) else ())
    by_clients = attachments.index(lambda each: (each.clients,) if each.clients and each.hostnames else ())
    by_namespace = workloads.index(lambda each: (each.ref.namespace,))

    def frontend(fetch: Fetch, ref: ObjectRef, _: Group[Attachment]) -> Iterator[tuple[ObjectRef, Frontend]]:
        service, addresses = fetch.get(sources.services, ref), fetch.get(own, ref)
        if service is not None and addresses is not None:
            ports = tuple(FrontendPort(each.port, each.port, each.port) for each in service.spec.ports)
            yield ref, Frontend(ref, addresses.own, ports=ports)

    def listener(_: Fetch, port: PortRef, __: Group[Attachment]) -> Iterator[tuple[ListenerRef, Listener]]:
        ref = ListenerRef(port.frontend, str(port.port))
        yield ref, Listener(ref, port.frontend, port.port, "HTTP", UNIVERSAL)

    def host(fetch: Fetch, ref: HostRef, own: Group[Attachment]) -> Iterator[tuple[HostRef, VirtualHost]]:
        yield ref, virtual_host(fetch, by_host, rankings, ref, own)

    def addresses(fetch: Fetch, namespace: str, _: Group[Attachment]) -> Iterator[tuple[str, tuple[str, ...]]]:
        found = {address for each in fetch.by(by_namespace, namespace) for address in each.addresses}
        yield namespace, tuple(sorted(found))

    return MeshParts(
        graph.derive("mesh/frontends", attachments.index(proxied_services), frontend),
        graph.derive("mesh/listeners", by_port, listener),
        *declare_rest(graph, sources, by_port, graph.derive("mesh/virtual_hosts/written", by_host, host)),
        graph.derive("mesh/clients", by_clients, addresses),
    )


def declare_rest(
    graph: Graph,
    sources: Sources,
    by_port: Index[PortRef, AttachmentKey, Attachment],
    written: Collection[HostRef, VirtualHost],
) -> tuple[Collection[RouteRef, Route], Collection[HostRef, VirtualHost], Collection[HostRef, TlsRoute]]:
    """What nobody has a route for, and what is no request."""

    def default_host(_: Fetch, port: PortRef, own: Group[Attachment]) -> Iterator[tuple[HostRef, VirtualHost]]:
        if all(each.clients for each in own):
            ref = HostRef(TableRef(*port, ""), UNIVERSAL)
            yield ref, VirtualHost(ref, (default_ref(port),))

    def default(fetch: Fetch, port: PortRef, own: Group[Attachment]) -> Iterator[tuple[RouteRef, Route]]:
        service = fetch.get(sources.services, port.frontend)
        if service is not None and all(each.clients for each in own):
            yield default_ref(port), default_route(port, service)

    def other_bytes(fetch: Fetch, port: PortRef, _: Group[Attachment]) -> Iterator[tuple[HostRef, TlsRoute]]:
        service = fetch.get(sources.services, port.frontend)
        if service is not None and not _served_port(service, port).app_protocol:
            ref = HostRef(TableRef(*port, UNSAID), UNIVERSAL)
            cluster = ClusterRef(port.frontend.namespace, port.frontend.name, port.port, "tcp")
            yield ref, TlsRoute(ref, default_ref(port), (WeightedBackend(cluster, 1),))

    return (
        graph.derive("mesh/routes", by_port, default),
        graph.union("mesh/virtual_hosts", written, graph.derive("mesh/virtual_hosts/default", by_port, default_host)),
        graph.derive("mesh/bytes", by_port, other_bytes),
    )


def proxied_ports(attachment: Attachment) -> tuple[PortRef, ...]:
    """The port of a Service that Envoy takes because of a route, which is served there."""
    source, table = attachment.source, attachment.table
    if table.frontend.kind != "Service" or not attachment.hostnames or source is None:
        return ()
    return (PortRef(table.frontend, table.port),) if source.kind in {"HTTPRoute", "GRPCRoute"} else ()


def proxied_services(attachment: Attachment) -> tuple[ObjectRef, ...]:
    return tuple(port.frontend for port in proxied_ports(attachment))


def default_ref(port: PortRef) -> RouteRef:
    """Of the route that nobody wrote: by position, as of any object."""
    return RouteRef(port.frontend, port.port, 0)


def default_route(port: PortRef, service: Service) -> Route:
    """Where only some namespaces have routes, everybody else's requests go where they would go without any."""
    ref = port.frontend
    protocol = _SPOKEN[_served_port(service, port).app_protocol.lower()]
    cluster = ClusterRef(ref.namespace, ref.name, port.port, protocol)
    return Route(default_ref(port), "", RouteMatch(ANY_PATH), Forward((WeightedBackend(cluster, 1),)))


def _served_port(service: Service, port: PortRef) -> ServicePort:
    return next(each for each in service.spec.ports if each.port == port.port and each.protocol == "TCP")
