r"""The program of a pod, of a host process and of the outside client: serves and asks, as it is told.

Each line of its standard input is a command, each line of its standard output the answer, both JSON:

    {"serve": {"port": 8080, "name": "server", "udp": false}}       on all its addresses
    {"get": {"address": "10.96.0.1", "port": 80, "host": "web", "path": "/", "headers": {}, "source_port": 0}}
    {"send": {"address": "10.96.0.1", "port": 53, "text": "hello"}} a datagram, and what came back
    {"heard": {}}                                                   the texts of all datagrams that came
    {"load": {"address": "10.96.0.1", "port": 80, "host": "web"}}   begin, or add to it
    {"burst": {"address": "10.96.0.1", "port": 80, "count": 100}}   so many connections; how many failed
    {"tally": {}}                                                   total of requests, and the failed ones by what came
    {"stop": {}}                                                    end the load; its tally
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, cast

from tests.e2e.load import Tally, Target, answer, load

TIMEOUT_S: Final = 5.0
SLOW_S: Final = 1.5


class Echo(asyncio.Protocol):
    """HTTP/1.1 that answers with what it saw: who asked, and how."""

    def __init__(self, name: str) -> None:
        self._name, self._received = name, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            request, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            path = request.split(" ")[1]
            later = SLOW_S if path.startswith("/slow") else 0
            asyncio.get_running_loop().call_later(later, self._answer, path, headers)

    def _answer(self, path: str, headers: Mapping[str, str]) -> None:
        said = {"name": self._name, "path": path, "headers": headers, "peer": plain(self._transport, "peername")}
        said["filler"] = "x" * int(headers.get("x-filler", 0))
        body = json.dumps(said).encode()
        closes = headers.get("connection") == "close"
        ending = b"connection: close\r\n" if closes else b""
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: workload\r\n%scontent-length: %d\r\n\r\n%s"
            % (ending, len(body), body)
        )
        if closes:
            self._transport.close()


class Datagrams(asyncio.DatagramProtocol):
    """UDP that answers with its name and whom it saw."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self._name, self._heard = name, heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        self._heard.append(data.decode())
        said = {"name": self._name, "heard": data.decode(), "peer": [unmapped(peer[0]), peer[1]]}
        self._transport.sendto(json.dumps(said).encode(), peer)


def plain(transport: asyncio.Transport, which: str) -> list[Any]:
    host, port, *_ = transport.get_extra_info(which) or ("", 0)
    return [unmapped(host), port]


def unmapped(address: str) -> str:
    return address.removeprefix("::ffff:")


class Workload:
    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack, self._loads = stack, AsyncExitStack()
        self._tallies: list[Tally] = []
        self._heard: list[str] = []

    async def serve(self, port: int, name: str, *, udp: bool = False, address: str = "::") -> int:
        """The port that it got."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((address, port))
        if udp:
            transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(name, self._heard), sock=listening)
            self._stack.callback(transport.close)
        else:
            server = await loop.create_server(lambda: Echo(name), sock=listening, backlog=1024)
            self._stack.callback(server.close)
        return int(listening.getsockname()[1])

    async def get(
        self,
        address: str,
        port: int,
        host: str = "",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        source: str = "",
        source_port: int = 0,
        timeout_s: float = TIMEOUT_S,
    ) -> dict[str, Any]:
        """One request on a connection of its own, which the server closes."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        said = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        request = f"GET {path} HTTP/1.1\r\nhost: {host or 'workload'}\r\n{said}connection: close\r\n\r\n"
        try:
            async with asyncio.timeout(timeout_s):
                if source or source_port:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    connection.bind((source, source_port))
                loop = asyncio.get_running_loop()
                await loop.sock_connect(connection, (address, port))
                ends = {"local": connection.getsockname()[:2], "remote": connection.getpeername()[:2]}
                await loop.sock_sendall(connection, request.encode())
                received = b""
                while piece := await loop.sock_recv(connection, 1 << 16):
                    received += piece
        except (OSError, TimeoutError) as fault:
            return {"error": type(fault).__name__}
        finally:
            connection.close()
        head, _, body = received.decode().partition("\r\n\r\n")
        if not head:
            return {"error": "EOFError"}
        status, *lines = head.split("\r\n")
        seen = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        is_json = seen.get("content-type") == "application/json"
        return {
            "status": int(status.split(" ")[1]),
            "headers": seen,
            **ends,
            "saw": json.loads(body) if is_json else {},
        }

    async def say(self, address: str, port: int, text: str, times: int = 1) -> list[dict[str, Any]]:
        """A line of one's own, on so many connections one after another, and what the server saw of each."""
        answers = []
        for _ in range(times):
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(f"{text}\r\nconnection: close\r\n\r\n".encode())
                received = await reader.read()
            writer.close()
            answers.append(json.loads(received.partition(b"\r\n\r\n")[2]))
        return answers

    async def heard(self) -> list[str]:
        return self._heard

    async def send(
        self,
        address: str,
        port: int,
        text: str = "hello",
        source: str = "",
        timeout_s: float = TIMEOUT_S,
        *,
        connected: bool = False,
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.bind((source, 0))
            try:
                async with asyncio.timeout(timeout_s):
                    if connected:
                        await loop.sock_connect(sending, (address, port))
                        await loop.sock_sendall(sending, text.encode())
                    else:
                        await loop.sock_sendto(sending, text.encode(), (address, port))
                    data, (host, origin, *_) = await loop.sock_recvfrom(sending, 1 << 16)
            except (OSError, TimeoutError) as fault:
                return {"error": type(fault).__name__}
        return {"saw": json.loads(data), "remote": [host, origin]}

    async def load(self, address: str, port: int, host: str = "", path: str = "/", clients: int = 2) -> None:
        target = Target(address, port, host or "workload", path)
        self._tallies.append(await self._loads.enter_async_context(load(target, clients=clients)))

    async def burst(self, address: str, port: int, count: int, clients: int = 8) -> int:
        target, failed = Target(address, port, "workload"), 0
        left = iter(range(count))

        async def ask() -> None:
            nonlocal failed
            for _ in left:
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        reader, writer = await target.connect()
                        writer.write(target.request(keep=False))
                        status, _ = await answer(reader)
                        await reader.read()
                    writer.close()
                    failed += status != 200
                except (OSError, EOFError, TimeoutError):
                    failed += 1

        await asyncio.gather(*(ask() for _ in range(clients)))
        return failed

    async def tally(self) -> dict[str, Any]:
        failed: dict[str, int] = {}
        for tally in self._tallies:
            for what, count in tally.failed.items():
                failed[what] = failed.get(what, 0) + count
        return {"total": sum(tally.total for tally in self._tallies), "failed": failed}

    async def stop(self) -> dict[str, Any]:
        await self._loads.aclose()
        said = await self.tally()
        self._tallies = []
        return said


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with AsyncExitStack() as stack:
        workload = Workload(stack)
        while line := await lines.readline():
            [(name, given)] = json.loads(line).items()
            _say(await getattr(workload, name)(**given))


if __name__ == "__main__":
    asyncio.run(main())
