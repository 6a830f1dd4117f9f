"""What `tidegate up` shows, on pipes and terminals that are slow, full, or gone."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from xds_server.app import ControlPlane
from xds_server.cli import output
from xds_server.cli.view import JsonLines, LiveView, shown
from xds_server.config import Config
from xds_server.graph import Changes
from xds_server.proxy.process import Event, Started


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe that is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            os.close(end)


@pytest.fixture
def plane(tmp_path: Path, project: Path) -> ControlPlane:
    made = ControlPlane(Config(manifests=(project / "examples" / "bookinfo",), state=tmp_path, admin="127.0.0.1:0"))
    made.load()
    return made


async def test_a_full_pipe_holds_up_its_writer_alone(pipe: tuple[int, int]) -> None:
    """The event loop runs while the write waits; when somebody reads, all of it arrives."""
    reader, writer = pipe
    text = b"x" * 300_000
    writing = asyncio.create_task(output.write(writer, text))
    for _ in range(3):
        await asyncio.sleep(0)
    held = not writing.done()
    read = b""
    while len(read.lstrip(b"\n")) < len(text):
        read += await asyncio.to_thread(os.read, reader, 1 << 16)
    await writing

    assert (True, text) == (held, read.lstrip(b"\n"))


async def test_a_closed_pipe_is_said(pipe: tuple[int, int]) -> None:
    """A reader that has gone is told from other failures."""
    reader, writer = pipe
    os.close(reader)

    with pytest.raises(output.OutputClosedError):
        await output.write(writer, b"x")


async def test_who_reads_slowly_gets_the_latest(
    plane: ControlPlane, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the reports that were due while one waited for its reader, the newest is written."""
    reader, writer = pipe
    numbers = iter(range(100))
    with os.fdopen(os.dup(writer), "w") as stdout, os.fdopen(os.dup(reader), "r") as lines:
        monkeypatch.setattr("sys.stdout", stdout)
        monkeypatch.setattr("xds_server.cli.view.report", lambda *_: {"number": next(numbers)})
        view = JsonLines(plane)
        showing = asyncio.create_task(view.show())
        await asyncio.sleep(0)  # it is now waiting with the first
        for _ in range(9):
            view.changed({})
            await asyncio.sleep(0)
        found = [await asyncio.to_thread(_line, lines) for _ in range(2)]
        showing.cancel()

    assert [{"number": 0}, {"number": 1}] == found


def _line(lines: Any) -> Any:
    while not (line := lines.readline().strip()):
        pass
    return json.loads(line)


async def test_a_view_that_fails_ends_alone() -> None:
    """It is logged; what it ran beside is not told of it."""

    class Failing:
        def changed(self, changes: Changes) -> None:
            """Not shown."""

        def envoy(self, event: Event) -> None:
            """Not shown."""

        async def show(self) -> None:
            raise OSError("no space left on device")

    with capture_logs() as logs:
        await shown(Failing())

    assert [("the view has failed; serving goes on without it", "error")] == [
        (e["event"], e["log_level"]) for e in logs
    ]


async def test_the_live_view_is_drawn_and_gives_the_cursor_back(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal: the table with Envoy's state; at the end the cursor is as it was."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        view = LiveView(plane)
        view.envoy(Started(pid=4321, restarts=0))
        showing = asyncio.create_task(view.show())
        drawn = b""
        async with asyncio.timeout(20):
            while b"pid 4321" not in drawn:
                drawn += await asyncio.to_thread(os.read, controller, 1 << 16)
            showing.cancel()
            while b"\x1b[?25h" not in drawn:
                drawn += await asyncio.to_thread(os.read, controller, 1 << 16)
    os.close(controller)

    assert b"\x1b[?25l" in drawn


async def test_who_is_stopping_is_not_ready(plane: ControlPlane) -> None:
    """Readiness is 503 from the wish to stop on, so that nobody new is sent here."""
    with capture_logs() as logs:
        async with plane.serving(), aiohttp.ClientSession() as session:
            [address] = [entry["admin"] for entry in logs if entry["event"] == "serving"]
            found = []
            for stop in (False, True):
                if stop:
                    plane.stop()
                async with session.get(f"http://{address}/readyz") as response:
                    found.append((response.status, await response.text()))

    assert [(200, "ok\n"), (503, "stopping\n")] == found
