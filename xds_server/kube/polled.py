"""Objects that are read in turn, as there are too many to watch each of them.

Namespaces take turns, and the objects of each do, so that one with thousands delays no other.
What was never read comes at once, to a few readers; the rest is read again by one reader at a fixed rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from xds_server.kube.client import ApiError
from xds_server.kube.contact import Contact, is_unreachable
from xds_server.model.refs import ObjectRef

READERS: Final = 4
"""Of what was never read: so many requests at once, whatever is referred to."""

Read = Callable[[ObjectRef], Awaitable[ApiError | None]]
"""Reads one object and tells who follows it; gives what went wrong."""


class Turns:
    """A queue for each namespace; an object is in it once."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[ObjectRef, None]] = {}
        self._filled = asyncio.Event()

    def add(self, ref: ObjectRef) -> None:
        self._queues.setdefault(ref.namespace, {})[ref] = None
        self._filled.set()

    def discard(self, ref: ObjectRef) -> None:
        queue = self._queues.get(ref.namespace, {})
        queue.pop(ref, None)
        if not queue:
            self._queues.pop(ref.namespace, None)

    async def take(self) -> ObjectRef:
        """The next one, once there is one; its namespace is then the last."""
        while not self._queues:
            self._filled.clear()
            await self._filled.wait()
        namespace = next(iter(self._queues))
        queue = self._queues.pop(namespace)
        ref = next(iter(queue))
        del queue[ref]
        if queue:
            self._queues[namespace] = queue
        return ref


class Polled:
    def __init__(self, read: Read, contact: Contact, every_s: float) -> None:
        self._read, self._contact, self._every_s = read, contact, every_s
        self._fresh, self._again = Turns(), Turns()
        self._members: set[ObjectRef] = set()

    def __contains__(self, ref: ObjectRef) -> bool:
        return ref in self._members

    def add(self, ref: ObjectRef) -> None:
        self._members.add(ref)
        self._fresh.add(ref)

    def discard(self, ref: ObjectRef) -> None:
        self._members.discard(ref)
        self._fresh.discard(ref)
        self._again.discard(ref)

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(READERS):
                tasks.create_task(self._take_turns(self._fresh, 0.0))
            tasks.create_task(self._take_turns(self._again, self._every_s))

    async def _take_turns(self, turns: Turns, every_s: float) -> None:
        attempt = 0
        while True:
            ref = await turns.take()
            error = await self._read(ref)
            asks_for_time = error is not None and (is_unreachable(error) or error.status == 429)
            if ref in self._members:
                (turns if asks_for_time else self._again).add(ref)
            if error is not None and asks_for_time:
                await self._contact.pause(attempt, error)
                attempt += 1
            else:
                attempt = 0
                await asyncio.sleep(every_s)
