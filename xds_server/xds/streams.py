"""All streams: publish to them, and hear what they accept and refuse. Must not know gRPC."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, Protocol

import structlog

from xds_server.model.resource import DATAPATH, INTERCEPTED, Resource, ResourceKey
from xds_server.xds.events import (
    Accepted,
    Divided,
    Event,
    Ignored,
    NotItsNodeError,
    ProtocolError,
    Rejected,
    Subscribed,
    Unserved,
)
from xds_server.xds.resources import ResourceTable
from xds_server.xds.stats import StreamStats
from xds_server.xds.stream import AdsStream


class Client(NamedTuple):
    """Who is at the other end of a stream: the node id that it gave, which others may give too, and our own number."""

    node: str
    stream: int


class OnConnected(Protocol):
    """`resumed`: the client brought along what an earlier stream gave it."""

    def __call__(self, client: Client, *, resumed: bool) -> None: ...


class OnSubscribed(Protocol):
    """`wildcard`: it asks for all of the type."""

    def __call__(self, client: Client, type_url: str, *, wildcard: bool) -> None: ...


OnAccepted = Callable[[Client, str, Mapping[str, str]], None]
"""Of a type, the version of each name."""
OnRejected = Callable[[Client, str, str, str, str], None]
"""Of a type, a name, its version and why; no name where a removal was refused."""
OnGone = Callable[[Client], None]
OnDaemon = Callable[[Client, Collection[str]], None]
"""Of a node's daemon, with the addresses that it says it announces, or that it says it does not serve."""

_MOST_CLAIMS = 4096

log = structlog.get_logger("xds")


def _ignore(*_: object, **__: object) -> None:
    """Nobody listens."""


@dataclass(slots=True, eq=False)
class Connection:
    """A stream and the event that its writer waits for."""

    stream: AdsStream
    peer: str
    client: Client | None = None
    """Set once its first request was understood; without it, nobody has been told of the stream."""
    speaker: Client | None = None
    """As what it says is told: a daemon is not the Envoy of its node."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    dismissed: asyncio.Event = field(default_factory=asyncio.Event)
    """The server ends the stream; the client is to come again."""
    ended: bool = False
    envoy: str = ""
    """The version that it says it is of."""
    since: float = 0.0
    accepted_at: dict[str, float] = field(default_factory=dict)
    rejected_at: dict[str, float] = field(default_factory=dict)
    """When it last said yes and no, by type."""
    told_unserved: bool = False
    """That it names what does not exist for it is logged once."""
    of_proxy: bool = True
    """Whether it is an Envoy's, or a tool's that asks for what Envoys have; else it is the daemon's of a node."""

    def end(self) -> None:
        """The client has no more requests."""
        self.ended = True
        self.wake.set()


@dataclass(slots=True, eq=False)
class Streams:
    """The table and who reads it.

    Who listens is told of each stream whose first request makes sense, and at last, once, that it is gone.
    Calls are made in the event loop and must not block.
    """

    table: ResourceTable = field(default_factory=ResourceTable)
    on_connected: OnConnected = _ignore
    on_subscribed: OnSubscribed = _ignore
    on_accepted: OnAccepted = _ignore
    on_rejected: OnRejected = _ignore
    on_gone: OnGone = _ignore
    on_daemon: OnDaemon = _ignore
    on_daemon_gone: OnGone = _ignore
    on_unserved: OnDaemon = _ignore
    stats: StreamStats = field(default_factory=StreamStats)
    clock: Callable[[], float] = time.monotonic
    _connections: dict[int, Connection] = field(init=False, repr=False, default_factory=dict)
    _by_node: dict[str, dict[int, Connection]] = field(init=False, repr=False, default_factory=dict)
    _numbers: Iterator[int] = field(init=False, repr=False, default_factory=lambda: count(1))
    _begun: asyncio.Event = field(init=False, repr=False, default_factory=asyncio.Event)
    _ready: asyncio.Event = field(init=False, repr=False, default_factory=asyncio.Event)
    _empty: asyncio.Event = field(init=False, repr=False, default_factory=asyncio.Event)
    _closed: asyncio.Event = field(init=False, repr=False, default_factory=asyncio.Event)

    @property
    def ready(self) -> bool:
        """All is there that the sources have; until then nobody is told what might take away what it has."""
        return self._ready.is_set()

    def begin(self, changes: Mapping[ResourceKey, Resource | None]) -> None:
        """Publish what all others will lead to, while these are being made, for clients that have nothing yet.

        They hear of these types alone: nothing, said of another, would be heard as that there is none.
        """
        self.table.only = frozenset(key.type_url for key in changes)
        self.publish(changes)
        self._begun.set()

    def open(self) -> None:
        if self.table.only is not None:
            self.table.only = None
            self._wake()
        self._begun.set()
        self._ready.set()

    async def begun(self) -> None:
        await self._begun.wait()

    async def takes(self, connection: Connection, request: Any) -> None:
        """Wait until a request can be received: what a client brings along is compared with all that there is."""
        if connection.stream.resumes(request):
            await self.opened()

    async def opened(self) -> None:
        await self._ready.wait()

    def close(self) -> None:
        """The server ends: who watches its health is let go."""
        self._closed.set()

    async def closed(self) -> None:
        await self._closed.wait()

    async def emptied(self) -> None:
        """Wait until the last stream has been forgotten."""
        if self._connections:
            await self._empty.wait()

    def publish(self, changes: Mapping[ResourceKey, Resource | None]) -> int:
        """Apply the changes and wake the streams; return the revision."""
        before = self.table.revision
        revision = self.table.apply(changes)
        if revision != before:
            self._wake()
        return revision

    def withhold(self, type_url: str, *, withheld: bool) -> None:
        """Say nothing about a type, or say it again; who decides on it may not be here.

        Who was told before is to know that it is not told any more: its stream ends.
        """
        if withheld and type_url not in self.table.withheld:
            self.table.withheld.add(type_url)
            for connection in self._connections.values():
                if type_url in connection.stream.types():
                    connection.dismissed.set()
        elif withheld:
            return
        elif type_url in self.table.withheld:
            self.table.withheld.remove(type_url)
            self._wake()

    def connect(self, *, delta: bool, peer: str = "", node: str | None = None) -> Connection:
        """`node` is who the client is to say that it is, where its certificate tells."""
        connection = Connection(AdsStream(self.table, delta=delta, bound_to=node), peer)
        self._connections[id(connection)] = connection
        self._empty.clear()
        self.stats.streams[_variant(connection.stream)] += 1
        return connection

    def receive(self, connection: Connection, request: Any) -> None:
        """Take a request, tell who listens, and wake the writer."""
        stream = connection.stream
        try:
            events = stream.receive(request)
        except ProtocolError as error:
            if isinstance(error, NotItsNodeError):
                self.stats.forbidden += 1
            else:
                self.stats.refused += 1
            log.warning("stream refused", node=stream.node_id, peer=connection.peer, reason=str(error))
            raise
        client = connection.client
        if client is None:
            client = connection.client = Client(stream.node_id, next(self._numbers))
            self._by_node.setdefault(client.node, {})[id(connection)] = connection
            connection.since, connection.envoy = self.clock(), _version(request.node)
            log.info("stream connected", node=client.node, peer=connection.peer, variant=_variant(stream))
            connection.of_proxy = request.type_url not in DATAPATH
            connection.speaker = client if connection.of_proxy else client._replace(node=daemon_of(client.node))
            self.on_connected(connection.speaker, resumed=stream.resumed)
            if not connection.of_proxy:
                self.on_daemon(client, _addresses(request.node, "announces"))
        if not connection.of_proxy and request.HasField("node"):
            self.on_unserved(client, _addresses(request.node, "unserved"))
        self.stats.count(events)
        for event in events:
            self._tell(connection, client, event)
        connection.wake.set()
        if not connection.of_proxy:
            self._let_go(client.node)

    def disconnect(self, connection: Connection) -> None:
        """Forget the stream; harmless when repeated."""
        if self._connections.pop(id(connection), None) is None:
            return
        stream = connection.stream
        stream.close()
        if not self._connections:
            self._empty.set()
        self.stats.streams[_variant(stream)] -= 1
        client, speaker = connection.client, connection.speaker
        if client is not None and speaker is not None:
            self._leave(client.node, connection)
            log.info("stream disconnected", node=client.node, peer=connection.peer, variant=_variant(stream))
            self.on_gone(speaker)
            if not connection.of_proxy:
                self.on_daemon_gone(client)
                self._let_go(client.node)

    def expire(self) -> None:
        """Open gates that have been closed since the last call."""
        for connection in self._connections.values():
            if connection.stream.waiting:
                self.stats.gates_opened += connection.stream.expire()
                connection.wake.set()

    def number(self) -> int:
        """Of a stream that is another replica's: no stream here has it, or will have."""
        return next(self._numbers)

    def uses(self, client: Client, key: ResourceKey) -> bool:
        """Whether a client is known to use the newest version of a resource."""
        return any(c.stream.uses(key) for c in self._connections.values() if c.speaker == client)

    def heartbeat(self) -> None:
        for connection in self._connections.values():
            connection.stream.heartbeat()
            connection.wake.set()

    def connections(self) -> Iterator[Connection]:
        """Those that have said who they are."""
        return (connection for connection in list(self._connections.values()) if connection.client is not None)

    def streams(self) -> Iterator[AdsStream]:
        for connection in list(self._connections.values()):
            yield connection.stream

    def parked(self) -> Counter[str]:
        """How many resources are refused now, by type, over all streams."""
        total: Counter[str] = Counter()
        for stream in self.streams():
            total.update(stream.parked())
        return total

    def debug(self) -> list[dict[str, object]]:
        """What each stream is about; no content, so no secrets."""
        return [{**c.stream.debug(), "peer": c.peer} for c in list(self._connections.values())]

    def _wake(self) -> None:
        for connection in self._connections.values():
            connection.wake.set()

    def _let_go(self, node: str) -> None:
        """What the Envoy of a node was not to lose before its daemon did may go."""
        for connection in self._by_node.get(node, {}).values():
            if connection.of_proxy and connection.stream.waiting:
                connection.wake.set()

    def _leave(self, node: str, connection: Connection) -> None:
        others = self._by_node[node]
        del others[id(connection)]
        if not others:
            del self._by_node[node]

    def _tell(self, connection: Connection, client: Client, event: Event) -> None:
        """What a proxy says of its own types, and a daemon of services, is told to who listens."""
        self._note(connection, client, event)
        speaker = connection.speaker
        told = event.type_url not in DATAPATH if connection.of_proxy else event.type_url == INTERCEPTED
        if speaker is None or not told:
            return
        match event:
            case Subscribed():
                self.on_subscribed(speaker, event.type_url, wildcard=event.wildcard)
            case Accepted():
                self.on_accepted(speaker, event.type_url, event.versions)
            case Rejected():
                self.on_rejected(speaker, event.type_url, event.name, event.version, event.detail)
            case _:
                pass

    def _note(self, connection: Connection, client: Client, event: Event) -> None:
        match event:
            case Accepted():
                connection.accepted_at[event.type_url] = self.clock()
            case Rejected():
                connection.rejected_at[event.type_url] = self.clock()
                log.warning(
                    "resource rejected",
                    node=client.node,
                    type=event.type_url,
                    name=event.name,
                    version=event.version,
                    detail=event.detail,
                )
            case Divided():
                connection.rejected_at[event.type_url] = self.clock()
                log.warning(
                    "response rejected, looking for the cause",
                    node=client.node,
                    type=event.type_url,
                    names=event.names,
                    detail=event.detail,
                )
            case Unserved():
                if not connection.told_unserved:
                    connection.told_unserved = True
                    log.warning(
                        "asked for what is not for the node",
                        node=client.node,
                        type=event.type_url,
                        names=event.names,
                        number=event.number,
                    )
            case Ignored():
                log.debug("type not served", node=client.node, type=event.type_url[:256])
            case _:
                pass


def daemon_of(node: str) -> str:
    """The id of a node's daemon, among those of Envoys, for people too."""
    return f"daemon of {node}"


def _variant(stream: AdsStream) -> str:
    return "delta" if stream.delta else "sotw"


def _addresses(node: Any, field: str) -> tuple[str, ...]:
    """Those that a daemon names; what is no list of texts is none."""
    found = node.metadata.fields[field].list_value.values if field in node.metadata.fields else ()
    return tuple(each.string_value for each in found[:_MOST_CLAIMS] if each.string_value)


def _version(node: Any) -> str:
    version = node.user_agent_build_version.version
    numbers = (version.major_number, version.minor_number, version.patch)
    return ".".join(map(str, numbers)) if any(numbers) else ""
