"""Canaries, as ingress-nginx has them: an Ingress that takes a share of another's path.

Both are of one namespace: nobody takes a share of somebody else's requests (S3).
A canary has no address of its own; it is wherever the Ingress is whose path it shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import re2

from xds_server.graph import Fetch
from xds_server.ingestion.annotations import Annotations
from xds_server.ingestion.ingress_backends import backend
from xds_server.ingestion.ingress_plan import Findings, IngressPlan, PathPlan, PathType
from xds_server.ingestion.sources import Sources
from xds_server.model.refs import ObjectRef
from xds_server.model.route import Forward, Route, ValueMatch, WeightedBackend


class ShareKey(NamedTuple):
    """A path of which a canary takes a share, at whatever address it is served."""

    namespace: str
    host: str
    type: PathType
    path: str


def share_keys(plan: IngressPlan) -> Iterator[ShareKey]:
    return (share_key(plan, path) for path in plan.paths() if not path.catches_all)


def share_key(plan: IngressPlan, path: PathPlan) -> ShareKey:
    return ShareKey(plan.ref.namespace, path.host, path.type, path.path)


def shared_routes(
    fetch: Fetch,
    sources: Sources,
    route: Route,
    own: WeightedBackend,
    path: PathPlan,
    plan: IngressPlan,
    canary: IngressPlan,
) -> Iterator[Route]:
    """The routes of a path that a canary shares: its header decides before its cookie, and that before its weight."""
    asked = canary.annotations
    other = next((p for p in canary.paths() if (p.host, p.type, p.path) == (path.host, path.type, path.path)), None)
    if other is None:
        yield route
        return
    new = backend(fetch, sources, canary, other, asked.backend_protocol or plan.annotations.backend_protocol)
    if unprotected(canary, plan):
        new = WeightedBackend(None)
    for number, (wanted, share) in enumerate(header_matches(asked, own, new), start=route.ref.match + 1):
        yield replace(
            route,
            ref=route.ref._replace(match=number),
            match=replace(route.match, headers=(wanted,)),
            action=Forward((share,)),
            rule_name=f"canary {canary.ref.name}" if share is new else "",
        )
    total = asked.canary_weight_total
    weight = min(asked.canary_weight or 0, total)
    shares = (replace(own, weight=total - weight), replace(new, weight=weight)) if weight else (own,)
    yield replace(route, action=Forward(tuple(share for share in shares if share.weight)))


def header_matches(
    asked: Annotations, own: WeightedBackend, new: WeightedBackend
) -> Iterator[tuple[ValueMatch, WeightedBackend]]:
    """In the order in which they are tried."""
    name = asked.canary_header
    if name and asked.canary_header_value:
        yield ValueMatch(name, "Exact", asked.canary_header_value), new
    elif name and asked.canary_header_pattern:
        yield ValueMatch(name, "Regex", asked.canary_header_pattern), new
    elif name:
        yield ValueMatch(name, "Exact", "always"), new
        yield ValueMatch(name, "Exact", "never"), own
    if asked.canary_cookie:
        cookie = re2.escape(asked.canary_cookie)
        yield ValueMatch("cookie", "Regex", f"(?:.*;)? *{cookie}=always *(?:;.*)?"), new
        yield ValueMatch("cookie", "Regex", f"(?:.*;)? *{cookie}=never *(?:;.*)?"), own


def unprotected(canary: IngressPlan, main: IngressPlan) -> bool:
    """Whether a canary asks for a protection that the routes of its main Ingress do not give (S16)."""
    ranges = canary.annotations.allow, canary.annotations.deny
    return bool(canary.annotations.closed) or ranges not in {((), ()), (main.annotations.allow, main.annotations.deny)}


def judge_canary(
    plan: IngressPlan, path: PathPlan, first: ObjectRef | None, mains: Sequence[IngressPlan], findings: Findings
) -> None:
    """What the author of a canary is told of one of its paths.

    `first` is the canary that has the path's share, `mains` are the Ingresses that serve the path.
    """
    if path.catches_all:
        findings.remark(path.field, "ignored: a canary takes a share of paths, not of the default backend")
    elif not mains:
        message = "a canary of nothing: no Ingress of this namespace serves the same host, pathType and path"
        findings.remark(path.field, message)
    elif first != plan.ref:
        findings.remark(path.field, f"{first} is the canary of this path, and is older")
    elif (other := next((main for main in mains if unprotected(plan, main)), None)) and not plan.annotations.closed:
        message = f"{path.field}: the share answers 500 until canary and {other.ref} name the same source ranges"
        findings.unsupported(message)
