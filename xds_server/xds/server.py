"""The ADS server over gRPC: it moves bytes between streams and sockets, and keeps the clocks that the core has not.

Each stream has a reader and a writer that do not wait for each other. A client that does not read keeps its writer
waiting and nobody else: what it misses is not queued, it is found when it reads again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from xds_server.xds import csds, health, reflection
from xds_server.xds.credentials import Authenticated, InsecureLoopback, Listen, UnixSocket, bound, peer_of
from xds_server.xds.events import NotItsNodeError, ProtocolError
from xds_server.xds.identity import Node, Operator, Owner, Peer, Replica
from xds_server.xds.stream import OVERTAKEN
from xds_server.xds.streams import Connection, Streams

ADS: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
RELAY: Final = "tidegate.relay.v1.Relay"

_LONGEST_REQUEST: Final = 64 * 1024 * 1024  # 50,000 initial_resource_versions with long names
_LONGEST_REQUEST_OF_A_STRANGER: Final = 16 * 1024 * 1024

# What a service is for, beside the machine's own user. A service that is not here is for nobody else.
_PERMITTED: Final[dict[str, tuple[type[Peer], ...]]] = {
    ADS: (Node,),
    csds.SERVICE: (Node, Operator),  # a node sees itself
    health.SERVICE: (Node, Operator),
    RELAY: (Replica,),
    reflection.V1: (Operator,),
    reflection.V1ALPHA: (Operator,),
}

log = structlog.get_logger("xds")

Services = Mapping[str, Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]]
"""Methods by service."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a server does not take from its surroundings; people choose the age of connections, tests all of it."""

    gate_s: float = 10.0
    """A resource is held back for what it refers to at least this long, and at most twice."""
    loads: int = 25
    """How many streams are written to at once in their initial load, so that a herd does not take all memory."""
    load_s: float = 1.0
    """Writing that takes longer no longer counts: who does not read does not keep others out."""
    streams: int = 4096
    """One more is refused at once, and told so."""
    streams_of_a_node: int = 8
    """Of one whose certificate says which it is: the Envoys of a hot restart, its daemon, people.

    One more ends the oldest: if the node is sound, that is of a connection that was lost and has yet to be noticed.
    """
    first_request_s: float = 30.0
    """A stream on which nothing was asked for this long is ended."""
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0
    max_connection_age_s: float | None = None
    """Clients are asked to reconnect after this, give or take a tenth, so that replicas share them; None is never."""
    stop_s: float = 1.0
    """How long streams may take to end when the server stops."""


@asynccontextmanager
async def serving(
    streams: Streams, listen: Listen, settings: ServerSettings | None = None, more: Services | None = None
) -> AsyncIterator[str]:
    """Serve while the block runs, and `more` on the same address; gives the address that clients dial."""
    settings = settings or ServerSettings()
    server = grpc.aio.server(
        interceptors=[Authenticated(listen, permits, on_refused=_counter(streams))],
        options=channel_options(listen, settings),
    )
    for service, methods in {**handlers(streams, settings, listen), **(more or {})}.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))
    with bound(server, listen) as address:
        await server.start()
        try:
            async with _clocks(streams, settings):
                yield address
        finally:
            streams.close()
            await server.stop(settings.stop_s)
            with suppress(TimeoutError):  # gRPC has ended them; their tasks have yet to notice
                await asyncio.wait_for(streams.emptied(), settings.stop_s)


def permits(method: str, peer: Peer) -> bool:
    """Whether a method ("/service/method") is for somebody."""
    return isinstance(peer, (Owner, *_PERMITTED.get(method.strip("/").partition("/")[0], ())))


def handlers(
    streams: Streams, settings: ServerSettings, listen: Listen
) -> dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]]:
    """Every method of the server, by service."""

    def node(context: Any) -> str | None:
        found = peer_of(listen, context)
        return found.name if isinstance(found, Node) else None

    discovery = _Discovery(streams, settings, node)
    services = frozenset({ADS, csds.SERVICE, health.SERVICE, reflection.V1, reflection.V1ALPHA})
    reflected = reflection.handlers(services)
    return {
        ADS: {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(discovery.sotw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(discovery.delta),
        },
        csds.SERVICE: csds.handlers(streams, node),
        health.SERVICE: health.handlers(streams, services),
        reflection.V1: reflected,
        reflection.V1ALPHA: reflected,
    }


class OvertakenError(Exception):
    """A stream is to end, although its client asks for nothing."""


class _End(NamedTuple):
    """Why the server ends a stream."""

    code: grpc.StatusCode
    text: str


class _Discovery:
    """The two methods of ADS, on raw bytes: responses are encoded already."""

    def __init__(self, streams: Streams, settings: ServerSettings, node: Callable[[Any], str | None]) -> None:
        self._streams = streams
        self._settings = settings
        self._node = node
        self._loads = asyncio.Semaphore(settings.loads)
        self._open = 0
        self._lives: dict[str, list[asyncio.Timeout]] = {}
        """Of the streams of each node, from the oldest on."""

    async def sotw(self, _: Any, context: Any) -> None:
        await self._serve(context, discovery_pb2.DiscoveryRequest.FromString, delta=False)

    async def delta(self, _: Any, context: Any) -> None:
        await self._serve(context, discovery_pb2.DeltaDiscoveryRequest.FromString, delta=True)

    async def _serve(self, context: Any, parse: Callable[[bytes], Any], *, delta: bool) -> None:
        if self._open >= self._settings.streams:
            text = f"{self._open} streams are open, which is the limit of this server: use another replica"
            log.warning("stream refused", peer=context.peer(), reason=text)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        node = self._node(context)
        self._open += 1
        try:
            async with asyncio.timeout(None) as life:
                with self._among(node, life):
                    await self._streams.begun()
                    end = await self._converse(context, parse, delta=delta)
        except TimeoutError:
            text = f"the node {node!r} has opened {self._settings.streams_of_a_node} streams since, which is its limit"
            log.warning("stream displaced", node=node, peer=context.peer(), reason=text)
            self._streams.stats.displaced += 1
            end = _End(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        finally:
            self._open -= 1
        if end:
            await context.abort(end.code, end.text)

    @contextmanager
    def _among(self, node: str | None, life: asyncio.Timeout) -> Iterator[None]:
        """One of the streams of a node while the block runs; those that are too many end."""
        if node is None:
            yield
            return
        lives = self._lives.setdefault(node, [])
        lives.append(life)
        for oldest in lives[: -self._settings.streams_of_a_node]:
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
        try:
            yield
        finally:
            lives.remove(life)
            if not lives:
                del self._lives[node]

    async def _converse(self, context: Any, parse: Callable[[bytes], Any], *, delta: bool) -> _End | None:
        connection = self._streams.connect(delta=delta, peer=context.peer(), node=self._node(context))
        end = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write(connection, context))
                end = await self._heard(connection, context, parse)
                connection.end()
        except* OvertakenError:
            end = _End(grpc.StatusCode.ABORTED, OVERTAKEN)
        except* grpc.aio.InternalError:
            log.debug("stream broken", node=connection.stream.node_id, peer=connection.peer)  # in the middle of a write
        finally:
            self._streams.disconnect(connection)
        return end

    async def _heard(self, connection: Connection, context: Any, parse: Callable[[bytes], Any]) -> _End | None:
        """All that the client has to say, or until it is dismissed."""
        reading = asyncio.ensure_future(self._read(connection, context, parse))
        dismissed = asyncio.ensure_future(connection.dismissed.wait())
        try:
            await asyncio.wait({reading, dismissed}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return _End(grpc.StatusCode.UNAVAILABLE, "another replica decides now: connect again")
            return reading.result()
        finally:
            for task in (reading, dismissed):
                task.cancel()
            await asyncio.wait({reading, dismissed})

    async def _read(self, connection: Connection, context: Any, parse: Callable[[bytes], Any]) -> _End | None:
        """Take requests until the client has no more, or one that cannot be understood.

        None is kept while the next is awaited: that of a client that comes back may take megabytes.
        """
        try:
            first = await asyncio.wait_for(context.read(), self._settings.first_request_s)
        except TimeoutError:
            text = f"nothing was asked for in {self._settings.first_request_s:g} s: send a discovery request"
            return _End(grpc.StatusCode.DEADLINE_EXCEEDED, text)
        more, end = await self._take(connection, first, parse)
        del first
        while more:
            more, end = await self._take(connection, await context.read(), parse)
        return end

    async def _take(
        self, connection: Connection, message: Any, parse: Callable[[bytes], Any]
    ) -> tuple[bool, _End | None]:
        """Whether another request may follow, and if not, whether that is the server's wish."""
        if message is grpc.aio.EOF:
            return False, None
        try:
            request = parse(message)
            await self._streams.takes(connection, request)
            self._streams.receive(connection, request)
        except DecodeError:
            return False, _End(grpc.StatusCode.INVALID_ARGUMENT, "the request is not a discovery request")
        except NotItsNodeError as error:
            return False, _End(grpc.StatusCode.PERMISSION_DENIED, str(error))
        except ProtocolError as error:
            return False, _End(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return True, None

    async def _write(self, connection: Connection, context: Any) -> None:
        """Write what is to be sent whenever there is something; until the first time that all was accepted, in turn.

        A turn ends with the bytes, not with their ACK: who never answers keeps nobody waiting.
        """
        loading, told, ended = True, False, False
        while not ended:
            await connection.wake.wait()
            async with _turn(self._loads, self._settings.load_s) if loading else nullcontext():
                connection.wake.clear()
                ended = connection.ended  # what the last request asked for is sent before the end
                if connection.stream.overtaken:
                    raise OvertakenError
                for type_url, payload in connection.stream.pending():
                    told = True
                    await context.write(payload)
                    self._streams.stats.wrote(type_url, len(payload))
            loading = loading and (connection.stream.in_flight or not (told and self._streams.ready))


@asynccontextmanager
async def _turn(places: asyncio.Semaphore, longest_s: float) -> AsyncIterator[None]:
    """Hold one of the places while the block runs, but not for longer than that."""
    await places.acquire()
    held: bool = True

    def leave() -> None:
        nonlocal held
        if held:
            held = False
            places.release()

    timer = asyncio.get_running_loop().call_later(longest_s, leave)
    try:
        yield
    finally:
        timer.cancel()
        leave()


@asynccontextmanager
async def _clocks(streams: Streams, settings: ServerSettings) -> AsyncIterator[None]:
    """Open gates and prolong lives while the block runs.

    Lives are set by who makes the table of resources. That of `ControlPlane` has none, because an Envoy that loses its
    server is to go on with what it has: there the second clock does not run.
    """
    clocks = [asyncio.create_task(_every(settings.gate_s, streams.expire))]
    if lives := [ttl_s for ttl_s in streams.table.ttl_s.values() if ttl_s]:
        clocks.append(asyncio.create_task(_every(min(lives) / 3, streams.heartbeat)))  # so that one may be late
    try:
        yield
    finally:
        for clock in clocks:
            clock.cancel()
        await asyncio.wait(clocks)


async def _every(interval_s: float, tick: Callable[[], None]) -> None:
    """A tick that fails is told, and the next one comes: without its clocks a server goes on and withholds news."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            tick()
        except Exception:
            log.exception("a clock failed", clock=tick.__name__)


def _counter(streams: Streams) -> Callable[[grpc.StatusCode], None]:
    def refused(code: grpc.StatusCode) -> None:
        if code is grpc.StatusCode.UNAUTHENTICATED:
            streams.stats.unauthenticated += 1
        else:
            streams.stats.forbidden += 1

    return refused


def channel_options(listen: Listen, settings: ServerSettings) -> list[tuple[str, int]]:
    options = [
        ("grpc.so_reuseport", 0),
        # Before anybody has been authenticated, on a port that anybody on the machine may dial, a request is shorter.
        (
            "grpc.max_receive_message_length",
            _LONGEST_REQUEST_OF_A_STRANGER if isinstance(listen, InsecureLoopback) else _LONGEST_REQUEST,
        ),
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
