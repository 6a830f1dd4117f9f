"""Declares ingestion on a graph: which collection derives from which, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from xds_server.graph import Collection, Fetch, Graph, Group
from xds_server.ingestion import backends, certificates
from xds_server.ingestion.address_pools import declare_pool_verdicts, declare_pools
from xds_server.ingestion.addresses import WantedFrontend, assigned
from xds_server.ingestion.announcements import (
    Announceable,
    declare_announceable,
    declare_announced,
    declare_policy_warnings,
)
from xds_server.ingestion.attachment import Parent, Parents, outcomes
from xds_server.ingestion.certificates import Checked, certificate_target
from xds_server.ingestion.endpoints import Slices, endpoints, slices
from xds_server.ingestion.frontends import declare_frontends
from xds_server.ingestion.gateway import (
    GatewayResult,
    certificate_refs,
    gateway_class_verdict,
    gateway_result,
    is_ours,
)
from xds_server.ingestion.generated import declare_generated
from xds_server.ingestion.grants import Grants, grants, permitted
from xds_server.ingestion.grpc_route import grpc_routes
from xds_server.ingestion.http_route import http_routes
from xds_server.ingestion.ingress import IngressParts, ingest_ingresses
from xds_server.ingestion.ingress_exposure import dedicated_ingress, shared_ingress
from xds_server.ingestion.ingress_tls import HTTPS_PORT
from xds_server.ingestion.kernel_services import KernelInputs, declare_kernel_services, transport_ports
from xds_server.ingestion.mesh import (
    TRANSPORT_KINDS,
    MeshParts,
    declare_mesh,
    proxied_ports,
    service_outcomes,
    spared_service,
    without_mesh,
)
from xds_server.ingestion.precedence import Ranking, ranking
from xds_server.ingestion.preserved import Preserved, declare_preserved, without_preserved
from xds_server.ingestion.route_conflicts import rivals, settled
from xds_server.ingestion.route_result import Findings, RouteResult, route_result
from xds_server.ingestion.service_addresses import (
    OwnAddresses,
    declare_address_warnings,
    declare_service_addresses,
)
from xds_server.ingestion.sources import Settings, Sources
from xds_server.ingestion.tls_route import tls_rules
from xds_server.ingestion.unowned import declare_unowned
from xds_server.ingestion.virtual_hosts import (
    AttachmentKey,
    AttachmentsByHost,
    Rankings,
    attachment_key,
    hosts_of,
    tls_route,
    virtual_host,
)
from xds_server.ingestion.wanted import Wants, wanted_objects
from xds_server.ingestion.workloads import declare_workloads
from xds_server.model.backend import Certificate, Cluster, Endpoints, InvalidBackend
from xds_server.model.generated import Generated
from xds_server.model.interception import Announced, Intercepted, ServiceRef, Workload
from xds_server.model.listener import Attachment, Frontend, Listener
from xds_server.model.refs import ClusterRef, HostRef, ListenerRef, ObjectRef, Protocol, RouteRef
from xds_server.model.route import Forward, Route, TlsRoute, VirtualHost
from xds_server.model.verdict import Verdict, VerdictRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.gateway import GROUP, BackendObjectReference, Gateway, GatewayClass

MESH_KINDS = frozenset({"HTTPRoute", "GRPCRoute", *TRANSPORT_KINDS})
BYTES_KINDS = frozenset({"TLSRoute", *TRANSPORT_KINDS})


class Ingested(NamedTuple):
    """What is served, and the verdicts on what is not."""

    frontends: Collection[ObjectRef, Frontend]
    listeners: Collection[ListenerRef, Listener]
    attachments: Collection[AttachmentKey, Attachment]
    routes: Collection[RouteRef, Route]
    virtual_hosts: Collection[HostRef, VirtualHost]
    tls_routes: Collection[HostRef, TlsRoute]
    clusters: Collection[ClusterRef, Cluster]
    endpoints: Collection[ClusterRef, Endpoints]
    certificates: Collection[ObjectRef, Certificate]
    verdicts: Collection[VerdictRef, Verdict]
    warnings: Collection[tuple[ObjectRef, str], Remark]
    wanted_objects: Collection[ObjectRef, ObjectRef]
    generated: Collection[ObjectRef, Generated]
    workloads: Collection[ObjectRef, Workload]
    clients: Collection[str, tuple[str, ...]]
    kernel_services: Collection[ServiceRef, Intercepted]
    announceable: Announceable
    announced: Collection[tuple[str, str], Announced]


class Routed(NamedTuple):
    """Which routes lead where: what clusters follow from, and what the rest is made of."""

    gateways: Collection[ObjectRef, GatewayResult]
    wants: Wants
    ingresses: IngressParts
    results: Collection[ObjectRef, RouteResult]
    attachments: Collection[AttachmentKey, Attachment]
    by_host: AttachmentsByHost
    rankings: Rankings
    workloads: Collection[ObjectRef, Workload]
    addresses: OwnAddresses
    mesh: MeshParts
    preserved: Preserved
    routes: Collection[RouteRef, Route]
    tls_routes: Collection[HostRef, TlsRoute]
    by_service: Slices
    clusters: Collection[ClusterRef, Cluster]
    endpoints: Collection[ClusterRef, Endpoints]


def ingest_routes(graph: Graph, sources: Sources, settings: Settings) -> Routed:
    """Gateway API and Ingress, side by side until what they come to has the same shape."""
    allowed = grants(sources)
    ingresses = ingest_ingresses(graph, sources, settings)
    gateways, wants = declare_gateways(graph, sources, settings, allowed)
    parents = graph.derive("parents", gateways, parent_of)
    results = declare_routes(graph, sources, settings, allowed, parents)
    attachments = graph.union(
        "attachments",
        graph.derive("attachments/listeners", parents, own_attachments),
        graph.derive("attachments/routes", results, attachments_of),
    )
    by_host = attachments.index(hosts_of)
    gateway_routes = graph.derive("routes/http", results, routes_of)
    tls_rules = graph.derive("routes/tls", results, tls_rules_of)
    rankings = graph.derive("routes/rankings", results, ranking_of)
    workloads = declare_workloads(graph, sources) if settings.datapath else graph.union("workloads")
    addresses = declare_service_addresses(graph, sources) if settings.datapath else graph.union("services/addresses")
    mesh = (
        declare_mesh(graph, sources, attachments, rankings, workloads, addresses)
        if settings.datapath
        else without_mesh(graph)
    )
    by_service = slices(sources)
    preserved = (
        declare_preserved(graph, sources, by_service, mesh, gateway_routes)
        if settings.datapath
        else without_preserved(graph)
    )
    routes = graph.union("routes", gateway_routes, ingresses.routes, mesh.routes, preserved.routes)
    own_tls_routes = declare_tls_routes(graph, by_host, rankings, tls_rules)
    tls_routes = graph.union("tls_routes/served", own_tls_routes, ingresses.tls_routes, mesh.bytes, preserved.bytes)
    clusters = declare_clusters(graph, routes, tls_routes)
    return Routed(
        gateways,
        wants,
        ingresses,
        results,
        attachments,
        by_host,
        rankings,
        workloads,
        addresses,
        mesh,
        preserved,
        routes,
        tls_routes,
        by_service,
        clusters,
        declare_endpoints(graph, sources, settings, clusters, by_service),
    )


def ingest(graph: Graph, sources: Sources, settings: Settings, routed: Routed) -> Ingested:
    """What leads to routes, and what is said about all."""
    gateways, ingresses, mesh, by_service = routed.gateways, routed.ingresses, routed.mesh, routed.by_service
    gateway_listeners = graph.derive("listeners/gateways", gateways, listeners_of)
    listeners = graph.union(
        "listeners", gateway_listeners, ingresses.listeners, mesh.listeners, routed.preserved.listeners
    )
    pools = declare_pools(graph, sources)
    wanted = declare_wanted(graph, sources, settings, gateways, ingresses)
    given = graph.derive("frontends/given", wanted.index(lambda _: ("all",)), assigned(pools, settings.pool))
    exposed = declare_frontends(graph, sources, settings, given, by_service)
    kernel_services: Collection[ServiceRef, Intercepted] = (
        declare_kernel(graph, sources, settings, routed, exposed)
        if settings.datapath
        else graph.union("kernel_services")
    )
    announceable = declare_announceable(graph, sources, given)
    return Ingested(
        graph.union("frontends", exposed, mesh.frontends),
        listeners,
        routed.attachments,
        routed.routes,
        graph.union(
            "virtual_hosts",
            declare_virtual_hosts(graph, routed.by_host, routed.rankings),
            ingresses.virtual_hosts,
            mesh.virtual_hosts,
            routed.preserved.virtual_hosts,
        ),
        routed.tls_routes,
        routed.clusters,
        routed.endpoints,
        declare_certificates(graph, sources, listeners),
        graph.union(
            "verdicts",
            declare_verdicts(graph, sources, settings, gateways, routed.attachments, routed.results),
            ingresses.verdicts,
            declare_pool_verdicts(graph, pools, exposed),
        ),
        graph.union(
            "warnings",
            declare_warnings(graph, sources, gateways, routed.results),
            declare_unowned(graph, sources, settings),
            declare_policy_warnings(graph, sources),
            declare_address_warnings(graph, routed.addresses),
            routed.preserved.remarks,
            ingresses.warnings,
        ),
        wanted_objects(graph, graph.union("wanted/references", routed.wants, ingresses.wants), listeners),
        declare_generated(graph, settings, wanted, given, by_service),
        routed.workloads,
        mesh.clients,
        kernel_services,
        announceable,
        declare_announced(graph, sources, announceable),
    )


# --- Gateways ---------------------------------------------------------------------------------------------------------


def declare_gateways(
    graph: Graph, sources: Sources, settings: Settings, allowed: Grants
) -> tuple[Collection[ObjectRef, GatewayResult], Wants]:
    """Every Gateway of ours, and the Secrets that it may use; each is checked once, whoever else uses it."""

    def wanted_certificates(fetch: Fetch, ref: ObjectRef, gateway: Gateway) -> Iterator[tuple[Any, ObjectRef]]:
        if not is_ours(fetch, sources, settings, gateway.spec.gateway_class_name):
            return
        for secret in certificate_refs(gateway):
            target = certificate_target(ref, secret)
            if target is not None and permitted(fetch, allowed, ref, target):
                yield (ref, target), target

    wanted: Wants = graph.derive("gateways/certificates", sources.gateways, wanted_certificates)
    checked: Checked = graph.derive(
        "certificates/checked",
        wanted.index(lambda target: (target,)),
        lambda fetch, ref, _: ((ref, certificates.looked_up(fetch, sources, settings, ref)),),
    )

    def result(fetch: Fetch, ref: ObjectRef, gateway: Gateway) -> Iterator[tuple[ObjectRef, GatewayResult]]:
        if is_ours(fetch, sources, settings, gateway.spec.gateway_class_name):
            yield ref, gateway_result(fetch, sources, settings, allowed, checked, ref, gateway)

    return graph.derive("gateways/results", sources.gateways, result), wanted


def declare_wanted(
    graph: Graph,
    sources: Sources,
    settings: Settings,
    gateways: Collection[ObjectRef, GatewayResult],
    ingresses: IngressParts,
) -> Collection[ObjectRef, WantedFrontend]:
    """Every frontend with what it asks for; addresses are then chosen among all of them."""
    ports = graph.derive(
        "frontends/ports",
        ingresses.listeners.index(lambda listener: (listener.port_ref,)),
        lambda _, port, __: ((port, port),),
    ).index(lambda port: (port.frontend,))

    # As of a Gateway: one that only lacks its certificate keeps its port, wherever that is given.
    secured = graph.derive(
        "frontends/secured",
        ingresses.plans.index(lambda plan: (plan.frontend,) if plan.tls and not plan.annotations.canary else ()),
        lambda _, ref, __: ((ref, True),),
    )

    def of_ingress(fetch: Fetch, ref: ObjectRef, _: ObjectRef) -> Iterator[tuple[ObjectRef, WantedFrontend]]:
        numbers = frozenset(port.port for port in fetch.by(ports, ref))
        numbers |= {HTTPS_PORT} if fetch.get(secured, ref) else frozenset()
        ingress, plan = fetch.get(sources.ingresses, ref), fetch.get(ingresses.plans, ref)
        if ingress is None or plan is None:
            yield ref, shared_ingress(ref, settings, numbers)
        else:
            yield ref, dedicated_ingress(ref, ingress, plan.annotations, settings, numbers)

    return graph.union(
        "frontends/wanted",
        graph.derive("frontends/gateways", gateways, frontend_of),
        graph.derive("frontends/ingresses", ingresses.frontends, of_ingress),
    )


def frontend_of(_: Fetch, ref: ObjectRef, gateway: GatewayResult) -> Iterator[tuple[ObjectRef, WantedFrontend]]:
    yield ref, gateway.frontend


def listeners_of(_: Fetch, __: ObjectRef, gateway: GatewayResult) -> Iterator[tuple[ListenerRef, Listener]]:
    return ((listener.ref, listener) for listener in gateway.listeners)


def parent_of(_: Fetch, ref: ObjectRef, gateway: GatewayResult) -> Iterator[tuple[ObjectRef, Parent]]:
    yield ref, gateway.parent


def own_attachments(_: Fetch, __: ObjectRef, parent: Parent) -> Iterator[tuple[AttachmentKey, Attachment]]:
    """What keeps a hostname with its listener: a virtual host of its own, though it may have no routes."""
    for listener in parent.listeners:
        if listener.holds:
            attachment = Attachment(None, listener.ref, listener.table, (listener.hostname,))
            yield attachment_key(attachment), attachment


# --- routes -----------------------------------------------------------------------------------------------------------


def declare_routes(
    graph: Graph, sources: Sources, settings: Settings, allowed: Grants, parents: Parents
) -> Collection[ObjectRef, RouteResult]:
    """What each route object of any kind comes to; one that has no parent of ours comes to nothing."""
    known = rivals(sources) if settings.datapath else {}

    def declare(
        name: str, source: Collection[ObjectRef, Any], rules: Callable[..., Iterator[Route]], protocol: Protocol | None
    ) -> Collection[ObjectRef, RouteResult]:
        def result(fetch: Fetch, ref: ObjectRef, route: Any) -> Iterator[tuple[ObjectRef, RouteResult]]:
            refs = route.spec.parent_refs
            hostnames = () if ref.kind in TRANSPORT_KINDS else route.spec.hostnames
            found = list(outcomes(fetch, sources, parents, ref, refs, hostnames))
            if settings.datapath and ref.kind in MESH_KINDS:
                found += settled(fetch, sources, known, ref, service_outcomes(fetch, sources, ref, refs))
            if not found:
                return
            spared = spared_service(ref, refs) if settings.datapath else None

            def resolve(backend: BackendObjectReference) -> ClusterRef | InvalidBackend:
                cluster = backends.resolve(fetch, sources, allowed, ref, backend, protocol, spared)
                if isinstance(cluster, ClusterRef) and cluster.protocol == "https":
                    findings.unverified.add(cluster)
                return cluster

            findings = Findings(len(route.spec.rules))
            made = list(rules(ref, route, resolve, findings))
            yield ref, route_result(ref, route.metadata.generation, found, made, findings)

        return graph.derive(f"{name}/results", source, result)

    own = [
        declare("http_routes", sources.http_routes, http_routes, None),
        declare("grpc_routes", sources.grpc_routes, grpc_routes, None),
        declare("tls_routes", sources.tls_routes, tls_rules, "tcp"),
    ]
    if settings.datapath:
        own.append(declare("tcp_routes", sources.tcp_routes, tls_rules, "tcp"))
        own.append(declare("udp_routes", sources.udp_routes, tls_rules, "udp"))
    return graph.union("routes/results", *own)


def attachments_of(_: Fetch, __: ObjectRef, result: RouteResult) -> Iterator[tuple[AttachmentKey, Attachment]]:
    return ((attachment_key(attachment), attachment) for attachment in result.attachments)


def routes_of(_: Fetch, ref: ObjectRef, result: RouteResult) -> Iterator[tuple[RouteRef, Route]]:
    if ref.kind not in BYTES_KINDS and is_served(result):
        yield from ((route.ref, route) for route in result.routes)


def tls_rules_of(_: Fetch, ref: ObjectRef, result: RouteResult) -> Iterator[tuple[RouteRef, Route]]:
    if ref.kind == "TLSRoute" and is_served(result):
        yield from ((route.ref, route) for route in result.routes)


def is_served(result: RouteResult) -> bool:
    return any(attachment.hostnames for attachment in result.attachments)


def ranking_of(_: Fetch, ref: ObjectRef, result: RouteResult) -> Iterator[tuple[ObjectRef, Ranking]]:
    if result.routes and is_served(result):
        yield ref, ranking(result.routes)


def declare_virtual_hosts(
    graph: Graph, by_host: AttachmentsByHost, rankings: Rankings
) -> Collection[HostRef, VirtualHost]:
    def host(fetch: Fetch, ref: HostRef, own: Group[Attachment]) -> Iterator[tuple[HostRef, VirtualHost]]:
        if ref.table.frontend.kind != "Service" and any(
            attachment.source is None or attachment.source.kind not in BYTES_KINDS for attachment in own
        ):
            yield ref, virtual_host(fetch, by_host, rankings, ref, own)

    return graph.derive("virtual_hosts/gateways", by_host, host)


def declare_tls_routes(
    graph: Graph, by_host: AttachmentsByHost, rankings: Rankings, rules: Collection[RouteRef, Route]
) -> Collection[HostRef, TlsRoute]:
    def route(fetch: Fetch, ref: HostRef, own: Group[Attachment]) -> Iterator[tuple[HostRef, TlsRoute]]:
        if any(attachment.source is not None and attachment.source.kind == "TLSRoute" for attachment in own):
            found = tls_route(fetch, by_host, rankings, rules, ref, own)
            if found is not None:
                yield ref, found

    return graph.derive("tls_routes/gateways", by_host, route)


# --- in the kernel ----------------------------------------------------------------------------------------------------


def declare_kernel(
    graph: Graph,
    sources: Sources,
    settings: Settings,
    routed: Routed,
    frontends: Collection[ObjectRef, Frontend],
) -> Collection[ServiceRef, Intercepted]:
    inputs = KernelInputs(
        routed.by_service,
        routed.attachments.index(proxied_ports),
        routed.attachments.index(transport_ports),
        graph.derive("routes/transports", routed.results, transport_rules_of),
        graph.derive("listeners/transports", routed.gateways, transports_of),
        frontends,
        routed.addresses,
    )
    return declare_kernel_services(graph, sources, settings, inputs)


def transport_rules_of(_: Fetch, ref: ObjectRef, result: RouteResult) -> Iterator[tuple[ObjectRef, Route]]:
    """One of each object: there is nothing that a second rule could be told by."""
    if ref.kind in TRANSPORT_KINDS and is_served(result):
        yield from ((ref, route) for route in result.routes[:1])


def transports_of(_: Fetch, __: ObjectRef, gateway: GatewayResult) -> Iterator[tuple[ServiceRef, ServiceRef]]:
    return ((each, each) for each in gateway.transports)


# --- backends ---------------------------------------------------------------------------------------------------------


def declare_clusters(
    graph: Graph, routes: Collection[RouteRef, Route], tls_routes: Collection[HostRef, TlsRoute]
) -> Collection[ClusterRef, Cluster]:
    """One cluster for each Service port that a route uses, however many do.

    A connection serves all of them, so the most patient of those that say how long to wait for one decides.
    """
    patient = routes.index(lambda route: clusters_of(route) if route.connect_timeout_ms else ())

    def cluster(fetch: Fetch, ref: ClusterRef, _: Group[Any]) -> Iterator[tuple[ClusterRef, Cluster]]:
        asked = [route.connect_timeout_ms or 0 for route in fetch.by(patient, ref)]
        yield ref, Cluster(ref, max(asked)) if asked else Cluster(ref)

    return graph.union(
        "clusters",
        graph.derive("clusters/http", routes.index(clusters_of), cluster),
        graph.derive("clusters/tls", tls_routes.index(tls_clusters_of), cluster),
    )


def clusters_of(route: Route) -> Iterator[ClusterRef]:
    yield from (mirror.cluster for mirror in route.filters.mirrors)
    if isinstance(route.action, Forward):
        for backend in route.action.backends:
            if backend.cluster is not None:
                yield backend.cluster
            yield from (mirror.cluster for mirror in backend.filters.mirrors)


def tls_clusters_of(route: TlsRoute) -> Iterator[ClusterRef]:
    return (backend.cluster for backend in route.backends if backend.cluster is not None)


def declare_endpoints(
    graph: Graph,
    sources: Sources,
    settings: Settings,
    clusters: Collection[ClusterRef, Cluster],
    by_service: Slices,
) -> Collection[ClusterRef, Endpoints]:
    return graph.derive(
        "endpoints",
        clusters,
        lambda fetch, ref, _: ((ref, endpoints(fetch, sources, by_service, settings, ref)),),
    )


def declare_certificates(
    graph: Graph, sources: Sources, listeners: Collection[ListenerRef, Listener]
) -> Collection[ObjectRef, Certificate]:
    """Only what a listener presents: no other Secret leaves its source."""

    def served(fetch: Fetch, ref: ObjectRef, _: Group[Listener]) -> Iterator[tuple[ObjectRef, Certificate]]:
        found = certificates.certificate(ref, fetch.get(sources.secrets, ref))
        if isinstance(found, Certificate):
            yield ref, found

    return graph.derive("certificates", listeners.index(presented), served)


def presented(listener: Listener) -> tuple[ObjectRef, ...]:
    return listener.tls.certificates if listener.tls else ()


# --- verdicts ---------------------------------------------------------------------------------------------------------


def declare_verdicts(
    graph: Graph,
    sources: Sources,
    settings: Settings,
    gateways: Collection[ObjectRef, GatewayResult],
    attachments: Collection[AttachmentKey, Attachment],
    results: Collection[ObjectRef, RouteResult],
) -> Collection[VerdictRef, Verdict]:
    # "The AttachedRoutes number represents the number of Routes with the Accepted condition set to True."
    accepted = attachments.index(lambda a: (a.listener,) if a.accepted and a.source is not None else ())

    def of_class(fetch: Fetch, ref: ObjectRef, found: GatewayClass) -> Iterator[tuple[VerdictRef, Verdict]]:
        if found.spec.controller_name == settings.controller_name:
            verdict = gateway_class_verdict(fetch, sources, ref, found)
            yield verdict.ref, verdict

    def of_gateway(fetch: Fetch, ref: ObjectRef, result: GatewayResult) -> Iterator[tuple[VerdictRef, Verdict]]:
        for verdict in result.verdicts:
            if verdict.attached_routes is not None:
                attached = len(fetch.by(accepted, ListenerRef(ref, verdict.ref.section)))
                verdict = replace(verdict, attached_routes=attached)  # noqa: PLW2901
            yield verdict.ref, verdict

    def of_route(_: Fetch, __: ObjectRef, result: RouteResult) -> Iterator[tuple[VerdictRef, Verdict]]:
        return ((verdict.ref, verdict) for verdict in result.verdicts)

    return graph.union(
        "verdicts/gateways",
        graph.derive("verdicts/gateway_classes", sources.gateway_classes, of_class),
        graph.derive("verdicts/gateways_and_listeners", gateways, of_gateway),
        graph.derive("verdicts/routes", results, of_route),
    )


def declare_warnings(
    graph: Graph,
    sources: Sources,
    gateways: Collection[ObjectRef, GatewayResult],
    results: Collection[ObjectRef, RouteResult],
) -> Collection[tuple[ObjectRef, str], Remark]:
    """What the specification leaves without a condition, such as a route whose parent is nowhere."""

    def of_gateway(_: Fetch, __: ObjectRef, result: GatewayResult) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        return (((remark.object, remark.field), remark) for remark in result.remarks)

    def of_route(fetch: Fetch, ref: ObjectRef, route: Any) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        for position, parent in enumerate(route.spec.parent_refs):
            gateway = ObjectRef("Gateway", parent.namespace or ref.namespace, parent.name)
            if (parent.group, parent.kind) == (GROUP, "Gateway") and fetch.get(sources.gateways, gateway) is None:
                field = f"spec.parentRefs[{position}]"
                message = f"{gateway} does not exist, so the route is not attached to it"
                yield (ref, field), Remark(ref, field, message, unresolved=True)

        if route.spec.use_default_gateways == "All":
            field = "spec.useDefaultGateways"
            yield (ref, field), Remark(ref, field, "default Gateways are not implemented: name one in parentRefs")

    def of_result(_: Fetch, __: ObjectRef, result: RouteResult) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        return (((remark.object, remark.field), remark) for remark in result.remarks)

    return graph.union(
        "warnings/gateways_and_routes",
        graph.derive("warnings/gateways", gateways, of_gateway),
        graph.derive("warnings/results", results, of_result),
        *(
            graph.derive(f"warnings/{source.name}", source, of_route)
            for source in (sources.http_routes, sources.grpc_routes, sources.tls_routes)
        ),
    )
