"""What a client is sent next of a type: what has changed or is due, less what a gate holds back, in which groups.

Must not know requests, nor what was made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
)
from xds_server.xds.gates import REFERRING, Subscriptions, removable, unsent_clusters
from xds_server.xds.resource_type import Form, Response
from xds_server.xds.resources import ResourceTable
from xds_server.xds.subscription import Group, Subscription

# So few changes go out one by one: a bad one then never takes a good one with it.
FEW: Final = 4

# Of these, however many go out one by one. Envoy says yes to bytes that it has refused before, when they come again:
# to divide a refused response would end with the bad one called accepted.
_ALONE: Final = frozenset({ROUTE_CONFIGURATION, SECRET})

# Envoy waits for these again after a change of what refers to them, even if they are the same.
_WARMED: Final = frozenset({CLUSTER_LOAD_ASSIGNMENT, SECRET})


@dataclass(slots=True, eq=False)
class Sending:
    """Of one stream. `subs` are its own subscriptions, which come and go; gates look at all that are `around` it."""

    table: ResourceTable
    subs: Mapping[str, Subscription]
    form: Form

    def next(self, sub: Subscription, around: Subscriptions, unready: set[str]) -> Response | None:
        selected = not sub.groups
        if selected:
            self._select(sub, around, unready)
        while sub.groups:
            group = sub.groups.pop(0)
            response = self._response(sub, group if selected else self._still_open(sub, group, around, unready))
            if response is None:
                continue
            sub.send(response, since=group.since)
            self._follow(sub, response)
            return response
        if sub.heartbeat:
            return self._heartbeat(sub)
        return None

    def _still_open(self, sub: Subscription, group: Group, around: Subscriptions, unready: set[str]) -> Group:
        """What is left of a group that had to wait for its turn: it goes as it is now, so the gates are asked anew."""
        names = tuple(name for name in group.names if sub.exists(name) and sub.wants(name) and not sub.refuses(name))
        removed = tuple(name for name in group.removed if not sub.exists(name) and sub.wants(name))
        held = self._held(sub, names, removed, around, unready)
        for name in held:
            sub.waiting.setdefault(name, 0)
            sub.lagging.setdefault(name, group.since)
        if held:
            names = tuple(name for name in names if name not in held)
            removed = tuple(name for name in removed if name not in held)
        return Group(names, removed, group.since)

    def _select(self, sub: Subscription, around: Subscriptions, unready: set[str]) -> None:
        """Decide what is to be sent, held back or left out of all that has changed or is due, and in which groups."""
        since = sub.cursor
        present, absent = _changes(sub)
        if sub.due or sub.waiting:
            more = sorted({*sub.due, *sub.waiting}.difference(present, absent))
            present = (*present, *(name for name in more if sub.exists(name)))
            absent = (*absent, *(name for name in more if not sub.exists(name)))
        held = self._held(sub, present, absent, around, unready)
        if sub.empty_due and any(name in sub.kind.live for name in held):
            # A first answer that is not complete would say that the rest does not exist.
            sub.waiting = {name: sub.waiting.get(name, 0) for name in held}
            return
        if held:
            present = tuple(name for name in present if name not in held)
            absent = tuple(name for name in absent if name not in held)
        if sub.parked:
            present = tuple(name for name in present if not sub.refuses(name))
        sub.waiting = {name: sub.waiting.get(name, 0) for name in held}
        sub.cursor = sub.kind.last
        sub.due.clear()
        for name in held:
            sub.lagging.setdefault(name, since)
        sub.groups = _groups(sub, present, absent, since)
        if len(sub.groups) > 1:
            for group in sub.groups:
                for name in (*group.names, *group.removed):
                    sub.lagging.setdefault(name, since)

    def _held(
        self,
        sub: Subscription,
        present: tuple[str, ...],
        absent: tuple[str, ...],
        around: Subscriptions,
        unready: set[str],
    ) -> set[str]:
        """What a closed gate holds back."""
        held = {name for name in absent if not removable(self.table, around, sub, name)}
        if sub.type_url == LISTENER and (
            held or any(name not in absent and not sub.exists(name) for name in sub.waiting)
        ):
            # Envoy refuses a listener at an address that another still has: what comes waits for what goes.
            held.update(name for name in present if not sub.holds(name) and not sub.is_open(name))
        if sub.type_url in REFERRING and unready:
            for name in present:
                entry = sub.kind.get(name)
                if entry is not None and not sub.is_open(name) and not unready.isdisjoint(entry.clusters):
                    held.add(name)
        if sub.type_url == CLUSTER_LOAD_ASSIGNMENT and (unsent := unsent_clusters(self.subs)):
            held.update(
                name
                for name in present
                if not sub.is_open(name) and not unsent.isdisjoint(self.table.clusters_of(name))
            )
        return held

    def _response(self, sub: Subscription, group: Group) -> Response | None:
        names, removed = group.names, group.removed
        if sub.whole:
            sub.forget([name for name in removed if name not in sub.accepted.entries])
            removed = tuple(name for name in removed if name in sub.accepted.entries)
            if not (names or removed or sub.empty_due):
                return None
            return sub.kind.sotw_full_response(self.form, sub.accepted, names, removed, sub.number)
        if not self.form.delta:
            # Of these types a response may be a part, and absence means nothing: their parent drops them.
            sub.forget(group.removed)
            return sub.kind.sotw_response(self.form, names, sub.number) if names else None
        if not (names or removed or sub.empty_due):
            return None
        unresolved = _unresolved(sub, removed)
        if unresolved:
            removed = tuple(name for name in removed if name not in unresolved)
        return sub.kind.delta_response(self.form, names, removed, sub.number, unresolved)

    def _follow(self, sub: Subscription, response: Response) -> None:
        """Make due what Envoy waits for, or has thrown away, after it takes a response."""
        if sub.type_url in (CLUSTER, LISTENER):
            self._warm_again(sub, response)
        if sub.type_url == ROUTE_CONFIGURATION and self.form.delta and VIRTUAL_HOST in self.subs:
            self._fill_again(sub, self.subs[VIRTUAL_HOST], response)

    def _fill_again(self, routes: Subscription, hosts: Subscription, response: Response) -> None:
        """A route configuration that the client has not had, or has had with its hosts inside, begins without hosts."""
        for name, version in response.sent.items():
            if version is None:
                continue
            entry = routes.kind.live[name]
            if entry.resource.stem is None or routes.known(name) >= entry.changed:
                continue  # what is the same clears nothing
            found = self.table.hosts(name)
            hosts.due.update(found or [f"{name}/*"])
            for host in found:
                hosts.lagging.setdefault(host, 0)

    def _warm_again(self, sub: Subscription, response: Response) -> None:
        warmed = {url: other for url in _WARMED if (other := self.subs.get(url))}
        if not warmed:
            return
        for name, version in response.sent.items():
            if version is None:
                continue
            for ref in sub.kind.live[name].resource.references:
                other = warmed.get(ref.type_url)
                if other is not None and other.exists(ref.name) and other.wants(ref.name):
                    other.due.add(ref.name)

    def _heartbeat(self, sub: Subscription) -> Response | None:
        sub.heartbeat = False
        form = self.form._replace(heartbeat=True)
        names = tuple(name for name in sub.kind.live if sub.holds(name))
        if not names:
            return None
        if self.form.delta:
            response = sub.kind.delta_response(form, names, (), sub.number)
        elif sub.whole:
            response = sub.kind.sotw_full_response(form, sub.accepted, (), (), sub.number)
        else:
            response = sub.kind.sotw_response(form, names, sub.number)
        sub.send(response, heartbeat=True, since=sub.cursor)
        return response


def _changes(sub: Subscription) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the client wants of what has changed: that which is, and that which is no more.

    What was never there for it does not change or go either.
    """
    present, absent = sub.kind.changes(sub.cursor)
    if not sub.wants_all:
        present, absent = tuple(filter(sub.wants, present)), tuple(filter(sub.wants, absent))
    if sub.permitted is not None:
        present, absent = tuple(filter(sub.permits, present)), tuple(filter(sub.permits, absent))
    return present, absent


def _groups(sub: Subscription, present: tuple[str, ...], absent: tuple[str, ...], since: int) -> list[Group]:
    """One response for all, as a rule; few changes, and what was refused before, go alone."""
    suspects: tuple[str, ...] = ()
    if sub.parked:
        suspects = tuple(name for name in present if name in sub.parked)
        present = tuple(name for name in present if name not in sub.parked)
    most = len(present) if sub.type_url in _ALONE else FEW
    one_by_one = 1 < len(present) <= most and not sub.whole and not sub.empty_due
    if one_by_one and sub.type_url != CLUSTER_LOAD_ASSIGNMENT:
        groups = [Group((name,), (), since) for name in present]
        gone = [Group((), absent, since)] if absent else []
        # An address may move from a listener that goes to one that comes: Envoy refuses two that have the same.
        groups = [*gone, *groups] if sub.type_url == LISTENER else [*groups, *gone]
    else:
        groups = [Group(present, absent, since)] if present or absent or sub.empty_due else []
    return [*groups, *(Group((name,), (), since) for name in suspects)]


def _unresolved(sub: Subscription, removed: tuple[str, ...]) -> tuple[str, ...]:
    """Virtual hosts that were asked for one by one and never existed: answered by name and alias, without a body."""
    if sub.type_url != VIRTUAL_HOST:
        return ()
    return tuple(name for name in removed if name in sub.names and "/" in name and sub.lagging.get(name) == 0)
