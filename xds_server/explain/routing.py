"""A request within a route table: its virtual host, the routes that take it and in which shares, and what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from xds_server.explain import action as actions
from xds_server.explain import http_connection_manager as managers
from xds_server.explain import http_filter, match, origin, words
from xds_server.explain.answer import Answer, answered, cannot_tell, described, no_route, with_reason
from xds_server.explain.backend import only, with_all_backends, with_backends
from xds_server.explain.cluster import endpoints
from xds_server.explain.match import UnmodelledError
from xds_server.explain.request import Head, Request
from xds_server.explain.result import CONSIDERED_LIMIT, Result
from xds_server.explain.route_table import RouteTable
from xds_server.explain.virtual_host import virtual_host
from xds_server.model.resource import Resource, ResourceKey

_DENOMINATORS: Final = (100, 10_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Scene:
    """What stays the same while the routes of a virtual host are tried; `head` is as the routes see it."""

    resources: Mapping[ResourceKey, Resource]
    manager: Any
    table: RouteTable
    request: Request
    head: Head


@dataclass(frozen=True, slots=True)
class Taken:
    """A route and the share of the requests that it takes; None for the requests that no route takes."""

    route: Any | None
    share: Fraction


def routed(scene: Scene) -> Result:
    head, configuration = scene.head, scene.table.configuration
    found = virtual_host(
        scene.table.virtual_hosts, head.authority, ignores_port=configuration.ignore_port_in_host_matching
    )
    if found is None:
        return no_route(f"no virtual host of {configuration.name} takes host {head.authority}", head)
    host, domain = found
    description = Result(virtual_host=host.name, reason=f"host {domain}")
    if host.HasField("matcher"):
        return with_reason(description, cannot_tell(UnmodelledError("matcher tree of the virtual host")))
    if host.require_tls and head.scheme != "https":
        answer = _upgrade_refusal(scene, None) or Answer(301, "it wants TLS", actions.https_location(head))
        return described(description, answered(answer, head))
    considered: list[str] = []
    try:
        taken = list(_taken(scene, host, considered))
    except UnmodelledError as limit:
        return replace(with_reason(description, cannot_tell(limit)), considered=_bounded(considered))
    shares = [(each.share, _shared(scene, host, each, description)) for each in taken]
    return replace(_combined(shares, 1.0), considered=_bounded(considered))


def _taken(scene: Scene, host: Any, considered: list[str]) -> Iterator[Taken]:
    """The routes that take the request, with their shares; `considered` collects those that do not.

    Envoy draws one number for a request and holds every `runtime_fraction` of the table against it,
    so fractions that follow each other are cumulative.
    """
    drawn = Fraction(0)
    denominator = None
    ignores_parameters = scene.table.configuration.ignore_path_parameters_in_path_matching
    for position, route in enumerate(host.routes):
        reason = match.mismatch(
            route.match, scene.head, client=scene.request.client, ignores_parameters=ignores_parameters
        )
        if reason is not None:
            considered.append(f"route {route.name or position}: {reason}")
            continue
        if not route.match.HasField("runtime_fraction"):
            yield Taken(route, 1 - drawn)
            return
        fraction = route.match.runtime_fraction.default_value
        if denominator not in {None, fraction.denominator}:
            raise UnmodelledError("a mixture of runtime fractions with different denominators")
        denominator = fraction.denominator
        below = min(Fraction(fraction.numerator, _DENOMINATORS[fraction.denominator]), Fraction(1))
        if below > drawn:
            yield Taken(route, below - drawn)
            drawn = below
        if drawn == 1:
            return
    yield Taken(None, 1 - drawn)


def _shared(scene: Scene, host: Any, taken: Taken, description: Result) -> Result:
    """What becomes of one share of the requests."""
    route, head = taken.route, scene.head
    description = replace(description, share=float(taken.share))
    if route is None:
        return described(description, no_route("none of its routes takes the request", head))
    done = replace(
        description,
        route=origin.route(route.name),
        envoy_route=route.name,
        match=match.words(route.match),
        reason="; ".join(filter(None, (description.reason, origin.own_answer(route.name)))),
    )
    if refusal := _upgrade_refusal(scene, route.route):
        return described(done, answered(refusal, head))
    return _filtered(scene, host, route, done)


def _filtered(scene: Scene, host: Any, route: Any, done: Result) -> Result:
    """Through the HTTP filters, and on to the route's action unless one of them answers."""
    holders = (route, host, scene.table.configuration)
    effects = http_filter.effects(
        managers.http_filters(scene.manager, scene.head),
        [each.typed_per_filter_config for each in holders],
        scene.head,
        scene.request.client,
        forwards=route.HasField("route"),
    )
    done = replace(done, filters=tuple(each for effect in effects for each in effect.words))
    for effect in effects:
        if effect.unmodelled:
            done = with_reason(done, cannot_tell(UnmodelledError(effect.unmodelled)))
        if effect.answer:
            return described(done, answered(effect.answer, scene.head))
    changes = tuple(change for holder in holders for change in words.headers(holder))
    return _acted(scene, route, replace(done, filters=(*done.filters, *changes)))


def _acted(scene: Scene, route: Any, done: Result) -> Result:
    head = scene.head
    match route.WhichOneof("action"):
        case "redirect":
            status = actions.REDIRECT_STATUS[route.redirect.response_code]
            location = actions.location(route.redirect, route.match, head)
            return described(done, answered(Answer(status, "redirected", location), head))
        case "direct_response":
            response = route.direct_response
            answer = described(done, answered(Answer(response.status, "answered by the route itself"), head))
            location = actions.own_location(head) if actions.has_location(response.status) else ""
            return replace(answer, body=response.body.inline_string, location=location)
        case "route":
            return _forwarded(scene, route, done)
        case kind:
            return with_reason(done, cannot_tell(UnmodelledError(f"route action {kind}")))


def _forwarded(scene: Scene, route: Any, done: Result) -> Result:
    action = route.route
    shares = action.weighted_clusters.clusters
    try:
        weighted = _weighted(action)
        effects = words.forwarding(action, route.match, scene.head)
    except UnmodelledError as limit:
        return with_reason(done, cannot_tell(limit))
    effects += tuple(f"share {each.name}: {change}" for each in shares for change in words.share(each, scene.head))
    unmodelled = sorted({name for each in shares for name in each.typed_per_filter_config})
    result = replace(done, outcome="route", filters=(*done.filters, *effects))
    for name in unmodelled:
        result = with_reason(result, cannot_tell(UnmodelledError(f"filter {name} of a weighted cluster")))
    return _unavailable(scene, action, with_backends(scene.resources, result, weighted))


def _weighted(action: Any) -> list[tuple[str, int]]:
    kind = action.WhichOneof("cluster_specifier")
    if kind == "cluster":
        return [(action.cluster, 1)]
    clusters = action.weighted_clusters.clusters
    if kind != "weighted_clusters" or any(each.cluster_header for each in clusters):
        raise UnmodelledError(f"cluster specifier {kind}")
    return [(each.name, each.weight.value) for each in clusters]


def _unavailable(scene: Scene, action: Any, result: Result) -> Result:
    """Envoy answers in the place of backends that cannot: each has a share of its own beside those that can."""
    whole = sum(each.weight for each in result.backends)
    usable = [each for each in result.backends if each.endpoints]
    shares = [(usable, result)] if usable else []
    for each in result.backends:
        if not each.endpoints:
            answer = answered(_no_endpoint(scene, action, each.cluster), scene.head)
            shares.append(([each], replace(described(result, answer), outcome="route")))
    if len(shares) == 1:
        return shares[0][1]
    parts = [(Fraction(sum(each.weight for each in backends), whole), backends, part) for backends, part in shares]
    return _combined(
        [
            (part_of_whole, replace(only(part, backends), share=result.share * float(part_of_whole)))
            for part_of_whole, backends, part in parts
        ],
        result.share,
    )


def _no_endpoint(scene: Scene, action: Any, cluster: str) -> Answer:
    if endpoints(scene.resources, cluster) is None:
        status = actions.CLUSTER_NOT_FOUND_STATUS[action.cluster_not_found_response_code]
        return Answer(status, f"there is no cluster {cluster}")
    return Answer(503, f"{cluster} has no endpoints")


def _combined(shares: list[tuple[Fraction, Result]], share: float) -> Result:
    """The likeliest result, the first of equals, with the backends of all and every one as an alternative."""
    if len(shares) == 1:
        return shares[0][1]
    _, likeliest = max(shares, key=lambda each: each[0])
    alternatives = tuple(leaf for _, result in shares for leaf in result.alternatives or (result,))
    with_some = [(share, result) for share, result in shares if result.backends]
    combined = replace(likeliest, share=share, alternatives=alternatives)
    return with_all_backends(combined, with_some) if likeliest.outcome == "route" else combined


def _upgrade_refusal(scene: Scene, action: Any | None) -> Answer | None:
    upgrade = scene.head.upgrade
    if not upgrade or upgrade in managers.upgrades(scene.manager, action):
        return None
    return Answer(403, f"the listener does not upgrade connections to {upgrade}")


def _bounded(considered: list[str]) -> tuple[str, ...]:
    if len(considered) <= CONSIDERED_LIMIT:
        return tuple(considered)
    return (*considered[:CONSIDERED_LIMIT], f"and {len(considered) - CONSIDERED_LIMIT} more")
