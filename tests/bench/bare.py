"""gRPC and nothing else: the least that any server of this language and library has to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


@asynccontextmanager
async def serving(stream: Callable[[Any, Any], Awaitable[None]], socket: str) -> AsyncIterator[None]:
    """`stream` gets raw requests and writes raw responses."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=options)
    methods: dict[str, Any] = {"DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(0.1)
