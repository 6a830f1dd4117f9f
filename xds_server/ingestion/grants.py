"""ReferenceGrants: which reference may cross from one namespace into another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from xds_server.graph import Fetch, Index
from xds_server.ingestion.sources import Sources
from xds_server.model.refs import ObjectRef
from xds_server.objects.gateway import GROUP, ReferenceGrant

GROUP_BY_KIND: Final = {
    "Gateway": GROUP,
    "HTTPRoute": GROUP,
    "GRPCRoute": GROUP,
    "TLSRoute": GROUP,
    "TCPRoute": GROUP,
    "UDPRoute": GROUP,
    "Service": "",
    "Secret": "",
    "ConfigMap": "",
}


class Permission(NamedTuple):
    """What one pair of a grant's `from` and `to` allows; an empty `to_name` allows every name."""

    from_group: str
    from_kind: str
    from_namespace: str
    to_group: str
    to_kind: str
    to_namespace: str
    to_name: str


Grants = Index[Permission, ObjectRef, ReferenceGrant]


def grants(sources: Sources) -> Grants:
    """The grants by what they allow, so that a reference depends on those that decide on it, and on no other."""
    return sources.reference_grants.index(permissions)


def permissions(grant: ReferenceGrant) -> Iterator[Permission]:
    for origin in grant.spec.from_:
        for target in grant.spec.to:
            yield Permission(
                origin.group,
                origin.kind,
                origin.namespace,
                target.group,
                target.kind,
                grant.metadata.namespace,
                target.name,
            )


def permitted(fetch: Fetch, grants: Grants, referrer: ObjectRef, target: ObjectRef) -> bool:
    """Whether `referrer` may name `target`: always within its own namespace, else only by a grant there."""
    if referrer.namespace == target.namespace:
        return True
    any_name = Permission(
        GROUP_BY_KIND[referrer.kind],
        referrer.kind,
        referrer.namespace,
        GROUP_BY_KIND[target.kind],
        target.kind,
        target.namespace,
        "",
    )
    # Both are read before either decides: the one that is missing now may appear.
    found = [len(fetch.by(grants, any_name)), len(fetch.by(grants, any_name._replace(to_name=target.name)))]
    return any(found)
