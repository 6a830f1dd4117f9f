"""Whose a host is, where Ingresses of several namespaces name it at one address (S3).

It must not know what the owner does with the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xds_server.graph import Fetch, Index
from xds_server.ingestion.ingress_plan import HostKey, IngressPlan, wildcard
from xds_server.model.refs import ObjectRef

Claims = Index[HostKey, ObjectRef, IngressPlan]


@dataclass(frozen=True, slots=True)
class HostOwner:
    """Who decides on a host.

    `ref` is the oldest Ingress that names the host or the wildcard that covers it: only its namespace decides on TLS,
    passthrough and redirects to HTTPS. `first` is the one whose namespace's paths come before all others': of that
    namespace where it names the host itself, else the oldest that does. `prefixes` are that namespace's.
    """

    ref: ObjectRef
    first: ObjectRef
    prefixes: frozenset[str]

    def decides(self, plan: IngressPlan) -> bool:
        return plan.ref.namespace == self.ref.namespace

    def precedes(self, plan: IngressPlan) -> bool:
        """Whether the paths of an Ingress come after those of another namespace."""
        return plan.ref.namespace != self.first.namespace

    def covers(self, path: str) -> bool:
        """Whether the first namespace takes every request for a path and what is below it."""
        segments = path.rstrip("/").split("/")
        return any(("/".join(segments[:end]) or "/") in self.prefixes for end in range(1, len(segments) + 1))


def claim_keys(plan: IngressPlan) -> Iterator[HostKey]:
    """The hosts that an Ingress names, in its rules or for TLS."""
    names = [*(host.host for host in plan.hosts), *(tls.host for tls in plan.tls)]
    return (HostKey(plan.frontend, name) for name in dict.fromkeys(names))


def host_owner(fetch: Fetch, claims: Claims, key: HostKey, named: Sequence[IngressPlan]) -> HostOwner:
    """The owner of a host that `named` name; those without a host own what nobody names, and nobody's host."""
    covering = wildcard(key.host)
    others = fetch.by(claims, HostKey(key.frontend, covering)) if covering else ()
    ref = oldest([*named, *others])
    own = [plan for plan in named if plan.ref.namespace == ref.namespace]
    first = oldest(own or named)
    prefixes = (
        path.path.rstrip("/") or "/"
        for plan in named
        if plan.ref.namespace == first.namespace
        for host in plan.hosts
        if host.host == key.host
        for path in host.paths
        if path.type == "Prefix" and not path.catches_all
    )
    return HostOwner(ref, first, frozenset(prefixes))


def oldest(plans: Iterable[IngressPlan]) -> ObjectRef:
    """The one of several Ingresses that counts: the oldest, then by namespace and name."""
    return min(plans, key=lambda plan: plan.age).ref


def path_owner(owner: HostOwner | None, plans: Iterable[IngressPlan]) -> ObjectRef:
    """The one of several Ingresses that serves a path which all of them have."""
    return min(plans, key=lambda plan: (owner is not None and owner.precedes(plan), plan.age)).ref
