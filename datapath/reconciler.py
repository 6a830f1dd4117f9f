"""Makes the maps say what is desired, without a moment in which a service that stays is less than whole.

Backends of the next generation are written whole, then the service is switched to them, then the old ones go.
Where Envoy has served, that is remembered for as long as it may have connections: they are its, until it ends them.
A service that does not fit stays as it was, or out; it is told, and tried again.
Must not know how maps are read and written, nor who desires.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from datapath.intercept import Group
from datapath.kernel.layout import Backend, BackendKey, Service, ServiceFlag, ServiceKey

K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V", bound=tuple[Any, ...])

_NUMBERS: Final = 1 << 32
_KNOWN_TO_PROXY: Final = ServiceFlag.PROXY | ServiceFlag.LEAVING
_FULL: Final = frozenset({errno.E2BIG, errno.ENOSPC})


class Table(Protocol[K, V]):
    """A map, of which we are the only writer."""

    @property
    def name(self) -> str: ...

    @property
    def capacity(self) -> int:
        """How many entries it has room for."""

    def items(self) -> Iterable[tuple[K, V]]: ...

    def put_all(self, entries: Iterable[tuple[K, V]]) -> None:
        """:raises OSError: not all could be written; some may have been."""

    def delete_all(self, keys: Iterable[K]) -> None:
        """Those that are not there are no fault."""


class Size(NamedTuple):
    """Of one map: how many entries are desired, and how many there are."""

    desired: int
    actual: int


Generation = tuple[int, int]
"""Of the backends of a service: its id, and the number."""


class ServiceMaps:
    """The maps of services and of their backends.

    `failed` has what could not be done, by the name of the group.
    """

    def __init__(
        self,
        services: Table[ServiceKey, Service],
        backends: Table[BackendKey, Backend],
        clock: Callable[[], float],
        leaving_s: float,
    ) -> None:
        """`leaving_s` is how long Envoy may have connections to what it does not serve any more."""
        self._services, self._backends, self._clock, self._leaving_s = services, backends, clock, leaving_s
        self._desired = Size(0, 0), Size(0, 0)
        self.read()

    def read(self) -> None:
        """Take what the maps have for what is there, and nothing for done."""
        self.entries: dict[ServiceKey, Service] = dict(self._services.items())
        until = self._clock() + self._leaving_s
        self._leaving = {key: until for key, entry in self.entries.items() if entry.flags & ServiceFlag.LEAVING}
        self._gone = dict.fromkeys(key for key in self._leaving if not self._is_there(key))
        """In the order in which they went."""
        self._slots = self._read_slots()
        self._users = Counter(_generation(entry) for entry in self.entries.values())
        self._unused = {generation for generation in self._slots if generation not in self._users}
        self._newest: dict[int, int] = {}
        for number, generation in (*self._slots, *self._users):
            self._newest[number] = max(generation, self._newest.get(number, 0))
        self._ids: dict[str, int] = {}
        self._taken: set[int] = set()
        self._last = max(self._newest, default=0)
        self._done: dict[str, Group] = {}
        self.failed: dict[str, str] = {}

    def is_foreign(self) -> bool:
        """Whether somebody else has written: the maps are not as they were left."""
        return dict(self._services.items()) != self.entries or self._read_slots() != self._slots

    def reconcile(self, desired: Mapping[str, Group]) -> None:
        """Write all but what is to go at last, for which `retire` is called a moment later."""
        changed = {name: group for name, group in desired.items() if self._done.get(name) is not group}
        gone = self._ids.keys() - desired.keys()
        self._withdraw(self._unwanted(desired, changed, gone))
        for name in gone:
            self._forget(name)
        for name, group in sorted(changed.items()):
            self._update(name, group)
        frontends = sum(len(group.frontends) for group in desired.values())
        slots = sum(len(group.backends) for group in desired.values())
        self._desired = Size(frontends, 0), Size(slots, 0)

    def retire(self) -> None:
        """Delete backends that no service uses; call it when no packet is looked at any more that came before."""
        unused = [generation for generation in self._unused if not self._users[generation]]
        self._unused.clear()
        self._backends.delete_all(key for generation in unused for key in self._keys(generation))
        for generation in unused:
            self._slots.pop(generation, None)
            del self._users[generation]

    def expire(self) -> None:
        """Forget that Envoy has served what it has not served for long."""
        now = self._clock()
        over = {key: self.entries[key] for key, until in self._leaving.items() if until <= now}
        stays = {key: entry for key, entry in over.items() if self._is_there(key)}
        self._put({key: entry._replace(flags=entry.flags & ~ServiceFlag.LEAVING) for key, entry in stays.items()})
        self._delete([key for key in over if key not in stays])

    def sizes(self) -> dict[str, Size]:
        slots = sum(map(len, self._slots.values()))
        return {
            self._services.name: self._desired[0]._replace(actual=len(self.entries) - len(self._gone)),
            self._backends.name: self._desired[1]._replace(actual=slots),
        }

    def backends(self, entry: Service) -> list[Backend]:
        """Of an entry, by slot."""
        return [backend for _, backend in sorted(self._slots.get(_generation(entry), {}).items())]

    def _read_slots(self) -> dict[Generation, dict[int, Backend]]:
        found: dict[Generation, dict[int, Backend]] = {}
        for key, backend in self._backends.items():
            found.setdefault((key.service, key.generation), {})[key.slot] = backend
        return found

    def _unwanted(
        self, desired: Mapping[str, Group], changed: Mapping[str, Group], gone: Iterable[str]
    ) -> list[ServiceKey]:
        """Entries that no group has any more.

        Of many groups few change at a time: entries of the others are looked at only where it is not known whose they
        are, which is at the beginning, and while something does not fit.
        """
        if self.failed or not self._done:
            wanted = {key for group in desired.values() for key in group.frontends}
            return [key for key in self.entries if key not in wanted and self._is_there(key)]
        kept = {key for group in changed.values() for key in group.frontends}
        left = (self._done[name] for name in (*changed, *gone) if name in self._done)
        return [key for group in left for key in group.frontends if key not in kept and self._is_there(key)]

    def _is_there(self, key: ServiceKey) -> bool:
        entry = self.entries.get(key)
        return entry is not None and not entry.flags & ServiceFlag.GONE

    def _update(self, name: str, group: Group) -> None:
        number = self._id(name, group)
        field = f"backends (map {self._backends.name})"
        try:
            generation = self._written(number, group.backends, group.frontends)
            field = f"frontends (map {self._services.name})"
            self._switch(group, generation)
        except OSError as fault:
            self._done.pop(name, None)
            self.failed[name] = f"{field}: {_said(fault)}"
            return
        self._done[name] = group
        self.failed.pop(name, None)

    def _id(self, name: str, group: Group) -> int:
        """What it has, or had when the maps were written last; a new one comes after all others."""
        if name not in self._ids:
            pinned = [self.entries[key].id for key in sorted(group.frontends, key=str) if self._is_there(key)]
            number = next((found for found in pinned if found not in self._taken), None) or self._next_id()
            self._ids[name] = number
            self._taken.add(number)
        return self._ids[name]

    def _next_id(self) -> int:
        self._last = self._last % (_NUMBERS - 1) + 1
        return self._last

    def _written(self, number: int, backends: tuple[Backend, ...], frontends: Iterable[ServiceKey]) -> Generation:
        """A generation that has just these backends: one in use, or the next."""
        slots = dict(enumerate(backends))
        for key in frontends:
            entry = self.entries.get(key)
            if entry and entry.id == number and self._slots.get(_generation(entry), {}) == slots:
                return _generation(entry)
        new = (number, (self._newest.get(number, 0) + 1) % _NUMBERS)
        self._newest[number] = new[1]
        if not slots:
            return new
        try:
            self._backends.put_all((BackendKey(*new, slot), backend) for slot, backend in slots.items())
        except OSError:
            self._backends.delete_all(BackendKey(*new, slot) for slot in slots)
            raise
        self._slots[new] = slots
        self._unused.add(new)  # until a service is switched to it
        return new

    def _switch(self, group: Group, generation: Generation) -> None:
        entries = {
            key: Service(int(flags | self._known(key, flags)), *generation, len(group.backends), group.affinity_s)
            for key, flags in group.frontends.items()
        }
        changed = {key: entry for key, entry in entries.items() if self.entries.get(key) != entry}
        try:
            self._make_room(changed)
            self._services.put_all(changed.items())
        except OSError:
            # Those that were there are switched or not, and whole either way. New ones are all there, or none.
            new = [key for key in changed if not self._is_there(key)]
            with suppress(OSError):  # what is there then is noted
                self._services.delete_all(key for key in new if key not in self.entries)
                self._services.put_all((key, self.entries[key]) for key in new if key in self.entries)
            self._note_found(changed)
            raise
        self._note(changed)

    def _make_room(self, entries: Collection[ServiceKey]) -> None:
        """Of what is gone the oldest goes whole, where the map would be full and that is enough: what is there is worth
        more.
        """
        lacks = sum(key not in self.entries for key in entries) + len(self.entries) - self._services.capacity
        if 0 < lacks <= len(self._gone) - sum(key in self._gone for key in entries):
            self._delete(list(islice((key for key in self._gone if key not in entries), lacks)))

    def _known(self, key: ServiceKey, flags: ServiceFlag) -> ServiceFlag:
        """LEAVING, where Envoy has served it, and does not any more."""
        before = self.entries.get(key)
        if flags & ServiceFlag.PROXY or before is None or not before.flags & _KNOWN_TO_PROXY:
            return ServiceFlag(0)
        return ServiceFlag.LEAVING

    def _note(self, entries: Mapping[ServiceKey, Service]) -> None:
        for key, entry in entries.items():
            if key in self.entries:
                self._leave(_generation(self.entries[key]))
            self.entries[key] = entry
            self._users[_generation(entry)] += 1
            if entry.flags & ServiceFlag.GONE:
                self._gone[key] = None
            else:
                self._gone.pop(key, None)
            if entry.flags & ServiceFlag.LEAVING:
                self._leaving.setdefault(key, self._clock() + self._leaving_s)
            else:
                self._leaving.pop(key, None)

    def _note_found(self, keys: Collection[ServiceKey]) -> None:
        """What the map has of these, after not all that was written is there."""
        self._note({key: entry for key, entry in self._services.items() if key in keys})

    def _withdraw(self, keys: list[ServiceKey]) -> None:
        left = {key: _left(self.entries[key]) for key in keys if self.entries[key].flags & _KNOWN_TO_PROXY}
        self._put(left)
        self._delete([key for key in keys if key not in left])

    def _put(self, entries: Mapping[ServiceKey, Service]) -> None:
        """Of keys that are there; some may have been written where that fails."""
        try:
            self._services.put_all(entries.items())
        except OSError:
            self._note_found(entries)
            raise
        self._note(entries)

    def _delete(self, keys: list[ServiceKey]) -> None:
        self._services.delete_all(keys)
        for key in keys:
            self._leave(_generation(self.entries.pop(key)))
            self._leaving.pop(key, None)
            self._gone.pop(key, None)

    def _leave(self, generation: Generation) -> None:
        self._users[generation] -= 1
        if not self._users[generation]:
            self._unused.add(generation)

    def _forget(self, name: str) -> None:
        self._taken.discard(self._ids.pop(name))
        self._done.pop(name, None)
        self.failed.pop(name, None)

    def _keys(self, generation: Generation) -> Iterator[BackendKey]:
        return (BackendKey(*generation, slot) for slot in self._slots.get(generation, ()))


class Entries(Generic[K, V]):
    """A map whose entries stand each for itself."""

    def __init__(self, table: Table[K, V]) -> None:
        self._table = table
        self._desired = 0
        self.failed = ""
        self.read()

    def read(self) -> None:
        self.entries: dict[K, V] = dict(self._table.items())

    def is_foreign(self) -> bool:
        """As of `ServiceMaps`."""
        return dict(self._table.items()) != self.entries

    def reconcile(self, desired: Mapping[K, V]) -> None:
        self._desired = len(desired)
        gone = [key for key in self.entries if key not in desired]
        self._table.delete_all(gone)
        for key in gone:
            del self.entries[key]
        changed = {key: value for key, value in desired.items() if self.entries.get(key) != value}
        self.failed = ""
        try:
            self._table.put_all(changed.items())
        except OSError as fault:
            self.failed = f"addresses (map {self._table.name}): {_said(fault)}"
            self.entries = dict(self._table.items())
            return
        self.entries.update(changed)

    def size(self) -> Size:
        return Size(self._desired, len(self.entries))


def _said(fault: OSError) -> str:
    if fault.errno in _FULL:
        return "the map is full: serve fewer, or run a version with larger maps"
    return fault.strerror or str(fault)


def _left(entry: Service) -> Service:
    """What is left of one that goes."""
    external = entry.flags & ServiceFlag.EXTERNAL
    return Service(int(external | ServiceFlag.LEAVING | ServiceFlag.GONE), id=0)


def _generation(entry: Service) -> Generation:
    return entry.id, entry.generation
