"""The servers that the EndpointSlices of examples/bookinfo name: small, real, on loopback addresses of their own.

Each answers with what it saw, so that a client can tell who answered, and what the gateway did to the request.
"""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiohttp import WSMsgType, web

from xds_server.demo import echo

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/bookinfo"


@dataclass(frozen=True, slots=True)
class Backend:
    """One pod."""

    service: str
    address: str
    port: int
    version: str = "v1"
    serves: tuple[str, ...] = ("/",)
    """Path prefixes that this application knows; others are its own 404."""
    speaks: Literal["http", "https", "grpc", "websocket"] = "http"

    @property
    def pod(self) -> str:
        return f"{self.service}-{self.version}"


BACKENDS = (
    Backend("productpage", "127.90.0.1", 9080, serves=("/productpage", "/static", "/health")),
    Backend("details", "127.90.0.2", 9080, serves=("/details",)),
    Backend("ratings", "127.90.0.3", 9080, serves=("/ratings",)),
    Backend("reviews", "127.90.0.4", 9080, "v1"),
    Backend("reviews", "127.90.0.5", 9080, "v2"),
    Backend("reviews", "127.90.0.6", 9080, "v3"),
    Backend("webpod", "127.90.0.7", 8080),
    Backend("my-nginx", "127.90.0.8", 8443, speaks="https"),
    Backend("grpc-echo", "127.90.0.9", 9000, speaks="grpc"),
    Backend("websocket-echo", "127.90.0.10", 8080, speaks="websocket"),
    Backend("exactpath", "127.90.0.11", 8080),
    Backend("prefixpath", "127.90.0.12", 8080),
    Backend("prefixpath2", "127.90.0.13", 8080),
    Backend("implpath", "127.90.0.14", 8080),
    Backend("implpath2", "127.90.0.15", 8080),
)


async def serve_backends(
    stack: AsyncExitStack,
    certificates: Path = EXAMPLE / "tls",
    backends: tuple[Backend, ...] = BACKENDS,
) -> None:
    """Start them all; the stack stops them.

    :raises OSError: an address is taken; the error names it.
    """
    for backend in backends:
        if backend.speaks == "grpc":
            server = await echo.server(backend.address, backend.port, backend.service, backend.version)
            stack.push_async_callback(server.stop, None)
            continue
        runner = web.AppRunner(application(backend), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        context = own_certificate(certificates) if backend.speaks == "https" else None
        await web.TCPSite(runner, backend.address, backend.port, ssl_context=context).start()


def application(backend: Backend) -> web.Application:
    answer = websocket_echo if backend.speaks == "websocket" else described

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(backend, request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


async def described(backend: Backend, request: web.Request) -> web.StreamResponse:
    body = {
        "service": backend.service,
        "version": backend.version,
        "pod": backend.pod,
        "method": request.method,
        "path": request.raw_path,
        "host": request.host,
        "headers": {name.lower(): value for name, value in request.headers.items()},
    }
    return web.json_response(body, status=200 if knows(backend, request.path) else 404)


async def websocket_echo(backend: Backend, request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    if not socket.can_prepare(request):
        return await described(backend, request)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"{backend.service} heard {message.data}")
    return socket


def knows(backend: Backend, path: str) -> bool:
    return path == "/" or any(f"{path}/".startswith(f"{prefix.rstrip('/')}/") for prefix in backend.serves)


def own_certificate(certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "nginx.crt", certificates / "nginx.key")
    return context
