r"""What runs beside an Envoy in a node's network: backends, load, and the one address of several control planes.

    python -m tests.kubernetes.traffic \
      '{"backends": {"a": ["172.31.1.11", 8080]}, "listen": "unix:/x", "replicas": {"one": "127.0.0.1:15011"}}'

Each line of its standard input is a command, each line of its standard output the answer, both JSON:

    {"load": [["172.31.1.64", 80, "web.example.com", "/"], ...]}    begin
    {"tally": 0}              total of requests, those that failed by what came, and requests by backend
    {"use": ["one", "two"]}   the control planes that new connections are given to, in turn; open ones are cut
    {"get": ["127.0.0.1", 15081, "/readyz"]}                        status and body
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, suppress
from itertools import cycle
from typing import Any

from tests.e2e.load import Backend, Tally, Target, load


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To unix:PATH or HOST:PORT."""
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


class Relay:
    """One address in front of several replicas; who does not answer is passed over, as by a Service."""

    def __init__(self, replicas: dict[str, str]) -> None:
        self._replicas = replicas
        self._open: dict[asyncio.StreamWriter, str] = {}
        self.use(sorted(replicas))

    def use(self, names: list[str]) -> None:
        self._turn, self._count = cycle(names), len(names)
        for writer in self._open:
            writer.transport.abort()

    @property
    def open(self) -> list[str]:
        """The replicas that have a connection."""
        return sorted(self._open.values())

    async def listen(self, address: str) -> asyncio.Server:
        if address.startswith("unix:"):
            return await asyncio.start_unix_server(self._serve, address.removeprefix("unix:"))
        host, _, port = address.rpartition(":")
        return await asyncio.start_server(self._serve, host, int(port))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(self._count):
            name = next(self._turn)
            with suppress(OSError):
                other = await connect(self._replicas[name])
                break
        else:
            writer.transport.abort()
            return
        self._open[writer] = name
        try:
            await asyncio.wait(
                [asyncio.ensure_future(_copied(reader, other[1])), asyncio.ensure_future(_copied(other[0], writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            del self._open[writer]
            writer.transport.abort()
            other[1].transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


async def got(host: str, port: int, path: str) -> list[Any]:
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
    except OSError as error:
        return [0, str(error)]
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return [int(head.split(" ", 2)[1]) if head else 0, body]


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main(spec: dict[str, Any]) -> None:
    loop, tally = asyncio.get_running_loop(), Tally()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with AsyncExitStack() as stack:
        backends = [Backend(name, *place) for name, place in spec["backends"].items()]
        for backend in backends:
            await stack.enter_async_context(backend)
        relay = Relay(spec["replicas"])
        await relay.listen(spec["listen"])
        _say("ready")
        while line := await lines.readline():
            [(name, given)] = json.loads(line).items()
            answer: Any = None
            if name == "load":
                targets = [Target(address, port, host, path) for address, port, host, path in given]
                tally = await stack.enter_async_context(load(*targets))
            elif name == "tally":
                by = {backend.name: backend.requests for backend in backends}
                answer = {"total": tally.total, "failed": tally.failed, "backends": by, "open": relay.open}
            elif name == "use":
                relay.use(given)
            elif name == "get":
                answer = await got(*given)
            _say(answer)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
