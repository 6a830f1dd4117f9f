"""A small server of delta ADS: it says what it is told to say, and hears every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from datapath.discovery import types

PATIENCE_S = 120
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class Ads:
    """`streams` has the requests of each stream of a daemon, in order; `say` writes to the newest.

    An Envoy may have a stream too: it is never answered.
    """

    def __init__(self) -> None:
        self.streams: list[list[Any]] = []
        self.heard = asyncio.Condition()
        self._context: Any = None

    async def until(self, requests: int, streams: int = 1) -> list[Any]:
        """The requests of the newest stream, once there are so many of both."""
        async with asyncio.timeout(PATIENCE_S), self.heard:
            await self.heard.wait_for(lambda: len(self.streams) >= streams and len(self.streams[-1]) >= requests)
            return self.streams[-1]

    async def say(self, response: Any) -> None:
        await self.write(response.SerializeToString())

    async def write(self, octets: bytes) -> None:
        await self._context.write(octets)

    async def handle(self, requests: Any, context: Any) -> None:
        mine: list[Any] = []
        async for payload in requests:
            request = DeltaDiscoveryRequest.FromString(payload)
            if not mine and request.type_url not in types(""):
                await asyncio.Event().wait()
            async with self.heard:
                if not mine:
                    self.streams.append(mine)
                    self._context = context
                mine.append(request)
                self.heard.notify_all()


@asynccontextmanager
async def serving(socket: Path, ads: Ads) -> AsyncIterator[None]:
    server = grpc.aio.server()
    method: Any = grpc.stream_stream_rpc_method_handler(ads.handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ADS, {"DeltaAggregatedResources": method}),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
