"""The order in which the routes of one hostname are tried."""

from __future__ import annotations

from typing import Final

from xds_server.ingestion.hostnames import most_specific, specificity
from xds_server.model.route import PathMatch, Route

Rank = tuple[tuple[int, int], tuple[int, ...], bool, int, int, str, str, str, tuple[str, int, int]]

_PATH_KINDS: Final = {"Exact": 0, "Regex": 1, "Prefix": 2}

ANY_SERVICE: Final = "/[^/]+/"
"""How the path of a gRPC match begins that names a method and no service."""


def precedence(route: Route, hostname: str) -> Rank:
    """Sort key of a route below a hostname, the first to be tried first.

    Gateway API: "precedence must be given to rules from the HTTPRoute with the largest number of characters in a
    matching non-wildcard hostname", then "in a matching hostname", as the author wrote it; then to the match with an
    exact path, the longest prefix, a method, the most headers, the most query parameters; then to the oldest route,
    then by namespace and name; then to the first rule.
    The place of regular expressions is left open: they come after exact paths and before prefixes, the longest first,
    which is also the order that Ingress asks for.
    """
    match = route.match
    source = route.ref.source
    return (
        specificity(most_specific(route.written_hostnames, hostname)),
        grpc_rank(match.path) if match.grpc else path_rank(match.path),
        not match.method,
        -len(match.headers),
        -len(match.query_params),
        # An object without a time of creation is not older than one that has it.
        route.created or "~",
        source.namespace,
        source.name,
        (source.kind, route.ref.rule, route.ref.match),
    )


def path_rank(path: PathMatch) -> tuple[int, ...]:
    return (_PATH_KINDS[path.kind], -len(path.value), 0)


def grpc_rank(path: PathMatch) -> tuple[int, ...]:
    """GRPCRoute: the most characters in a matching service, then in a matching method; before what is not only gRPC."""
    if path.value.startswith(ANY_SERVICE):
        return (-1, 0, -len(path.value))
    service, _, method = path.value.removeprefix("/").partition("/")
    return (-1, -len(service), -len(method))
