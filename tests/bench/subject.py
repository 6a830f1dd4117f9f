"""What is measured, and its limits, each as a process of its own that takes commands on standard input.

    table N SOCKET       our ADS server with N minimal resources
    bytes N SOCKET       its limit: bare gRPC that writes prebuilt bytes, and reads nothing of what it is sent
    plane DIR SOCKET     the whole control plane on manifests
    cluster FILE SOCKET  the same on the API server that a kubeconfig names, writing statuses
    replay FILE SOCKET   its limit: bare gRPC that answers Envoy with recorded bytes
    backend PORT         answers every HTTP request with 200, and with the address that it came to

A command is a line of JSON, and so is its answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from xds_server import log

Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def obey(commands: dict[str, Command]) -> None:
    """Say that we are ready, then do what we are told until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say({"ready": True})
    while line := await reader.readline():
        order = json.loads(line)
        _say(await commands[order["do"]](order))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def table(count: str, socket: str) -> None:
    from tests.bench.table import cluster, clusters
    from xds_server.xds.credentials import UnixSocket
    from xds_server.xds.server import serving
    from xds_server.xds.streams import Streams

    first: dict[str, float] = {"requests": 0, "last": 0.0}

    class Counting(Streams):
        """Notes when the first request of the last client was taken."""

        def receive(self, connection: Any, request: Any) -> None:
            fresh = not connection.stream.node_id
            super().receive(connection, request)
            if fresh:
                first.update(requests=first["requests"] + 1, last=time.monotonic())

    streams = Counting()
    streams.publish({each.key: each for each in clusters(int(count))})
    streams.open()

    async def change(order: dict[str, Any]) -> dict[str, Any]:
        changed = cluster(order["number"], order["revision"])
        streams.publish({changed.key: changed})
        return {}

    async def settle(_: dict[str, Any]) -> dict[str, Any]:
        while any(stream.in_flight for stream in streams.streams()):
            await asyncio.sleep(0.005)
        return {}

    async def requests(_: dict[str, Any]) -> dict[str, Any]:
        return dict(first)

    async def restart(_: dict[str, Any]) -> dict[str, Any]:
        first.update(requests=0, last=0.0)
        return {"streams": len(list(streams.streams()))}

    async with serving(streams, UnixSocket(Path(socket))):
        await obey({"change": change, "settle": settle, "requests": requests, "restart": restart})


async def prebuilt(count: str, socket: str) -> None:
    import grpc.aio

    from tests.bench import bare
    from tests.bench.table import cluster, clusters, response

    full = response(clusters(int(count)), "1")
    changes = {
        (number, revision): response([cluster(number, revision)], f"{revision + 1:x}")
        for number in range(1)
        for revision in range(1, 400)
    }
    calls: set[Any] = set()
    first: dict[str, float] = {"requests": 0, "last": 0.0}

    async def stream(_: Any, context: Any) -> None:
        calls.add(context)
        request = await context.read()
        first.update(requests=first["requests"] + 1, last=time.monotonic())
        try:
            if len(request) < 1000:  # else it has brought along what it has
                await context.write(full)
            while await context.read() is not grpc.aio.EOF:
                pass
        finally:
            calls.discard(context)

    async def change(order: dict[str, Any]) -> dict[str, Any]:
        payload = changes[order["number"], order["revision"]]
        await asyncio.gather(*(context.write(payload) for context in calls))
        return {}

    async def settle(_: dict[str, Any]) -> dict[str, Any]:
        return {}

    async def requests(_: dict[str, Any]) -> dict[str, Any]:
        return dict(first)

    async def restart(_: dict[str, Any]) -> dict[str, Any]:
        first.update(requests=0, last=0.0)
        return {"streams": len(calls)}

    async with bare.serving(stream, socket):
        await obey({"change": change, "settle": settle, "requests": requests, "restart": restart})


async def plane(directory: str, socket: str, pool: str) -> None:
    from tests.bench.world import OFFSET
    from xds_server.app import ControlPlane
    from xds_server.config import Config

    subject = ControlPlane(
        Config((Path(directory),), pool=(pool,), port_offset=OFFSET, xds_listen=f"unix:{socket}", admin="")
    )
    subject.load()
    marks: dict[str, float] = {}

    def marked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The first begin and the first end after the marks were taken."""

        def call(*args: Any) -> Any:
            marks.setdefault(f"{name} begins", time.monotonic())
            result = function(*args)
            marks.setdefault(f"{name} ends", time.monotonic())
            return result

        return call

    subject.manifests.directory.scan = marked("scan", subject.manifests.directory.scan)  # type: ignore[method-assign]
    subject.controller.commit = marked("commit", subject.controller.commit)  # type: ignore[method-assign]
    subject.controller._publish = marked("publish", subject.controller._publish)

    async def clear(_: dict[str, Any]) -> dict[str, Any]:
        taken = dict(marks)
        marks.clear()
        return taken

    async def body(order: dict[str, Any]) -> dict[str, Any]:
        """How large a resource is, by itself and with its name, version and type."""
        from xds_server.xds import wire

        found = next(each for key, each in subject.pipeline.resources.items() if list(key) == order["key"])
        return {
            "body": len(found.body),
            "resource": len(wire.named(found.type_url, found.name, found.version, found.body)),
        }

    async with subject.serving(), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(subject.run()), tasks.create_task(subject.watch())]
        await obey({"marks": clear, "body": body})
        for task in running:
            task.cancel()


async def cluster(kubeconfig: str, socket: str, pool: str) -> None:
    from contextlib import AsyncExitStack

    from xds_server.collector import for_good

    with for_good():  # as the command imports what it runs
        from tests.bench.world import OFFSET
        from xds_server.app import ControlPlane, reading
        from xds_server.config import Cluster, Config

    source = Cluster(Path(kubeconfig))
    subject = ControlPlane(
        Config(cluster=source, pool=(pool,), port_offset=OFFSET, xds_listen=f"unix:{socket}", admin="")
    )
    marks = {"imported": time.monotonic()}
    load, begin = subject.controller.load, subject.controller.begin

    async def first_commit() -> None:
        marks["listed"] = time.monotonic()
        await load()
        marks["committed"] = time.monotonic()

    def first_clusters(resources: Any) -> None:
        marks["clusters"] = time.monotonic()
        begin(resources)

    subject.controller.load, subject.controller.begin = first_commit, first_clusters  # type: ignore[method-assign]
    async with AsyncExitStack() as stack:
        statuses = await stack.enter_async_context(reading(subject, source))
        await stack.enter_async_context(subject.serving())
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(work) for work in (subject.run(), subject.watch(), statuses.run(subject.loaded))]

        async def tell(_: dict[str, Any]) -> dict[str, Any]:
            return dict(marks)

        async def writes(_: dict[str, Any]) -> dict[str, Any]:
            results = {f"{kind} {result}": count for (kind, result), count in statuses.writer.stats.writes.items()}
            return {"leads": statuses.elector.leads, "pending": statuses.writer.pending, "results": results}

        await obey({"marks": tell, "writes": writes})
        for task in running:
            task.cancel()


async def replay(recording: str, socket: str) -> None:
    import base64

    from tests.bench import bare
    from tests.bench.recording import Recording, playing

    tape = Recording.load(Path(recording))
    players: list[Any] = []

    async def stream(_: Any, context: Any) -> None:
        players.append(context)
        await playing(tape, context)

    async def write(order: dict[str, Any]) -> dict[str, Any]:
        await players[-1].write(base64.b64decode(order["payload"]))
        return {}

    async with bare.serving(stream, socket):
        await obey({"write": write})


async def backend(port: str, *addresses: str) -> None:
    from contextlib import AsyncExitStack

    class Answering(asyncio.Protocol):
        def __init__(self, address: str) -> None:
            self._answer = f"HTTP/1.1 200 OK\r\nx-served-by: {address}\r\ncontent-length: 0\r\n\r\n".encode()

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(self._answer * data.count(b"\r\n\r\n"))

    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for address in addresses or ("127.0.0.1", "127.0.0.2"):
            answering = partial(Answering, address)
            await stack.enter_async_context(await loop.create_server(answering, address, int(port)))
        await obey({})


SUBJECTS: dict[str, Callable[..., Any]] = {
    "table": table,
    "bytes": prebuilt,
    "plane": plane,
    "cluster": cluster,
    "replay": replay,
    "backend": backend,
}

if __name__ == "__main__":
    log.configure("warning")
    asyncio.run(SUBJECTS[sys.argv[1]](*sys.argv[2:]))
