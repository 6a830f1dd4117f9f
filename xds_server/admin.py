"""Health, readiness, metrics and debug dumps over HTTP, on a loopback address only; no dump holds a secret."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from xds_server.config import ConfigError
from xds_server.metrics import CONTENT_TYPE, Metrics


@dataclass(frozen=True, slots=True)
class Probes:
    """What the pages show; each is called for each request.

    `ready` names what is still awaited, or is empty; `remark` is said whether or not anything is.
    `collections` gives names and sizes, `collection` the keys of one (never values, which may be secret).
    """

    ready: Callable[[], str]
    remark: Callable[[], str]
    collections: Callable[[], dict[str, int]]
    collection: Callable[[str], list[str] | None]
    streams: Callable[[], list[dict[str, Any]]]


@asynccontextmanager
async def serve(listen: str, metrics: Metrics, probes: Probes) -> AsyncIterator[str]:
    """Serve until the context ends; gives the address, with the port that was bound. "" serves nothing."""
    if not listen:
        yield ""
        return
    host, port = address(listen)
    runner = web.AppRunner(application(metrics, probes), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f'--admin {listen}: {error.strerror or error}; give another address, or "off" for none'
            ) from None
        bound = runner.addresses[0]
        yield f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()


def address(listen: str) -> tuple[str, int]:
    """Split HOST:PORT; what these pages show is for this machine alone, so HOST must be loopback."""
    host, _, port = listen.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        raise ConfigError(f"--admin {listen}: give it as HOST:PORT, such as 127.0.0.1:15080") from None
    if not ip.is_loopback:
        raise ConfigError(f"--admin {listen}: only loopback addresses may be used, such as 127.0.0.1:{number}")
    return str(ip), number


def application(metrics: Metrics, probes: Probes) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        awaited = probes.ready()
        text = "\n".join(filter(None, (awaited or "ok", probes.remark())))
        return web.Response(text=f"{text}\n", status=503 if awaited else 200)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def collections(_: web.Request) -> web.Response:
        return _json(probes.collections())

    async def collection(request: web.Request) -> web.Response:
        keys = probes.collection(request.match_info["name"])
        if keys is None:
            return web.Response(text="There is no such collection; see /debug/collections.\n", status=404)
        return _json(keys)

    async def streams(_: web.Request) -> web.Response:
        return _json(probes.streams())

    async def index(_: web.Request) -> web.Response:
        return web.Response(text="".join(f"{path}\n" for path in sorted(pages)))

    pages = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": scrape,
        "/debug/collections": collections,
        "/debug/collections/{name}": collection,
        "/debug/streams": streams,
    }
    app = web.Application()
    app.add_routes([web.get(path, page) for path, page in pages.items()])
    app.add_routes([web.get("/", index), web.get("/debug", index)])
    return app


def _json(content: Any) -> web.Response:
    return web.Response(text=json.dumps(content, indent=1, sort_keys=True) + "\n", content_type="application/json")
