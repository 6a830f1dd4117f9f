"""Envoy's admin interface over its Unix socket, the only way to it (S11)."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Literal

import aiohttp

# Listeners of those who watch Envoy: its admin interface, and the metrics listener of the bootstrap.
WATCHING = ("listener.admin.", "listener.metrics.")
TIMEOUT = aiohttp.ClientTimeout(total=5)


async def ask(socket: Path, path: str, *, method: Literal["GET", "POST"] = "GET") -> tuple[int, bytes]:
    """Status and body of one answer.

    :raises OSError: nobody listens on the socket, or it closed in between.
    """
    connector = aiohttp.UnixConnector(path=str(socket), force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
            session.request(method, "http://envoy" + path) as response,
        ):
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError) as fault:
        raise OSError(f"Envoy's admin socket {socket} did not answer {path}: {fault}") from fault


async def is_ready(socket: Path) -> bool:
    """Whether Envoy has all of its first configuration and serves it."""
    try:
        status, _ = await ask(socket, "/ready")
    except OSError:
        return False
    return status == HTTPStatus.OK


async def is_alive(socket: Path, *, within_s: float = 2.0) -> bool:
    """Whether Envoy answers at all."""
    try:
        async with asyncio.timeout(within_s):
            await ask(socket, "/ready")
    except (OSError, TimeoutError):
        return False
    return True


async def ready(socket: Path, *, every_s: float = 0.05) -> None:
    """Return when Envoy serves; the caller bounds the wait."""
    while not await is_ready(socket):
        await asyncio.sleep(every_s)


async def drained(socket: Path, *, every_s: float = 0.1) -> None:
    """Ask clients to leave, and return when none is connected; the caller bounds the wait.

    :raises OSError: Envoy is gone.
    """
    await ask(socket, "/drain_listeners?graceful", method="POST")
    while await connected(socket):
        await asyncio.sleep(every_s)


async def connected(socket: Path) -> int:
    """How many clients are connected to what is served; who watches Envoy itself does not count."""
    _, body = await ask(socket, r"/stats?filter=^listener\..*\.downstream_cx_active$")
    lines = (line.rpartition(": ") for line in body.decode().splitlines())
    return sum(int(value) for name, _, value in lines if not name.startswith(WATCHING))
