"""What there is to tell of an Envoy, and the difference between what was told and what is.

There is no queue of events: what was told and what is are both states, so whoever has not listened for an hour is told
no more than whoever has just come.
Must not know how it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, NamedTuple

from xds_server.model.delivery import NodeRef
from xds_server.model.resource import ResourceKey

BATCH: Final = 2000
"""How many entries are told at once: others have their turn on the loop in between. See `Said.entries`."""
_LOOKED_AT: Final = 8
"""So many batches of entries are looked at for one."""


class Refusal(NamedTuple):
    version: str
    detail: str


@dataclass(frozen=True, slots=True)
class Words:
    """All that an Envoy has said that counts now.

    `resumed`: it brought along what another replica gave it, so that what it told that one still holds.
    Versions of route configurations are "": only whether there is one counts, and `late` says which are too old.
    """

    resumed: bool = True
    listeners: bool = False
    accepted: Mapping[ResourceKey, str] = field(default_factory=dict)
    refused: Mapping[ResourceKey, Refusal] = field(default_factory=dict)
    late: frozenset[str] = frozenset()
    services: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What is new of an Envoy: it `began`, is `gone`, or says more or less than it did."""

    envoy: NodeRef
    gone: bool = False
    began: bool = False
    words: Words = field(default_factory=Words)
    """As far as it is new; `resumed`, `listeners` and `services` are said each time."""
    unaccepted: tuple[ResourceKey, ...] = ()
    unrefused: tuple[ResourceKey, ...] = ()
    caught_up: frozenset[str] = frozenset()

    @property
    def entries(self) -> int:
        """How much it is to make and to read; that there is an Envoy at all is something too."""
        found = (*_entries(self.words), self.unaccepted, self.unrefused, self.caught_up)
        return max(1, sum(map(len, found)))


def difference(envoy: NodeRef, told: Words | None, now: Words | None) -> Said | None:
    """What to tell of an Envoy; None where there is nothing."""
    if now is None:
        return Said(envoy, gone=True) if told is not None else None
    if told is None or (told.resumed and not now.resumed):  # another process: what was told of the one before is void
        return Said(envoy, began=True, words=now)
    if told == now:
        return None
    accepted = {key: version for key, version in now.accepted.items() if told.accepted.get(key) != version}
    refused = {key: refusal for key, refusal in now.refused.items() if told.refused.get(key) != refusal}
    return Said(
        envoy,
        words=Words(now.resumed, now.listeners, accepted, refused, now.late - told.late, now.services),
        unaccepted=tuple(sorted(told.accepted.keys() - now.accepted.keys())),
        unrefused=tuple(sorted(told.refused.keys() - now.refused.keys())),
        caught_up=told.late - now.late,
    )


def after(told: Words | None, said: Said) -> Words | None:
    """What was told once this was told too; None of an Envoy that is gone."""
    if said.gone:
        return None
    new = said.words
    if said.began or told is None:
        return new
    accepted = {key: version for key, version in told.accepted.items() if key not in said.unaccepted}
    refused = {key: refusal for key, refusal in told.refused.items() if key not in said.unrefused}
    late = (told.late - said.caught_up) | new.late
    accepted, refused = accepted | dict(new.accepted), refused | dict(new.refused)
    return Words(new.resumed, new.listeners, accepted, refused, late, new.services)


def carried(envoy: NodeRef, known: Words, told: Words) -> Said | None:
    """What is known of an Envoy that just began, and was not told: it is of the stream before, at another replica."""
    accepted = {key: version for key, version in known.accepted.items() if key not in told.accepted}
    refused = {key: refusal for key, refusal in known.refused.items() if key not in told.refused}
    late = known.late - told.late
    if not (accepted or refused or late):
        return None
    return Said(envoy, words=replace(told, accepted=accepted, refused=refused, late=late))


def parts(said: Said, first: int | None = None) -> Iterator[Said]:
    """The same in parts of at most a batch, the first of at most that many entries; each is said after the others.

    What does not hold any more comes first: nothing new is to be taken for the old.
    """
    words, began, room = said.words, said.began, BATCH if first is None else first
    retracted: list[Iterator[Any]] = [iter(said.unaccepted), iter(said.unrefused), iter(said.caught_up)]
    new: list[Iterator[Any]] = [iter(words.accepted.items()), iter(words.refused.items()), iter(words.late)]
    left = said.entries
    while left > 0:
        taken: list[tuple[Any, ...]] = []
        for entries in (*retracted, *new):
            taken.append(tuple(islice(entries, room)))
            room -= len(taken[-1])
        unaccepted, unrefused, caught_up, accepted, refused, late = taken
        part = replace(words, accepted=dict(accepted), refused=dict(refused), late=frozenset(late))
        yield Said(said.envoy, said.gone, began, part, unaccepted, unrefused, frozenset(caught_up))
        left -= max(1, sum(map(len, taken)))
        began, room = False, BATCH


class Outbox:
    """What one listener has been told, and what may be new to it."""

    def __init__(self, envoys: Iterable[NodeRef], words: Callable[[NodeRef], Words | None]) -> None:
        self._words = words
        self._told: dict[NodeRef, Words] = {}
        self._changed = dict.fromkeys(envoys)

    def __len__(self) -> int:
        """How many Envoys there may be something to tell of."""
        return len(self._changed)

    def touch(self, envoy: NodeRef) -> None:
        """Something may have changed of it."""
        self._changed[envoy] = None

    def take(self) -> list[Said]:
        """What to tell next, which counts as told; at most a batch, and none when nothing is new.

        Where much is to be looked at, there may be none before all has been: see `len`.
        Those that are gone come first: an Envoy that connected again is not two for a moment.
        """
        found: list[Said] = []
        room, looks = BATCH, _LOOKED_AT * BATCH
        for envoy in tuple(self._changed):
            if room <= 0 or looks <= 0:
                break
            told, now = self._told.get(envoy), self._words(envoy)
            looks -= 1 + sum(map(len, _entries(now)))
            said = difference(envoy, told, now)
            part = next(parts(said, room)) if said is not None else None
            if said == part:
                del self._changed[envoy]
            if part is not None:
                found.append(part)
                room -= part.entries
                self._tell(part, told)
        return sorted(found, key=lambda said: not said.gone)

    def carry(self, said: Said) -> bool:
        """The listener knows this besides; whether the Envoy is still here."""
        told = self._told.get(said.envoy)
        if told is None:
            return False
        known = said.words
        accepted, refused = dict(known.accepted) | dict(told.accepted), dict(known.refused) | dict(told.refused)
        late = told.late | known.late
        self._told[said.envoy] = Words(told.resumed, told.listeners, accepted, refused, late, told.services)
        self.touch(said.envoy)
        return True

    def _tell(self, said: Said, told: Words | None) -> None:
        now = after(told, said)
        if now is None:
            self._told.pop(said.envoy, None)
        else:
            self._told[said.envoy] = now


def _entries(words: Words | None) -> tuple[Collection[object], ...]:
    return (words.accepted, words.refused, words.late) if words is not None else ()
