"""What one client wants of one type, and what it has.

What the client has is an integer, the revision that it is up to date with, and the exceptions from it: resources that
are due, held back, refused or on their way. So a wildcard costs the same whatever its size.
State of the world and delta differ in how a request changes the wish (`wishes`), and in little else.
Must not know other types, nor how a response is phrased.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xds_server.model.resource import (
    CLUSTER,
    LISTENER,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.xds.events import Accepted, Divided, Rejected, Withheld
from xds_server.xds.names import Names
from xds_server.xds.resource_type import NOTHING, Contents, ResourceType, Response
from xds_server.xds.resources import ResourceTable, route_configuration

WILDCARD: Final = "*"

# Types whose response in the state of the world is all there is.
WHOLE_TYPES: Final = frozenset({LISTENER, CLUSTER})

# Types whose empty first wish means everything. Envoy asks so for virtual hosts.
LEGACY_WILDCARD: Final = WHOLE_TYPES | {VIRTUAL_HOST}


class Parked(NamedTuple):
    """A version that the client refused."""

    version: str
    detail: str


class Refused(NamedTuple):
    """Everything of a type, which the client refused as of a revision."""

    revision: int
    names: int
    detail: str


class Group(NamedTuple):
    """Resources that go out in one response, those that are and those that are no more; `since` when they changed."""

    names: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    since: int = 0


class InFlight(NamedTuple):
    """A response that is not answered yet, and the revision that the client had before it."""

    response: Response
    since: int
    heartbeat: bool


@dataclass(slots=True, eq=False)
class Subscription:
    type_url: str
    kind: ResourceType
    table: ResourceTable
    delta: bool
    routes: Subscription | None = None
    """Of virtual hosts: the client's route configurations."""
    permitted: frozenset[str] | None = None
    """Of secrets: those that there are for the client; the others do not exist for it. None is no such rule."""
    wildcard: bool = False
    named: bool = False
    """A name was given on this stream: from then on, no names are no wish."""
    names: Names = field(default_factory=Names)
    cursor: int = 0
    """The revision up to which changes are sent, or noted below."""
    due: set[str] = field(default_factory=set)
    """To be sent even if unchanged."""
    lagging: dict[str, int] = field(default_factory=dict)
    """Where the client is behind the cursor: up to which revision it has a name, 0 if it never had it."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Held back by a closed gate, and how often that was found to last."""
    opened: dict[str, int] = field(default_factory=dict)
    """Let through a gate that stayed closed for too long, and as of which revision: what comes later waits anew."""
    resumed: bool = False
    """The client brought resources along."""
    strangers: set[str] = field(default_factory=set)
    """Names that the client brought along and that do not exist; who refers to them is not known."""
    parked: dict[str, Parked] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    in_flight: InFlight | None = None
    number: int = 0
    """Of the last response."""
    accepted: Contents = NOTHING
    accepted_version: str = ""
    blind: bool = False
    """The client has come back with contents that nobody remembers: to leave anything out would remove it."""
    refused: Refused | None = None
    """What a blind client was sent last."""
    heartbeat: bool = False
    empty_due: bool = False
    """The client waits for a first answer, even one that says that there is nothing."""

    @property
    def whole(self) -> bool:
        """A response says all there is, and absence from it is removal."""
        return not self.delta and self.type_url in WHOLE_TYPES

    def wants(self, name: str) -> bool:
        if self.type_url == VIRTUAL_HOST:
            return self._wants_host(name)
        return self.wildcard or name in self.names

    @property
    def wants_all(self) -> bool:
        return self.wildcard and (self.type_url != VIRTUAL_HOST or self.routes is None)

    def _wants_host(self, name: str) -> bool:
        """A wildcard means the virtual hosts of those route configurations that the client asks for."""
        route = route_configuration(name)
        if self.wildcard and (self.routes is None or self.routes.wants(route)):
            return True
        return name in self.names or route in self.names

    def permits(self, name: str) -> bool:
        return self.permitted is None or name in self.permitted

    def exists(self, name: str) -> bool:
        """For this client."""
        return name in self.kind.live and (self.permitted is None or name in self.permitted)

    def live(self) -> Iterable[str]:
        """All that exists for this client."""
        return self.kind.live if self.permitted is None else filter(self.permitted.__contains__, self.kind.live)

    def count(self) -> int:
        """How many resources the client wants of those that exist, or asks for by name: a number without a walk."""
        if not self.wildcard:
            return len(self.names)
        return len(self.kind.live) if self.permitted is None else sum(map(self.kind.live.__contains__, self.permitted))

    def known(self, name: str) -> int:
        """The revision up to which the client is known to use what the table has, or had, under a name."""
        if name in self.lagging:
            return self.lagging[name]
        if self.in_flight and name in self.in_flight.response.sent:
            return self.in_flight.since
        return self.cursor

    def holds(self, name: str) -> bool:
        """The client has accepted some version of a resource that exists."""
        entry = self.kind.live.get(name)
        return entry is not None and self.permits(name) and self.wants(name) and entry.created <= self.known(name)

    def uses(self, name: str) -> bool:
        """The client has accepted the newest version of a resource that exists."""
        return self.holds(name) and self.known(name) >= self.kind.live[name].changed

    def is_open(self, name: str) -> bool:
        return name in self.opened and self.opened[name] == self.kind.revision(name)

    def refuses(self, name: str) -> bool:
        parked = self.parked.get(name)
        entry = self.kind.get(name) if parked else None
        return parked is not None and entry is not None and entry.resource.version == parked.version

    @property
    def withheld(self) -> bool:
        """The client refused everything, and nothing has changed since."""
        return self.refused is not None and self.kind.last <= self.refused.revision

    def quiet(self) -> bool:
        """The client has all that it is to have."""
        return not (self.in_flight or self.groups or self.due or self.lagging) and self.cursor >= self.kind.last

    def idle(self) -> bool:
        """There is nothing to look at until the table, the wish or a gate changes."""
        if self.withheld:
            return True
        return self.cursor >= self.kind.last and not (
            self.due or self.waiting or self.groups or self.empty_due or self.heartbeat
        )

    def floor(self) -> int:
        """History after this revision may still be asked for; `pinned` names keep what concerns them themselves."""
        lagging = self.lagging
        if self.parked or self.waiting:
            lagging = {n: r for n, r in lagging.items() if n not in self.parked and n not in self.waiting}
        return self._oldest(lagging)

    def oldest(self) -> int:
        """As `floor`, for all names."""
        return self._oldest(self.lagging)

    def _oldest(self, lagging: Mapping[str, int]) -> int:
        # Who has nothing yet is told what there is, not what has changed.
        behind = [revision for revision in lagging.values() if revision]
        if self.in_flight and self.in_flight.since:
            behind.append(self.in_flight.since)
        if 0 < self.cursor < self.kind.last:
            behind.append(self.cursor)
        return min(behind, default=self.table.revision)

    def pinned(self) -> Iterable[ResourceKey]:
        """What may stay behind for as long as it likes."""
        return [ResourceKey(self.type_url, name) for name in (*self.parked, *self.waiting)]

    def outstanding(self) -> set[str]:
        """Resources that exist and are wanted, and that the client has never accepted, nor refused."""
        if self.withheld:
            return set()
        found = {name for name in self.kind.changes(self.cursor).present if self.wants(name)}
        found.update(self.lagging)
        if self.in_flight:
            found.update(self.in_flight.response.sent)
        return {name for name in found if name in self.kind.live and not self.holds(name) and not self.refuses(name)}

    def send(self, response: Response, *, heartbeat: bool = False, since: int) -> None:
        self.in_flight = InFlight(response, since, heartbeat)
        self.number = response.number
        self.empty_due = False

    def acknowledge(self) -> Accepted | None:
        """The client uses all of the response in flight."""
        if self.in_flight is None:
            return None
        response = self.in_flight.response
        heartbeat = self.in_flight.heartbeat
        self.in_flight = None
        if heartbeat:
            return None
        for name, version in response.sent.items():
            self.lagging.pop(name, None)
            self.opened.pop(name, None)
            if name in self.parked:
                del self.parked[name]
            if version is None:
                self.strangers.discard(name)
        if not self.lagging:
            self.lagging = {}  # a dictionary keeps the room that it once needed
        if response.contents is not None:
            self.blind, self.refused = False, None
            self.kind.keep(response.contents)
            self.accepted = self.kind.restrict(response.contents, self.wants)
        return Accepted(self.type_url, _versions(response.sent))

    def refuse(self, detail: str) -> Divided | Rejected | None:
        """The client uses nothing new of the response in flight: find what is wrong with it, and park that."""
        if self.in_flight is None:
            return None
        response, since, heartbeat = self.in_flight
        self.in_flight = None
        if heartbeat:
            return None
        names = [name for name, version in response.sent.items() if version is not None and self.wants(name)]
        if self.blind:
            return self._withhold(response, names, detail)
        removed = tuple(name for name, version in response.sent.items() if version is None)
        for name in (*names, *removed):
            self.lagging.setdefault(name, since)
        if len(names) > 1:
            self.groups[:0] = [*(Group(part) for part in _halves(names, detail)), *_group((), removed)]
            return Divided(self.type_url, len(names), detail)
        if not names:
            # Nothing but removals: to insist on them would not end.
            self.forget([name for name in removed if not self.exists(name)])
            return Divided(self.type_url, 0, detail)
        self.groups[:0] = _group((), removed)
        version = response.sent[names[0]] or ""
        self.parked[names[0]] = Parked(version, detail)
        self.opened.pop(names[0], None)
        return Rejected(self.type_url, names[0], version, detail)

    def _withhold(self, response: Response, names: list[str], detail: str) -> Divided | Rejected:
        """A part would remove the rest, which the client may have in use: everything is sent again once it changes."""
        self.cursor, self.empty_due = 0, True
        self.refused = Refused(self.kind.last, len(names), detail)
        if len(names) == 1:
            return Rejected(self.type_url, names[0], response.sent[names[0]] or "", detail)
        return Withheld(self.type_url, len(names), detail)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self.due.discard(name)
            self.opened.pop(name, None)
            self.strangers.discard(name)
            self.lagging.pop(name, None)
            self.waiting.pop(name, None)
            self.parked.pop(name, None)

    def forget_unwanted(self) -> None:
        noted = {*self.due, *self.lagging, *self.waiting, *self.parked, *self.opened}
        self.forget([name for name in noted if not self.wants(name)])


def _halves(names: list[str], detail: str) -> list[tuple[str, ...]]:
    """Two parts to try again. The refusal often names its cause: a hint, which decides on the cut and nothing else."""
    suspects = [name for name in names if name in detail]
    if 0 < len(suspects) < len(names):
        accused = set(suspects)
        return [tuple(name for name in names if name not in accused), tuple(suspects)]
    middle = len(names) // 2
    return [tuple(names[:middle]), tuple(names[middle:])]


def _group(names: tuple[str, ...], removed: tuple[str, ...]) -> list[Group]:
    return [Group(names, removed)] if names or removed else []


def _versions(sent: Mapping[str, str | None]) -> Mapping[str, str]:
    if None not in sent.values():
        return sent  # type: ignore[return-value]
    return {name: version for name, version in sent.items() if version is not None}
