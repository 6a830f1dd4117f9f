"""What is served: the table of all types, and what connects them.

It knows which virtual hosts belong to a route configuration, who once referred to what, and which readers still need
history. Must not know what readers want.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from xds_server.model.resource import (
    ANNOUNCEMENTS,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    INTERCEPTED,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    WORKLOADS,
    Resource,
    ResourceKey,
    resource,
)
from xds_server.xds.resource_type import LOG_SLACK, Entry, ResourceType, history_limit

if TYPE_CHECKING:
    from xds_server.xds.subscription import Subscription

# A reference is sent after what it names; removals wait until nothing names them.
PUSH_ORDER: Final = (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    VIRTUAL_HOST,
    SECRET,
    WORKLOADS,
    INTERCEPTED,
    ANNOUNCEMENTS,
)


T = TypeVar("T", str, ResourceKey)


# What makes Envoy ask for secrets.
USES_SECRETS: Final = frozenset({LISTENER, CLUSTER})


class Reader(Protocol):
    """Who needs history: all after `floor`, and of `pinned` keys all after `oldest`, unless it is overtaken."""

    def floor(self) -> int: ...
    def oldest(self) -> int: ...
    def pinned(self) -> Iterable[ResourceKey]: ...
    def overtake(self) -> None: ...


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
    withheld: set[str] = field(init=False, repr=False, default_factory=set)
    """Types about which nobody is told anything for now: neither what there is, nor that there is nothing."""
    only: frozenset[str] | None = None
    """Of all types, those that are told of while the first objects are being translated, to who has nothing yet."""
    leading: dict[str, Subscription] = field(init=False, repr=False, default_factory=dict)
    """By node, what its daemon has of what leads to listeners."""
    secret_users: dict[str, set[ResourceKey]] = field(init=False, repr=False, default_factory=dict)
    """What refers to a secret now, by the secret's name."""
    secret_users_changed: int = field(init=False, default=0)
    """At which revision that last changed."""
    _in_use: frozenset[str] | None = field(init=False, repr=False, default=None)
    _readers: dict[int, Reader] = field(init=False, repr=False, default_factory=dict)
    _drops: int = field(init=False, repr=False, default=0)
    _drops_limit: int = field(init=False, repr=False, default=LOG_SLACK)
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

    def tells(self, type_url: str) -> bool:
        """Whether anything is said about a type now."""
        return type_url not in self.withheld and (self.only is None or type_url in self.only)

    def known(self, type_url: str) -> bool:
        return type_url in self.types

    def type(self, type_url: str) -> ResourceType:
        return self.types[type_url]

    def read(self, type_url: str, *, delta: bool) -> ResourceType:
        """The type as a variant sees it."""
        if type_url == ROUTE_CONFIGURATION and not delta:
            return self._whole
        return self.types[type_url]

    def secrets_in_use(self) -> frozenset[str]:
        """Names of secrets that something refers to; one object for all who read it."""
        if self._in_use is None:
            self._in_use = frozenset(self.secret_users)
        return self._in_use

    def hosts(self, route: str) -> list[str]:
        """Names of the virtual hosts of a route configuration; sorted, because their order is visible in bytes."""
        return sorted(self._hosts.get(route, ()))

    def dropped(self, key: ResourceKey) -> Mapping[ResourceKey, int]:
        """Who once referred to a resource, and at which revision each ceased to."""
        return self._dropped.get(key, {})

    def clusters_of(self, endpoints: str) -> Iterable[str]:
        """Clusters that take their endpoints from a name, which is usually their own."""
        return self._clusters_by_endpoints.get(endpoints, (endpoints,))

    def attach(self, reader: Reader) -> None:
        """Keep the history that a reader may still ask for, within bounds."""
        self._readers[id(reader)] = reader

    def detach(self, reader: Reader) -> None:
        self._readers.pop(id(reader), None)

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
            if ref.type_url == SECRET and key.type_url in USES_SECRETS:
                _discard(self.secret_users, ref.name, key)
                self.secret_users_changed, self._in_use = revision, None
        for ref in set(after).difference(before):
            droppers = self._dropped.get(ref)
            if droppers is not None:
                droppers.pop(key, None)
            if key.type_url == CLUSTER and ref.type_url == CLUSTER_LOAD_ASSIGNMENT and ref.name != key.name:
                self._clusters_by_endpoints.setdefault(ref.name, set()).add(key.name)
            if ref.type_url == SECRET and key.type_url in USES_SECRETS:
                self.secret_users.setdefault(ref.name, set()).add(key)
                self.secret_users_changed, self._in_use = revision, None

    def _index_host(self, name: str, *, present: bool) -> None:
        route = route_configuration(name)
        if present:
            self._hosts.setdefault(route, set()).add(name)
        else:
            _discard(self._hosts, route, name)

    def _compact(self) -> None:
        overgrown = [kind for kind in (*self.types.values(), self._whole) if kind.overgrown]
        if not overgrown and self._drops <= self._drops_limit:
            return
        readers = list(self._readers.values())
        pinned = {key for reader in readers for key in reader.pinned()}
        self._forget(overgrown, min((reader.floor() for reader in readers), default=self.revision), pinned)
        excess = max((self._excess_drops(), *(kind.excess() for kind in overgrown)))
        if excess:
            # Somebody is far behind, and the others do not pay for it.
            behind = [reader for reader in readers if reader.floor() < excess]
            self._forget(overgrown, excess, pinned)
            if excess := self._excess_drops():
                behind += [reader for reader in readers if reader.oldest() < excess]
                self._forget((), excess, set())
            for reader in behind:
                reader.overtake()
        self._drops_limit = 2 * self._drops + LOG_SLACK

    def _forget(self, kinds: Iterable[ResourceType], floor: int, pinned: set[ResourceKey]) -> None:
        """Drop history up to a revision, but for what those that are pinned once referred to."""
        for kind in kinds:
            kind.compact(floor)
        kept = {
            ref: {key: revision for key, revision in droppers.items() if revision > floor or _is_pinned(key, pinned)}
            for ref, droppers in self._dropped.items()
        }
        self._dropped = {ref: droppers for ref, droppers in kept.items() if droppers}
        self._drops = sum(map(len, self._dropped.values()))

    def _excess_drops(self) -> int:
        """Up to which revision to forget who referred to what, 0 if there is room for all."""
        most = history_limit(sum(map(len, self.types.values())))
        if self._drops <= most:
            return 0
        return sorted(r for droppers in self._dropped.values() for r in droppers.values())[-most // 2]


def _is_pinned(key: ResourceKey, pinned: set[ResourceKey]) -> bool:
    if key in pinned:
        return True
    return key.type_url == VIRTUAL_HOST and ResourceKey(ROUTE_CONFIGURATION, route_configuration(key.name)) in pinned


def route_configuration(host: str) -> str:
    """Of `<route configuration>/<domain>`; a domain has no slash, a route configuration may have several."""
    return host.rpartition("/")[0]


def _same(old: Resource, new: Resource) -> bool:
    return old.version == new.version and old.references == new.references and old.stem == new.stem


def _discard(index: dict[str, set[T]], group: str, member: T) -> None:
    members = index.get(group)
    if members is None:
        return
    members.discard(member)
    if not members:
        del index[group]
