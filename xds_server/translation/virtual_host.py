"""Virtual hosts: the serialised routes of one hostname, joined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from xds_server.model.refs import ClusterRef, HostRef
from xds_server.model.resource import CLUSTER, ResourceKey
from xds_server.model.route import DirectResponse, PathMatch, Redirect, Route, VirtualHost
from xds_server.translation import envoy, names
from xds_server.translation.preflight import in_order
from xds_server.translation.redirect import Place, host_has_port, redirects
from xds_server.translation.route import EncodedRoute, direct_response, encoded, encoded_route, is_placed, refused
from xds_server.translation.route_match import every_request, one_label_host

_NAME, _DOMAINS = 1, 2  # of a VirtualHost
_VIRTUAL_HOSTS: Final = 2  # of a RouteConfiguration
MISDIRECTED: Final = DirectResponse(421)


@dataclass(frozen=True, slots=True)
class EncodedHost:
    """A virtual host without its name, which depends on how its table is served, and the clusters that it names.

    `entry` is the host as one field of its route configuration: joining a table copies bytes and does nothing else.
    The host itself is the end of it, from `start`.
    """

    ref: HostRef
    entry: bytes
    start: int
    references: tuple[ResourceKey, ...]

    def named(self, *, vhds: bool) -> bytes:
        return envoy.framed(_NAME, names.virtual_host(self.ref, vhds=vhds).encode()) + self.entry[self.start :]


def joined(ref: HostRef, body: bytes, of: Iterable[EncodedHost]) -> EncodedHost:
    """A virtual host with the routes of several."""
    return _framed(ref, body, tuple(sorted({each for host in of for each in host.references})))


def _encoded(ref: HostRef, body: bytes, clusters: Iterable[ClusterRef] = ()) -> EncodedHost:
    references = tuple(ResourceKey(CLUSTER, name) for name in sorted({names.cluster(cluster) for cluster in clusters}))
    return _framed(ref, body, references)


def _framed(ref: HostRef, body: bytes, references: tuple[ResourceKey, ...]) -> EncodedHost:
    named = envoy.framed(_NAME, names.virtual_host(ref).encode()) + body
    entry = envoy.framed(_VIRTUAL_HOSTS, named)
    return EncodedHost(ref, entry, len(entry) - len(body), references)


def encoded_host(host: VirtualHost, routes: Sequence[EncodedRoute], port_offset: int = 0) -> EncodedHost:
    """`routes` in the order of `host.routes`; where HTTPS is forced, all of them give way to one redirect."""
    place = Place(host.ref.table, host.ref.hostname, port_offset)
    parts = [envoy.framed(_DOMAINS, host.ref.hostname.encode())]
    if host.force_https:
        parts.append(encoded(_force_https(place, one_label_of(host))))
        return _encoded(host.ref, b"".join(parts))
    parts += in_order(routes, host.ref.hostname)
    if host.fallback:
        fallback = envoy.Route(
            name=names.FALLBACK, match=every_request(), direct_response=direct_response(host.fallback)
        )
        parts.append(encoded([fallback]))
    return _encoded(host.ref, b"".join(parts), (cluster for route in routes for cluster in route.clusters))


def placed_route(route: Route, host: VirtualHost, port_offset: int = 0) -> EncodedRoute | None:
    """A route whose bytes depend on its virtual host; one that cannot be made is refused."""
    place = Place(host.ref.table, host.ref.hostname, port_offset)
    # Ingress: "a wildcard covers one label"; a route that was written for every host is not narrowed by it.
    narrowed = one_label_of(host) if host.ref.hostname in route.written_hostnames else ""
    try:
        return encoded_route(route, place, one_label_of=narrowed)
    except ValueError:  # a fault of the route itself, which its own transformation has reported
        return refused(route, one_label_of=narrowed)


def depends_on_host(route: Route, host: VirtualHost) -> bool:
    return is_placed(route) or (host.one_label and host.ref.hostname in route.written_hostnames)


def one_label_of(host: VirtualHost) -> str:
    return host.ref.hostname.removeprefix("*.") if host.one_label and host.ref.hostname.startswith("*.") else ""


def misdirected(ref: HostRef) -> EncodedHost:
    """RFC 9110: a request for a host that this connection was not made for is answered 421, and may be sent anew."""
    route = envoy.Route(name=names.MISDIRECTED, match=every_request(), direct_response=direct_response(MISDIRECTED))
    return _encoded(ref, envoy.serialised(envoy.VirtualHost(domains=[ref.hostname], routes=[route])))


def _force_https(place: Place, domain: str) -> list[envoy.Route]:
    redirect = Redirect(status=308, scheme="https")
    routes = []
    for answer in redirects(redirect, PathMatch("Prefix", "/"), place):
        route = envoy.Route(name=names.FORCE_HTTPS, match=every_request(), redirect=answer.action)
        if domain:
            route.match.headers.append(one_label_host(domain))
        if answer.host_has_port:
            route.match.headers.append(host_has_port())
        routes.append(route)
    return routes
