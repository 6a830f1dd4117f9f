"""Many delta ADS clients in one thread: HTTP/2 by hand, so that the clients cost little beside the server.

Each has a connection of its own, as each Envoy has, counts every byte that it receives on it, and acknowledges.
A client may subscribe as Envoy does (`envoy=True`): to what the clusters and listeners that it gets refer to.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
)

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
DEADLINE_S = 120.0

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME = 16_384
_WINDOW = 16 << 20
_CHUNK = 1 << 20


class Message(NamedTuple):
    """One response: when its first and its last byte came."""

    first: float
    last: float
    type_url: str
    names: tuple[str, ...]
    removed: tuple[str, ...]
    payload: bytes


class Content(NamedTuple):
    type_url: str
    acknowledgement: bytes
    names: tuple[str, ...]
    removed: tuple[str, ...]


@lru_cache(maxsize=64)
def content(payload: bytes) -> Content:
    """What a response says; the same bytes are looked at once for all clients."""
    response = DeltaDiscoveryResponse.FromString(payload)
    return Content(
        response.type_url,
        request(response.type_url, nonce=response.nonce),
        tuple(each.name for each in response.resources),
        tuple(response.removed_resources),
    )


def request(
    type_url: str,
    names: Iterable[str] = (),
    *,
    node: str = "",
    nonce: str = "",
    versions: Mapping[str, str] | None = None,
) -> bytes:
    message = DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce, initial_resource_versions=versions or {})
    if node:
        message.node.CopyFrom(Node(id=node))
    message.resource_names_subscribe.extend(names)
    encoded: bytes = message.SerializeToString()
    return encoded


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


_HEADER_BLOCK = b"".join(
    _literal(name, value)
    for name, value in (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    )
)
_GREETING = b"".join(
    (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WINDOW)),
        _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - 65_535)),
        _frame(_HEADERS, _END_HEADERS, 1, _HEADER_BLOCK),
    )
)


class Client:
    """One stream on one connection."""

    def __init__(self, socket_path: Path, node: str, *, envoy: bool = False, keep: bool = False) -> None:
        self.node, self.envoy, self.keep = node, envoy, keep
        self.messages: list[Message] = []
        self.received = 0
        """Bytes, of whatever kind."""
        self.content = 0
        """Bytes of responses, without framing."""
        self.held: dict[str, set[str]] = {}
        self.closed = ""
        self._known = False
        self._subscribed: set[str] = set()
        self._input = bytearray()
        self._message = bytearray()
        self._began = 0.0
        self._unreported = 0
        self._output = bytearray(_GREETING)
        self._queue = bytearray()
        self._window = self._stream_window = self._initial = 65_535
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(socket_path))
        self.socket.setblocking(False)

    def subscribe(self, type_url: str, names: Sequence[str] = (), versions: Mapping[str, str] | None = None) -> None:
        node = "" if self._known else self.node
        self._known = True
        self._subscribed.add(type_url)
        self.send(request(type_url, names, node=node, versions=versions))

    def begin(self) -> None:
        """Ask as Envoy does at its start."""
        self.subscribe(CLUSTER)
        self.subscribe(LISTENER)

    def send(self, message: bytes) -> None:
        self._queue += b"\0" + struct.pack(">I", len(message)) + message
        self._flush()

    def close(self) -> None:
        self.socket.close()

    def writable(self) -> bool:
        return bool(self._output)

    def write(self) -> None:
        try:
            sent = self.socket.send(self._output)
        except BlockingIOError:
            return
        del self._output[:sent]

    def read(self) -> int:
        """Take what has come; returns how many messages that completed."""
        try:
            received = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return 0
        if not received:
            self.closed = "the server closed the connection"
            return 0
        now = time.monotonic()
        self.received += len(received)
        self._input += received
        before, at, data = len(self.messages), 0, self._input
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3])
            if len(data) - at < 9 + length:
                break
            stream = int.from_bytes(data[at + 5 : at + 9])
            self._take(data[at + 3], data[at + 4], stream, data[at + 9 : at + 9 + length], now)
            at += 9 + length
        del data[:at]
        self._flush()
        return len(self.messages) - before

    def _take(self, kind: int, flags: int, stream: int, payload: bytearray, now: float) -> None:
        if kind == _DATA:
            self._data(payload, now)
        elif kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                setting, value = struct.unpack_from(">HI", payload, at)
                if setting == _INITIAL_WINDOW_SIZE:
                    self._stream_window += value - self._initial
                    self._initial = value
            self._output += _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self._output += _frame(_PING, _ACK, 0, bytes(payload))
        elif kind == _WINDOW_UPDATE:
            if stream:
                self._stream_window += int.from_bytes(payload)
            else:
                self._window += int.from_bytes(payload)
        elif kind in (_RST_STREAM, _GOAWAY):
            self.closed = f"the server ended the stream: {bytes(payload)!r}"

    def _data(self, payload: bytearray, now: float) -> None:
        if not self._message:
            self._began = now
        self._message += payload
        self._unreported += len(payload)
        if self._unreported > _WINDOW // 4:
            update = struct.pack(">I", self._unreported)
            self._output += _frame(_WINDOW_UPDATE, 0, 0, update) + _frame(_WINDOW_UPDATE, 0, 1, update)
            self._unreported = 0
        while len(self._message) >= 5:
            length = int.from_bytes(self._message[1:5])
            if len(self._message) < 5 + length:
                return
            self._respond(bytes(self._message[5 : 5 + length]), now)
            del self._message[: 5 + length]
            self._began = now

    def _respond(self, payload: bytes, now: float) -> None:
        found = content(payload)
        self.content += len(payload)
        kept = payload if self.keep else b""
        self.messages.append(Message(self._began, now, found.type_url, found.names, found.removed, kept))
        self.send(found.acknowledgement)
        if self.envoy:
            self._follow(found, payload)

    def _follow(self, found: Content, payload: bytes) -> None:
        held = self.held.setdefault(found.type_url, set())
        fresh = [each for each in found.names if each not in held]
        held.update(fresh)
        if found.type_url == CLUSTER and fresh:
            self.subscribe(CLUSTER_LOAD_ASSIGNMENT, fresh)
        elif found.type_url == LISTENER:
            for type_url, wanted in references(payload).items():
                unknown = [each for each in wanted if each not in self.held.setdefault(type_url, set())]
                if unknown:
                    self.subscribe(type_url, unknown)
        elif any(each.endswith("/vhds") for each in found.names) and VIRTUAL_HOST not in self._subscribed:
            self.subscribe(VIRTUAL_HOST)

    def _flush(self) -> None:
        """Move to the socket what the server's windows allow."""
        while self._queue:
            allowed = min(len(self._queue), _FRAME, self._window, self._stream_window)
            if allowed <= 0:
                break
            self._output += _frame(_DATA, 0, 1, bytes(self._queue[:allowed]))
            del self._queue[:allowed]
            self._window -= allowed
            self._stream_window -= allowed
        if self._output:
            self.write()


@lru_cache(maxsize=8)
def references(payload: bytes) -> dict[str, list[str]]:
    """The route configurations and secrets that listeners name."""
    from envoy.config.listener.v3.listener_pb2 import Listener
    from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
        HttpConnectionManager,
    )
    from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

    found: dict[str, list[str]] = {ROUTE_CONFIGURATION: [], SECRET: []}
    for each in DeltaDiscoveryResponse.FromString(payload).resources:
        for chain in Listener.FromString(each.resource.value).filter_chains:
            for network_filter in chain.filters:
                manager = HttpConnectionManager()
                if network_filter.typed_config.Unpack(manager):
                    found[ROUTE_CONFIGURATION].append(manager.rds.route_config_name)
            context = DownstreamTlsContext()
            if chain.transport_socket.typed_config.Unpack(context):
                secrets = context.common_tls_context.tls_certificate_sds_secret_configs
                found[SECRET] += [secret.name for secret in secrets]
    return found


class Swarm:
    """Clients that are served together."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self._selector = selectors.EpollSelector()

    def add(self, client: Client) -> Client:
        self.clients.append(client)
        self._selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()
        self._selector.close()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Serve until the test holds; it is tried again after each round of events."""
        ends = time.monotonic() + DEADLINE_S
        self._resume()
        while not holds():
            if time.monotonic() > ends:
                raise TimeoutError(f"{what}: not within {DEADLINE_S:.0f} s")
            self.turn(1.0)

    def quiet(self, quiet_s: float = 0.3) -> None:
        """Serve until nothing has come for a while."""
        self._resume()
        while self.turn(quiet_s):
            pass

    def turn(self, timeout_s: float) -> bool:
        """One round of events; whether anything came."""
        events = self._selector.select(timeout_s)
        for key, mask in events:
            client: Any = key.data
            if mask & selectors.EVENT_READ:
                client.read()
            if client.closed:
                raise ConnectionError(f"{client.node}: {client.closed}")
            if mask & selectors.EVENT_WRITE:
                client.write()
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.writable() else 0)
            if key.events != wanted:
                self._selector.modify(client.socket, wanted, client)
        return bool(events)

    def _resume(self) -> None:
        """Clients that were given something to send since the last turn."""
        for client in self.clients:
            if client.writable():
                self._selector.modify(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
