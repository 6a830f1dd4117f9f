"""Secrets and ConfigMaps: those that an object of ours refers to, each by a list and a watch of its own.

So the account needs rights on those names alone, and no other Secret is ever in this process.
An object is answered for when it was read, or the server said that it is not there or may not be read, or failed often;
until then, what needs it stays as it was.

A watch costs a connection, here and at the API server, and a reference costs its author nothing, also one to an object
that does not exist. So watches are bounded, in all and by namespace, and what is beyond is polled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from xds_server.kube.client import ApiError
from xds_server.kube.contact import is_unreachable
from xds_server.kube.held import Changes, Held
from xds_server.kube.kinds import BY_KIND, Kind, can_exist
from xds_server.kube.polled import Polled
from xds_server.kube.reflector import Link, Reflector
from xds_server.model.refs import ObjectRef

WATCHED: Final = 256
WATCHED_IN_NAMESPACE: Final = 16
"""So many objects are watched; those of other namespaces, and the kinds, find descriptors in any case."""

READ_IN_NAMESPACE: Final = 4096
"""So many objects are read at all: a second or two of the first load, which waits for each of them."""

PATIENCE: Final = 6
"""So many failures of the server are waited for: about half a minute, in which an API server or its store restarts.

An object that fails for longer is most likely broken for good, as one that cannot be decrypted, and the first load of
everything else waits for its answer.
"""

_PASSING: Final = frozenset({401, 408, 410, 429})  # 401: a token is renewed

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
        self._unfollowed: set[ObjectRef] = set()
        self._watched: Counter[str] = Counter()  # by namespace
        self._polled = Polled(self._poll, link.contact, link.timing.poll_s)
        self._polling: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()

    def want(self, refs: Iterable[ObjectRef]) -> None:
        """Follow these objects and no others; what is no more wanted is forgotten at once."""
        wanted = {ref for ref in refs if ref.kind in BY_KIND}
        for ref in self._unfollowed - wanted:
            self._unfollowed.discard(ref)
            self._sink.absent(ref, "")
        for ref in self._followed.keys() - wanted:
            self._forget(ref)
        number = Counter(ref.namespace for ref in self._followed)
        for ref in sorted(wanted - self._followed.keys()):
            if not can_exist(ref):
                self._leave(ref, "does not exist: no object can have that name")
            elif number[ref.namespace] >= READ_IN_NAMESPACE:
                self._leave(
                    ref,
                    f"is not read: more than {READ_IN_NAMESPACE} Secrets and ConfigMaps of namespace {ref.namespace} "
                    "are referred to; remove references to it",
                )
            else:
                number[ref.namespace] += 1
                self._unfollowed.discard(ref)
                self._follow(ref)
        self._check()

    def _leave(self, ref: ObjectRef, why: str) -> None:
        if ref not in self._unfollowed:
            self._unfollowed.add(ref)
            self._sink.absent(ref, why)

    def _follow(self, ref: ObjectRef) -> None:
        self._followed[ref] = _Followed(ref, self._link, self._sink, self._check)
        if self._has_room(ref.namespace):
            self._watch(ref)
        else:
            self._polled.add(ref)
            self._polling = self._polling or self._spawn(self._polled.run())

    def _forget(self, ref: ObjectRef) -> None:
        followed = self._followed.pop(ref)
        followed.forgotten = True
        self._polled.discard(ref)
        if followed.task is not None:
            followed.task.cancel()
            self._watched[ref.namespace] -= 1
        self._sink.apply({ref: None})
        self._sink.absent(ref, "")

    def _has_room(self, namespace: str) -> bool:
        return self._watched[namespace] < WATCHED_IN_NAMESPACE and self._watched.total() < WATCHED

    def _watch(self, ref: ObjectRef) -> None:
        followed = self._followed[ref]
        followed.task = self._spawn(followed.reflector.run(followed.kind.versions[0]))
        self._watched[ref.namespace] += 1

    async def _poll(self, ref: ObjectRef) -> ApiError | None:
        """Read an object in its turn; where others are watched no more, it is from now on."""
        followed = self._followed[ref]
        error = await followed.reflector.read(followed.kind.versions[0], followed.failures)
        if error is None and self._followed.get(ref) is followed and self._has_room(ref.namespace):
            self._polled.discard(ref)
            self._watch(ref)
        return error

    async def answered(self) -> None:
        """Wait until all that is wanted was answered for."""
        await self._answered.wait()

    def unanswered(self) -> list[ObjectRef]:
        return sorted(ref for ref, followed in self._followed.items() if not followed.answered)

    def ages(self) -> dict[str, float]:
        """By kind, the age of the watched object that nothing was heard of for longest."""
        found: dict[str, float] = {}
        for ref, followed in self._followed.items():
            if followed.task is not None:
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
    """One object; without a task it is polled."""

    def __init__(self, ref: ObjectRef, link: Link, sink: Sink, told: Callable[[], None]) -> None:
        self.kind: Kind = BY_KIND[ref.kind]
        self.held, self.answered = Held(self.kind), False
        self.reflector = Reflector(link, self.held, self, ref.namespace, ref.name)
        self.task: asyncio.Task[None] | None = None
        self.forgotten, self.failures = False, 0
        self._ref, self._sink, self._told = ref, sink, told

    def listed(self, changes: Changes) -> None:
        self.failures = 0
        self.changed(changes)
        if self._ref not in self.held.known:
            self._answer("does not exist")

    def changed(self, changes: Changes) -> None:
        if self.forgotten:
            return
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
        """A refusal that another attempt will not change is an answer, and so are many that it might.

        A server that cannot be reached is none; what was read once stays in any case.
        """
        if is_unreachable(error):
            return
        self.failures += 1
        lasting = 400 <= error.status < 500 and error.status not in _PASSING
        if self.held.known or not (lasting or self.failures >= PATIENCE):
            return
        if error.status in {401, 403}:
            self._answer(
                f"may not be read: let the service account of the controller get, list and watch {self.kind.plural} "
                f"in namespace {self._ref.namespace}"
            )
        elif error.status:
            self._answer(f"cannot be read: the API server answers {error.status}")
        else:
            self._answer("cannot be read: what the API server answers makes no sense")

    def _answer(self, why: str) -> None:
        if self.forgotten:
            return
        self._sink.absent(self._ref, why)
        self.answered = True
        self._told()
