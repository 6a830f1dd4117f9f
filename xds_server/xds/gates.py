"""Make before break: what has to wait until this client has accepted something else.

A route that names a new cluster waits for the cluster and its endpoints; a cluster waits with its removal for the
routes that named it. Who does not subscribe to a type cannot be waited for.
Must not know how responses are phrased, nor time: a gate that stays closed is opened by its caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.xds.resources import ResourceTable, route_configuration
from xds_server.xds.subscription import Subscription

Subscriptions = Mapping[str, Subscription]

# What refers to clusters and is not warmed by Envoy before it is used.
REFERRING: Final = frozenset({LISTENER, ROUTE_CONFIGURATION, VIRTUAL_HOST})


def unready_clusters(table: ResourceTable, subs: Subscriptions, expected: Iterable[str]) -> set[str]:
    """Clusters that the client is to get and cannot use yet; `expected` are endpoints that it will ask for.

    A refused cluster is not among them: nothing would be gained by waiting, and its neighbours would pay.
    """
    clusters = subs.get(CLUSTER)
    if clusters is None:
        return set()
    unready = clusters.outstanding()
    endpoints = subs.get(CLUSTER_LOAD_ASSIGNMENT)
    if endpoints is None:
        return unready
    for name in (*endpoints.outstanding(), *expected):
        unready.update(c for c in table.clusters_of(name) if c in clusters.kind.live and clusters.wants(c))
    return unready


def unsent_clusters(subs: Subscriptions) -> set[str]:
    """New clusters that wait for their turn: their endpoints come after them."""
    clusters = subs.get(CLUSTER)
    if clusters is None:
        return set()
    unsent = {name for group in clusters.groups for name in group.names}
    unsent.update(name for name in clusters.kind.changes(clusters.cursor).present if clusters.wants(name))
    unsent.update(name for name in (*clusters.due, *clusters.waiting) if name in clusters.kind.live)
    return {name for name in unsent if not clusters.holds(name)}


def removable(table: ResourceTable, subs: Subscriptions, sub: Subscription, name: str) -> bool:
    """Nothing that the client uses refers to the name any more."""
    closed = False
    if name in sub.strangers and sub.type_url == CLUSTER:
        if any(other.parked for other in subs.values() if other.type_url in REFERRING):
            return False
        closed = not _settled(subs)
    for key, revision in table.dropped(ResourceKey(sub.type_url, name)).items():
        referring, referrer = _subscription(subs, key, delta=sub.delta)
        if referring is None or not referring.wants(referrer):
            continue
        if referring.known(referrer) < revision:
            if referrer in referring.parked:
                return False  # the client goes on with the version before the refused one, and so with the name
            closed = True
        elif key.type_url == ROUTE_CONFIGURATION and referrer not in referring.kind.live:
            closed = True  # a listener that drains still asks for its routes
    return not closed or name in sub.opened


def _subscription(subs: Subscriptions, key: ResourceKey, *, delta: bool) -> tuple[Subscription | None, str]:
    """Where the client gets a resource from: in the state of the world, virtual hosts are inside their routes."""
    if key.type_url == VIRTUAL_HOST and not delta:
        return subs.get(ROUTE_CONFIGURATION), route_configuration(key.name)
    return subs.get(key.type_url), key.name


def _settled(subs: Subscriptions) -> bool:
    """All that could refer to a name that only the client knows has been replaced."""
    if LISTENER not in subs or ROUTE_CONFIGURATION not in subs:
        return False
    return all(sub.quiet() for sub in subs.values() if sub.type_url in REFERRING)
