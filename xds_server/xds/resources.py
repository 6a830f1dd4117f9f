"""What is served: the current resources by type and name, and per type a log of what changed.

A reader keeps one integer, the revision up to which it has read a type, so that its work is the number of changes.
A response is numbered and cached by its content: streams that need the same share its bytes, nonce included.
Must not know who reads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import Final, NamedTuple

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    Resource,
    ResourceKey,
    resource,
)
from xds_server.xds import wire

# A reference is sent after what it names; removals wait until nothing names them.
PUSH_ORDER: Final = (CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION, VIRTUAL_HOST, SECRET)

# Route configurations with their virtual hosts inside, for clients of the state of the world, which have no VHDS.
WHOLE_ROUTE_CONFIGURATION: Final = "whole " + ROUTE_CONFIGURATION

_LOG_SLACK: Final = 1024
_CACHED_RESPONSES: Final = 64


@dataclass(slots=True, eq=False)
class Entry:
    """One version of one resource; it has existed without a break since revision `created`."""

    resource: Resource = field(repr=False)  # a body may be a key
    created: int
    changed: int
    _delta: bytes | None = field(default=None, repr=False)
    _sotw: bytes | None = field(default=None, repr=False)
    _embedded: bytes | None = field(default=None, repr=False)
    _clusters: frozenset[str] | None = field(default=None, repr=False)

    @property
    def clusters(self) -> frozenset[str]:
        """Names of the clusters it refers to."""
        if self._clusters is None:
            self._clusters = frozenset(ref.name for ref in self.resource.references if ref.type_url == CLUSTER)
        return self._clusters

    def delta(self) -> bytes:
        if self._delta is None:
            res = self.resource
            self._delta = wire.delta_element(res.type_url, res.name, res.version, res.body)
        return self._delta

    def sotw(self) -> bytes:
        if self._sotw is None:
            self._sotw = wire.sotw_element(self.resource.type_url, self.resource.body)
        return self._sotw

    def embedded(self) -> bytes:
        """A virtual host as an element of its route configuration."""
        if self._embedded is None:
            self._embedded = wire.field(wire.VIRTUAL_HOSTS, self.resource.body)
        return self._embedded

    def digest(self) -> int:
        pair = f"{self.resource.name}\0{self.resource.version}".encode()
        return int.from_bytes(blake2b(pair, digest_size=8).digest())


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """All that a client of the state of the world has of one type."""

    serial: int
    entries: Mapping[str, Entry]

    def version(self) -> str:
        return version_of(self.entries.values())


def version_of(entries: Iterable[Entry]) -> str:
    """The hash of a set of (name, version) pairs: a sum, so that order does not matter; equal on every replica."""
    return f"{sum(entry.digest() for entry in entries) % 2**64:016x}"


NOTHING: Final = Contents(0, {})


class Changes(NamedTuple):
    """What changed since a revision: names that exist, and names that no longer do."""

    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A numbered message; `sent` has the version of each resource in it, None where it removes one."""

    number: int
    payload: bytes = field(repr=False)
    sent: Mapping[str, str | None]
    contents: Contents | None = None

    @property
    def nonce(self) -> str:
        return f"{self.number:x}"


class Form(NamedTuple):
    """How a response is phrased for a client: in which variant, and whether it understands a time to live."""

    delta: bool
    ttl: bool = False
    heartbeat: bool = False


class ResourceType:
    """The resources of one type and the log of their changes."""

    def __init__(self, type_url: str, numbers: Iterator[int], ttl_s: int = 0) -> None:
        self.type_url = type_url
        self.ttl_s = ttl_s
        self.live: dict[str, Entry] = {}
        self.last = 0
        self._removed: dict[str, int] = {}
        self._revisions: list[int] = []
        self._names: list[str] = []
        self._numbers = numbers
        self._changes: dict[int, Changes] = {}
        self._responses: dict[tuple[object, ...], Response] = {}
        self._derived: dict[tuple[object, ...], Contents] = {}
        self._version = ""
        self._limit = _LOG_SLACK

    def __len__(self) -> int:
        return len(self.live)

    def put(self, new: Resource, revision: int) -> Entry:
        old = self.live.get(new.name)
        entry = Entry(new, old.created if old else revision, revision)
        self.live[new.name] = entry
        self._removed.pop(new.name, None)
        self._log(new.name, revision)
        return entry

    def remove(self, name: str, revision: int) -> None:
        del self.live[name]
        self._removed[name] = revision
        self._log(name, revision)

    def get(self, name: str) -> Entry | None:
        return self.live.get(name)

    def version(self) -> str:
        if not self._version:
            self._version = version_of(map(self._entry, self.live))
        return self._version

    def changes(self, since: int) -> Changes:
        """Each name that changed after a revision, once; all that exists, for who has read nothing yet."""
        if since >= self.last:
            return Changes()
        if since not in self._changes:
            self._changes[since] = Changes(tuple(self.live)) if since == 0 else self._changes_after(since)
        return self._changes[since]

    def delta_response(
        self,
        form: Form,
        names: tuple[str, ...],
        removed: tuple[str, ...],
        after: int,
        unresolved: tuple[str, ...] = (),
    ) -> Response:
        """Say what is and what is no more; numbered higher than `after`, which the stream has used."""
        key = (form, names, removed, unresolved)
        cached = self._responses.get(key)
        if cached is not None and cached.number > after:
            return cached
        number = next(self._numbers)
        entries = [self._entry(name) for name in names]
        elements = [self._delta_element(form, entry) for entry in entries]
        elements.extend(wire.delta_unresolved(name) for name in unresolved)
        sent = _sent(entries) | dict.fromkeys((*removed, *unresolved))
        payload = wire.delta_response(self.type_url, f"{number:x}", elements, removed)
        return self._remember(key, Response(number, payload, sent))

    def sotw_response(self, form: Form, names: tuple[str, ...], after: int) -> Response:
        """A part of the type, which for types that are subscribed by name leaves the rest as it is."""
        key = (form, names)
        cached = self._responses.get(key)
        if cached is not None and cached.number > after:
            return cached
        entries = [self._entry(name) for name in names]
        return self._remember(key, self._sotw(form, self.version(), entries, _sent(entries)))

    def sotw_full_response(
        self, form: Form, base: Contents, names: tuple[str, ...], removed: tuple[str, ...], after: int
    ) -> Response:
        """The whole of the type: what the client has, with these names brought up to date."""
        key = (form, base.serial, names, removed)
        cached = self._responses.get(key)
        if cached is not None and cached.number > after:
            return cached
        contents = self._derive(base, names, removed)
        sent = _sent([self._entry(name) for name in names]) | dict.fromkeys(removed)
        return self._remember(key, self._sotw(form, contents.version(), contents.entries.values(), sent, contents))

    def compact(self, floor: int) -> None:
        """Drop what no reader can still ask for: superseded entries, and removals that all have read."""
        self._removed = {name: revision for name, revision in self._removed.items() if revision > floor}
        kept = [(r, n) for r, n in zip(self._revisions, self._names, strict=True) if self.revision(n) == r]
        self._revisions = [revision for revision, _ in kept]
        self._names = [name for _, name in kept]
        self._limit = 2 * len(kept) + _LOG_SLACK

    @property
    def overgrown(self) -> bool:
        return len(self._names) > self._limit

    def _entry(self, name: str) -> Entry:
        return self.live[name]

    def _delta_element(self, form: Form, entry: Entry) -> bytes:
        if not form.heartbeat and not (form.ttl and self.ttl_s):
            return entry.delta()
        res = entry.resource
        return wire.delta_element(res.type_url, res.name, res.version, None if form.heartbeat else res.body, self.ttl_s)

    def _sotw(
        self,
        form: Form,
        version: str,
        entries: Iterable[Entry],
        sent: Mapping[str, str | None],
        contents: Contents | None = None,
    ) -> Response:
        number = next(self._numbers)
        elements = [self._sotw_element(form, entry) for entry in entries]
        payload = wire.sotw_response(self.type_url, f"{number:x}", version, elements)
        return Response(number, payload, sent, contents)

    def _sotw_element(self, form: Form, entry: Entry) -> bytes:
        if not form.heartbeat and not (form.ttl and self.ttl_s):
            return entry.sotw()
        res = entry.resource
        body = None if form.heartbeat else res.body
        return wire.sotw_element_with_ttl(res.type_url, res.name, res.version, body, self.ttl_s)

    def _derive(self, base: Contents, names: Sequence[str], removed: Sequence[str]) -> Contents:
        key = (base.serial, names, removed)
        if key not in self._derived:
            entries = dict(base.entries)
            for name in removed:
                entries.pop(name, None)
            entries.update((name, self._entry(name)) for name in names)
            self._derived[key] = Contents(next(self._numbers), entries)
        return self._derived[key]

    def restrict(self, base: Contents, keep: Callable[[str], bool]) -> Contents:
        """What is left of a client's contents when it drops names."""
        return Contents(next(self._numbers), {name: entry for name, entry in base.entries.items() if keep(name)})

    def _remember(self, key: tuple[object, ...], response: Response) -> Response:
        if len(self._responses) >= _CACHED_RESPONSES:
            self._responses.clear()
        self._responses[key] = response
        return response

    def _log(self, name: str, revision: int) -> None:
        self._revisions.append(revision)
        self._names.append(name)
        self.last = revision
        self._version = ""
        self._changes.clear()
        self._responses.clear()
        self._derived.clear()

    def revision(self, name: str) -> int:
        """When a name last changed or was removed."""
        entry = self.live.get(name)
        return entry.changed if entry else self._removed.get(name, 0)

    def _changes_after(self, since: int) -> Changes:
        # A name may be logged twice in one revision (with its virtual hosts), so a dict keeps it once.
        start = bisect_right(self._revisions, since)
        names = dict.fromkeys(
            name
            for revision, name in zip(self._revisions[start:], self._names[start:], strict=True)
            if self.revision(name) == revision
        )
        return Changes(tuple(n for n in names if n in self.live), tuple(n for n in names if n not in self.live))


class WholeRouteConfigurations(ResourceType):
    """Route configurations with their virtual hosts appended, joined when somebody reads them."""

    def __init__(self, numbers: Iterator[int], table: ResourceTable, ttl_s: int = 0) -> None:
        super().__init__(ROUTE_CONFIGURATION, numbers, ttl_s)
        self._table = table
        self._stale: set[str] = set()

    def touch(self, name: str, revision: int) -> None:
        """A route configuration or one of its virtual hosts has changed."""
        entry = self._table.type(ROUTE_CONFIGURATION).get(name)
        if entry is not None:
            self.put(entry.resource, revision)
            self._stale.add(name)
        elif name in self.live:
            self.remove(name, revision)
            self._stale.discard(name)

    def get(self, name: str) -> Entry | None:
        if name in self._stale:
            self._join(name)
        return self.live.get(name)

    def _entry(self, name: str) -> Entry:
        if name in self._stale:
            self._join(name)
        return self.live[name]

    def _join(self, name: str) -> None:
        self._stale.discard(name)
        entry = self.live[name]
        stem = entry.resource.stem
        if stem is None:
            return
        hosts_type = self._table.type(VIRTUAL_HOST)
        hosts = [hosts_type.live[host] for host in self._table.hosts(name)]
        references = dict.fromkeys(entry.resource.references)
        for host in hosts:
            references.update(dict.fromkeys(host.resource.references))
        body = b"".join((stem, *(host.embedded() for host in hosts)))
        whole = resource(ROUTE_CONFIGURATION, name, body, tuple(references))
        self.live[name] = Entry(whole, entry.created, entry.changed)


@dataclass(slots=True)
class ResourceTable:
    """All types. `ttl_s` gives types a time to live, for clients that understand it."""

    ttl_s: Mapping[str, int] = field(default_factory=dict)
    revision: int = 0
    types: dict[str, ResourceType] = field(init=False, default_factory=dict)
    _numbers: Iterator[int] = field(init=False, repr=False, default_factory=lambda: count(1))
    _hosts: dict[str, set[str]] = field(init=False, repr=False, default_factory=dict)
    _dropped: dict[ResourceKey, dict[ResourceKey, int]] = field(init=False, repr=False, default_factory=dict)
    _clusters_by_endpoints: dict[str, set[str]] = field(init=False, repr=False, default_factory=dict)
    _floors: dict[int, Callable[[], int]] = field(init=False, repr=False, default_factory=dict)
    _drops: int = field(init=False, repr=False, default=0)
    _drops_limit: int = field(init=False, repr=False, default=_LOG_SLACK)
    _whole: WholeRouteConfigurations = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._whole = WholeRouteConfigurations(self._numbers, self, self.ttl_s.get(ROUTE_CONFIGURATION, 0))
        for type_url in PUSH_ORDER:
            self.types[type_url] = ResourceType(type_url, self._numbers, self.ttl_s.get(type_url, 0))

    def apply(self, changes: Mapping[ResourceKey, Resource | None]) -> int:
        """Make the changes one revision; what is equal to what is there is no change."""
        revision = self.revision + 1
        routes: dict[str, None] = {}
        changed = False
        for key, new in changes.items():
            if self._put(key, new, revision):
                changed = True
                if key.type_url == ROUTE_CONFIGURATION:
                    routes[key.name] = None
                elif key.type_url == VIRTUAL_HOST:
                    routes[route_configuration(key.name)] = None
        for name in routes:
            self._whole.touch(name, revision)
        if changed:
            self.revision = revision
            self._compact()
        return self.revision

    def known(self, type_url: str) -> bool:
        return type_url in self.types

    def type(self, type_url: str) -> ResourceType:
        return self.types[type_url]

    def read(self, type_url: str, *, delta: bool) -> ResourceType:
        """The type as a variant sees it."""
        if type_url == ROUTE_CONFIGURATION and not delta:
            return self._whole
        return self.types[type_url]

    def hosts(self, route: str) -> list[str]:
        """Names of the virtual hosts of a route configuration; sorted, because their order is visible in bytes."""
        return sorted(self._hosts.get(route, ()))

    def dropped(self, key: ResourceKey) -> Mapping[ResourceKey, int]:
        """Who once referred to a resource, and at which revision each ceased to."""
        return self._dropped.get(key, {})

    def clusters_of(self, endpoints: str) -> Iterable[str]:
        """Clusters that take their endpoints from a name, which is usually their own."""
        return self._clusters_by_endpoints.get(endpoints, (endpoints,))

    def attach(self, reader: object, floor: Callable[[], int]) -> None:
        """Keep the history that a reader may still ask for, after the revision that `floor` tells."""
        self._floors[id(reader)] = floor

    def detach(self, reader: object) -> None:
        self._floors.pop(id(reader), None)

    def _put(self, key: ResourceKey, new: Resource | None, revision: int) -> bool:
        kind = self.types.get(key.type_url)
        if kind is None:
            kind = self.types[key.type_url] = ResourceType(key.type_url, self._numbers, self.ttl_s.get(key.type_url, 0))
        entry = kind.live.get(key.name)
        old = entry.resource if entry else None
        if (old is None and new is None) or (old is not None and new is not None and _same(old, new)):
            return False
        if new is not None:
            kind.put(new, revision)
        else:
            kind.remove(key.name, revision)
        self._index(key, old, new, revision)
        return True

    def _index(self, key: ResourceKey, old: Resource | None, new: Resource | None, revision: int) -> None:
        if key.type_url == VIRTUAL_HOST:
            self._index_host(key.name, present=new is not None)
        before = old.references if old else ()
        after = new.references if new else ()
        if before == after:
            return
        for ref in set(before).difference(after):
            self._dropped.setdefault(ref, {})[key] = revision
            self._drops += 1
            if key.type_url == CLUSTER and ref.type_url == CLUSTER_LOAD_ASSIGNMENT and ref.name != key.name:
                _discard(self._clusters_by_endpoints, ref.name, key.name)
        for ref in set(after).difference(before):
            droppers = self._dropped.get(ref)
            if droppers is not None:
                droppers.pop(key, None)
            if key.type_url == CLUSTER and ref.type_url == CLUSTER_LOAD_ASSIGNMENT and ref.name != key.name:
                self._clusters_by_endpoints.setdefault(ref.name, set()).add(key.name)

    def _index_host(self, name: str, *, present: bool) -> None:
        route = route_configuration(name)
        if present:
            self._hosts.setdefault(route, set()).add(name)
        else:
            _discard(self._hosts, route, name)

    def _compact(self) -> None:
        overgrown = [kind for kind in (*self.types.values(), self._whole) if kind.overgrown]
        dropped = self._drops > self._drops_limit
        if not overgrown and not dropped:
            return
        floor = min((tell() for tell in self._floors.values()), default=self.revision)
        for kind in overgrown:
            kind.compact(floor)
        if dropped:
            kept = {
                ref: {key: revision for key, revision in droppers.items() if revision > floor}
                for ref, droppers in self._dropped.items()
            }
            self._dropped = {ref: droppers for ref, droppers in kept.items() if droppers}
            self._drops = sum(map(len, self._dropped.values()))
            self._drops_limit = 2 * self._drops + _LOG_SLACK


def route_configuration(host: str) -> str:
    """Of `<route configuration>/<domain>`; a domain has no slash, a route configuration may have several."""
    return host.rpartition("/")[0]


def _same(old: Resource, new: Resource) -> bool:
    return old.version == new.version and old.references == new.references and old.stem == new.stem


def _sent(entries: Iterable[Entry]) -> dict[str, str | None]:
    return {entry.resource.name: entry.resource.version for entry in entries}


def _discard(index: dict[str, set[str]], group: str, member: str) -> None:
    members = index.get(group)
    if members is None:
        return
    members.discard(member)
    if not members:
        del index[group]
