"""How a request changes what a client wants of a type, in the two variants, and what it brings along from before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from xds_server.model.resource import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST
from xds_server.xds.events import Accepted, Event, Subscribed
from xds_server.xds.resource_type import Entry
from xds_server.xds.resources import route_configuration
from xds_server.xds.subscription import LEGACY_WILDCARD, WHOLE_TYPES, WILDCARD, Subscription

# Of these any version will do for what waits for them.
_WAITED_FOR: Final = frozenset({CLUSTER, CLUSTER_LOAD_ASSIGNMENT})


class SotwRequest(Protocol):
    @property
    def version_info(self) -> str: ...
    @property
    def resource_names(self) -> Iterable[str]: ...


class DeltaRequest(Protocol):
    @property
    def resource_names_subscribe(self) -> Iterable[str]: ...
    @property
    def resource_names_unsubscribe(self) -> Iterable[str]: ...
    @property
    def initial_resource_versions(self) -> Mapping[str, str]: ...


def sotw_wish(sub: Subscription, request: SotwRequest, *, first: bool) -> list[Event]:
    """Replace the wish by the names of the request.

    "*" is everything. No names are everything too, for listeners and clusters, until a name has been given.
    """
    wanted = set(request.resource_names)
    star = WILDCARD in wanted
    wanted.discard(WILDCARD)
    sub.named = sub.named or star or bool(wanted)
    wildcard = star or (not sub.named and sub.type_url in WHOLE_TYPES)
    added = sorted(name for name in wanted if name not in sub.names)
    dropped = [name for name in sub.names if name not in wanted]
    widened, narrowed = wildcard and not sub.wildcard, sub.wildcard and not wildcard
    if first:
        sub.cursor = 0 if wildcard else sub.kind.last
        sub.resumed = bool(request.version_info)
        sub.empty_due = sub.whole and (wildcard or bool(wanted))
    if widened and not first:
        _want_new(sub, [name for name in sub.live() if not sub.wants(name)])
    if added:
        _want_new(sub, added)
        sub.names.update(added)
    sub.wildcard = wildcard
    if dropped:
        sub.names.difference_update(dropped)
    if dropped or narrowed:
        sub.forget_unwanted()
        sub.accepted = sub.kind.restrict(sub.accepted, sub.wants) if sub.whole else sub.accepted
    if not (first or added or dropped or widened or narrowed):
        return []
    sub.refused = None
    if first and sub.whole and sub.resumed:
        _come_back(sub, request.version_info)
    return [Subscribed(sub.type_url, len(added), len(dropped), wildcard)]


def _come_back(sub: Subscription, version: str) -> None:
    """Begin with what the client says it has, if that is remembered."""
    contents = sub.kind.recall(version)
    if contents is None:
        sub.blind, sub.cursor = True, 0
        return
    sub.accepted = sub.kind.restrict(contents, sub.wants)
    versions = {name: entry.resource.version for name, entry in sub.accepted.entries.items()}
    sub.cursor = sub.kind.last
    for name in filter(sub.wants, sub.kind.live):
        _compare(sub, name, versions, {}, skip=False)
    sub.strangers = {name for name in versions if name not in sub.kind.live}
    sub.due.update(sub.strangers)


def delta_wish(sub: Subscription, request: DeltaRequest, *, first: bool) -> list[Event]:
    """Add and drop names; a wildcard stays until it is dropped by its own name."""
    added = dict.fromkeys(request.resource_names_subscribe)
    dropped = dict.fromkeys(request.resource_names_unsubscribe)
    if not (added or dropped or first):
        return []
    star = WILDCARD in added or (first and not added and not dropped and sub.type_url in LEGACY_WILDCARD)
    added.pop(WILDCARD, None)
    _drop(sub, dropped)
    had: dict[str, str] = {}
    if first:
        versions = dict(request.initial_resource_versions)
        sub.wildcard = star
        sub.resumed = bool(versions)
        had = _resume(sub, versions, added)
    else:
        if star:
            _want_new(sub, sub.live())
        _want_new(sub, added if sub.type_url != VIRTUAL_HOST else _hosts(sub, added))
        sub.wildcard = sub.wildcard or star
    sub.names.update(added)
    events: list[Event] = [Subscribed(sub.type_url, len(added), len(dropped), sub.wildcard)]
    if had:
        events.append(Accepted(sub.type_url, had))
    return events


def _drop(sub: Subscription, names: Mapping[str, None]) -> None:
    if WILDCARD in names:
        sub.wildcard = False
    dropped = [name for name in names if name in sub.names]
    sub.names.difference_update(dropped)
    if dropped or WILDCARD in names:
        sub.forget_unwanted()
    if sub.wildcard:
        # The client cannot tell whether the wildcard still covers the name, so it is answered: there, or removed.
        sub.due.update(dropped)


def _want_new(sub: Subscription, names: Iterable[str]) -> None:
    """Make names due; those that were not wanted before, the client does not have."""
    for name in names:
        if not sub.wants(name):
            sub.lagging[name] = 0
        sub.due.add(name)
        sub.parked.pop(name, None)


def _resume(sub: Subscription, versions: Mapping[str, str], added: Mapping[str, None]) -> dict[str, str]:
    """Begin where the client says it is; return what it already has.

    What is the same is skipped where the whole type is asked for. What is asked for by name is sent in any case:
    a cluster that was warming when the last stream broke waits for its endpoints, whatever version it reports.
    """
    had: dict[str, str] = {}
    live = sub.kind.live
    if not sub.wildcard:
        sub.cursor = sub.kind.last
    elif versions:
        sub.cursor = sub.kind.last
        if sub.wants_all and sub.permitted is None and not added and versions == sub.kind.versions():
            return dict(versions)  # as a rule: nothing has changed, and nothing is looked at one by one
        for name in filter(sub.wants, sub.live()):
            _compare(sub, name, versions, had, skip=name not in added)
        sub.strangers = {name for name in versions if not sub.exists(name)}
        sub.due.update(sub.strangers)
    else:
        sub.empty_due = True
    if sub.type_url == VIRTUAL_HOST:
        if sub.wildcard and sub.routes is not None:
            sub.due.update(f"{route}/*" for route in sub.routes.names if not sub.table.hosts(route))
        for name in _hosts(sub, added):
            _compare(sub, name, versions, had, skip=name not in added)
        gone = [name for name in versions if name not in live and route_configuration(name) in added]
        sub.due.update(gone)
        sub.lagging.update(dict.fromkeys((*sub.strangers, *gone), 0))  # in use, as of nobody knows when
        return had
    for name in added:
        _compare(sub, name, versions, had, skip=False)
    return had


def _compare(sub: Subscription, name: str, versions: Mapping[str, str], had: dict[str, str], *, skip: bool) -> None:
    entry = sub.kind.get(name) if sub.permits(name) else None
    version = versions.get(name)
    same = entry is not None and entry.resource.version == version
    if same and version is not None:
        had[name] = version
    if same and skip:
        return
    sub.due.add(name)
    if not same:
        sub.lagging[name] = _older(sub, entry) if version is not None else 0


def _older(sub: Subscription, entry: Entry | None) -> int:
    """Up to which revision a client is that has some version but the newest.

    Of what others wait for, any version will do. What refers to others may be older than all that is known of it.
    """
    return entry.created if entry is not None and sub.type_url in _WAITED_FOR else 0


def _hosts(sub: Subscription, names: Iterable[str]) -> list[str]:
    """Virtual hosts that are meant by names: of a route configuration all of them, else the one.

    A route configuration without any is told that it has no catch-all: it waits for an answer, and this is one.
    """
    routes = sub.table.type(ROUTE_CONFIGURATION).live
    found: list[str] = []
    for name in names:
        if name in sub.kind.live or (name not in routes and route_configuration(name) in routes):
            found.append(name)
        else:
            found.extend(sub.table.hosts(name) or [f"{name}/*"])
    return found
