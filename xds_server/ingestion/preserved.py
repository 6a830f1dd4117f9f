"""Ports of Services whose backends see their client's own address, as the Service asks for.

A connection keeps its IP family: from an address of one, nobody of the other is reached.
So each family has a listener, a route table and clusters of its own, and goes from the node's address where one of its
backends has none of that family.
It must not know how Envoy comes to send from an address that is not the node's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from xds_server.graph import Collection, Fetch, Graph, Group, Index
from xds_server.ingestion import annotations_syntax as syntax
from xds_server.ingestion.endpoints import Slices, is_of_family
from xds_server.ingestion.hostnames import UNIVERSAL
from xds_server.ingestion.mesh import MeshParts
from xds_server.ingestion.service_addresses import cluster_addresses
from xds_server.ingestion.sources import Sources
from xds_server.model.listener import Listener
from xds_server.model.refs import ClusterRef, HostRef, Kept, ListenerRef, ObjectRef, PortRef, RouteRef, family
from xds_server.model.route import Forward, Route, TlsRoute, VirtualHost, WeightedBackend
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.core import Service

ANNOTATION: Final = "tidegate.dev/preserve-client-ip"

_FIELD: Final = f"metadata.annotations[{ANNOTATION}]"
_WORDS: Final[dict[str, str]] = {"ipv4": "IPv4", "ipv6": "IPv6"}
_MOST_NAMED: Final = 8


class Wish(NamedTuple):
    """A Service's for one port and family; `foreign` are the backends that it cannot be had for."""

    port: PortRef
    kept: Kept
    foreign: tuple[ObjectRef, ...]


class Preserved(NamedTuple):
    """What wishes come to, besides what is there for everybody; `remarks` say where they come to nothing."""

    listeners: Collection[ListenerRef, Listener]
    virtual_hosts: Collection[HostRef, VirtualHost]
    routes: Collection[RouteRef, Route]
    bytes: Collection[HostRef, TlsRoute]
    remarks: Collection[tuple[ObjectRef, str], Remark]


def without_preserved(graph: Graph) -> Preserved:
    return Preserved(*(graph.union(f"preserved/{name}") for name in Preserved._fields))


def wants(service: Service) -> bool:
    """Whether a Service asks for it; one that cannot be understood does not."""
    try:
        return syntax.boolean(service.metadata.annotations.get(ANNOTATION, "false"))
    except ValueError:
        return False


def declare_preserved(
    graph: Graph, sources: Sources, by_service: Slices, mesh: MeshParts, written: Collection[RouteRef, Route]
) -> Preserved:
    """`written` are the routes that somebody wrote; those of the mesh are the others."""
    of = Served(
        mesh.virtual_hosts.index(lambda host: (port_of(host.ref),)),
        mesh.bytes.index(lambda route: (port_of(route.ref),)),
        written,
        mesh.routes,
    )
    wished = declare_wishes(graph, sources, by_service, mesh.listeners, of)
    granted = wished.index(lambda wish: () if wish.foreign else (wish.port,))

    def hosts(fetch: Fetch, port: PortRef, own: Group[VirtualHost]) -> Iterator[tuple[HostRef, VirtualHost]]:
        for wish in fetch.by(granted, port):
            for host in own:
                ref = host.ref._replace(table=host.ref.table._replace(kept=wish.kept))
                yield ref, replace(host, ref=ref, routes=tuple(each._replace(kept=wish.kept) for each in host.routes))

    def other_bytes(fetch: Fetch, port: PortRef, own: Group[TlsRoute]) -> Iterator[tuple[HostRef, TlsRoute]]:
        for wish in fetch.by(granted, port):
            for route in own:
                ref = route.ref._replace(table=route.ref.table._replace(kept=wish.kept))
                yield ref, replace(route, ref=ref, backends=kept_backends(route.backends, wish.kept))

    def route(fetch: Fetch, ref: RouteRef, _: Group[VirtualHost]) -> Iterator[tuple[RouteRef, Route]]:
        found = of.route(fetch, ref._replace(kept=""))
        if found is not None:
            yield ref, kept_route(found, ref.kept)

    virtual_hosts = graph.derive("preserved/virtual_hosts", of.hosts, hosts)
    return Preserved(
        graph.derive("preserved/listeners", wished, listeners_of),
        virtual_hosts,
        graph.derive("preserved/routes", virtual_hosts.index(lambda host: host.routes), route),
        graph.derive("preserved/bytes", of.bytes, other_bytes),
        declare_remarks(graph, sources, wished.index(lambda wish: (wish.port.frontend,))),
    )


class Served(NamedTuple):
    """What is served at a port of a Service."""

    hosts: Index[PortRef, HostRef, VirtualHost]
    bytes: Index[PortRef, HostRef, TlsRoute]
    written: Collection[RouteRef, Route]
    others: Collection[RouteRef, Route]

    def route(self, fetch: Fetch, ref: RouteRef) -> Route | None:
        return fetch.get(self.others if ref.source.kind == "Service" else self.written, ref)


def declare_wishes(
    graph: Graph, sources: Sources, by_service: Slices, listeners: Collection[ListenerRef, Listener], of: Served
) -> Collection[tuple[PortRef, Kept], Wish]:
    def wishes(fetch: Fetch, _: ListenerRef, listener: Listener) -> Iterator[tuple[tuple[PortRef, Kept], Wish]]:
        service = fetch.get(sources.services, listener.frontend)
        if service is None or not wants(service):
            return
        port = listener.port_ref
        used = {each for host in fetch.by(of.hosts, port) for ref in host.routes for each in led(fetch, of, ref)}
        used |= {each for route in fetch.by(of.bytes, port) for each in clusters_of(route.backends)}
        for kept in sorted({family(address) for address in cluster_addresses(service)}):
            foreign = {backend_of(each) for each in used if not has_family(fetch, by_service, each, kept)}
            yield (port, kept), Wish(port, kept, tuple(sorted(foreign)))

    return graph.derive("preserved/wishes", listeners, wishes)


def port_of(ref: HostRef) -> PortRef:
    return PortRef(ref.table.frontend, ref.table.port)


def listeners_of(_: Fetch, __: object, wish: Wish) -> Iterator[tuple[ListenerRef, Listener]]:
    if not wish.foreign:
        ref = ListenerRef(wish.port.frontend, f"{wish.port.port}/{wish.kept}")
        yield ref, Listener(ref, wish.port.frontend, wish.port.port, "HTTP", UNIVERSAL, kept=wish.kept)


# --- backends ---------------------------------------------------------------------------------------------------------


def led(fetch: Fetch, of: Served, ref: RouteRef) -> Iterator[ClusterRef]:
    """Where a route sends the requests of its clients; copies of these are no matter of a client's."""
    route = of.route(fetch, ref)
    return clusters_of(route.action.backends if route and isinstance(route.action, Forward) else ())


def clusters_of(backends: tuple[WeightedBackend, ...]) -> Iterator[ClusterRef]:
    return (each.cluster for each in backends if each.cluster is not None)


def backend_of(ref: ClusterRef) -> ObjectRef:
    return ObjectRef("Service", ref.namespace, ref.service)


def has_family(fetch: Fetch, by_service: Slices, ref: ClusterRef, kept: Kept) -> bool:
    """By its slices, of which there is one for each family also while there are no endpoints; without any, it may."""
    found = fetch.by(by_service, (ref.namespace, ref.service))
    return not found or any(is_of_family(each, kept) for each in found)


def kept_route(route: Route, kept: Kept) -> Route:
    action = route.action
    if isinstance(action, Forward):
        action = Forward(kept_backends(action.backends, kept))
    return replace(route, ref=route.ref._replace(kept=kept), action=action)


def kept_backends(backends: tuple[WeightedBackend, ...], kept: Kept) -> tuple[WeightedBackend, ...]:
    return tuple(replace(each, cluster=each.cluster and each.cluster._replace(kept=kept)) for each in backends)


# --- what comes to nothing --------------------------------------------------------------------------------------------


def declare_remarks(
    graph: Graph, sources: Sources, by_frontend: Index[ObjectRef, tuple[PortRef, Kept], Wish]
) -> Collection[tuple[ObjectRef, str], Remark]:
    def remarks(fetch: Fetch, ref: ObjectRef, service: Service) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        text = service.metadata.annotations.get(ANNOTATION)
        if text is None:
            return
        try:
            syntax.boolean(text)
        except ValueError as error:
            message = f'{error}, so that backends see the node\'s address: write "true" or "false"'
            yield (ref, _FIELD), Remark(ref, _FIELD, message)
        if said := [impossible(wish) for wish in fetch.by(by_frontend, ref) if wish.foreign]:
            yield (ref, _FIELD), Remark(ref, _FIELD, "; ".join(said))

    return graph.derive("preserved/remarks", sources.services, remarks)


def impossible(wish: Wish) -> str:
    word = _WORDS[wish.kept]
    named = ", ".join(map(str, wish.foreign[:_MOST_NAMED]))
    return (
        f"port {wish.port.port}: {named} has no {word} endpoints, so that backends see the node's address in the place "
        f"of {word} clients': give it both families (spec.ipFamilyPolicy), or route to others"
    )
