"""`grpc.health.v1.Health`: serving once the sources are synchronised and streams are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from xds_server.xds.streams import Streams

SERVICE: Final = "grpc.health.v1.Health"


def handlers(streams: Streams, services: frozenset[str]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The server as a whole, by the empty name, and each of its services."""

    def status(service: str) -> int:
        if service and service not in services:
            return int(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        serving = (
            health_pb2.HealthCheckResponse.SERVING if streams.ready else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        return int(serving)

    def response(service: str) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(
            status=health_pb2.HealthCheckResponse.ServingStatus.ValueType(status(service))
        )

    async def check(request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        if request.service and request.service not in services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return response(request.service)

    async def watch(request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield response(request.service)
        if not streams.ready:
            await streams.opened()
            yield response(request.service)
        await streams.closed()
        yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)

    async def listing(request: Any, context: Any) -> health_pb2.HealthListResponse:
        return health_pb2.HealthListResponse(statuses={name: response(name) for name in ("", *sorted(services))})

    serialise = _serialise
    return {
        "Check": grpc.unary_unary_rpc_method_handler(check, health_pb2.HealthCheckRequest.FromString, serialise),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, health_pb2.HealthCheckRequest.FromString, serialise),
        "List": grpc.unary_unary_rpc_method_handler(listing, health_pb2.HealthListRequest.FromString, serialise),
    }


def _serialise(message: Any) -> bytes:
    serialised: bytes = message.SerializeToString()
    return serialised
