"""Health, readiness, metrics and debug dumps over HTTP; no dump holds a secret.

Two sets of pages, each with an address of its own: `serve` has all of them and is for this machine alone;
`serve_metrics` has what kubelet and Prometheus ask for, and may be reached from elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from xds_server.config import ConfigError
from xds_server.metrics import CONTENT_TYPE, Metrics
from xds_server.overview.replica import Replica

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Probes:
    """What the pages show; each is called for each request.

    `ready` says what is still awaited, by kinds and numbers, or is empty; `remark` is said whether or not anything is.
    `objects` names what is awaited: objects of tenants, for this machine alone.
    `replica` is for whoever may see metrics, too.
    `collections` gives names and sizes, `collection` the keys of one (never values, which may be secret).
    """

    ready: Callable[[], str]
    remark: Callable[[], str]
    objects: Callable[[], list[str]]
    replica: Callable[[], Replica]
    collections: Callable[[], dict[str, int]]
    collection: Callable[[str], list[str] | None]
    streams: Callable[[], list[dict[str, Any]]]


@asynccontextmanager
async def serve(listen: str, metrics: Metrics, probes: Probes) -> AsyncIterator[str]:
    """Serve all pages until the context ends; gives the address, with the port that was bound. "" serves nothing."""
    if not listen:
        yield ""
        return
    host, port = address("--admin", listen, "127.0.0.1:15080")
    if not ipaddress.ip_address(host).is_loopback:
        raise ConfigError(
            f"--admin {listen}: only loopback addresses may be used, such as 127.0.0.1:{port}; "
            "for metrics and probes from elsewhere, serve has --metrics"
        )
    async with _listening(
        "--admin", host, port, application(pages(metrics, probes, probes.objects) | dumps(probes))
    ) as bound:
        yield bound


@asynccontextmanager
async def serve_metrics(listen: str, metrics: Metrics, probes: Probes) -> AsyncIterator[str]:
    """As `serve`, on any address and without the dumps: who reaches it learns counts, and names of nodes alone."""
    if not listen:
        yield ""
        return
    host, port = address("--metrics", listen, "0.0.0.0:15081")
    async with _listening("--metrics", host, port, application(pages(metrics, probes))) as bound:
        yield bound


@asynccontextmanager
async def _listening(flag: str, host: str, port: int, app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f'{flag} {host}:{port}: {error.strerror or error}; give another address, or "off" for none'
            ) from None
        bound = runner.addresses[0]
        yield f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()


def address(flag: str, listen: str, example: str) -> tuple[str, int]:
    """Split HOST:PORT; HOST is an IP address, of IPv6 with or without brackets."""
    host, _, port = listen.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port)
    except ValueError:
        raise ConfigError(f"{flag} {listen}: give it as HOST:PORT, such as {example}") from None


def pages(metrics: Metrics, probes: Probes, objects: Callable[[], list[str]] = list) -> dict[str, Page]:
    """What those may see who can reach a port of this process; `objects` are named when they are awaited."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        awaited = probes.ready()
        text = "\n".join(filter(None, (awaited or "ok", *objects(), probes.remark())))
        return web.Response(text=f"{text}\n", status=503 if awaited else 200)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def status(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(probes.replica()), content_type="application/json")

    return {"/healthz": healthz, "/readyz": readyz, "/metrics": scrape, "/status": status}


def dumps(probes: Probes) -> dict[str, Page]:
    """What tells of the objects of all namespaces: for those alone who may run programs beside this one."""

    async def collections(_: web.Request) -> web.Response:
        return _json(probes.collections())

    async def collection(request: web.Request) -> web.Response:
        keys = probes.collection(request.match_info["name"])
        if keys is None:
            return web.Response(text="There is no such collection; see /debug/collections.\n", status=404)
        return _json(keys)

    async def streams(_: web.Request) -> web.Response:
        return _json(probes.streams())

    return {"/debug/collections": collections, "/debug/collections/{name}": collection, "/debug/streams": streams}


def application(served: Mapping[str, Page]) -> web.Application:
    async def index(_: web.Request) -> web.Response:
        return web.Response(text="".join(f"{path}\n" for path in sorted(served)))

    app = web.Application()
    app.add_routes([web.get(path, page) for path, page in served.items()])
    app.add_routes([web.get("/", index)])
    if any(path.startswith("/debug/") for path in served):
        app.add_routes([web.get("/debug", index)])
    return app


def _json(content: Any) -> web.Response:
    return web.Response(text=json.dumps(content, indent=1, sort_keys=True) + "\n", content_type="application/json")
