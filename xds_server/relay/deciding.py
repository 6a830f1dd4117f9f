"""Asks the replica that leads which node announces an address, for the daemons that are connected to this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

import grpc
import grpc.aio
import structlog

from xds_server.relay import daemons
from xds_server.relay.daemons import Daemon, Decision
from xds_server.relay.message import MalformedError
from xds_server.relay.telling import Files
from xds_server.xds.server import RELAY

METHOD: Final = f"/{RELAY}/Decide"
_LONGEST_S: Final = 1.0
_ANSWER_S: Final = 2.0

log = structlog.get_logger("relay")


class Asks(Protocol):
    """Who knows the daemons of this replica, and tells them what was decided."""

    def here(self) -> list[Daemon]: ...
    def heard(self, decision: Decision | None, asked_at: float) -> None: ...


class Deciding:
    """`address` is of the replica that leads, "" for this one or nobody; what it says holds for half of `lease_s`."""

    def __init__(
        self,
        asks: Asks,
        files: Files,
        address: Callable[[], str],
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asks, self._files, self._address, self._clock = asks, files, address, clock
        self._every_s = min(_LONGEST_S, lease_s / 8)
        self._fault = ""

    async def run(self) -> NoReturn:
        """Ask until cancelled; who does not answer has decided nothing."""
        while True:
            address = self._address()
            if address:
                try:
                    async with self._files.channel(address) as channel:
                        await self._ask(channel, address)
                except (grpc.aio.AioRpcError, MalformedError, OSError, ValueError) as error:
                    self._told(error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)[:256])
            await asyncio.sleep(self._every_s)

    async def _ask(self, channel: grpc.aio.Channel, address: str) -> None:
        call: Any = channel.unary_unary(METHOD)
        while self._address() == address:
            asked_at = self._clock()
            raw = await call(daemons.request(self._asks.here()), timeout=_ANSWER_S)
            self._asks.heard(daemons.read_response(raw), asked_at)
            self._fault = ""
            await asyncio.sleep(self._every_s)

    def _told(self, fault: str) -> None:
        if fault != self._fault:
            log.info("leader decides nothing", reason=fault)
        self._fault = fault
