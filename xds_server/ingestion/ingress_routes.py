"""The routes of one Ingress: its paths, with its annotations and with the canaries of its namespace.

It must not know in which virtual hosts the routes end up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from xds_server.graph import Collection, Fetch, Index
from xds_server.ingestion.ingress_backends import backend
from xds_server.ingestion.ingress_canary import ShareKey, judge_canary, share_key, shared_routes
from xds_server.ingestion.ingress_features import app_root, features, whole_path
from xds_server.ingestion.ingress_owner import HostOwner
from xds_server.ingestion.ingress_plan import Fault, Findings, HostKey, IngressPlan, PathKey, PathPlan
from xds_server.ingestion.sources import Sources
from xds_server.ingestion.values import MAX_REGEX_LENGTH, regex_problem, shown
from xds_server.model.refs import ObjectRef, RouteRef
from xds_server.model.route import DirectResponse, Forward, PathMatch, Route, RouteMatch, WeightedBackend
from xds_server.model.verdict import Warning as Remark

MAIN: Final = 0
"""The match of a path's own route; those after it are its canary's."""

_LITERAL_TRAPS: Final = ("//", "/./", "/../", "%2f", "%2F", "?", "#", " ")

RegexHost = tuple[ObjectRef, str, str]


class Others(NamedTuple):
    """What the routes of one Ingress depend on of the others."""

    plans: Collection[ObjectRef, IngressPlan]
    hosts: Collection[HostKey, HostOwner]
    owners: Collection[PathKey, ObjectRef]
    canaries: Collection[ShareKey, ObjectRef]
    mains: Index[ShareKey, ObjectRef, IngressPlan]
    regex_hosts: Index[RegexHost, ObjectRef, IngressPlan]


@dataclass(frozen=True, slots=True)
class IngressRoutes:
    """The routes of an Ingress and what was found while they were made.

    `by_host` holds the routes of each host in the order of the object; `last` is the default backend's position.
    `passthrough` holds, of an Ingress that passes TLS through, each host's backend.
    """

    plan: IngressPlan
    routes: tuple[Route, ...]
    by_host: tuple[tuple[str, tuple[Route, ...]], ...]
    last: int | None
    passthrough: tuple[tuple[str, RouteRef, WeightedBackend], ...]
    faults: tuple[Fault, ...]
    remarks: tuple[Remark, ...]


def path_keys(plan: IngressPlan) -> Iterator[PathKey]:
    return (path.key(plan.frontend) for path in plan.paths() if not path.catches_all)


def regex_host_keys(plan: IngressPlan) -> Iterator[RegexHost]:
    """The hosts whose paths are all regular expressions, as ingress-nginx has it; here within one namespace (S3)."""
    if plan.annotations.use_regex or plan.annotations.rewrite_target is not None:
        for host in sorted({path.host for path in plan.paths()}):
            yield plan.frontend, plan.ref.namespace, host


def ingress_routes(fetch: Fetch, sources: Sources, others: Others, plan: IngressPlan) -> IngressRoutes:
    findings = Findings(plan.ref, [*plan.faults], [*plan.remarks])
    if plan.annotations.canary:
        judged(fetch, sources, others, plan, findings)
        return IngressRoutes(plan, (), (), None, (), *findings.told())
    if plan.annotations.tls_passthrough:
        passthrough = tuple(tcp_backends(fetch, sources, plan, findings))
        by_host: tuple[tuple[str, tuple[Route, ...]], ...] = tuple((host.host, ()) for host in plan.hosts)
        return IngressRoutes(plan, (), by_host, None, passthrough, *findings.told())
    common = features(fetch, sources, plan, findings)
    routes: dict[int, tuple[Route, ...]] = {}
    written = plan.written()
    for path in plan.paths():
        made = path_routes(fetch, sources, others, plan, path, written[path.position], findings)
        routes[path.position] = tuple(common.on(route, path) for route in made)
    root = app_root(plan, 1 + max(routes, default=-1))
    by_host = tuple(
        (host.host, (*(route for path in host.paths for route in routes[path.position]), *root)) for host in plan.hosts
    )
    every = (*(route for position in sorted(routes) for route in routes[position]), *root)
    last = next((path.position for path in plan.paths() if path.catches_all), None)
    return IngressRoutes(plan, every, by_host, last, (), *findings.told())


def path_routes(
    fetch: Fetch,
    sources: Sources,
    others: Others,
    plan: IngressPlan,
    path: PathPlan,
    hosts: tuple[str, ...],
    findings: Findings,
) -> Iterator[Route]:
    """The routes of one path: its canary's by header and cookie, then its own."""
    judge_precedence(fetch, others, plan, path, findings)
    as_regex = bool(fetch.by(others.regex_hosts, (plan.frontend, plan.ref.namespace, path.host)))
    match, problem = path_match(path, as_regex=as_regex)
    if problem:
        findings.unsupported(f"{path.field}.path: {problem}")
    if match is None:
        return
    own = backend(fetch, sources, plan, path, plan.annotations.backend_protocol, findings)
    route = Route(
        ref=RouteRef(plan.ref, path.position, MAIN),
        created=plan.created,
        match=RouteMatch(match),
        action=DirectResponse(500) if problem else Forward((own,)),
        written_hostnames=hosts,
    )
    canary = None if problem or path.catches_all else canary_of(fetch, others, plan, path)
    if canary is None:
        yield route
    else:
        yield from shared_routes(fetch, sources, route, own, path, plan, canary)


def judge_precedence(fetch: Fetch, others: Others, plan: IngressPlan, path: PathPlan, findings: Findings) -> None:
    """What the author of a path is told of those that come before it."""
    text = f"{shown(path.path)} of host {path.host}"
    owner = fetch.get(others.owners, path.key(plan.frontend))
    host = fetch.get(others.hosts, HostKey(plan.frontend, path.host))
    foreign = host is not None and host.precedes(plan) and not path.catches_all
    if owner not in {None, plan.ref}:
        why = "whose namespace has the host" if host and foreign and owner != host.ref else "which is older"
        findings.remark(path.field, f"{text} is served by {owner}, {why}")
    elif host is not None and foreign and host.covers("/" if path.type == "ImplementationSpecific" else path.path):
        findings.remark(path.field, f"{text} is served by the namespace of {host.first}, which is older")
    elif host is not None and foreign and path.type == "ImplementationSpecific":
        findings.remark(path.field, f"{text} is tried after the paths of {host.first}, which is older")


def canary_of(fetch: Fetch, others: Others, plan: IngressPlan, path: PathPlan) -> IngressPlan | None:
    ref = fetch.get(others.canaries, share_key(plan, path))
    return fetch.get(others.plans, ref) if ref is not None else None


def judged(fetch: Fetch, sources: Sources, others: Others, plan: IngressPlan, findings: Findings) -> None:
    """A canary has no routes of its own: they are those of the Ingress that it shares; its backends are judged here."""
    for path in plan.paths():
        backend(fetch, sources, plan, path, plan.annotations.backend_protocol, findings)
        key = share_key(plan, path)
        mains = [
            main
            for main in fetch.by(others.mains, key)
            if fetch.get(others.owners, path.key(main.frontend)) == main.ref
        ]
        judge_canary(plan, path, fetch.get(others.canaries, key), mains, findings)


def path_match(path: PathPlan, *, as_regex: bool) -> tuple[PathMatch | None, str]:
    """What a path matches, and why that is not what is written; None when no request could match."""
    text = path.path
    if not text.startswith("/") or not text.isprintable() or len(text) > MAX_REGEX_LENGTH:
        return None, f"must begin with '/', and have no control characters and at most {MAX_REGEX_LENGTH} others"
    if path.catches_all:
        return PathMatch("Prefix", "/"), ""
    literal = PathMatch("Exact", text)
    if as_regex or path.type == "ImplementationSpecific":
        # nginx matches such a location without regard to case, from the path's beginning to anywhere.
        pattern = f"(?i)(?:{text}).*" if as_regex else text
        problem = regex_problem(text) or regex_problem(whole_path(text) if as_regex else text)
        return (literal, f"{shown(text)} {problem}") if problem else (PathMatch("Regex", pattern), "")
    if never_matches(text):
        return literal, f"{shown(text)} can never match: a request's path is normalised, and has no query"
    if path.type == "Exact":
        return literal, ""
    return PathMatch("Prefix", text.rstrip("/") or "/"), ""


def never_matches(text: str) -> bool:
    """Whether no request can have such a path once Envoy has normalised it."""
    return not text.isascii() or any(trap in text for trap in _LITERAL_TRAPS) or text.endswith(("/.", "/.."))


def tcp_backends(
    fetch: Fetch, sources: Sources, plan: IngressPlan, findings: Findings
) -> Iterator[tuple[str, RouteRef, WeightedBackend]]:
    """Each host's backend; nobody's where protection was asked for that bytes passed through cannot have (S16)."""
    asked = plan.annotations
    if asked.allow or asked.deny:
        message = "TLS passthrough knows no source ranges: its connections are closed until one of the two is deleted"
        findings.unsupported(message)
    for host in plan.hosts:
        for path in host.paths:
            found = backend(fetch, sources, plan, path, "tcp", findings)
            open_ = not (asked.closed or asked.allow or asked.deny)
            yield host.host, RouteRef(plan.ref, path.position, MAIN), found if open_ else WeightedBackend(None)
