"""An API server that reviews tokens and does nothing else, for answers that a real one seldom gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes_asyncio import client

from xds_server.kube.client import Api

PROXY = "system:serviceaccount:tidegate-system:tidegate-proxy"


def extra(node: str = "node-a", pod: str = "tidegate-proxy-x1") -> dict[str, list[str]]:
    return {
        "authentication.kubernetes.io/node-name": [node],
        "authentication.kubernetes.io/pod-name": [pod],
    }


def answer(
    *, authenticated: bool = True, audiences: Any = ("tidegate",), username: str = PROXY, **fields: Any
) -> dict[str, Any]:
    """The status of a review, as of a proxy's token on node-a unless said otherwise."""
    user = {"username": username, "extra": extra(), **fields}
    return {"status": {"authenticated": authenticated, "audiences": list(audiences), "user": user}}


class Reviews:
    """`answers` are by token; another token is not authenticated."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any] | bytes | int] = {}
        self.asked: list[dict[str, Any]] = []
        self.silent = False
        self.released = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        body = json.loads(await request.read())
        self.asked.append({"method": request.method, "path": request.path, **body})
        if self.silent:
            await self.released.wait()
        found = self.answers.get(body["spec"]["token"], {"status": {"error": "invalid bearer token"}})
        if isinstance(found, int):
            return web.json_response({"reason": "Faked", "message": "as told"}, status=found)
        return web.Response(body=found if isinstance(found, bytes) else json.dumps(found).encode(), status=201)


@asynccontextmanager
async def reviewing(reviews: Reviews, elsewhere: str = "") -> AsyncIterator[Api]:
    """A client of the API server, or of another address."""
    runner = web.ServerRunner(web.Server(reviews.handle), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = client.Configuration()
    configuration.host = elsewhere or f"http://127.0.0.1:{runner.addresses[0][1]}"
    api = Api(configuration)
    try:
        yield api
    finally:
        reviews.released.set()
        await api.close()
        await runner.cleanup()
