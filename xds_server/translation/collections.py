"""The translation as collections of the graph: what is recomputed when something changes.

one endpoint     one load assignment
one certificate  one secret
one route        that route, what its object may take, the virtual hosts that list it, and their tables: joined bytes,
                 or nothing with VHDS
one listener     its port, and the table that it opens
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from xds_server.graph import Collection, Fetch, Graph, Group, Index, Source
from xds_server.model.backend import Certificate, Cluster, Endpoints
from xds_server.model.interception import Announced, Intercepted, ServiceRef, Workload
from xds_server.model.listener import Frontend, Listener
from xds_server.model.refs import ClusterRef, HostRef, ListenerRef, ObjectRef, PortRef, RouteRef, TableRef
from xds_server.model.resource import Resource, ResourceKey
from xds_server.model.route import Route, TlsRoute, VirtualHost
from xds_server.translation import (
    capture,
    clients,
    cluster,
    endpoint,
    interception,
    listener,
    names,
    route_configuration,
    secret,
)
from xds_server.translation.redirect import Place
from xds_server.translation.route import EncodedRoute, encoded_route, is_placed, refused
from xds_server.translation.route_budget import Allowance, Form, allowance, size
from xds_server.translation.settings import TranslationSettings
from xds_server.translation.virtual_host import EncodedHost, depends_on_host, encoded_host, one_label_of, placed_route

_WORLD = ""
_ANYWHERE = Place(TableRef(ObjectRef("Gateway", "", ""), 80, ""), "*")

Output = tuple[ResourceKey, Resource]


class Model(Protocol):
    """What ingestion yields, as far as the translation reads it."""

    @property
    def frontends(self) -> Collection[ObjectRef, Frontend]: ...
    @property
    def listeners(self) -> Collection[ListenerRef, Listener]: ...
    @property
    def routes(self) -> Collection[RouteRef, Route]: ...
    @property
    def virtual_hosts(self) -> Collection[HostRef, VirtualHost]: ...
    @property
    def tls_routes(self) -> Collection[HostRef, TlsRoute]: ...
    @property
    def workloads(self) -> Collection[ObjectRef, Workload]: ...
    @property
    def clients(self) -> Collection[str, tuple[str, ...]]: ...
    @property
    def kernel_services(self) -> Collection[ServiceRef, Intercepted]: ...
    @property
    def announced(self) -> Collection[tuple[str, str], Announced]: ...
    @property
    def certificates(self) -> Collection[ObjectRef, Certificate]: ...


class Translated(NamedTuple):
    """`over_budget` says of objects whose routes would take too many bytes what became of them."""

    resources: Collection[ResourceKey, Resource]
    over_budget: Collection[ObjectRef, str]


class Indexes(NamedTuple):
    """The second ways into the model that the translation needs."""

    listeners_by_port: Index[PortRef, ListenerRef, Listener]
    listeners_by_table: Index[TableRef, ListenerRef, Listener]
    tls_routes_by_port: Index[PortRef, HostRef, TlsRoute]
    hosts_by_table: Index[TableRef, HostRef, VirtualHost]


def translate_backends(
    graph: Graph,
    clusters: Collection[ClusterRef, Cluster],
    endpoints: Collection[ClusterRef, Endpoints],
    settings: TranslationSettings,
) -> Collection[ResourceKey, Resource]:
    """Clusters and their endpoints: what all others lead to, and what refers to nothing else."""
    return graph.union(
        "resources/backends",
        graph.derive(
            "envoy_load_assignments",
            clusters,
            lambda fetch, ref, _: _keyed(endpoint.cluster_load_assignment(ref, fetch.get(endpoints, ref))),
        ),
        graph.derive(
            "envoy_clusters",
            clusters,
            lambda _, __, value: _keyed(cluster.cluster(value, datapath=settings.datapath)),
        ),
    )


def translate(
    graph: Graph, model: Model, backends: Collection[ResourceKey, Resource], settings: TranslationSettings
) -> Translated:
    """All others, and with them what there is in all."""
    indexes = Indexes(
        model.listeners.index(lambda value: (value.port_ref,)),
        model.listeners.index(lambda value: (value.table,) if value.protocol != "TLS" else ()),
        model.tls_routes.index(lambda value: (PortRef(value.ref.table.frontend, value.ref.table.port),)),
        model.virtual_hosts.index(lambda value: (value.ref.table,)),
    )
    tables = _tables(graph, model, indexes, settings)
    certificates = graph.derive("envoy_secrets", model.certificates, _secret)
    listeners = graph.derive(
        "envoy_listeners",
        indexes.listeners_by_port,
        lambda fetch, port, members: _listener(fetch, port, members, model, indexes, tables.modes, settings),
    )
    parts: tuple[Collection[ResourceKey, Resource], ...] = (
        certificates,
        backends,
        tables.hosts,
        tables.configurations,
        listeners,
    )
    if settings.datapath:
        parts += (
            _capture(graph),
            _exposed(graph, model, indexes, settings),
            _kernel_services(graph, model),
            _workloads(graph, model),
            _announcements(graph, model),
        )
    return Translated(graph.union("resources", *parts), tables.over_budget)


def _capture(graph: Graph) -> Collection[ResourceKey, Resource]:
    """What is there whatever the objects say."""
    found: Source[ResourceKey, Resource] = graph.source("envoy_capture")
    for each in capture.capture():
        found.put(each.key, each)
    return found


def _exposed(
    graph: Graph, model: Model, indexes: Indexes, settings: TranslationSettings
) -> Collection[ResourceKey, Resource]:
    def exposed(fetch: Fetch, port: PortRef, _: Group[Listener]) -> Iterable[Output]:
        frontend = fetch.get(model.frontends, port.frontend) if port.frontend.kind != "Service" else None
        found = interception.exposed(port, frontend, settings.port_offset) if frontend is not None else None
        return _keyed(interception.service(found)) if found is not None else ()

    return graph.derive("intercepted/exposed", indexes.listeners_by_port, exposed)


def _kernel_services(graph: Graph, model: Model) -> Collection[ResourceKey, Resource]:
    return graph.derive(
        "intercepted/services", model.kernel_services, lambda _, __, found: _keyed(interception.service(found))
    )


def _workloads(graph: Graph, model: Model) -> Collection[ResourceKey, Resource]:
    return graph.derive(
        "workloads_by_node",
        model.workloads.index(lambda value: (value.node,)),
        lambda _, node, found: _keyed(interception.workloads(node, found)),
    )


def _announcements(graph: Graph, model: Model) -> Collection[ResourceKey, Resource]:
    return graph.derive(
        "announcements_by_node",
        model.announced.index(lambda value: (value.node,)),
        lambda _, node, found: _keyed(interception.announcements(node, found)),
    )


class Tables(NamedTuple):
    modes: Collection[TableRef, bool]
    hosts: Collection[ResourceKey, Resource]
    configurations: Collection[ResourceKey, Resource]
    over_budget: Collection[ObjectRef, str]


def _tables(graph: Graph, model: Model, indexes: Indexes, settings: TranslationSettings) -> Tables:
    modes = graph.derive(
        "tables_by_vhds",
        indexes.hosts_by_table,
        lambda _, table, hosts: ((table, len(hosts) > settings.vhds_threshold and not is_mesh(table)),),
    )
    routes = graph.derive("encoded_routes", model.routes, _route)
    budgets = _budgets(graph, model, routes, settings)
    hosts = graph.derive(
        "encoded_virtual_hosts",
        model.virtual_hosts,
        lambda fetch, ref, host: ((ref, _host(fetch, host, model, routes, budgets, settings)),),
    )
    joined = hosts.index(lambda value: (value.ref.table,))
    own = graph.derive(
        "misdirected_hosts",
        indexes.listeners_by_table,
        lambda fetch, table, listeners: ((table, _misdirected(fetch, table, listeners, model)),),
    )

    def configuration(fetch: Fetch, table: TableRef, _: Any) -> Iterable[Output]:
        inline = fetch.get(own, table, ())
        if fetch.get(modes, table, default=False):
            return _keyed(route_configuration.vhds_route_configuration(table, inline))
        hosts: Sequence[EncodedHost] = fetch.by(joined, table)
        if is_mesh(table):
            hosts = _by_clients(fetch, hosts, model)
        return _keyed(route_configuration.route_configuration(table, [*inline, *hosts]))

    def vhds(fetch: Fetch, ref: HostRef, host: EncodedHost) -> Iterable[Output]:
        return _keyed(route_configuration.virtual_host(host)) if fetch.get(modes, ref.table, default=False) else ()

    return Tables(
        modes,
        graph.derive("vhds_virtual_hosts", hosts, vhds),
        graph.derive("route_configurations", indexes.listeners_by_table, configuration),
        graph.derive("over_budget", budgets, lambda _, source, found: ((source, found.message),)),
    )


def is_mesh(table: TableRef) -> bool:
    return table.frontend.kind == "Service"


def _by_clients(fetch: Fetch, hosts: Sequence[EncodedHost], model: Model) -> Sequence[EncodedHost]:
    """One virtual host, in which the routes for the pods of some namespaces come first."""
    if not any(host.ref.clients for host in hosts):
        return hosts
    addresses = {host.ref.clients: fetch.get(model.clients, host.ref.clients, ()) for host in hosts}
    return [clients.told_apart(hosts, addresses)]


def _budgets(
    graph: Graph, model: Model, encoded: Collection[RouteRef, EncodedRoute], settings: TranslationSettings
) -> Collection[ObjectRef, Allowance]:
    """Allowances of the few objects that need one; virtual hosts are looked at only where they could be too many."""
    by_source = model.routes.index(lambda route: (route.ref.source,))
    hosts_by_source = model.virtual_hosts.index(lambda host: {ref.source for ref in host.routes})
    everywhere = model.virtual_hosts.index(lambda _: (_WORLD,))
    # Rounded up to a power of two, so that it seldom changes: most objects are too small to be counted at all.
    bound = graph.derive(
        "virtual_hosts_bound", everywhere, lambda _, key, hosts: ((key, 1 << len(hosts).bit_length()),)
    )

    def allowed(fetch: Fetch, source: ObjectRef, routes: Group[Route]) -> Iterable[tuple[ObjectRef, Allowance]]:
        sizes = {route.ref: size(fetch.get(encoded, route.ref) or refused(route)) for route in routes}
        total = sum(sizes.values())
        if total * fetch.get(bound, _WORLD, 0) <= settings.route_budget_bytes:
            return ()
        hosts = fetch.by(hosts_by_source, source)
        if total * len(hosts) <= settings.route_budget_bytes:
            return ()
        found = allowance(source, {each.ref: each for each in routes}, sizes, hosts, settings.route_budget_bytes)
        return ((source, found),) if found is not None else ()

    return graph.derive("route_budgets", by_source, allowed)


def _route(fetch: Fetch, ref: RouteRef, route: Route) -> Iterator[tuple[RouteRef, EncodedRoute]]:
    if is_placed(route):
        # Raises here, once, what would be wrong in every virtual host.
        yield ref, replace(encoded_route(route, _ANYWHERE), placed=True)
        return
    yield ref, encoded_route(route)


def _host(
    fetch: Fetch,
    host: VirtualHost,
    model: Model,
    encoded: Collection[RouteRef, EncodedRoute],
    budgets: Collection[ObjectRef, Allowance],
    settings: TranslationSettings,
) -> EncodedHost:
    if host.force_https:
        return encoded_host(host, (), settings.port_offset)
    routes: list[EncodedRoute] = []
    small = {
        source: found
        for source in {ref.source for ref in host.routes}
        if (found := fetch.get(budgets, source)) is not None and found.form(host.ref.hostname) is not Form.FULL
    }
    for ref in host.routes:
        if ref.source in small:
            routes += _small(fetch, ref, small[ref.source], host, model)
            continue
        ready = None if host.one_label else fetch.get(encoded, ref)
        if (ready is None or ready.placed) and (route := fetch.get(model.routes, ref)) is not None:
            ready = _in_place(fetch, route, host, encoded, settings)
        if ready is not None:
            routes.append(ready)
    return encoded_host(host, routes, settings.port_offset)


def _small(fetch: Fetch, ref: RouteRef, allowed: Allowance, host: VirtualHost, model: Model) -> Iterator[EncodedRoute]:
    if allowed.form(host.ref.hostname) is Form.OMITTED or (route := fetch.get(model.routes, ref)) is None:
        return
    narrowed = one_label_of(host) if depends_on_host(route, host) else ""
    answer = refused(route, one_label_of=narrowed) if narrowed else allowed.refused.get(ref)
    if answer is not None:
        yield answer


def _in_place(
    fetch: Fetch,
    route: Route,
    host: VirtualHost,
    encoded: Collection[RouteRef, EncodedRoute],
    settings: TranslationSettings,
) -> EncodedRoute | None:
    if depends_on_host(route, host):
        return placed_route(route, host, settings.port_offset)
    return fetch.get(encoded, route.ref) or refused(route)


def _misdirected(fetch: Fetch, table: TableRef, listeners: Group[Listener], model: Model) -> tuple[EncodedHost, ...]:
    others = {other for each in listeners for other in each.misdirected}
    hosts = route_configuration.misdirected_hosts(table, others)
    return tuple(host for host in hosts if fetch.get(model.virtual_hosts, host.ref) is None)


def _listener(
    fetch: Fetch,
    port: PortRef,
    listeners: Group[Listener],
    model: Model,
    indexes: Indexes,
    modes: Collection[TableRef, bool],
    settings: TranslationSettings,
) -> Iterable[Output]:
    frontend = fetch.get(model.frontends, port.frontend)
    if frontend is None:
        return ()
    members = list(listeners)
    tables = {
        each.table: names.route_configuration(each.table, vhds=fetch.get(modes, each.table, default=False))
        for each in members
        if each.protocol != "TLS"
    }
    tls_routes = fetch.by(indexes.tls_routes_by_port, port)
    made = listener.listeners_of(port, frontend, members, tables, tls_routes, settings)
    return ((each.key, each) for each in made)


def _secret(fetch: Fetch, ref: ObjectRef, certificate: Certificate) -> Iterable[Output]:
    return _keyed(secret.secret(certificate))


def _keyed(made: Resource | None) -> Iterable[Output]:
    return ((made.key, made),) if made is not None else ()
