"""The routes of one Ingress: its paths, with its annotations and with the canaries of its namespace.

It must not know in which virtual hosts the routes end up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import re2

from xds_server.graph import Collection, Fetch, Index
from xds_server.ingestion import annotations_syntax as syntax
from xds_server.ingestion.annotations import NGINX, Annotations
from xds_server.ingestion.backends import service_backend
from xds_server.ingestion.ingress_plan import Fault, IngressPlan, PathKey, PathPlan, field_of
from xds_server.ingestion.sources import Sources
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ClusterRef, ObjectRef, Protocol, RouteRef
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Filters,
    Forward,
    HeaderModifier,
    PathMatch,
    PathModifier,
    Redirect,
    Rewrite,
    Route,
    RouteMatch,
    SourceRanges,
    ValueMatch,
    WeightedBackend,
)
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.networking import IngressBackend

MAIN: Final = 0
"""The match of a path's own route; those after it are its canary's."""

_LITERAL_TRAPS: Final = ("//", "/./", "/../", "%2f", "%2F", "?", "#")
_FORBIDDEN_HEADERS: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)

RegexHosts = Index[tuple[ObjectRef, str, str], ObjectRef, IngressPlan]


class PathOwner(NamedTuple):
    """Who serves a path of a host: the oldest Ingress, and in each namespace the oldest canary."""

    main: ObjectRef | None
    canaries: tuple[ObjectRef, ...]

    def canary_of(self, plan: IngressPlan) -> ObjectRef | None:
        return next((ref for ref in self.canaries if ref.namespace == plan.ref.namespace), None)


class Plans(NamedTuple):
    """What the routes of one Ingress depend on of the others."""

    plans: Collection[ObjectRef, IngressPlan]
    owners: Collection[PathKey, PathOwner]
    regex_hosts: RegexHosts


@dataclass(frozen=True, slots=True)
class IngressRoutes:
    """The routes of an Ingress and what was found while they were made.

    `by_host` holds the routes of each host in the order of the object; `last` is the default backend's position.
    """

    plan: IngressPlan
    routes: tuple[Route, ...]
    by_host: tuple[tuple[str, tuple[Route, ...]], ...]
    last: int | None
    passthrough: tuple[tuple[str, RouteRef, WeightedBackend], ...]
    faults: tuple[Fault, ...]
    remarks: tuple[Remark, ...]


def path_owner(plans: Iterable[IngressPlan]) -> PathOwner:
    """Of the Ingresses that name a path, those that serve it: the oldest wins, then namespace and name (S3)."""
    ordered = sorted(plans, key=lambda plan: plan.age)
    main = next((plan.ref for plan in ordered if not plan.annotations.canary), None)
    canaries: dict[str, ObjectRef] = {}
    for plan in ordered:
        if plan.annotations.canary:
            canaries.setdefault(plan.ref.namespace, plan.ref)
    return PathOwner(main, tuple(canaries.values()))


def path_keys(plan: IngressPlan) -> Iterator[PathKey]:
    return (PathKey(plan.frontend, p.host, p.type, p.path) for p in plan.paths() if not p.catches_all)


def ingress_routes(fetch: Fetch, sources: Sources, others: Plans, plan: IngressPlan) -> IngressRoutes:
    faults: list[Fault] = [*plan.faults]
    remarks: list[Remark] = [*plan.remarks]
    if plan.annotations.tls_passthrough:
        passthrough = tuple(tcp_backends(fetch, sources, plan, faults))
        return IngressRoutes(
            plan, (), tuple((h.host, ()) for h in plan.hosts), None, passthrough, tuple(faults), tuple(remarks)
        )
    features = Features.of(fetch, sources, plan, remarks)
    by_position: dict[int, tuple[Route, ...]] = {}
    last = None
    for path in plan.paths():
        if path.catches_all:
            last = path.position
        by_position[path.position] = tuple(path_routes(fetch, sources, others, plan, path, features, faults, remarks))
    root = app_root(plan, 1 + max(by_position, default=-1))
    by_host = tuple(
        (host.host, (*(route for path in host.paths for route in by_position[path.position]), *root))
        for host in plan.hosts
    )
    routes = (*(route for position in sorted(by_position) for route in by_position[position]), *root)
    return IngressRoutes(plan, routes, by_host, last, (), tuple(faults), tuple(remarks))


def path_routes(
    fetch: Fetch,
    sources: Sources,
    others: Plans,
    plan: IngressPlan,
    path: PathPlan,
    features: Features,
    faults: list[Fault],
    remarks: list[Remark],
) -> Iterator[Route]:
    """The routes of one path: its canary's by header and cookie, then its own."""
    owner = fetch.get(others.owners, PathKey(plan.frontend, path.host, path.type, path.path))
    if plan.annotations.canary:
        remarks.extend(canary_remarks(fetch, others, plan, path, owner))
        backend(fetch, sources, plan, path, faults)  # its verdict; its share is part of the main Ingress's routes
        return
    if owner is not None and owner.main not in {None, plan.ref}:
        remarks.append(
            Remark(plan.ref, path.field, f"{path.host}{path.path} is served by {owner.main}, which is older")
        )
    as_regex = bool(fetch.by(others.regex_hosts, (plan.frontend, plan.ref.namespace, path.host)))
    match, problem = path_match(path, as_regex=as_regex)
    if problem:
        faults.append(Fault("PartiallyInvalid", "UnsupportedValue", f"{path.field}.path: {problem}"))
    if match is None:
        return
    main = backend(fetch, sources, plan, path, faults)
    route = Route(
        ref=RouteRef(plan.ref, path.position, MAIN),
        created=plan.created,
        match=RouteMatch(match),
        action=DirectResponse(500) if problem else Forward((main,)),
        written_hostnames=(path.host,),
    )
    canary = owner and owner.canary_of(plan)
    found = fetch.get(others.plans, canary) if canary and not problem else None
    routes = canaried(fetch, sources, route, main, path, found) if found is not None else (route,)
    for each in routes:
        yield features.on(each, path)


def path_match(path: PathPlan, *, as_regex: bool) -> tuple[PathMatch | None, str]:
    """What a path matches, and why that is not what is written; None when no request could match."""
    text = path.path
    literal = PathMatch("Exact", text) if text.startswith("/") and text.isprintable() else None
    if literal is None:
        return None, "must begin with '/' and have no control characters"
    if path.catches_all:
        return PathMatch("Prefix", "/"), ""
    if as_regex or path.type == "ImplementationSpecific":
        # nginx matches such a location without regard to case, from the path's beginning to anywhere.
        pattern = f"(?i)(?:{text}).*" if as_regex else text
        problem = syntax.regex_problem(text) or syntax.regex_problem(pattern)
        return (
            (literal, f"is no regular expression that can be served: {problem}")
            if problem
            else (PathMatch("Regex", pattern), "")
        )
    if any(trap in text for trap in _LITERAL_TRAPS) or text.endswith(("/.", "/..")):
        return literal, f"pathType {path.type} takes a normalised path without query, so that this one can never match"
    if path.type == "Exact":
        return literal, ""
    return PathMatch("Prefix", text.rstrip("/") or "/"), ""


def backend(
    fetch: Fetch, sources: Sources, plan: IngressPlan, path: PathPlan, faults: list[Fault], weight: int = 1
) -> WeightedBackend:
    found = cluster(fetch, sources, plan, path.backend, plan.annotations.backend_protocol)
    if isinstance(found, InvalidBackend):
        field = path.field if path.catches_all else f"{path.field}.backend"
        faults.append(Fault("ResolvedRefs", found.reason, f"{field}: {found.message}"))
        return WeightedBackend(None, weight)
    return WeightedBackend(found, weight)


def cluster(
    fetch: Fetch, sources: Sources, plan: IngressPlan, ref: IngressBackend, protocol: Protocol | None
) -> ClusterRef | InvalidBackend:
    if ref.resource is not None:
        kind = f"{ref.resource.api_group}/{ref.resource.kind}".removeprefix("/")
        return InvalidBackend("InvalidKind", f"resource {kind} {ref.resource.name}: only Services are backends")
    if ref.service is None:
        return InvalidBackend("BackendNotFound", "names no Service")
    port = ref.service.port.name or ref.service.port.number or None
    return service_backend(fetch, sources, plan.ref.namespace, ref.service.name, port, protocol)


def tcp_backends(
    fetch: Fetch, sources: Sources, plan: IngressPlan, faults: list[Fault]
) -> Iterator[tuple[str, RouteRef, WeightedBackend]]:
    for host in plan.hosts:
        for path in host.paths:
            found = cluster(fetch, sources, plan, path.backend, "tcp")
            if isinstance(found, InvalidBackend):
                faults.append(Fault("ResolvedRefs", found.reason, f"{path.field}.backend: {found.message}"))
            share = WeightedBackend(None if isinstance(found, InvalidBackend) else found)
            yield host.host, RouteRef(plan.ref, path.position, MAIN), share


def canary_remarks(
    fetch: Fetch, others: Plans, plan: IngressPlan, path: PathPlan, owner: PathOwner | None
) -> Iterator[Remark]:
    main = fetch.get(others.plans, owner.main) if owner and owner.main else None
    if path.catches_all:
        yield Remark(plan.ref, path.field, "ignored: a canary takes a share of paths, not of the default backend")
    elif main is None or main.ref.namespace != plan.ref.namespace:
        message = "a canary of nothing: no Ingress of this namespace serves the same host, pathType and path"
        yield Remark(plan.ref, path.field, message)
    elif owner is not None and owner.canary_of(plan) != plan.ref:
        yield Remark(plan.ref, path.field, f"{owner.canary_of(plan)} is the canary of this path, and is older")


def canaried(
    fetch: Fetch, sources: Sources, route: Route, main: WeightedBackend, path: PathPlan, canary: IngressPlan
) -> Iterator[Route]:
    """A path's route with a canary: its header decides before its cookie, and that before its weight."""
    asked = canary.annotations
    other = next((p for p in canary.paths() if (p.host, p.type, p.path) == (path.host, path.type, path.path)), None)
    if other is None:
        yield route
        return
    new = backend(fetch, sources, canary, other, [])
    name = f"canary {canary.ref.name}"
    for number, (wanted, share) in enumerate(canary_matches(asked, main, new), start=1):
        yield replace(
            route,
            ref=route.ref._replace(match=number),
            match=replace(route.match, headers=(wanted,)),
            action=Forward((share,)),
            rule_name=name if share is new else "",
        )
    total = asked.canary_weight_total
    weight = min(asked.canary_weight or 0, total)
    shares = (replace(main, weight=total - weight), replace(new, weight=weight)) if weight else (main,)
    yield replace(route, action=Forward(tuple(share for share in shares if share.weight)))


def canary_matches(
    asked: Annotations, main: WeightedBackend, new: WeightedBackend
) -> Iterator[tuple[ValueMatch, WeightedBackend]]:
    if asked.canary_header and asked.canary_header_value:
        yield ValueMatch(asked.canary_header, "Exact", asked.canary_header_value), new
    elif asked.canary_header and asked.canary_header_pattern:
        yield ValueMatch(asked.canary_header, "Regex", asked.canary_header_pattern), new
    elif asked.canary_header:
        yield ValueMatch(asked.canary_header, "Exact", "always"), new
        yield ValueMatch(asked.canary_header, "Exact", "never"), main
    if asked.canary_cookie:
        cookie = re2.escape(asked.canary_cookie)
        yield ValueMatch("cookie", "Regex", f"(?:.*;)? *{cookie}=always *(?:;.*)?"), new
        yield ValueMatch("cookie", "Regex", f"(?:.*;)? *{cookie}=never *(?:;.*)?"), main


def app_root(plan: IngressPlan, position: int) -> tuple[Route, ...]:
    """A redirect of the path "/" itself."""
    if plan.annotations.app_root is None or plan.annotations.closed or plan.annotations.canary:
        return ()
    return (
        Route(
            ref=RouteRef(plan.ref, position, MAIN),
            created=plan.created,
            match=RouteMatch(PathMatch("Exact", "/")),
            action=Redirect(status=302, path=PathModifier("full", plan.annotations.app_root)),
            source_ranges=source_ranges(plan.annotations),
            rule_name="app-root",
        ),
    )


def source_ranges(asked: Annotations) -> SourceRanges | None:
    return SourceRanges(asked.allow, asked.deny) if asked.allow or asked.deny else None


@dataclass(frozen=True, slots=True)
class Features:
    """What the annotations of an Ingress do to each of its routes."""

    asked: Annotations
    cors: Cors | None
    response_headers: HeaderModifier
    redirect: Redirect | None

    @classmethod
    def of(cls, fetch: Fetch, sources: Sources, plan: IngressPlan, remarks: list[Remark]) -> Features:
        headers = custom_headers(fetch, sources, plan, remarks)
        return cls(plan.annotations, cors(plan, remarks), headers, redirect(plan.annotations))

    def on(self, route: Route, path: PathPlan) -> Route:
        asked = self.asked
        if asked.closed:
            return replace(route, action=DirectResponse(403))
        action = self.redirect if self.redirect and not isinstance(route.action, DirectResponse) else route.action
        timeouts = [t for t in (asked.read_timeout_ms, asked.send_timeout_ms) if t is not None]
        return replace(
            route,
            action=action,
            filters=Filters(
                response_headers=self.response_headers, rewrite=rewrite(asked, route, path), cors=self.cors
            ),
            request_timeout_ms=asked.request_timeout_ms,
            connect_timeout_ms=asked.connect_timeout_ms,
            idle_timeout_ms=max(timeouts, default=None),
            max_request_bytes=asked.max_request_bytes,
            affinity=affinity(asked),
            source_ranges=source_ranges(asked),
            rate_limit_rps=asked.limit_rps,
        )


def redirect(asked: Annotations) -> Redirect | None:
    address = asked.temporal_redirect or asked.permanent_redirect
    if address is None:
        return None
    status = asked.temporal_redirect_code if asked.temporal_redirect else asked.permanent_redirect_code
    if address.keeps_path:
        return Redirect(status, scheme=address.scheme, hostname=address.hostname, port=address.port)
    return Redirect(status, location=address.url)


def rewrite(asked: Annotations, route: Route, path: PathPlan) -> Rewrite | None:
    target = None
    if asked.rewrite_target is not None and route.match.path.kind == "Regex":
        # The whole path is replaced; a group that the path does not have stands for nothing, as in nginx.
        groups = re2.compile(path.path, syntax.RE2).groups
        value = re.sub(r"\$([1-9])", lambda m: f"\\{m[1]}" if int(m[1]) <= groups else "", asked.rewrite_target)
        target = PathModifier("regex", value or "/", f"(?i)^(?:{path.path}).*$")
    if target is None and asked.upstream_vhost is None:
        return None
    return Rewrite(hostname=asked.upstream_vhost or "", path=target)


def cors(plan: IngressPlan, remarks: list[Remark]) -> Cors | None:
    asked = plan.annotations
    if not asked.enable_cors:
        return None
    anybody = asked.cors_allow_origin == ("*",)
    if anybody and asked.cors_allow_credentials:
        message = (
            "ignored: credentials for every origin would let any site act for its visitors; name cors-allow-origin"
        )
        remarks.append(Remark(plan.ref, field_of(NGINX + "cors-allow-credentials"), message))
    return Cors(
        allow_origins=asked.cors_allow_origin,
        allow_methods=asked.cors_allow_methods,
        allow_headers=asked.cors_allow_headers,
        expose_headers=asked.cors_expose_headers,
        max_age_s=asked.cors_max_age_s,
        allow_credentials=not anybody and asked.cors_allow_credentials is not False,
    )


def affinity(asked: Annotations) -> CookieAffinity | None:
    if asked.affinity is None:
        return None
    return CookieAffinity(asked.session_cookie_name, asked.session_cookie_path, asked.session_cookie_max_age_s)


def custom_headers(fetch: Fetch, sources: Sources, plan: IngressPlan, remarks: list[Remark]) -> HeaderModifier:
    """Response headers from a ConfigMap of the Ingress's own namespace."""
    if plan.annotations.custom_headers is None:
        return HeaderModifier()
    field = field_of(NGINX + "custom-headers")
    namespace, _, name = plan.annotations.custom_headers.partition("/")
    if namespace != plan.ref.namespace:
        remarks.append(Remark(plan.ref, field, f"ignored: a ConfigMap of namespace {plan.ref.namespace} is needed"))
        return HeaderModifier()
    found = fetch.get(sources.config_maps, ObjectRef("ConfigMap", namespace, name))
    if found is None:
        remarks.append(Remark(plan.ref, field, f"ignored: ConfigMap {namespace}/{name} does not exist"))
        return HeaderModifier()
    headers: dict[str, str] = {}
    for key, value in sorted(found.data.items()):
        try:
            headers[response_header(key)] = syntax.field_value(value)
        except ValueError as problem:
            text = f"ConfigMap {namespace}/{name}, key {ascii(key)[:80]}: left out: {problem}"
            remarks.append(Remark(plan.ref, f"{field}[{ascii(key)[1:-1][:80]}]", text))
    return HeaderModifier(set=tuple(headers.items()))


def response_header(key: str) -> str:
    name = syntax.header(key)
    if name in _FORBIDDEN_HEADERS:
        raise ValueError("belongs to the connection")
    return name
