"""Where preflights are tried that stand for requests with headers.

A browser asks before it sends any header, so a preflight finds nothing of a match but its path, query and method. What
answers it must not keep the rank that the headers earned: it would take the preflights of requests without them, which
are another rule's. It comes after every rule for the same path that takes requests as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from xds_server.model.route import Route

Rank = tuple[bool, int, int, str, str, str, str, int, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides on the place of a route among the others of its virtual host, as far as preflights go."""

    written_hostnames: tuple[str, ...]
    path: tuple[bool, str, int]


@dataclass(frozen=True, slots=True)
class Preflight:
    """Entries of a virtual host's `routes`; the first by rank is tried first."""

    body: bytes
    rank: Rank


class Encoded(Protocol):
    @property
    def body(self) -> bytes: ...
    @property
    def standing(self) -> Standing | None: ...
    @property
    def preflight(self) -> Preflight | None: ...


def standing(route: Route) -> Standing:
    path = route.match.path
    return Standing(route.written_hostnames, (route.match.grpc, path.kind, len(path.value)))


def rank(route: Route) -> Rank:
    """Who names the method and the fewest headers takes more of the requests; then the query, then the older."""
    match, ref = route.match, route.ref
    source = ref.source
    return (
        not match.method,
        len(match.headers),
        -len(match.query_params),
        route.created or "~",
        source.namespace,
        source.name,
        source.kind,
        ref.rule,
        ref.match,
    )


def in_order(routes: Sequence[Encoded], hostname: str) -> Iterator[bytes]:
    """The bodies of routes that are in order, their preflights after all routes of an equally good host and path."""
    if all(route.preflight is None for route in routes):
        yield from (route.body for route in routes)
        return
    for _, equals in groupby(routes, lambda route: _place(route.standing, hostname)):
        preflights: list[Preflight] = []
        for route in equals:
            yield route.body
            if route.preflight is not None:
                preflights.append(route.preflight)
        yield from (each.body for each in sorted(preflights, key=lambda each: each.rank))


def _place(standing: Standing | None, hostname: str) -> object:
    return standing and (_most_specific(standing.written_hostnames, hostname), standing.path)


def _most_specific(written: Iterable[str], hostname: str) -> str:
    """The longest that covers a hostname; of those that cover the same one, the longest is the most specific."""
    return max((name for name in written if _covers(name, hostname)), key=len, default="*")


def _covers(written: str, hostname: str) -> bool:
    return written in {"*", hostname} or (written.startswith("*.") and hostname.endswith(written[1:]))
