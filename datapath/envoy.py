"""The life of the node's Envoy: adopted or started, watched, started again, and replaced without a lost request.

One whose admin interface, and with it its main thread, does not answer for a time is ended like one that crashed.

A new one is started beside the old one, at the same ports; the old one drains when the new one has every listener that
is awaited of it. For as long as the new one has none, also because nobody serves it, the old one serves.
Cancelling `run` leaves them running: interception does not end with the daemon.
Must not know: what the bootstrap says, how connections reach Envoy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
import structlog

from datapath.instances import (
    KILLED,
    Instance,
    Wanted,
    ended,
    kill,
    last_words,
    listeners,
    others,
    remember,
    retire,
    running,
    since_boot_s,
    stop,
    tidy,
)
from datapath.starts import Starts
from xds_server.proxy import admin

CAPTURE: Final = "capture/"
"""What the names of the listeners begin with that are bound to a port."""

_LOOK_S: Final = 0.1
_PROBE_S: Final = 1.0
_TRIES: Final = 3
"""So often at least it is asked in vain: we may be who was stopped."""

log = structlog.get_logger("envoy")


@dataclass(slots=True, eq=False)
class State:
    """For people: what runs, and what is wrong."""

    current: Instance | None = None
    ready: bool = False
    answers: bool = False
    """Whether it answered when it was asked last."""
    successor: Instance | None = None
    successor_since: float = 0.0
    """When it was started or found, as the event loop has it."""
    lacks: frozenset[str] = frozenset()
    """Listeners that the successor is to have before it takes over."""
    draining: list[Instance] = field(default_factory=list)
    starts: int = 0
    hung: int = 0
    """How many were ended because they did not answer."""
    fault: str = ""
    waits: str = ""
    """Why the one that serves is not replaced yet, although it is to be."""
    unremembered: str = ""
    """Why the next daemon will have to look for it."""

    @property
    def alive(self) -> list[Instance]:
        return [*self.draining, *filter(None, (self.current, self.successor))]


class Envoy:
    """`on_change` is called whenever another process serves, or none; `named` gives listeners that are asked for."""

    def __init__(self, wanted: Wanted, memory: Path, chance: Callable[[], float] = random.random) -> None:
        self.state = State()
        self.on_change: Callable[[], None] = lambda: None
        self.named: Callable[[], frozenset[str]] = frozenset
        self._wanted, self._memory = wanted, memory
        self._starts = Starts(wanted, chance)
        self.adopted = asyncio.Event()
        """What ran before is known, and whether it serves."""
        self._restart = asyncio.Event()
        """It is to be replaced: until another one is started."""
        self._tasks: asyncio.TaskGroup | None = None

    def restart(self) -> None:
        """Replace it by a new one of the same; one that is to take over already is ended for that."""
        self._restart.set()

    async def restarted(self) -> Instance | None:
        """As `restart`, until the new one is started, which has not taken over yet.

        None where it cannot be: `state.waits` or `state.fault` says why, and it is tried again.
        """
        outcome = self._starts.ask()
        self.restart()
        return await outcome

    def restart_once(self) -> None:
        """As `restart`, unless one is to take over already."""
        if self.state.successor is None:
            self._restart.set()

    @property
    def admin(self) -> Path | None:
        """Of the one that serves."""
        current = self.state.current
        return self._wanted.admin(current.number) if current is not None else None

    @property
    def serves(self) -> bool:
        return self.state.ready and self.state.answers

    @property
    def others(self) -> list[int]:
        """Processes in its cgroup that are none of this daemon's."""
        return others(self._wanted)

    @property
    def overdue_s(self) -> float:
        """For how long a successor has not taken over, where that is too long; else 0."""
        if self.state.successor is None:
            return 0.0
        waits_s = asyncio.get_running_loop().time() - self.state.successor_since
        return waits_s if waits_s >= self._wanted.patience_s else 0.0

    async def active(self) -> frozenset[str] | None:
        """The listeners that serve; None while there is no Envoy that is ready."""
        socket = self.admin
        if socket is None or not self.state.ready:
            return None
        return await listeners(socket)

    async def run(self) -> NoReturn:
        async with asyncio.TaskGroup() as self._tasks:
            await self._adopt()
            self.adopted.set()
            while True:
                if self.state.current is None:
                    await self._start()
                elif self.state.successor is not None:
                    await self._replace()
                else:
                    await self._watch()
        raise AssertionError

    async def _adopt(self) -> None:
        """Take what runs: of two, the newer one is to take over, as it was before we came, if it is what is wanted."""
        state, made_of = self.state, self._wanted.made_of()
        if strays := self.others:
            log.warning("envoys of another state directory get connections, too", pids=strays)
        found = running(self._memory, self._wanted)
        self._starts.newest = max((instance.number for instance in found), default=0)
        tidy(self._wanted, found)
        superseded = [instance for instance in found if not await self._taken(instance)]
        if state.current is None:
            return
        self._remember()
        log.info("envoy adopted", pid=state.current.pid, number=state.current.number)
        if superseded and superseded[-1].made_of == made_of:
            self._succeeds(superseded.pop())
        elif superseded or state.current.made_of != made_of:
            self._restart.set()
        for instance in superseded:
            await self._give_up(instance)
        if await admin.is_ready(self._wanted.admin(state.current.number)):
            self._serves()

    async def _taken(self, instance: Instance) -> bool:
        """Have one drain, or serve: whether it is to do one of these. They come with the oldest first.

        Where one of two is not remembered, the newer one has taken over if it has all that the older one has.
        """
        state = self.state
        if instance.drains_since is not None:
            self._drain(instance)
        elif state.current is None:
            state.current = instance
        elif not (state.current.made_of and instance.made_of) and await self._has_all(instance, state.current):
            self._drain(state.current)
            state.current = instance
        else:
            return False
        return True

    async def _start(self) -> None:
        """The first, or the one after a crash: nobody serves meanwhile."""
        self.state.current = await self._started()
        self._restart.clear()
        self._remember()

    async def _watch(self) -> None:
        """Until it ends, or is to be replaced."""
        state = self.state
        assert state.current is not None
        what, how = await _first(
            ended=self._ended(state.current),
            hung=self._hung(state.current),
            restart=self._wish(),
            **({} if state.ready else {"ready": admin.ready(self._wanted.admin(state.current.number))}),
        )
        if what == "hung":
            await self._kill(state.current)
            await self._crashed(state.current, f"ended: it did not answer for {self._wanted.silence_s:g} s")
        elif what == "ended":
            await self._crashed(state.current, how)
        elif what == "ready":
            self._serves()
        else:
            successor = self._tried()
            if successor is None:  # the one that serves is watched until then
                self._starts.hold_off()
                return
            self._restart.clear()
            self._succeeds(successor)
            self._remember()

    async def _wish(self) -> None:
        """Return when it is to be replaced, and may be; who asks meanwhile is told that it may not."""
        await self._restart.wait()
        try:
            while (crowd := self._crowd()) or self._starts.is_held_off:
                if crowd and not self.state.waits:
                    log.info("envoy not replaced yet", why=crowd)
                self.state.waits = crowd
                self._starts.tell(None)
                await asyncio.sleep(_LOOK_S)
        finally:
            self.state.waits = ""

    def _crowd(self) -> str:
        """Why no other one may be started beside the one that serves, and those that drain; "" where it may."""
        draining, wanted = self.state.draining, self._wanted
        assert self.state.current is not None
        listening = [self.state.current, *filter(wanted.is_listening, draining)]
        workers = wanted.workers + sum(instance.workers or wanted.workers for instance in listening)
        if not draining or (len(draining) < wanted.most_draining and workers <= wanted.room):
            return ""
        pids = ", ".join(str(instance.pid) for instance in draining)
        return f"a new Envoy is started when one of those has ended that drain: {pids}"

    async def _replace(self) -> None:
        """Until the successor serves, or one of the two has ended."""
        state = self.state
        assert state.current is not None
        assert state.successor is not None
        what, how = await _first(
            current=ended(state.current),
            successor=self._ended(state.successor),
            hung=self._hung(state.current),
            silent=self._hung(state.successor),
            complete=self._complete(state.successor),
            restart=self._restart.wait(),
        )
        if what == "restart":
            superseded, state.successor, state.lacks = state.successor, None, frozenset()
            await self._give_up(superseded)
            self._remember()
            return
        if what == "hung":
            await self._kill(state.current)
            return
        if what == "silent":
            await self._kill(state.successor)
            return
        if what == "successor":
            state.fault = f"a new Envoy has not come to serve: it {how}"
            log.warning("envoy not replaced", pid=state.successor.pid, fault=state.fault)
            state.successor, state.lacks = None, frozenset()
            self._remember()
            self._restart.set()
            self._starts.hold_off()
            return
        old, state.current = state.current, state.successor
        state.successor, state.lacks = None, frozenset()
        if what == "current":
            state.ready = state.answers = False
            log.warning("envoy ended while it was replaced", pid=old.pid)
        else:
            self._drain(old)
            log.info("envoy replaced", pid=state.current.pid, old=old.pid)
            self._serves()
        self._remember()

    def _succeeds(self, instance: Instance) -> None:
        self.state.successor, self.state.successor_since = instance, asyncio.get_running_loop().time()

    async def _give_up(self, instance: Instance) -> None:
        """End one that has not served anybody."""
        log.info("envoy given up", pid=instance.pid)
        await stop(instance, self._wanted)

    async def _complete(self, successor: Instance) -> None:
        """Until it has all listeners that the other has and that are still asked for."""
        assert self.state.current is not None
        await admin.ready(self._wanted.admin(successor.number), every_s=_LOOK_S)
        while True:
            lacking, named = await self._known(successor, self.state.current), self.named()
            self.state.lacks = frozenset(name for name in lacking if name in named or name.startswith(CAPTURE))
            if not self.state.lacks:
                return
            await asyncio.sleep(_LOOK_S)

    async def _has_all(self, new: Instance, old: Instance) -> bool:
        """Whether it has all that the other one has; one that has ended, or hangs, has nothing."""
        what, lacking = await _first(
            known=self._known(new, old),
            old=ended(old),
            new=ended(new),
            hung=self._hung(old),
            silent=self._hung(new),
        )
        return not lacking if what == "known" else what in {"old", "hung"}

    async def _known(self, new: Instance, old: Instance) -> frozenset[str]:
        """As `_lacking`, once it is known."""
        while (lacking := await self._lacking(new, old)) is None:
            await asyncio.sleep(_LOOK_S)
        return lacking

    async def _lacking(self, new: Instance, old: Instance) -> frozenset[str] | None:
        """The listeners that the other one has besides, which are all while it is not ready.

        None where one of the two does not answer: then it is not known.
        """
        socket = self._wanted.admin(new.number)
        try:
            status, _ = await admin.ask(socket, "/ready")
        except OSError:
            return None
        has, had = await listeners(socket), await listeners(self._wanted.admin(old.number))
        if has is None or had is None:
            return None
        return had - has if status == HTTPStatus.OK else had

    async def _hung(self, instance: Instance) -> None:
        """Return when it has not answered for as long as it may be silent; that it is not ready is an answer."""
        clock, state = asyncio.get_running_loop().time, self.state
        heard, tries = clock(), 0
        while tries < _TRIES or clock() - heard < self._wanted.silence_s:
            answers = await admin.is_alive(self._wanted.admin(instance.number))
            if answers:
                heard, tries = clock(), 0
            else:
                tries += 1
            if instance is state.current:
                state.answers = answers
            await asyncio.sleep(_PROBE_S)

    async def _ended(self, instance: Instance) -> str:
        """Return when it has, with how; who is killed has no last words."""
        how = await ended(instance)
        return how if how.startswith(KILLED) else f"{how or 'ended'}: {last_words(self._wanted.directory, instance)}"

    async def _kill(self, instance: Instance) -> None:
        """One that does not answer cannot be asked to leave; that it has ended is seen by who waits for that."""
        self.state.hung += 1
        log.warning("envoy hangs", pid=instance.pid, silent_s=self._wanted.silence_s)
        kill(instance)
        await ended(instance)

    async def _started(self) -> Instance:
        """Try until one has been started; whether it stays is another matter."""
        while (instance := self._tried()) is None:
            await self._starts.pause()
        return instance

    def _tried(self) -> Instance | None:
        tidy(self._wanted, self.state.alive)
        instance = self._starts.begin()
        if instance is None:
            self.state.fault = self._starts.fault
        else:
            self.state.starts += 1
        return instance

    async def _crashed(self, instance: Instance, how: str) -> None:
        state = self.state
        state.current, state.ready, state.answers = None, False, False
        state.fault = "; ".join(filter(None, (f"Envoy {how}", self._starts.fault)))
        log.warning("envoy ended", pid=instance.pid, how=how)
        self._remember()
        self.on_change()
        await self._starts.pause()

    def _serves(self) -> None:
        self.state.ready, self.state.answers, self.state.fault = True, True, ""
        log.info("envoy serves", pid=self.state.current and self.state.current.pid)
        self.on_change()

    def _drain(self, instance: Instance) -> None:
        since_s = since_boot_s() if instance.drains_since is None else instance.drains_since
        draining = msgspec.structs.replace(instance, drains_since=since_s)
        self.state.draining.append(draining)
        assert self._tasks is not None
        self._tasks.create_task(self._retire(draining))

    async def _retire(self, instance: Instance) -> None:
        await retire(instance, self._wanted)
        self.state.draining.remove(instance)
        self._remember()

    def _remember(self) -> None:
        state = self.state
        state.unremembered = ""
        try:
            remember(self._memory, state.alive)
        except OSError as error:
            state.unremembered = f"{self._memory} cannot be written, and has who runs: {error.strerror}"
            log.warning("envoy not remembered", fault=state.unremembered)


async def _first(**waits: Coroutine[Any, Any, Any]) -> tuple[str, Any]:
    """Which of these is first, and what it came to; the others are cancelled."""
    tasks = {name: asyncio.ensure_future(wait) for name, wait in waits.items()}
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        name = next(name for name, task in tasks.items() if task.done())
        return name, tasks[name].result()
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
