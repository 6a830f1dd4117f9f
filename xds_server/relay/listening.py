"""The service by which other replicas tell what their Envoys said, on the port of ADS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog

from xds_server.model.resource import ResourceKey
from xds_server.relay import daemons, message
from xds_server.relay.daemons import Daemon, Decision
from xds_server.relay.inbox import Ears, Inbox
from xds_server.relay.words import Said, parts
from xds_server.xds.server import RELAY, Services

METHOD: Final = f"/{RELAY}/Tell"

_SESSIONS: Final = 32
_ENVOYS: Final = 100_000
_AT_ONCE: Final = 16
"""Envoys whose words are taken without a break: of one that begins, all that is known is looked at."""

log = structlog.get_logger("relay")


class Decides(Protocol):
    """Who decides which node announces an address, among the daemons here and those that are reported."""

    def reported(self, found: Iterable[Daemon]) -> Decision | None: ...


class Listening:
    """All streams from other replicas.

    Whoever is told is not asked whether it leads: who has just begun to would lose what it was told a moment too early.
    """

    def __init__(self, ears: Ears, number: Callable[[], int]) -> None:
        self._ears, self._number = ears, number
        self._inboxes: set[Inbox] = set()
        self.told = 0
        self.decides: Decides | None = None
        """None where nothing is announced."""

    @property
    def envoys(self) -> int:
        """How many Envoys there are at other replicas."""
        return sum(map(len, self._inboxes))

    def handlers(self) -> Services:
        found: dict[str, Any] = {"Tell": grpc.stream_stream_rpc_method_handler(self._tell)}
        if self.decides is not None:
            found["Decide"] = grpc.unary_unary_rpc_method_handler(self._decide)
        return {RELAY: found}

    def published(self, keys: Iterable[ResourceKey]) -> None:
        """These resources are there now, or have changed."""
        found = list(keys) if self._inboxes else []
        for inbox in self._inboxes:
            inbox.published(found)

    async def _decide(self, raw: bytes, context: Any) -> bytes:
        assert self.decides is not None
        try:
            found = daemons.read_request(raw)
        except message.MalformedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return daemons.response(self.decides.reported(found))

    async def _tell(self, _: Any, context: Any) -> None:
        if len(self._inboxes) >= _SESSIONS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_SESSIONS} replicas tell already")
        inbox = Inbox(self._ears, self._number)
        self._inboxes.add(inbox)
        log.info("replica tells", peer=context.peer())
        refusal = ""
        try:
            while (raw := await context.read()) is not grpc.aio.EOF:
                try:
                    async for carried in self._take(inbox, message.read_request(raw)):
                        await context.write(message.response([carried]))
                except message.MalformedError as error:
                    refusal = str(error)
                    break
                await context.write(message.response([]))
        finally:
            self._inboxes.discard(inbox)
            inbox.end()
            log.info("replica tells no more", peer=context.peer(), reason=refusal)
        if refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refusal)

    async def _take(self, inbox: Inbox, news: list[Said]) -> AsyncIterator[Said]:
        """Say it here, and give back what is known besides, in parts."""
        if len(inbox) + sum(said.began for said in news) > _ENVOYS:
            raise message.MalformedError(f"envoys: one replica has at most {_ENVOYS}")
        self.told += len(news)
        for first in range(0, len(news), _AT_ONCE):
            for known in inbox.take(news[first : first + _AT_ONCE]):
                for part in parts(known):
                    yield part
            await asyncio.sleep(0)
