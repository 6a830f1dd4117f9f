"""HTTPRoute: rules into routes, each match one route, and what of it cannot be done.

It must not know the listeners: the routes are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeVar

from xds_server.ingestion import values
from xds_server.ingestion.filters import NO_FILTERS, FilterOutcome, Resolve, filter_outcome
from xds_server.ingestion.route_result import ERROR, Findings
from xds_server.ingestion.values import Refusal
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ObjectRef, RouteRef
from xds_server.model.route import (
    CookieAffinity,
    DirectResponse,
    Filters,
    Forward,
    PathMatch,
    Redirect,
    Retry,
    Route,
    RouteMatch,
    ValueMatch,
    WeightedBackend,
)
from xds_server.objects.meta import ObjectMeta
from xds_server.objects.routes import (
    BackendRef,
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPQueryParamMatch,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteMatch,
    HTTPRouteRetry,
    HTTPRouteRule,
    HTTPRouteTimeouts,
    SessionPersistence,
)

M = TypeVar("M")

ANY_PATH: Final = PathMatch("Prefix", "/")

MAX_ATTEMPTS: Final = 10
"""So many retries at most: one author's number must not multiply what a struggling backend gets."""


def http_routes(ref: ObjectRef, route: HTTPRoute, resolve: Resolve, findings: Findings) -> Iterator[Route]:
    """Every match of every rule; a rule that cannot work answers 500 where its matches can be told."""
    for position, rule in enumerate(route.spec.rules):
        yield from rule_routes(ref, route.metadata, route.spec.hostnames, position, rule, resolve, findings)


def rule_routes(
    ref: ObjectRef,
    metadata: ObjectMeta,
    hostnames: tuple[str, ...],
    position: int,
    rule: HTTPRouteRule,
    resolve: Resolve,
    findings: Findings,
) -> Iterator[Route]:
    field = f"rules[{position}]"
    matches = list(checked_matches(field, position, rule.matches or (HTTPRouteMatch(),), route_match, findings))
    prefixed = all(match.path.kind == "Prefix" for _, match in matches)
    policies, act = RulePolicies(), RuleAction()
    try:
        policies = rule_policies(field, RouteRef(ref, position, 0), rule, findings)
        act = rule_action(field, rule.filters, rule.backend_refs, resolve, findings, prefixed=prefixed)
    except Refusal as refusal:
        findings.refuse(position, refusal)
    for number, match in matches:
        yield Route(
            RouteRef(ref, position, number),
            metadata.creation_timestamp,
            match,
            ERROR if position in findings.refused else act.action,
            act.filters,
            hostnames or ("*",),
            rule.name,
            request_timeout_ms=policies.request_timeout_ms,
            backend_timeout_ms=policies.backend_timeout_ms,
            retry=policies.retry,
            affinity=policies.affinity,
        )


def checked_matches(
    field: str,
    position: int,
    matches: Sequence[M],
    check: Callable[[str, M], RouteMatch],
    findings: Findings,
) -> Iterator[tuple[int, RouteMatch]]:
    """The matches that can be told, with their positions; one that cannot refuses its rule."""
    for number, match in enumerate(matches):
        try:
            yield number, check(f"{field}.matches[{number}]", match)
        except Refusal as refusal:
            findings.refuse(position, refusal)


# --- matches ----------------------------------------------------------------------------------------------------------


def route_match(field: str, match: HTTPRouteMatch) -> RouteMatch:
    return RouteMatch(
        path_match(f"{field}.path", match.path),
        match.method,
        header_matches(f"{field}.headers", match.headers),
        query_matches(f"{field}.queryParams", match.query_params),
    )


def path_match(field: str, path: HTTPPathMatch) -> PathMatch:
    if path.type == "Exact":
        return PathMatch("Exact", values.path(field, path.value))
    if path.type == "PathPrefix":
        return PathMatch("Prefix", values.prefix(field, path.value))
    return PathMatch("Regex", values.regex(field, path.value))


def header_matches(field: str, headers: Sequence[HTTPHeaderMatch]) -> tuple[ValueMatch, ...]:
    # "Subsequent entries with an equivalent header name MUST be ignored."
    found: dict[str, ValueMatch] = {}
    for header in headers:
        name = values.header_name(field, header.name)
        found.setdefault(name, value_match(f"{field} {name}", name, header))
    return tuple(found.values())


def query_matches(field: str, params: Sequence[HTTPQueryParamMatch]) -> tuple[ValueMatch, ...]:
    found: dict[str, ValueMatch] = {}
    for param in params:
        name = values.header_value(field, param.name)
        found.setdefault(name, value_match(f"{field} {values.shown(name)}", name, param))
    return tuple(found.values())


def value_match(field: str, name: str, match: HTTPHeaderMatch | HTTPQueryParamMatch) -> ValueMatch:
    if match.type == "Exact":
        return ValueMatch(name, "Exact", values.header_value(field, match.value))
    return ValueMatch(name, "Regex", values.regex(field, match.value))


# --- actions ----------------------------------------------------------------------------------------------------------


class RuleAction(NamedTuple):
    """What a rule does with its requests."""

    action: Forward | Redirect | DirectResponse = ERROR
    filters: Filters = NO_FILTERS


def rule_action(
    field: str,
    filters: Sequence[HTTPRouteFilter],
    backend_refs: Sequence[BackendRef],
    resolve: Resolve,
    findings: Findings,
    *,
    prefixed: bool,
) -> RuleAction:
    """The filters of a rule and where its requests go; backends are resolved whatever else is refused."""
    backends = [
        weighted_backend(f"{field}.backendRefs[{number}]", ref, resolve, findings, prefixed=prefixed)
        for number, ref in enumerate(backend_refs)
    ]
    outcome = filter_outcome(f"{field}.filters", filters, resolve, prefixed=prefixed)
    findings.unresolved.extend(outcome.unresolved)
    if outcome.redirect is not None and backends:
        raise Refusal(f"{field}: RequestRedirect and backendRefs exclude each other", "IncompatibleFilters")
    # "If *all* entries in BackendRefs are invalid, all traffic which matches this rule MUST receive a 500."
    action: Forward | Redirect | DirectResponse = outcome.redirect or Forward(tuple(b for b in backends if b.weight))
    if outcome.failed:
        action = ERROR
    return RuleAction(action, outcome.filters)


def weighted_backend(
    field: str, ref: BackendRef, resolve: Resolve, findings: Findings, *, prefixed: bool
) -> WeightedBackend:
    """A share of the requests; one whose reference does not resolve answers 500."""
    cluster = resolve(ref)
    if isinstance(cluster, InvalidBackend):
        findings.unresolve(field, cluster)
        return WeightedBackend(None, ref.weight)
    outcome = (
        filter_outcome(f"{field}.filters", ref.filters, resolve, prefixed=prefixed) if ref.filters else FilterOutcome()
    )
    if outcome.filters.cors is not None:
        raise Refusal(f"{field}.filters: CORS is a filter of rules, not of backends")
    findings.unresolved.extend(outcome.unresolved)
    if outcome.failed:
        return WeightedBackend(None, ref.weight)
    return WeightedBackend(cluster, ref.weight, outcome.filters, outcome.redirect)


# --- timeouts, retries, sessions --------------------------------------------------------------------------------------


class RulePolicies(NamedTuple):
    """What a rule asks for beside its matches and its action."""

    request_timeout_ms: int | None = None
    backend_timeout_ms: int | None = None
    retry: Retry | None = None
    affinity: CookieAffinity | None = None


def rule_policies(field: str, ref: RouteRef, rule: HTTPRouteRule, findings: Findings) -> RulePolicies:
    return RulePolicies(
        *timeouts(f"{field}.timeouts", rule.timeouts),
        retry(f"{field}.retry", rule.retry, findings),
        affinity(f"{field}.sessionPersistence", ref, rule.session_persistence),
    )


def timeouts(field: str, found: HTTPRouteTimeouts | None) -> tuple[int | None, int | None]:
    if found is None:
        return None, None
    request = None if found.request is None else values.duration_ms(f"{field}.request", found.request)
    backend = (
        None if found.backend_request is None else values.duration_ms(f"{field}.backendRequest", found.backend_request)
    )
    # "the value of BackendRequest must be no more than the value of the Request timeout"
    if request and backend and backend > request:
        raise Refusal(f"{field}: backendRequest {found.backend_request} is longer than request {found.request}")
    return request, backend


def retry(field: str, found: HTTPRouteRetry | None, findings: Findings) -> Retry | None:
    if found is None:
        return None
    backoff = None if found.backoff is None else values.duration_ms(f"{field}.backoff", found.backoff)
    if backoff == 0:
        raise Refusal(f"{field}.backoff: {found.backoff} is no interval; leave it out, or name 1ms or more")
    if found.attempts > MAX_ATTEMPTS:
        findings.remark(f"spec.{field}.attempts", f"taken as {MAX_ATTEMPTS}, which is the most that is done here")
    return Retry(min(found.attempts, MAX_ATTEMPTS), tuple(sorted(set(found.codes))), backoff)


def affinity(field: str, ref: RouteRef, found: SessionPersistence | None) -> CookieAffinity | None:
    if found is None:
        return None
    if found.type != "Cookie":
        raise Refusal(f"{field}.type: only Cookie is implemented")
    cookie = found.cookie
    name = cookie.name if cookie and cookie.name else default_cookie_name(ref)
    lifetime = (
        None
        if found.absolute_timeout is None
        else values.duration_ms(f"{field}.absoluteTimeout", found.absolute_timeout)
    )
    permanent = cookie is not None and cookie.lifetime_type == "Permanent"
    if permanent and not lifetime:
        raise Refusal(f"{field}.absoluteTimeout: a cookie of lifetimeType Permanent needs it")
    if lifetime and not permanent:
        raise Refusal(
            f"{field}.absoluteTimeout: needs cookie.lifetimeType Permanent, whose end the cookie itself carries"
        )
    path = values.cookie_path(f"{field}.cookie.path", cookie.path if cookie else "/")
    return CookieAffinity(
        values.cookie_name(f"{field}.cookie.name", name), path, max(lifetime // 1000, 1) if lifetime else None
    )


def default_cookie_name(ref: RouteRef) -> str:
    """One name for each rule, so that two rules never read each other's cookies."""
    text = f"{'/'.join(ref.source)}/{ref.rule}"
    return f"tidegate-{blake2b(text.encode(), digest_size=6).hexdigest()}"
