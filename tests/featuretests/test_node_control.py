"""The control socket of the node daemon."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from datapath.control import Answer, asked, serving
from datapath.lock import Taken, owned


async def _echo(request: Answer) -> AsyncGenerator[Answer, None]:
    yield {"heard": request["ask"]}
    yield {"and": request.get("more")}


async def test_a_request_is_a_line_and_so_is_each_answer(tmp_path: Path) -> None:
    """The socket is its owner's alone, and gone with the daemon."""
    path = tmp_path / "control.sock"
    async with serving(path, {"echo": _echo}):
        mode = stat.S_IMODE(path.stat().st_mode)
        found = await asyncio.to_thread(lambda: list(asked(path, {"ask": "echo", "more": 1})))

    assert (0o600, [{"heard": "echo"}, {"and": 1}]) == (mode, found)
    assert not path.exists()


@pytest.mark.parametrize("request_", [b'{"ask": "secrets"}\n', b"[]\n"])
async def test_what_is_not_known_is_told(tmp_path: Path, request_: bytes) -> None:
    """With what may be asked."""
    async with serving(tmp_path / "s", {"echo": _echo}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(request_)
        answer = json.loads(await reader.readline())
        writer.close()

    assert {"error": "ask for one of echo"} == answer


@pytest.mark.parametrize("request_", [b"\xff\n", b"{" * 5000, b""])
async def test_noise_ends_the_connection_and_nothing_else(tmp_path: Path, request_: bytes) -> None:
    """The next one is answered."""
    async with serving(tmp_path / "s", {"echo": _echo}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(request_)
        writer.write_eof()
        noise = await reader.read()
        writer.close()
        found = await asyncio.to_thread(lambda: list(asked(tmp_path / "s", {"ask": "echo"})))

    assert (b"", 2) == (noise, len(found))


async def test_who_asks_for_events_may_leave(tmp_path: Path) -> None:
    """What is endless ends with its reader."""
    ended = asyncio.Event()

    async def endless(_: Answer) -> AsyncGenerator[Answer, None]:
        try:
            yield {"event": 1}
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(tmp_path / "s", {"flows": endless}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"ask": "flows"}\n')
        await reader.readline()
        writer.close()
        async with asyncio.timeout(20):
            await ended.wait()


def test_of_two_daemons_one_wins(tmp_path: Path) -> None:
    """The other is told which process has it, or that one with another state directory has the pins."""
    with owned(tmp_path / "pins", tmp_path / "lock"):
        with pytest.raises(Taken, match=rf"process {os.getpid()}"), owned(tmp_path / "pins", tmp_path / "lock"):
            pass
        with pytest.raises(Taken, match="another state directory"), owned(tmp_path / "pins", tmp_path / "other"):
            pass
    with owned(tmp_path / "pins", tmp_path / "lock"):
        pass
