"""Model values in few words, for tests of the translation."""

from __future__ import annotations

from typing import Any

from xds_server.model.refs import ClusterRef, ObjectRef, Protocol, RouteRef, TableRef
from xds_server.model.route import (
    DirectResponse,
    Filters,
    Forward,
    PathMatch,
    Redirect,
    Route,
    RouteMatch,
    WeightedBackend,
)
from xds_server.translation.envoy import VirtualHost
from xds_server.translation.redirect import Place
from xds_server.translation.route import encoded_route

GATEWAY = ObjectRef("Gateway", "default", "web")
ROUTE = ObjectRef("HTTPRoute", "default", "shop")
PLAIN = TableRef(GATEWAY, 80, "")
SECURE = TableRef(GATEWAY, 443, "shop.example")
PREFIX = RouteMatch(PathMatch("Prefix", "/shop"))


def cluster(name: str, protocol: Protocol = "http") -> ClusterRef:
    return ClusterRef("default", name, 80, protocol)


def share(name: str, weight: int = 1, **filters: Any) -> WeightedBackend:
    return WeightedBackend(cluster(name), weight, Filters(**filters))


def to(*shares: str | WeightedBackend) -> Forward:
    return Forward(tuple(share(each) if isinstance(each, str) else each for each in shares))


def route(
    action: Forward | Redirect | DirectResponse | None = None, match: RouteMatch = PREFIX, **fields: Any
) -> Route:
    return Route(RouteRef(ROUTE, 0, 0), "2026-01-01T00:00:00Z", match, action or to("one"), **fields)


def routes(route: Route, place: Place | None = None, one_label_of: str = "") -> list[Any]:
    """The Envoy routes of a route, decoded."""
    return list(VirtualHost.FromString(encoded_route(route, place, one_label_of=one_label_of).body).routes)


def single(written: Route, place: Place | None = None) -> Any:
    [only] = routes(written, place)
    return only


def matched(path: PathMatch | None = None, **fields: Any) -> Any:
    """The Envoy match of a match."""
    return single(route(match=RouteMatch(path or PathMatch("Prefix", "/"), **fields))).match
