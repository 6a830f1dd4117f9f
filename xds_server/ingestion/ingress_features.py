"""What the annotations of an Ingress do to its routes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import re2

from xds_server.graph import Fetch
from xds_server.ingestion import annotations_syntax as syntax
from xds_server.ingestion.annotations import NGINX, Annotations
from xds_server.ingestion.ingress_plan import Findings, IngressPlan, PathPlan, field_of
from xds_server.ingestion.sources import Sources
from xds_server.model.refs import ObjectRef, RouteRef
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Filters,
    HeaderModifier,
    PathMatch,
    PathModifier,
    Redirect,
    Rewrite,
    Route,
    RouteMatch,
    SourceRanges,
)

FORBIDDEN: Final = DirectResponse(403)
_CONNECTION_HEADERS: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Features:
    """What all routes of an Ingress have in common."""

    asked: Annotations
    cors: Cors | None
    response_headers: HeaderModifier
    redirect: Redirect | None

    def on(self, route: Route, path: PathPlan) -> Route:
        asked = self.asked
        if asked.closed:
            return replace(route, action=FORBIDDEN)
        action = self.redirect if self.redirect and not isinstance(route.action, DirectResponse) else route.action
        silences = [silence for silence in (asked.read_timeout_ms, asked.send_timeout_ms) if silence is not None]
        return replace(
            route,
            action=action,
            filters=Filters(
                response_headers=self.response_headers, rewrite=rewrite(asked, route, path), cors=self.cors
            ),
            request_timeout_ms=asked.request_timeout_ms,
            connect_timeout_ms=asked.connect_timeout_ms,
            idle_timeout_ms=max(silences, default=None),
            max_request_bytes=asked.max_request_bytes,
            affinity=affinity(asked),
            source_ranges=source_ranges(asked),
            rate_limit_rps=asked.limit_rps,
        )


def features(fetch: Fetch, sources: Sources, plan: IngressPlan, findings: Findings) -> Features:
    headers = custom_headers(fetch, sources, plan, findings)
    return Features(plan.annotations, cors(plan.annotations, findings), headers, redirect(plan.annotations))


def app_root(plan: IngressPlan, position: int) -> tuple[Route, ...]:
    """A redirect of the path "/" itself; `position` is its rule's."""
    asked = plan.annotations
    if asked.app_root is None or asked.closed or asked.canary:
        return ()
    route = Route(
        ref=RouteRef(plan.ref, position, 0),
        created=plan.created,
        match=RouteMatch(PathMatch("Exact", "/")),
        action=Redirect(status=302, path=PathModifier("full", asked.app_root)),
        written_hostnames=tuple(host.host for host in plan.hosts),
        rule_name="app-root",
        source_ranges=source_ranges(asked),
    )
    return (route,)


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
        groups = re2.compile(path.path).groups
        value = re.sub(r"\$([1-9])", lambda m: f"\\{m[1]}" if int(m[1]) <= groups else "", asked.rewrite_target)
        target = PathModifier("regex", value, whole_path(path.path))
    if target is None and asked.upstream_vhost is None:
        return None
    return Rewrite(hostname=asked.upstream_vhost or "", path=target)


def whole_path(text: str) -> str:
    """The pattern that a rewrite replaces: the whole of a path that nginx would match."""
    return f"(?i)^(?:{text}).*$"


def cors(asked: Annotations, findings: Findings) -> Cors | None:
    if not asked.enable_cors:
        return None
    anybody = asked.cors_allow_origin == ("*",)
    if anybody and asked.cors_allow_credentials:
        message = (
            "ignored: credentials for every origin would let any site act for its visitors; name cors-allow-origin"
        )
        findings.remark(field_of(NGINX + "cors-allow-credentials"), message)
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


def source_ranges(asked: Annotations) -> SourceRanges | None:
    return SourceRanges(asked.allow, asked.deny) if asked.allow or asked.deny else None


def custom_headers(fetch: Fetch, sources: Sources, plan: IngressPlan, findings: Findings) -> HeaderModifier:
    """Response headers from a ConfigMap of the Ingress's own namespace (S1)."""
    if plan.annotations.custom_headers is None:
        return HeaderModifier()
    field = field_of(NGINX + "custom-headers")
    namespace, _, name = plan.annotations.custom_headers.partition("/")
    if namespace != plan.ref.namespace:
        findings.remark(field, f"ignored: a ConfigMap of namespace {plan.ref.namespace} is needed")
        return HeaderModifier()
    ref = ObjectRef("ConfigMap", namespace, name)
    found = fetch.get(sources.config_maps, ref)
    if found is None:
        why = fetch.get(sources.absent, ref, "does not exist")
        findings.remark(field, f"ignored: ConfigMap {namespace}/{name} {why}")
        return HeaderModifier()
    headers: dict[str, str] = {}
    for key, value in sorted(found.data.items()):
        try:
            headers[response_header(key)] = syntax.field_value(value)
        except ValueError as problem:
            findings.remark(field, f"ConfigMap {namespace}/{name}, key {key[:64]!a}: left out: {problem}")
    return HeaderModifier(set=tuple(headers.items()))


def response_header(key: str) -> str:
    name = syntax.header(key)
    if name in _CONNECTION_HEADERS:
        raise ValueError("belongs to the connection")
    return name
