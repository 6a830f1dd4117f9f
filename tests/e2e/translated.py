"""A translated world in front of small real backends: what tests need to ask a real Envoy something."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.envoy_validate import World, endpoints
from xds_server.model.listener import Frontend, Listener
from xds_server.model.refs import ClusterRef, HostRef, ListenerRef, ObjectRef, RouteRef, TableRef
from xds_server.model.route import (
    DirectResponse,
    Filters,
    Forward,
    PathMatch,
    Redirect,
    Route,
    RouteMatch,
    VirtualHost,
    WeightedBackend,
)

GATEWAY = ObjectRef("Gateway", "default", "web")
SOURCE = ObjectRef("HTTPRoute", "default", "shop")
# An address of this process alone, so that tests that run side by side may use the same ports.
ADDRESS = f"127.{os.getpid() >> 16 & 0x7F | 0x80}.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF or 1}"
OFFSET = 20_000


class Backend(ThreadingHTTPServer):
    """Answers with what it saw; the query says how: `status`, `failures` before 200 (by `key`), `hold` to the end."""

    daemon_threads = True

    def __init__(self, name: str, listening: socket.socket | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=listening is None)
        if listening is not None:
            self.socket.close()
            self.socket, self.server_port = listening, listening.getsockname()[1]
        self.name, self.seen = name, list[tuple[str, str]]()
        self.failures: dict[str, int] = {}
        self.release = threading.Event()

    @property
    def cluster(self) -> ClusterRef:
        return ClusterRef("default", self.name, 80, "http")

    @contextmanager
    def serving(self) -> Iterator[Backend]:
        thread = threading.Thread(target=self.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # headers and body in one segment
    server: Backend

    def answer(self) -> None:
        host = self.headers.get("host", "")
        self.server.seen.append((host, self.path))
        if self.headers.get("upgrade") == "websocket":
            self._echo()
            return
        if "chunked" in self.headers.get("transfer-encoding", ""):
            self._discard_chunks()
        self.rfile.read(int(self.headers.get("content-length") or 0))
        query = parse_qs(urlsplit(self.path).query)
        if "hold" in query:
            self.server.release.wait()
        self._respond(self._status(query))

    do_GET = do_POST = do_PUT = do_OPTIONS = answer  # noqa: N815  # names of the base class

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def _status(self, query: Mapping[str, list[str]]) -> int:
        status = int(query.get("status", ["200"])[0])
        if "failures" not in query:
            return status
        key = query["key"][0]
        failed = self.server.failures[key] = self.server.failures.get(key, 0) + 1
        return status if failed <= int(query["failures"][0]) else 200

    def _respond(self, status: int) -> None:
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        body = json.dumps({"backend": self.server.name, "path": self.path, "headers": headers}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-backend", self.server.name)
        self.end_headers()
        self.wfile.write(body)

    def _discard_chunks(self) -> None:
        while size := int(self.rfile.readline(), 16):
            self.rfile.read(size + 2)
        self.rfile.readline()

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "websocket")
        self.end_headers()
        self.wfile.flush()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self) -> dict[str, Any]:
        """What the backend saw."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def seen_headers(self) -> dict[str, list[str]]:
        headers: dict[str, list[str]] = {}
        for name, value in self.seen["headers"]:
            headers.setdefault(name, []).append(value)
        return headers

    @property
    def location(self) -> str:
        return self.headers.get("location", "")


def ask(
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    host: str = "example.com",
    port: int = 80,
    body: Any = None,
) -> Answer:
    """One request on a connection of its own, with just these headers."""
    with closing(HTTPConnection(ADDRESS, port + OFFSET)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"host": host, "connection": "close", **(headers or {})}.items():
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("content-length", str(len(body)))
        elif body is not None:
            connection.putheader("transfer-encoding", "chunked")
        connection.endheaders(body, encode_chunked=body is not None and not isinstance(body, bytes))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def connection(port: int = 80) -> socket.socket:
    return socket.create_connection((ADDRESS, port + OFFSET))


def prefix(rule: int, path: str, action: Forward | Redirect | DirectResponse, **fields: Any) -> Route:
    return rule_for(rule, RouteMatch(PathMatch("Prefix", path)), action, **fields)


def rule_for(rule: int, match: RouteMatch, action: Forward | Redirect | DirectResponse, **fields: Any) -> Route:
    return Route(RouteRef(SOURCE, rule, 0), "2026-01-01T00:00:00Z", match, action, **fields)


def to(*backends: Backend | WeightedBackend) -> Forward:
    return Forward(tuple(each if isinstance(each, WeightedBackend) else share(each) for each in backends))


def share(backend: Backend, weight: int = 1, **filters: Any) -> WeightedBackend:
    return WeightedBackend(backend.cluster, weight, Filters(**filters))


def http_listener(world: World, port: int = 80, hostname: str = "*") -> TableRef:
    """A plaintext listener of the Gateway, and the table that its virtual hosts belong to."""
    listener = Listener(ListenerRef(GATEWAY, f"http-{port}"), GATEWAY, port, "HTTP", hostname)
    world.put(Frontend(GATEWAY, (ADDRESS,)), listener)
    return listener.table


def serve(world: World, table: TableRef, hostname: str, *routes: Route, **fields: Any) -> None:
    """A virtual host with routes in this order."""
    world.put(*routes)
    world.put(VirtualHost(HostRef(table, hostname), tuple(route.ref for route in routes), **fields))


def backed(world: World, *backends: Backend) -> None:
    for backend in backends:
        world.put(endpoints(backend.cluster, ("127.0.0.1", backend.server_port)))
