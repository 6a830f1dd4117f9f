"""Ingress, declared on a graph.

The contract with `ingestion.collections`, which joins these parts with those of Gateway API:

- `frontends` are the frontends that need an address: each dedicated Ingress, and `SHARED_INGRESS` when any is shared.
- `listeners` are those that are served: port 80 of every frontend, and on port 443 one for each host with TLS.
- `virtual_hosts` are complete: Ingress hosts do not fall through to wildcards and have an order of their own, so that
  they are made here and not from attachments. Their tables belong to Ingress frontends and so never meet a Gateway's.
- `wants` are the Secrets and ConfigMaps that Ingresses refer to.
- `routes`, `tls_routes`, `verdicts` and `warnings` join those of the other kinds by `Graph.union`: keys are disjoint.
- Clusters, endpoints and certificates follow from routes and listeners, as for Gateway API.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from xds_server.graph import Collection, Fetch, Graph, NotYet
from xds_server.ingestion.certificates import looked_up
from xds_server.ingestion.ingress_canary import share_keys
from xds_server.ingestion.ingress_class import Claim, claim, default_classes
from xds_server.ingestion.ingress_hosts import bare_host, host_keys, virtual_hosts
from xds_server.ingestion.ingress_owner import claim_keys, host_owner, oldest, path_owner
from xds_server.ingestion.ingress_plan import HostKey, IngressPlan, ingress_plan
from xds_server.ingestion.ingress_routes import IngressRoutes, Others, ingress_routes, path_keys, regex_host_keys
from xds_server.ingestion.ingress_tls import (
    covering,
    http_listener,
    secrets,
    tls_host,
    tls_keys,
    tls_listener,
    tls_route,
)
from xds_server.ingestion.ingress_verdict import remarks, verdict
from xds_server.ingestion.sources import Settings, Sources
from xds_server.ingestion.wanted import Wants, config_maps, unread, wants_of_ingress
from xds_server.model.listener import Listener
from xds_server.model.refs import HostRef, ListenerRef, ObjectRef, RouteRef
from xds_server.model.route import Route, TlsRoute, VirtualHost
from xds_server.model.verdict import Verdict, VerdictRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.networking import Ingress

K = TypeVar("K", bound=Hashable)


class IngressParts(NamedTuple):
    plans: Collection[ObjectRef, IngressPlan]
    frontends: Collection[ObjectRef, ObjectRef]
    listeners: Collection[ListenerRef, Listener]
    routes: Collection[RouteRef, Route]
    virtual_hosts: Collection[HostRef, VirtualHost]
    tls_routes: Collection[HostRef, TlsRoute]
    verdicts: Collection[VerdictRef, Verdict]
    warnings: Collection[tuple[ObjectRef, str], Remark]
    wants: Wants


def ingest_ingresses(graph: Graph, sources: Sources, settings: Settings) -> IngressParts:
    defaults = default_classes(sources)
    plans = graph.derive(
        "ingress_plans",
        sources.ingresses,
        lambda fetch, ref, ingress: planned(claim(fetch, sources, defaults, settings, ingress), ref, ingress, settings),
    )
    claims = plans.index(served(claim_keys))
    owners = graph.derive(
        "ingress_owners", claims, lambda fetch, key, group: ((key, host_owner(fetch, claims, key, group)),)
    )
    others = Others(
        plans,
        owners,
        graph.derive(
            "ingress_paths",
            plans.index(served(path_keys)),
            lambda fetch, key, group: ((key, path_owner(fetch.get(owners, HostKey(key.frontend, key.host)), group)),),
        ),
        graph.derive(
            "ingress_canaries", plans.index(shared(share_keys)), lambda _, key, group: ((key, oldest(group)),)
        ),
        plans.index(served(share_keys)),
        plans.index(served(regex_host_keys)),
    )
    by_ingress = graph.derive(
        "ingress_routes_by_ingress",
        plans,
        lambda fetch, ref, plan: routed(fetch, sources, settings, others, plan),
    )
    certificates = graph.derive(
        "ingress_certificates",
        plans.index(secrets),
        lambda fetch, ref, _: ((ref, looked_up(fetch, sources, settings, ref)),),
    )
    tls_hosts = graph.derive(
        "ingress_tls_hosts",
        plans.index(tls_keys),
        lambda fetch, key, group: tls_host(fetch, certificates, owners, key, group),
    )
    covered = tls_hosts.index(lambda host: (key for key in covering(host.key) if key != host.key))
    frontends = graph.derive(
        "ingress_frontends",
        plans.index(served(lambda plan: (plan.frontend,))),
        lambda _, frontend, __: ((frontend, frontend),),
    )
    listeners = graph.union(
        "ingress_listeners",
        graph.derive("ingress_http_listeners", frontends, lambda _, frontend, __: http_listener(frontend)),
        graph.derive("ingress_tls_listeners", tls_hosts, lambda fetch, _, host: tls_listener(fetch, covered, host)),
    )
    by_host = by_ingress.index(host_keys)
    ruled_hosts = graph.derive(
        "ingress_ruled_hosts",
        by_host,
        lambda fetch, key, group: virtual_hosts(fetch, tls_hosts, owners, settings, key, group),
    )
    bare_hosts = graph.derive("ingress_bare_hosts", tls_hosts, lambda fetch, _, host: bare_host(fetch, by_host, host))
    return IngressParts(
        plans=plans,
        frontends=frontends,
        listeners=listeners,
        routes=graph.derive(
            "ingress_routes", by_ingress, lambda _, __, made: ((route.ref, route) for route in made.routes)
        ),
        virtual_hosts=graph.union("ingress_virtual_hosts", ruled_hosts, bare_hosts),
        tls_routes=graph.derive(
            "ingress_tls_routes", tls_hosts, lambda fetch, _, host: tls_route(fetch, by_ingress, host)
        ),
        verdicts=graph.derive("ingress_verdicts", by_ingress, lambda fetch, _, made: verdict(fetch, tls_hosts, made)),
        warnings=graph.derive(
            "ingress_warnings", by_ingress, lambda fetch, _, made: remarks(fetch, tls_hosts, owners, made)
        ),
        wants=graph.derive("ingress_wants", plans, wants_of_ingress),
    )


def planned(
    claimed: Claim, ref: ObjectRef, ingress: Ingress, settings: Settings
) -> Iterator[tuple[ObjectRef, IngressPlan]]:
    if claimed.ours:
        yield ref, ingress_plan(ref, ingress, settings, claimed.remark)


def routed(
    fetch: Fetch, sources: Sources, settings: Settings, others: Others, plan: IngressPlan
) -> Iterator[tuple[ObjectRef, IngressRoutes]]:
    """The routes of an Ingress.

    :raises NotYet: nobody has looked whether a ConfigMap that it names is there.
    """
    if any(unread(fetch, sources, settings, ref) for ref in config_maps(plan)):
        raise NotYet
    yield plan.ref, ingress_routes(fetch, sources, others, plan)


def served(keys: Callable[[IngressPlan], Iterable[K]]) -> Callable[[IngressPlan], Iterable[K]]:
    """The keys of Ingresses that have an address, which a canary has not."""
    return lambda plan: () if plan.annotations.canary else keys(plan)


def shared(keys: Callable[[IngressPlan], Iterable[K]]) -> Callable[[IngressPlan], Iterable[K]]:
    """The keys of canaries."""
    return lambda plan: keys(plan) if plan.annotations.canary else ()
