"""Starts of Envoy, one after the other and not too often; whoever waits for one is told what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from datapath.instances import Instance, Wanted, start
from xds_server.proxy.process import delay_s, failures_after

_NEVER: Final = float("-inf")

log = structlog.get_logger("envoy")


class Starts:
    """`newest` is the number of the last one, `fault` why that could not be started, if so."""

    def __init__(self, wanted: Wanted, chance: Callable[[], float]) -> None:
        self.newest = 0
        self.fault = ""
        self._wanted, self._chance = wanted, chance
        self._loop = asyncio.get_running_loop()
        self._failures = 0
        self._began = _NEVER
        """When the last one was started, or should have been; one that was adopted has lived for long enough."""
        self._not_before = _NEVER
        self._asking: list[asyncio.Future[Instance | None]] = []

    @property
    def is_held_off(self) -> bool:
        return self._loop.time() < self._not_before

    def ask(self) -> asyncio.Future[Instance | None]:
        """For the next one, which is not held off for what was before; None where it is not started."""
        outcome: asyncio.Future[Instance | None] = self._loop.create_future()
        self._asking.append(outcome)
        self._not_before = _NEVER
        return outcome

    def tell(self, started: Instance | None) -> None:
        for outcome in self._asking:
            if not outcome.done():  # who asked has gone
                outcome.set_result(started)
        self._asking.clear()

    def begin(self) -> Instance | None:
        """A new one, which may end at once; or None, with its `fault`."""
        self.newest += 1
        self._began = self._loop.time()
        try:
            instance = start(self._wanted, self.newest)
        except OSError as error:
            where = error.filename or self._wanted.directory
            self.fault = f"Envoy cannot be started: {where}: {error.strerror}: see that it can be written and run"
            log.warning("envoy not started", fault=self.fault)
            self.tell(None)
            return None
        self.fault = ""
        log.info("envoy started", pid=instance.pid, number=instance.number)
        self.tell(instance)
        return instance

    def hold_off(self) -> None:
        """The next one, as the last one has not come to serve."""
        self._not_before = self._loop.time() + self._delay_s(0.0)

    async def pause(self) -> None:
        """Before the next one, after an end: the shorter the last one lived, and the more often, the longer."""
        await asyncio.sleep(self._delay_s(self._loop.time() - self._began))

    def _delay_s(self, lived_s: float) -> float:
        self._failures = failures_after(self._failures, lived_s)
        return delay_s(self._failures, self._chance())
