"""Make before break: what has to wait until this client has accepted something else.

A route that names a new cluster waits for the cluster and its endpoints; a cluster waits with its removal for the
routes that named it. Who does not subscribe to a type cannot be waited for.
Must not know how responses are phrased, nor time: a gate that stays closed is opened by its caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    INTERCEPTED,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
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
    if clusters is None or clusters.withheld:
        return set()
    unsent = {name for group in clusters.groups for name in group.names}
    unsent.update(name for name in clusters.kind.changes(clusters.cursor).present if clusters.wants(name))
    unsent.update(name for name in (*clusters.due, *clusters.waiting) if name in clusters.kind.live)
    return {name for name in unsent if not clusters.holds(name)}


class Gate(IntEnum):
    """Of a removal: LOCKED does not open with time, because the client refused what would let it."""

    OPEN = 0
    CLOSED = 1
    LOCKED = 2


def removable(table: ResourceTable, subs: Subscriptions, sub: Subscription, name: str) -> bool:
    """Nothing that the client uses refers to the name any more, or that was waited for long enough."""
    if sub.type_url == VIRTUAL_HOST and not _is_removed_alone(sub, name):
        return False
    gate = _removal(table, subs, sub, name)
    return gate is Gate.OPEN or (gate is Gate.CLOSED and sub.is_open(name))


def locked(table: ResourceTable, subs: Subscriptions, sub: Subscription, name: str) -> bool:
    """The name is gone, and stays for as long as the client refuses what would replace it: time does not open that."""
    return not sub.exists(name) and _removal(table, subs, sub, name) is Gate.LOCKED


def _is_removed_alone(hosts: Subscription, name: str) -> bool:
    """A virtual host is removed from routes that are served host by host.

    Others take their hosts along when the client drops them: until then a listener that drains answers by them.
    """
    route = route_configuration(name)
    if hosts.routes is None or not hosts.routes.wants(route):
        return True
    entry = hosts.routes.kind.live.get(route)
    return entry is not None and entry.resource.stem is not None


def _removal(table: ResourceTable, subs: Subscriptions, sub: Subscription, name: str) -> Gate:
    gate = max(_stranger(subs, sub, name), _of_listeners(subs, sub))
    for key, revision in table.dropped(ResourceKey(sub.type_url, name)).items():
        referring, referrer = _subscription(subs, key, delta=sub.delta)
        if referring is None and sub.resumed and key.type_url in REFERRING:
            gate = max(gate, Gate.CLOSED)  # the client has come back and not said yet what it uses
        if referring is None or not referring.wants(referrer):
            continue
        if referring.known(referrer) < revision:
            gate = max(gate, _replacement(table, subs, referring, referrer))
        elif key.type_url == ROUTE_CONFIGURATION and referrer not in referring.kind.live:
            gate = max(gate, Gate.CLOSED)  # a listener that drains still asks for its routes
    return gate


def _replacement(table: ResourceTable, subs: Subscriptions, sub: Subscription, name: str) -> Gate:
    """What the client uses is to be replaced or removed, and is not yet."""
    if sub.type_url == VIRTUAL_HOST and name not in sub.kind.live and not _is_removed_alone(sub, name):
        return _routes_replacement(table, subs, sub.routes, route_configuration(name))
    if sub.type_url == INTERCEPTED:
        return Gate.CLOSED  # whatever a daemon refuses, it leads to no listener that its Envoy has not
    if name in sub.parked or sub.withheld:
        return Gate.LOCKED  # the client goes on with the version before the refused one, and with what that names
    if name in sub.kind.live:
        return Gate.CLOSED
    return max(Gate.CLOSED, _removal(table, subs, sub, name))


def _routes_replacement(table: ResourceTable, subs: Subscriptions, routes: Subscription | None, name: str) -> Gate:
    """As `_replacement`, of routes that were served host by host: they now have their hosts inside, or are gone."""
    entry = routes.kind.live.get(name) if routes is not None else None
    if routes is None or (entry is not None and routes.known(name) >= entry.changed):
        return Gate.OPEN
    return _replacement(table, subs, routes, name)


def _stranger(subs: Subscriptions, sub: Subscription, name: str) -> Gate:
    """A cluster that only the client knows may be used by all that the client brought along."""
    if name not in sub.strangers or sub.type_url != CLUSTER:
        return Gate.OPEN
    referring = [other for other in subs.values() if other.type_url in REFERRING]
    if any(other.parked or other.withheld for other in referring):
        return Gate.LOCKED
    asked = LISTENER in subs and ROUTE_CONFIGURATION in subs
    return Gate.OPEN if asked and all(other.quiet() for other in referring) else Gate.CLOSED


def _of_listeners(subs: Subscriptions, sub: Subscription) -> Gate:
    """A client that has come back with secrets, and has not said yet which listeners it serves, goes on with them."""
    come_back = sub.type_url == SECRET and sub.resumed and LISTENER not in subs
    return Gate.CLOSED if come_back else Gate.OPEN


def _subscription(subs: Subscriptions, key: ResourceKey, *, delta: bool) -> tuple[Subscription | None, str]:
    """Where the client gets a resource from: in the state of the world, virtual hosts are inside their routes."""
    if key.type_url == VIRTUAL_HOST and not delta:
        return subs.get(ROUTE_CONFIGURATION), route_configuration(key.name)
    return subs.get(key.type_url), key.name
