"""Filters of HTTPRoute and GRPCRoute rules and of their backends.

A filter that cannot be applied makes the rule refuse its requests; it is never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from xds_server.ingestion import values
from xds_server.ingestion.values import Refusal
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ClusterRef
from xds_server.model.route import Cors, Filters, HeaderModifier, Mirror, PathModifier, Redirect, Rewrite
from xds_server.objects.gateway import BackendObjectReference, LocalObjectReference
from xds_server.objects.routes import (
    HTTPCORSFilter,
    HTTPHeader,
    HTTPHeaderFilter,
    HTTPPathModifier,
    HTTPRequestMirrorFilter,
    HTTPRequestRedirectFilter,
    HTTPRouteFilter,
    HTTPURLRewriteFilter,
)

Resolve = Callable[[BackendObjectReference], ClusterRef | InvalidBackend]

FIELD_BY_TYPE: Final = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "ExtensionRef": "extension_ref",
    "CORS": "cors",
    "ExternalAuth": "external_auth",
}
_REPEATABLE: Final = frozenset({"RequestMirror", "ExtensionRef"})


NO_FILTERS: Final = Filters()


class FilterOutcome(NamedTuple):
    """What a list of filters comes to.

    `unresolved` are references that lead nowhere: a mirror is then left out, as the specification asks,
    and any other filter makes its requests fail (`failed`).
    """

    filters: Filters = NO_FILTERS
    redirect: Redirect | None = None
    unresolved: tuple[InvalidBackend, ...] = ()
    failed: bool = False


def filter_outcome(
    field: str, filters: Sequence[HTTPRouteFilter], resolve: Resolve, *, prefixed: bool
) -> FilterOutcome:
    """`prefixed` tells whether every match of the rule is a path prefix, which alone can be replaced."""
    outcome = FilterOutcome()
    if not filters:
        return outcome
    check_combination(field, filters)
    for position, entry in enumerate(filters):
        given = [name for name in FIELD_BY_TYPE.values() if getattr(entry, name) is not None]
        wanted = FIELD_BY_TYPE[entry.type]
        where = f"{field}[{position}].{_WRITTEN[wanted]}"
        if given != [wanted]:
            raise Refusal(f"{where}: a filter of type {entry.type} needs it, and nothing else")
        outcome = with_filter(where, outcome, entry, resolve, prefixed=prefixed)
    return outcome


def camel(snake: str) -> str:
    """The field's name as the author writes it."""
    head, *tail = snake.split("_")
    return head + "".join("URL" if word == "url" else word.title() for word in tail)


_WRITTEN: Final = {name: camel(name) for name in FIELD_BY_TYPE.values()}


def check_combination(field: str, filters: Sequence[HTTPRouteFilter]) -> None:
    # "Specifying the same filter multiple times is not supported unless explicitly indicated in the filter."
    types = [entry.type for entry in filters]
    for kind in types:
        if kind not in _REPEATABLE and types.count(kind) > 1:
            raise Refusal(f"{field}: filter {kind} is given more than once", "IncompatibleFilters")
    if {"URLRewrite", "RequestRedirect"} <= set(types):
        raise Refusal(f"{field}: URLRewrite and RequestRedirect exclude each other", "IncompatibleFilters")


def with_filter(
    where: str, outcome: FilterOutcome, entry: HTTPRouteFilter, resolve: Resolve, *, prefixed: bool
) -> FilterOutcome:
    match entry:
        case HTTPRouteFilter(request_header_modifier=HTTPHeaderFilter() as found):
            return with_changes(outcome, request_headers=header_modifier(where, found))
        case HTTPRouteFilter(response_header_modifier=HTTPHeaderFilter() as found):
            return with_changes(outcome, response_headers=header_modifier(where, found))
        case HTTPRouteFilter(url_rewrite=HTTPURLRewriteFilter() as found):
            return with_changes(outcome, rewrite=rewrite(where, found, prefixed=prefixed))
        case HTTPRouteFilter(cors=HTTPCORSFilter() as found):
            return with_changes(outcome, cors=cors(where, found))
        case HTTPRouteFilter(request_redirect=HTTPRequestRedirectFilter() as found):
            return outcome._replace(redirect=redirect(where, found, prefixed=prefixed))
        case HTTPRouteFilter(request_mirror=HTTPRequestMirrorFilter() as found):
            return with_mirror(where, outcome, found, resolve)
        case HTTPRouteFilter(extension_ref=LocalObjectReference() as ref):
            # "If a reference to a custom filter type cannot be resolved, the filter MUST NOT be skipped."
            unknown = InvalidBackend("InvalidKind", f"no filter {ref.group}/{ref.kind} is known; remove it", where)
            return outcome._replace(failed=True, unresolved=(*outcome.unresolved, unknown))
    raise Refusal(f"{where}: external authorization is not implemented, so requests are refused")


def with_changes(outcome: FilterOutcome, **changes: Any) -> FilterOutcome:
    return outcome._replace(filters=replace(outcome.filters, **changes))


def header_modifier(where: str, found: HTTPHeaderFilter) -> HeaderModifier:
    # "Only one action for a given header name is permitted."
    modifier = HeaderModifier(
        header_values(f"{where}.set", found.set),
        header_values(f"{where}.add", found.add),
        tuple(dict.fromkeys(values.changeable_header_name(f"{where}.remove", name) for name in found.remove)),
    )
    names = [*dict(modifier.set), *dict(modifier.add), *modifier.remove]
    if len(names) > len(set(names)):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise Refusal(f"{where}: more than one action for header {', '.join(repeated[:8])}", "IncompatibleFilters")
    return modifier


def header_values(where: str, headers: Sequence[HTTPHeader]) -> tuple[tuple[str, str], ...]:
    # "The first entry with an equivalent name MUST be considered", later ones are ignored.
    found: dict[str, str] = {}
    for header in headers:
        name = values.changeable_header_name(where, header.name)
        found.setdefault(name, values.header_value(f"{where} {name}", header.value))
    return tuple(found.items())


def path_modifier(where: str, found: HTTPPathModifier | None, *, prefixed: bool) -> PathModifier | None:
    if found is None:
        return None
    if found.type == "ReplaceFullPath":
        if found.replace_full_path is None:
            raise Refusal(f"{where}.path.replaceFullPath: type ReplaceFullPath needs it")
        return PathModifier("full", values.replacement(f"{where}.path.replaceFullPath", found.replace_full_path) or "/")
    if found.replace_prefix_match is None:
        raise Refusal(f"{where}.path.replacePrefixMatch: type ReplacePrefixMatch needs it")
    # "ReplacePrefixMatch is only compatible with a `PathPrefix` HTTPRouteMatch."
    if not prefixed:
        raise Refusal(f"{where}.path: ReplacePrefixMatch needs matches of type PathPrefix, and no other")
    return PathModifier("prefix", values.replacement(f"{where}.path.replacePrefixMatch", found.replace_prefix_match))


def rewrite(where: str, found: HTTPURLRewriteFilter, *, prefixed: bool) -> Rewrite:
    hostname = values.precise_hostname(f"{where}.hostname", found.hostname) if found.hostname else ""
    return Rewrite(hostname, path_modifier(where, found.path, prefixed=prefixed))


def redirect(where: str, found: HTTPRequestRedirectFilter, *, prefixed: bool) -> Redirect:
    hostname = values.precise_hostname(f"{where}.hostname", found.hostname) if found.hostname else ""
    path = path_modifier(where, found.path, prefixed=prefixed)
    return Redirect(found.status_code, found.scheme, hostname, found.port, path)


def with_mirror(where: str, outcome: FilterOutcome, found: HTTPRequestMirrorFilter, resolve: Resolve) -> FilterOutcome:
    if found.percent is not None and found.fraction is not None:
        raise Refusal(f"{where}: percent and fraction exclude each other")
    fraction = None
    if found.percent is not None:
        fraction = (found.percent, 100)
    if found.fraction is not None:
        fraction = (found.fraction.numerator, found.fraction.denominator)
        if fraction[0] > fraction[1]:
            raise Refusal(f"{where}.fraction: {fraction[0]}/{fraction[1]} is more than all")
    cluster = resolve(found.backend_ref)
    if isinstance(cluster, InvalidBackend):
        return outcome._replace(unresolved=(*outcome.unresolved, replace(cluster, field=f"{where}.backendRef")))
    return with_changes(outcome, mirrors=(*outcome.filters.mirrors, Mirror(cluster, fraction)))


def cors(where: str, found: HTTPCORSFilter) -> Cors:
    return Cors(
        tuple(values.origin(f"{where}.allowOrigins", origin) for origin in found.allow_origins),
        tuple(values.method(f"{where}.allowMethods", method) for method in found.allow_methods),
        tuple(values.header_name(f"{where}.allowHeaders", name) for name in found.allow_headers),
        tuple(values.header_name(f"{where}.exposeHeaders", name) for name in found.expose_headers),
        found.max_age,
        found.allow_credentials,
    )
