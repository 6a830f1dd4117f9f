"""Whether connections reach Envoy: programs are attached, find its listeners, and it serves what it may announce.

Looked at once a second, and judged slowly: what passes by itself is nothing to act upon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import structlog

from datapath.attachments import Attachments
from datapath.awhile import Awhile
from datapath.envoy import Envoy
from datapath.outcome import Outcome
from datapath.serving import Judgement, unserved

REPUBLISHED_S: Final = 60.0
"""Envoy is replaced so often at most because programs do not find it."""
SILENT_S: Final = 5.0
"""An Envoy that does not answer for so long serves nobody, as far as is known."""

log = structlog.get_logger("node")


class Reach:
    """`finds_listeners` says whether programs find any of Envoy's; it may raise OSError, as their map may be away."""

    def __init__(
        self, envoy: Envoy, attachments: Attachments, outcome: Outcome, finds_listeners: Callable[[], bool]
    ) -> None:
        self._envoy, self._attachments, self._outcome = envoy, attachments, outcome
        self._finds_listeners = finds_listeners
        self._loop = asyncio.get_running_loop()
        self._republished = float("-inf")
        self.tell: Callable[[Iterable[str]], None] = lambda _: None
        """Say that these addresses are not served."""
        self.judgement = Judgement()
        self.unpublished = Awhile()
        """Envoy listens, and programs do not find where: they drop and pass what is for it."""
        self.silent = Awhile()
        """Envoy served, and does not answer."""
        self.detached = Awhile()
        """Programs are not attached that are to be."""

    @property
    def serves(self) -> bool:
        """Whether connections reach an Envoy that answers."""
        return self._envoy.state.ready and not self.unpublished.lasts_s and self.silent.lasts_s < SILENT_S

    async def look(self) -> None:
        now = self._loop.time()
        self._hear(now)
        self.unpublished.look(now, seen=await self._is_missed())
        lacks = bool(self._attachments.missing) or "attachments" in self._outcome.faults
        self.detached.look(now, seen=lacks)
        if self.unpublished.lasts_s and now - self._republished >= REPUBLISHED_S:
            self._republished = now
            log.warning("envoy is not found by programs, and replaced")
            self._envoy.restart_once()
        self._judge(now)

    def _hear(self, now: float) -> None:
        state, silent_s = self._envoy.state, self.silent.lasts_s
        self.silent.look(now, seen=state.ready and not state.answers)
        if self.silent.lasts_s and not silent_s:
            log.warning("envoy does not answer", pid=state.current and state.current.pid)
        elif silent_s and state.answers:
            log.info("envoy answers again", silent_s=round(silent_s, 1))

    async def _is_missed(self) -> bool:
        """Envoy's sockets are published as they begin to listen, and never again: into other maps a new one's are."""
        if not (self._envoy.serves and self._outcome.captures) or self._attachments.follows:
            return False
        with suppress(OSError):  # the map itself is away, and put back
            return not await asyncio.to_thread(self._finds_listeners)
        return False

    def _judge(self, now: float) -> None:
        """Whether this node serves what it may announce."""
        serves = self._envoy.serves and not self.unpublished.lasts_s
        seen = unserved(self._outcome.exposed, self._outcome.active if serves else None)
        if self.judgement.look(seen, now):
            texts = sorted(map(str, self.judgement.unserved))
            log.info("addresses not served", addresses=texts)
            self.tell(texts)
