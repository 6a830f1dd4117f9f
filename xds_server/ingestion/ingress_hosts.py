"""Virtual hosts of Ingresses: all that a frontend's Ingresses say of one host, over HTTP and over HTTPS.

The most specific host takes a request wholly: what its paths do not match goes to the default backends of the Ingresses
that name it, never to a wildcard's or to another namespace's (S3). Of several namespaces the owner's paths come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from xds_server.graph import Fetch, Index
from xds_server.ingestion.ingress_owner import HostOwner
from xds_server.ingestion.ingress_plan import HostKey
from xds_server.ingestion.ingress_routes import IngressRoutes
from xds_server.ingestion.ingress_tls import HTTP_PORT, HostOwners, TlsHost, TlsHosts, deciding
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import HostRef, ObjectRef, RouteRef, TableRef
from xds_server.model.route import PathKind, Route, RouteMatch, VirtualHost

_RANK: Final[dict[PathKind, int]] = {"Exact": 0, "Regex": 1, "Prefix": 2}


def host_keys(routes: IngressRoutes) -> Iterator[HostKey]:
    return (HostKey(routes.plan.frontend, host) for host, _ in routes.by_host)


def precedence(owner: HostOwner, member: IngressRoutes, route: Route) -> tuple[object, ...]:
    """The owner's namespace first; Exact, then regular expression, then prefix, the longest first; a canary's headers
    before its weight; by age.
    """
    path = route.match.path
    return (
        route.ref.rule == member.last,
        owner.precedes(member.plan),
        _RANK[path.kind],
        -len(path.value),
        -len(route.match.headers),
        *member.plan.age,
        route.ref.rule,
        # The canary's matches are numbered from 1, in their order.
        route.ref.match,
    )


def virtual_hosts(
    fetch: Fetch,
    tls_hosts: TlsHosts,
    owners: HostOwners,
    settings: Settings,
    key: HostKey,
    members: Sequence[IngressRoutes],
) -> Iterator[tuple[HostRef, VirtualHost]]:
    owner = fetch.get(owners, key)
    tls = deciding(fetch, tls_hosts, key)
    # What may not pass the host through has nothing to say of it.
    heard = [member for member in members if owner is not None and (serves(member) or owner.decides(member.plan))]
    if owner is None or not heard:
        if tls is not None and tls.key == key and tls.terminates:
            https = HostRef(tls.table, key.host)
            yield https, VirtualHost(https, ())
        return
    routes = tuple(route_refs(owner, key, heard))
    one_label = key.host.startswith("*.")
    http = HostRef(TableRef(key.frontend, HTTP_PORT, ""), key.host)
    deciders = sorted((m for m in heard if owner.decides(m.plan)), key=lambda member: member.plan.age)
    forced = force_https(settings, key, deciders, tls)
    yield http, VirtualHost(http, () if forced else routes, one_label=one_label, force_https=forced)
    if tls is not None and tls.terminates:
        https = HostRef(tls.table, key.host)
        yield https, VirtualHost(https, routes, one_label=one_label)


def serves(member: IngressRoutes) -> bool:
    return not member.plan.annotations.tls_passthrough


def bare_host(
    fetch: Fetch, by_host: Index[HostKey, ObjectRef, IngressRoutes], host: TlsHost
) -> Iterator[tuple[HostRef, VirtualHost]]:
    """A TLS host without rules answers 404: its connections are not misdirected, there is just nothing."""
    if host.terminates and not fetch.by(by_host, host.key):
        ref = HostRef(host.table, host.key.host)
        yield ref, VirtualHost(ref, ())


def route_refs(owner: HostOwner, key: HostKey, members: Sequence[IngressRoutes]) -> Iterator[RouteRef]:
    """The routes of a host in the order in which they are tried; of equal matches the first, which is the oldest."""
    candidates = (
        (precedence(owner, member, route), route)
        for member in members
        for host, routes in member.by_host
        if host == key.host
        for route in routes
    )
    taken: set[RouteMatch] = set()
    for _, route in sorted(candidates, key=lambda candidate: candidate[0]):
        if route.match not in taken:
            taken.add(route.match)
            yield route.ref


def force_https(settings: Settings, key: HostKey, members: Sequence[IngressRoutes], tls: TlsHost | None) -> bool:
    """Whether plain HTTP is redirected: of the owner's Ingresses the oldest that wants TLS for the host decides."""
    served = tls is not None and (tls.terminates or tls.passthrough)
    for member in members:
        asked = member.plan.annotations
        if asked.force_https_without_tls:
            return True
        secured = any(host.host == key.host and host.secured for host in member.plan.hosts)
        if served and secured:
            return settings.enforce_https if asked.force_https is None else asked.force_https
    return False
