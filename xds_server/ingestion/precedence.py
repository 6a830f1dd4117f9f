"""The order in which the routes of one hostname are tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xds_server.ingestion.age import age
from xds_server.ingestion.hostnames import most_specific, specificity
from xds_server.ingestion.values import literal_prefix
from xds_server.model.refs import RouteRef
from xds_server.model.route import PathMatch, Route

Rank = tuple[tuple[int, ...], bool, int, int, str, str, str]
"""Sort key of a match, the first to be tried first; ties are broken by the route's kind, rule and match."""

ANY_SERVICE: Final = "/[^/]+/"
"""How the path of a gRPC match begins that names a method and no service."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """All that decides on the order of one object's routes: a change of anything else leaves every order as it is."""

    written_hostnames: tuple[str, ...]
    routes: tuple[tuple[Rank, RouteRef], ...]


def ranking(routes: tuple[Route, ...]) -> Ranking:
    """Of the routes of one object, which share its hostnames."""
    return Ranking(routes[0].written_hostnames, tuple((rank(route), route.ref) for route in routes))


def in_order(hostname: str, rankings: Iterable[Ranking]) -> list[RouteRef]:
    """The routes for a hostname, the first to be tried first.

    Gateway API: "precedence must be given to rules from the HTTPRoute with the largest number of characters in a
    matching non-wildcard hostname", then "in a matching hostname", as the author wrote it; then to the better match.
    """
    ordered = [
        (specificity(most_specific(found.written_hostnames, hostname)), *entry)
        for found in rankings
        for entry in found.routes
    ]
    ordered.sort(key=lambda entry: (entry[0], entry[1], entry[2].source.kind, entry[2].rule, entry[2].match))
    return [ref for _, _, ref in ordered]


def rank(route: Route) -> Rank:
    """Gateway API: an exact path, the longest prefix, a method, the most headers, the most query parameters; then the
    oldest route, then the first by namespace and name, then the first rule.

    The place of regular expressions is left open: each stands among the prefixes, by what every path that it matches
    begins with, and before a prefix of that length. So "/.*" takes nothing from "/api", whosever the two are.
    """
    match, source = route.match, route.ref.source
    return (
        grpc_rank(match.path) if match.grpc else path_rank(match.path),
        not match.method,
        -len(match.headers),
        -len(match.query_params),
        age(route.created),
        source.namespace,
        source.name,
    )


def path_rank(path: PathMatch) -> tuple[int, ...]:
    if path.kind == "Exact":
        return (0, -len(path.value), 0)
    if path.kind == "Prefix":
        return (1, -len(path.value), 0)
    return (1, -literal_prefix(path.value), -len(path.value))


def grpc_rank(path: PathMatch) -> tuple[int, ...]:
    """GRPCRoute: the most characters in a matching service, then in a matching method; before what is not only gRPC."""
    if path.value.startswith(ANY_SERVICE):
        return (-1, 0, -len(path.value))
    service, _, method = path.value.removeprefix("/").partition("/")
    return (-1, -len(service), -len(method))
