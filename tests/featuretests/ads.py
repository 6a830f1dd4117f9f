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

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class Ads:
    """`streams` has a queue of requests for each stream, in order; `say` writes to the newest."""

    def __init__(self) -> None:
        self.streams: list[list[Any]] = []
        self.heard = asyncio.Condition()
        self._context: Any = None

    async def until(self, requests: int, streams: int = 1) -> list[Any]:
        """The requests of the newest stream, once there are so many of both."""
        async with asyncio.timeout(20), self.heard:
            await self.heard.wait_for(lambda: len(self.streams) >= streams and len(self.streams[-1]) >= requests)
            return self.streams[-1]

    async def say(self, response: Any) -> None:
        await self._context.write(response.SerializeToString())

    async def handle(self, requests: Any, context: Any) -> None:
        async with self.heard:
            self.streams.append([])
        mine, self._context = self.streams[-1], context
        async for payload in requests:
            async with self.heard:
                mine.append(DeltaDiscoveryRequest.FromString(payload))
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
