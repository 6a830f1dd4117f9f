"""Load from raw sockets: three kinds of clients at once, each request counted, none repeated."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

TIMEOUT_S = 5.0


@dataclass
class Tally:
    """What came back: statuses, and faults by their text."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.statuses.values()) + sum(self.faults.values())

    @property
    def failed(self) -> dict[str, int]:
        """All that was not a 200."""
        return {**{str(s): n for s, n in self.statuses.items() if s != 200}, **self.faults}


@dataclass(frozen=True)
class Target:
    address: str
    port: int
    host: str
    path: str = "/"
    tls: ssl.SSLContext | None = None

    def request(self, *, keep: bool) -> bytes:
        connection = "keep-alive" if keep else "close"
        return f"GET {self.path} HTTP/1.1\r\nhost: {self.host}\r\nconnection: {connection}\r\n\r\n".encode()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self.host if self.tls else None
        return await asyncio.open_connection(self.address, self.port, ssl=self.tls, server_hostname=name)

    async def patiently_connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Envoy's workers begin to listen a moment after it has said yes to everything."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    return await self.connect()
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)


async def answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status of one response whose body has a length, and whether the connection stays open."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    await reader.readexactly(length)
    return int(lines[0].split(b" ", 2)[1]), b"connection: close" not in lines


async def keep_alive(target: Target, tally: Tally, stop: asyncio.Event) -> None:
    """One request after the other on one connection; a new one only when the server said that it closes."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await target.connect()
            stays = True
            while stays and not stop.is_set():
                async with asyncio.timeout(TIMEOUT_S):
                    writer.write(target.request(keep=True))
                    status, stays = await answer(reader)
                    tally.statuses[status] += 1
            writer.close()
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as fault:
            tally.faults[f"{type(fault).__name__}: {fault}"] += 1


async def new_connections(target: Target, tally: Tally, stop: asyncio.Event) -> None:
    """A connection for each request."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await target.connect()
                writer.write(target.request(keep=False))
                status, _ = await answer(reader)
            writer.close()
            tally.statuses[status] += 1
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError) as fault:
            tally.faults[f"{type(fault).__name__}: {fault}"] += 1


@asynccontextmanager
async def load(*targets: Target, clients: int = 4) -> AsyncIterator[Tally]:
    """Clients of both kinds against each target while the context lasts."""
    tally, stop = Tally(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for target in targets:
            for _ in range(clients):
                tasks.create_task(keep_alive(target, tally, stop))
            tasks.create_task(new_connections(target, tally, stop))
        try:
            yield tally
        finally:
            stop.set()


class Backend:
    """Answers every request with its name, on the port named or a free one; a path from /slow on takes a while."""

    def __init__(self, name: str, address: str, port: int = 0) -> None:
        self.name, self.address, self.port = name, address, port
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        body = self.name.encode()
        reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-backend: %s\r\n\r\n%s" % (len(body), body, body)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if b" /slow" in head[:20]:
                    await asyncio.sleep(1.5)
                writer.write(reply)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()
