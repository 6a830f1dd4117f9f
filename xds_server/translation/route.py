"""One match of one rule as Envoy routes, serialised once.

Most are one route. A backend whose share needs more than other headers (an answer of its own, another path, mirrors,
CORS) gets a route for its share: Envoy asks every `runtime_fraction` of a request with the same random number, so
routes with growing fractions divide the requests as the weights say, to one in a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from xds_server.model.refs import ClusterRef, RouteRef
from xds_server.model.route import (
    Cors,
    DirectResponse,
    Forward,
    HeaderModifier,
    Redirect,
    Route,
    RouteMatch,
    WeightedBackend,
)
from xds_server.translation import envoy, names
from xds_server.translation.header_mutation import header_mutation
from xds_server.translation.http_filter import admission, forwarding, origin_matcher
from xds_server.translation.preflight import Preflight, Standing, rank, standing
from xds_server.translation.redirect import Place, host_has_port, redirects
from xds_server.translation.route_action import header_mutations, mirrors, route_action
from xds_server.translation.route_match import MILLION, route_match

# HTTPRoute: such requests "MUST receive a 500 status code". GRPCRoute: they "MUST receive an UNAVAILABLE status",
# which is what Envoy makes of a 503 for a gRPC client.
_UNUSABLE: Final = DirectResponse(500)
_UNAVAILABLE: Final = DirectResponse(503)

# Envoy answers with the origin that asked, whichever is allowed: a cache must not give that answer to another.
_VARY: Final = envoy.HeaderValueOption(
    header=envoy.HeaderValue(key="vary", value="origin"),
    append_action=envoy.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,
)

_ROUTES: Final = 3  # of a VirtualHost
_NO_CONTENT: Final = 204
_LONGEST_BODY: Final = 4096  # Envoy refuses a route configuration with a longer one


@dataclass(frozen=True, slots=True)
class EncodedRoute:
    """Entries of a virtual host's `routes`, ready to be joined with others, and the clusters that they name.

    `placed` entries are written anew for each virtual host; here only their size is right.
    """

    body: bytes
    clusters: tuple[ClusterRef, ...] = ()
    standing: Standing | None = None
    preflight: Preflight | None = None
    placed: bool = False


def encoded_route(route: Route, place: Place | None = None, *, one_label_of: str = "") -> EncodedRoute:
    """`place` is needed where `is_placed`; errors name the object, its rule and what to change."""
    context = _Context(place, one_label_of, [])
    try:
        routes = list(_routes(route, context))
    except ValueError as fault:
        raise ValueError(f"{_described(route.ref)}: {fault}") from fault
    apart = Preflight(encoded(context.preflights), rank(route)) if context.preflights else None
    return EncodedRoute(encoded(routes), _clusters(route), standing(route), apart)


def encoded(routes: Sequence[envoy.Route]) -> bytes:
    return b"".join(envoy.framed(_ROUTES, envoy.serialised(route)) for route in routes)


def is_placed(route: Route) -> bool:
    """A redirect depends on the scheme, port and host of the virtual host that it stands in."""
    action = route.action
    return isinstance(action, Redirect) or (
        isinstance(action, Forward) and any(share.weight and share.redirect for share in action.backends)
    )


def refused(route: Route, *, one_label_of: str = "") -> EncodedRoute | None:
    """The same match answers an error: a rule that cannot work must not let its requests fall to another rule.

    None when not even the match can be told to Envoy, so that no request is its own.
    """
    answering = Route(route.ref, route.created, route.match, unusable(route))
    try:
        return encoded_route(answering, one_label_of=one_label_of)
    except ValueError:
        return None


def unusable(route: Route) -> DirectResponse:
    """What a rule without a usable backend answers, and one that Envoy would refuse."""
    return _UNAVAILABLE if route.match.grpc else _UNUSABLE


def direct_response(answer: DirectResponse) -> envoy.DirectResponseAction:
    if not 200 <= answer.status < 600:
        raise ValueError(f"status {answer.status} of a direct response is not between 200 and 599")
    if len(answer.body.encode()) > _LONGEST_BODY:
        raise ValueError(f"the body of a direct response is longer than {_LONGEST_BODY} bytes")
    body = {"inline_string": answer.body} if answer.body else None
    return envoy.DirectResponseAction(status=answer.status, body=body)


class _Context(NamedTuple):
    """Where a route stands, and which share of the requests it takes: those up to `below` of a million.

    `preflights` collects the routes that are tried elsewhere than the route itself.
    """

    place: Place | None
    one_label_of: str
    preflights: list[envoy.Route]
    position: int | None = None
    below: int | None = None

    def match(self, match: RouteMatch) -> envoy.RouteMatch:
        return route_match(match, self.one_label_of, self.below)


def _routes(route: Route, context: _Context) -> Iterator[envoy.Route]:
    if isinstance(route.action, Forward):
        yield from _forwards(route, route.action, context)
        return
    yield from _answers(route, route.action, context)


def _forwards(route: Route, action: Forward, context: _Context) -> Iterator[envoy.Route]:
    if any(backend.weight < 0 for backend in action.backends):
        raise ValueError("the weight of a backend is negative")
    shares = [(position, backend) for position, backend in enumerate(action.backends) if backend.weight]
    if not any(backend.cluster or backend.redirect for _, backend in shares):
        yield from _answers(route, unusable(route), context)
        return
    if len(shares) == 1 or not any(_needs_own_route(backend) for _, backend in shares):
        yield from _share(route, [backend for _, backend in shares], context)
        return
    total, upto = sum(backend.weight for _, backend in shares), 0
    for position, backend in shares:
        upto += backend.weight
        below = None if upto == total else round(upto * MILLION / total)
        yield from _share(route, [backend], context._replace(position=position, below=below))


def _needs_own_route(share: WeightedBackend) -> bool:
    filters = share.filters
    return bool(
        share.cluster is None
        or share.redirect
        or filters.mirrors
        or filters.cors
        or (filters.rewrite and filters.rewrite.path)
    )


def _share(route: Route, shares: Sequence[WeightedBackend], context: _Context) -> Iterator[envoy.Route]:
    """One backend, or several that Envoy's weighted clusters can tell apart."""
    if len(shares) == 1:
        (share,) = shares
        if share.filters.cors:
            route = replace(route, filters=replace(route.filters, cors=share.filters.cors))
        if answer := share.redirect or (unusable(route) if share.cluster is None else None):
            yield from _answers(route, answer, context)
            return
    forwarded = envoy.Route(
        name=names.route(route.ref, context.position),
        match=context.match(route.match),
        route=route_action(route, shares),
        typed_per_filter_config={**admission(route), **forwarding(route)},
        **header_mutations(route, shares),
    )
    if route.filters.cors:
        forwarded.response_headers_to_add.append(_VARY)
        preflights = _preflights(route, route.filters.cors, forwarded, context)
        if route.match.headers:
            context.preflights.extend(preflights)
        else:
            yield from preflights
    yield forwarded


def _answers(route: Route, answer: Redirect | DirectResponse, context: _Context) -> Iterator[envoy.Route]:
    """What Envoy answers by itself; nobody behind it would see changes to the request."""
    common: dict[str, Any] = {
        "name": names.route(route.ref, context.position),
        "typed_per_filter_config": admission(route),
        **header_mutation(HeaderModifier(), route.filters.response_headers),
    }
    match = context.match(route.match)
    if isinstance(answer, DirectResponse):
        yield envoy.Route(match=match, direct_response=direct_response(answer), **common)
        return
    if context.place is None:
        raise ValueError("a redirect depends on where it stands")
    for redirected in redirects(answer, route.match.path, context.place):
        message = envoy.Route(match=match, redirect=redirected.action, **common)
        if redirected.host_has_port:
            message.match.headers.append(host_has_port())
        yield message


def _preflights(route: Route, cors: Cors, forwarded: envoy.Route, context: _Context) -> Iterator[envoy.Route]:
    """A preflight stands for the request that it asks for: it names the method, and has no other headers yet.

    CORS is answered by a filter, which gives an origin that is not listed all permissions but the origin itself:
    such a preflight is answered before, without any.
    """
    match = context.match(replace(route.match, method="OPTIONS", headers=()))
    match.headers.add(name="origin", present_match=True)
    wanted = {"string_match": envoy.StringMatcher(exact=route.match.method)} if route.match.method else None
    match.headers.add(name="access-control-request-method", **(wanted or {"present_match": True}))
    if "*" not in cors.allow_origins:
        guard = envoy.Route(
            name=forwarded.name, match=match, direct_response=envoy.DirectResponseAction(status=_NO_CONTENT)
        )
        for origin in cors.allow_origins:
            guard.match.headers.add(name="origin", string_match=origin_matcher(origin), invert_match=True)
        yield guard
    if route.match.method or route.match.headers:
        preflight = envoy.Route()
        preflight.CopyFrom(forwarded)
        preflight.match.CopyFrom(match)
        yield preflight


def _clusters(route: Route) -> tuple[ClusterRef, ...]:
    if not isinstance(route.action, Forward):
        return ()
    forwarded = [share for share in route.action.backends if share.weight and share.cluster and not share.redirect]
    if not forwarded:
        return ()
    used = {share.cluster for share in forwarded if share.cluster}
    used.update(
        mirror.cluster for mirror in mirrors(route.filters, forwarded) if mirror.fraction is None or mirror.fraction[0]
    )
    return tuple(sorted(used))


def _described(ref: RouteRef) -> str:
    return f"{ref.source} rule {ref.rule} match {ref.match}"
