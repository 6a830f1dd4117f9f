"""Secrets and ConfigMaps: those that an object of ours refers to, each by a list and a watch of its own.

So the account needs rights on those names alone, and no other Secret is ever in this process.
An object is answered for when it was read, or the server said that it is not there or may not be read;
until then, what needs it stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from xds_server.kube.client import ApiError
from xds_server.kube.held import Changes, Held
from xds_server.kube.kinds import BY_KIND, Kind, can_exist
from xds_server.kube.reflector import Link, Reflector
from xds_server.model.refs import ObjectRef

_PASSING: Final = frozenset({408, 410, 429})

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Sink(Protocol):
    """Where objects go."""

    def apply(self, changes: dict[ObjectRef, Any | None]) -> None: ...
    def absent(self, ref: ObjectRef, why: str) -> None:
        """An object that was asked for is not to be had; "" takes that back."""


class Referenced:
    def __init__(self, link: Link, sink: Sink, spawn: Spawn) -> None:
        self._link, self._sink, self._spawn = link, sink, spawn
        self._followed: dict[ObjectRef, _Followed] = {}
        self._impossible: set[ObjectRef] = set()
        self._answered = asyncio.Event()

    def want(self, refs: Iterable[ObjectRef]) -> None:
        """Follow these objects and no others; what is no more wanted is forgotten at once."""
        wanted = {ref for ref in refs if ref.kind in BY_KIND}
        for ref in self._impossible - wanted:
            self._impossible.discard(ref)
            self._sink.absent(ref, "")
        for ref in self._followed.keys() - wanted:
            followed = self._followed.pop(ref)
            followed.task.cancel()
            self._sink.apply({ref: None})
            self._sink.absent(ref, "")
        for ref in sorted(wanted - self._followed.keys() - self._impossible):
            if not can_exist(ref):
                self._impossible.add(ref)
                self._sink.absent(ref, "does not exist: no object can have that name")
                continue
            kind = BY_KIND[ref.kind]
            followed = _Followed(ref, self._link, self._sink, self._check)
            followed.task = self._spawn(followed.reflector.run(kind.versions[0]))
            self._followed[ref] = followed
        self._check()

    async def answered(self) -> None:
        """Wait until all that is wanted was answered for."""
        await self._answered.wait()

    def unanswered(self) -> list[ObjectRef]:
        return sorted(ref for ref, followed in self._followed.items() if not followed.answered)

    def ages(self) -> dict[str, float]:
        """By kind, the age of the object that nothing was heard of for longest."""
        found: dict[str, float] = {}
        for ref, followed in self._followed.items():
            found[ref.kind] = max(found.get(ref.kind, 0.0), followed.reflector.age_s)
        return found

    def sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for ref, followed in self._followed.items():
            found[ref.kind] = found.get(ref.kind, 0) + len(followed.held.known)
        return found

    def _check(self) -> None:
        if all(followed.answered for followed in self._followed.values()):
            self._answered.set()
        else:
            self._answered.clear()


class _Followed:
    """One object."""

    task: asyncio.Task[None]

    def __init__(self, ref: ObjectRef, link: Link, sink: Sink, told: Callable[[], None]) -> None:
        self.kind: Kind = BY_KIND[ref.kind]
        self.held, self.answered = Held(self.kind), False
        self.reflector = Reflector(link, self.held, self, ref.namespace, ref.name)
        self._ref, self._sink, self._told = ref, sink, told

    def listed(self, changes: Changes) -> None:
        self.changed(changes)
        if self._ref not in self.held.known:
            self._answer("does not exist")

    def changed(self, changes: Changes) -> None:
        if self._ref in changes.undecodable:
            self._answer("cannot be read: a field is of another type than the API says")
        if self._ref not in changes.models:
            return
        model = changes.models[self._ref]
        self._sink.apply({self._ref: model})
        self._answer("" if model is not None else "does not exist")

    def lost(self) -> None:
        """It stays as it was."""

    def refused(self, error: ApiError) -> None:
        """A refusal that another attempt will not change is an answer; what was read once stays in any case."""
        if self.held.known or not 400 <= error.status < 500 or error.status in _PASSING:
            return
        if error.status in {401, 403}:
            self._answer(
                f"may not be read: let the service account of the controller get, list and watch {self.kind.plural} "
                f"in namespace {self._ref.namespace}"
            )
        else:
            self._answer(f"cannot be read: the API server answers {error.status}")

    def _answer(self, why: str) -> None:
        self._sink.absent(self._ref, why)
        self.answered = True
        self._told()
