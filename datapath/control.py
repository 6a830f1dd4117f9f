"""The control socket: one JSON object a line, a request and what it is answered with.

Only root, and who runs the daemon, may ask: by the socket's mode, and by what the kernel says of the peer.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import structlog

ANSWER_S: Final = 10.0
"""So long an answer may take; it takes milliseconds, also where there are many services."""

_LONGEST_REQUEST: Final = 4096
_CREDENTIALS: Final = struct.Struct("3i")

log = structlog.get_logger("control")

Answer = dict[str, Any]
Ask = Callable[[Answer], AsyncGenerator[Answer, None]]
"""Answers to a request, until it ends or who asked has gone."""


@asynccontextmanager
async def serving(path: Path, asks: Mapping[str, Ask]) -> AsyncIterator[None]:
    """:raises OSError: the socket cannot be made."""
    _remove(path)  # whose it was has ended: the lock is ours
    open_calls: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_calls.add(task)
        try:
            if _may_ask(writer.get_extra_info("socket")):
                await _answer(reader, writer, asks)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asked has gone, or said nothing that is a request
        except asyncio.CancelledError:
            if not stopping.is_set():
                raise
        finally:
            open_calls.discard(task)
            writer.close()

    stopping = asyncio.Event()
    before = os.umask(0o177)  # a chmod afterwards would leave a moment for others to connect
    try:
        server = await asyncio.start_unix_server(connected, path, limit=_LONGEST_REQUEST)
    finally:
        os.umask(before)
    try:
        yield
    finally:
        stopping.set()
        server.close()
        for task in tuple(open_calls):
            task.cancel()
        await asyncio.gather(*open_calls, return_exceptions=True)
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _may_ask(peer: socket.socket) -> bool:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    if user in {0, os.getuid()}:
        return True
    log.warning("control refused", user=user)
    return False


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asks: Mapping[str, Ask]) -> None:
    request = json.loads(await reader.readuntil(b"\n"))
    ask = asks.get(str(request.get("ask"))) if isinstance(request, dict) else None
    if ask is None:
        writer.write(_line({"error": f"ask for one of {', '.join(sorted(asks))}"}))
        await writer.drain()
        return
    gone = asyncio.ensure_future(reader.read(1))
    answers = ask(request)
    try:
        while True:
            step = asyncio.ensure_future(anext(answers, None))
            await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                await asyncio.wait({step})
                return
            answer = step.result()
            if answer is None:
                return
            writer.write(_line(answer))
            await writer.drain()
    finally:
        gone.cancel()
        await answers.aclose()


def _line(answer: Answer) -> bytes:
    return json.dumps(answer, sort_keys=True).encode() + b"\n"


class Mute(OSError):
    """A daemon listens, and does not answer; the text names its process."""


def asked(path: Path, request: Answer, *, within_s: float | None = ANSWER_S) -> Iterator[Answer]:
    """The answers of the daemon, as they come; None for one that may let wait for them.

    :raises Mute: it does not answer in time.
    :raises OSError: no daemon listens there.
    """
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(ANSWER_S)
        try:
            peer.connect(os.fspath(path))
            peer.sendall(_line(request))
            peer.settimeout(within_s)
            with peer.makefile("rb") as lines:
                for line in lines:
                    yield json.loads(line)
        except (TimeoutError, BlockingIOError):
            raise Mute(f"process {_process(peer)} listens, and does not answer within {ANSWER_S:g} s") from None


def _process(peer: socket.socket) -> int | str:
    """Whose socket it is, where it is of this process namespace."""
    with suppress(OSError):
        pid, _, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return pid or "of another container"
    return "unknown"
