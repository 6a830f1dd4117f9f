"""The ADS server over gRPC: it moves bytes between streams and sockets, and keeps the clocks that the core has not.

Each stream has a reader and a writer that do not wait for each other. A client that does not read keeps its writer
waiting and nobody else: what it misses is not queued, it is found when it reads again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from xds_server.xds import csds, health, reflection
from xds_server.xds.credentials import Authenticated, Listen, UnixSocket, bind
from xds_server.xds.events import ProtocolError
from xds_server.xds.streams import Connection, Streams

ADS: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"

_LONGEST_REQUEST: Final = 64 * 1024 * 1024  # 50,000 initial_resource_versions with long names


@dataclass(frozen=True, slots=True)
class ServerSettings:
    gate_s: float = 10.0
    """A resource is held back for what it refers to at least this long, and at most twice."""
    loads: int = 25
    """How many streams are in their initial load at once; the others wait, so that a herd does not take all memory."""
    load_s: float = 5.0
    """An initial load that takes longer no longer counts: a slow client does not keep others out."""
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0
    max_connection_age_s: float | None = None
    """Clients are asked to reconnect after this, give or take a tenth, so that replicas share them; None is never."""
    stop_s: float = 1.0
    """How long streams may take to end when the server stops."""


@asynccontextmanager
async def serving(streams: Streams, listen: Listen, settings: ServerSettings | None = None) -> AsyncIterator[str]:
    """Serve while the block runs; gives the address that clients dial."""
    settings = settings or ServerSettings()
    server = grpc.aio.server(
        interceptors=[Authenticated(listen, on_refused=_counter(streams))], options=channel_options(listen, settings)
    )
    for service, methods in handlers(streams, settings).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    address = bind(server, listen)
    await server.start()
    # Not a task group: its errors would reach the caller of the block in a group, and his own too.
    clocks = [asyncio.ensure_future(_gates(streams, settings)), asyncio.ensure_future(_heartbeats(streams))]
    try:
        yield address
    finally:
        for clock in clocks:
            clock.cancel()
        streams.close()
        await server.stop(settings.stop_s)
        with suppress(TimeoutError):  # gRPC has ended them; their tasks have yet to notice
            await asyncio.wait_for(streams.emptied(), settings.stop_s)
        for clock in clocks:
            with suppress(asyncio.CancelledError):
                await clock
        if isinstance(listen, UnixSocket):
            listen.path.unlink(missing_ok=True)


def handlers(streams: Streams, settings: ServerSettings) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
    """Every method of the server, by service."""
    discovery = _Discovery(streams, settings)
    services = frozenset({ADS, csds.SERVICE, health.SERVICE, reflection.V1, reflection.V1ALPHA})
    reflected = reflection.handlers(services)
    return {
        ADS: {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(discovery.sotw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(discovery.delta),
        },
        csds.SERVICE: csds.handlers(streams),
        health.SERVICE: health.handlers(streams, services),
        reflection.V1: reflected,
        reflection.V1ALPHA: reflected,
    }


class _Discovery:
    """The two methods of ADS, on raw bytes: responses are encoded already."""

    def __init__(self, streams: Streams, settings: ServerSettings) -> None:
        self._streams = streams
        self._settings = settings
        self._loads = asyncio.Semaphore(settings.loads)

    async def sotw(self, _: Any, context: Any) -> None:
        await self._serve(context, discovery_pb2.DiscoveryRequest.FromString, delta=False)

    async def delta(self, _: Any, context: Any) -> None:
        await self._serve(context, discovery_pb2.DeltaDiscoveryRequest.FromString, delta=True)

    async def _serve(self, context: Any, parse: Callable[[bytes], Any], *, delta: bool) -> None:
        await self._streams.opened()
        connection = self._streams.connect(delta=delta, peer=context.peer())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(connection, context))
                refusal = await self._read(connection, context, parse)
                connection.end()
        finally:
            self._streams.disconnect(connection)
        if refusal:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refusal)

    async def _read(self, connection: Connection, context: Any, parse: Callable[[bytes], Any]) -> str:
        """Take requests until the client has no more; return why one cannot be understood.

        None is kept while the next is awaited: that of a client that comes back may take megabytes.
        """
        refusal: str | None = ""
        while refusal == "":
            refusal = self._take(connection, await context.read(), parse)
        return refusal or ""

    def _take(self, connection: Connection, message: Any, parse: Callable[[bytes], Any]) -> str | None:
        """Why a request cannot be understood, or None when there is none."""
        if message is grpc.aio.EOF:
            return None
        try:
            self._streams.receive(connection, parse(message))
        except DecodeError:
            return "the request is not a discovery request"
        except ProtocolError as error:
            return str(error)
        return ""

    async def _write(self, connection: Connection, context: Any) -> None:
        load = _Load(self._loads)
        try:
            await connection.wake.wait()
            await load.begin(self._settings.load_s)
            while True:
                connection.wake.clear()
                ended = connection.ended
                for type_url, payload in connection.stream.pending():
                    await context.write(payload)
                    self._streams.stats.wrote(type_url, len(payload))
                if ended:
                    return  # what the last request asked for has been sent
                if not connection.stream.in_flight:
                    load.end()
                await connection.wake.wait()
        finally:
            load.end()


class _Load:
    """One of the places for streams in their initial load; left once, by whatever comes first."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self, longest_s: float) -> None:
        await self._places.acquire()
        self._timer = asyncio.get_running_loop().call_later(longest_s, self.end)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._places.release()


async def _gates(streams: Streams, settings: ServerSettings) -> None:
    while True:
        await asyncio.sleep(settings.gate_s)
        streams.expire()


async def _heartbeats(streams: Streams) -> None:
    """Three in each life, so that one may be late."""
    lives = [ttl_s for ttl_s in streams.table.ttl_s.values() if ttl_s]
    while lives:
        await asyncio.sleep(min(lives) / 3)
        streams.heartbeat()


def _counter(streams: Streams) -> Callable[[], None]:
    def refused() -> None:
        streams.stats.unauthenticated += 1

    return refused


def channel_options(listen: Listen, settings: ServerSettings) -> list[tuple[str, int]]:
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", _LONGEST_REQUEST),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ]
    if settings.max_connection_age_s is not None and not isinstance(listen, UnixSocket):
        # gRPC itself adds the jitter of a tenth.
        options += [
            ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1000)),
            ("grpc.max_connection_age_grace_ms", 5000),
        ]
    return options
