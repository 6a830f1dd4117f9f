"""The resources of one type and the log of their changes.

A reader keeps one integer, the revision up to which it has read, so that its work is the number of changes.
A response is numbered and cached by its content: streams that need the same share its bytes, nonce included.
Must not know other types, nor who reads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from xds_server.model.resource import CLUSTER, Resource
from xds_server.xds import wire

LOG_SLACK: Final = 1024
"""A log is compacted when it has grown to twice its size, and by this many entries."""

_CACHED_RESPONSES: Final = 64

_REMEMBERED_CONTENTS: Final = 8


def history_limit(live: int) -> int:
    """So much of what is no more is remembered at most, for readers that are behind."""
    return 4 * (live + LOG_SLACK)


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
    _digest: int | None = field(default=None, repr=False)

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
        if self._digest is None:
            pair = f"{self.resource.name}\0{self.resource.version}".encode()
            self._digest = int.from_bytes(blake2b(pair, digest_size=8).digest())
        return self._digest


@dataclass(slots=True, eq=False)
class Contents:
    """All that a client of the state of the world has of one type."""

    serial: int
    entries: Mapping[str, Entry]
    _version: str = field(default="", repr=False)

    def version(self) -> str:
        if not self._version:
            self._version = version_of(self.entries.values())
        return self._version


def version_of(entries: Iterable[Entry]) -> str:
    """The hash of a set of (name, version) pairs: a sum, so that order does not matter; equal on every replica."""
    return _hex(sum(entry.digest() for entry in entries))


def _hex(digest: int) -> str:
    return f"{digest % 2**64:016x}"


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
        self._sent: dict[str, Contents] = {}
        self._sum = 0
        self._summed: dict[str, int] = {}
        self._unsummed: set[str] = set()
        self._versions: dict[str, str] = {}
        self._limit = LOG_SLACK

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

    def versions(self) -> Mapping[str, str]:
        """The version of each resource, by name."""
        if not self._versions and self.live:
            self._versions = {name: entry.resource.version for name, entry in self.live.items()}
        return self._versions

    def version(self) -> str:
        for name in self._unsummed:
            self._sum -= self._summed.pop(name, 0)
            if name in self.live:
                self._summed[name] = self._entry(name).digest()
                self._sum += self._summed[name]
        self._unsummed.clear()
        return _hex(self._sum)

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
        self.keep(contents)
        sent = _sent([self._entry(name) for name in names]) | dict.fromkeys(removed)
        return self._remember(key, self._sotw(form, contents.version(), contents.entries.values(), sent, contents))

    def keep(self, contents: Contents) -> None:
        """Remember for a while what was sent, for who comes back with its version; the last used stays the longest."""
        version = contents.version()
        self._sent.pop(version, None)
        self._sent[version] = contents
        if len(self._sent) > _REMEMBERED_CONTENTS:
            del self._sent[next(iter(self._sent))]

    def recall(self, version: str) -> Contents | None:
        """What a client has that has accepted a version, which tells the content, so that any replica knows it."""
        if version not in self._sent:
            if version == NOTHING.version():
                self.keep(Contents(next(self._numbers), {}))
            elif version == self.version():
                self.keep(Contents(next(self._numbers), dict(self.live)))
        return self._sent.get(version)

    def compact(self, floor: int) -> None:
        """Drop what no reader can still ask for: superseded entries, and removals that all have read."""
        self._removed = {name: revision for name, revision in self._removed.items() if revision > floor}
        kept = [(r, n) for r, n in zip(self._revisions, self._names, strict=True) if self.revision(n) == r]
        self._revisions = [revision for revision, _ in kept]
        self._names = [name for _, name in kept]
        self._limit = 2 * len(kept) + LOG_SLACK

    def excess(self) -> int:
        """Up to which revision to forget removals, 0 if there is room for all."""
        most = history_limit(len(self.live))
        return list(self._removed.values())[-most // 2] if len(self._removed) > most else 0

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
        """What is left of a client's contents when it drops names; who drops nothing goes on sharing."""
        if all(map(keep, base.entries)):
            return base
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
        if name in self.live or name in self._summed:
            self._unsummed.add(name)
        else:
            self._unsummed.discard(name)
        self._versions = {}
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


def _sent(entries: Iterable[Entry]) -> dict[str, str | None]:
    return {entry.resource.name: entry.resource.version for entry in entries}
