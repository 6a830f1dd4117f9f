"""`tidegate up` as a process of its own, with the Envoy that it supervises."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.load import Backend, Target, answer
from tests.featuretests.manifests import gateway, route, service

OFFSET = 19000
Report = dict[str, Any]


class Up:
    """The process and the last report that it printed."""

    def __init__(self, process: Process, state: Path) -> None:
        self.process, self.state = process, state

    async def report(self, holds: Callable[[Report], bool]) -> Report:
        """The first report from now on that satisfies the test."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self.process.stdout.readline():
                report: Report = json.loads(line)
                if holds(report):
                    return report
        raise AssertionError(f"it ended with {await self.process.wait()}")

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        if self.process.stdout is not None:
            await self.process.stdout.read()
        return await self.process.wait()

    def envoys(self) -> list[int]:
        """Processes that run with this state directory's bootstrap."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                str(self.state / "envoy.json").encode() in words
                and b"envoy" in Path(os.fsdecode(words[0])).name.encode()
            ):
                found.append(int(path.parent.name))
        return found


def programmed(report: Report) -> bool:
    return any(
        (c["kind"], c["type"], c["section"], c["status"]) == ("Gateway", "Programmed", "", "True")
        for c in report["conditions"]
    )


@asynccontextmanager
async def up(directory: Path, *flags: str, stdout: int = PIPE) -> AsyncIterator[Up]:
    state = directory / "state"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xds_server.cli", "up", "-f", str(directory / "manifests"), "-o", "json"),
        *("--state", str(state), "--admin", "off", *flags),
        stdin=DEVNULL, stdout=stdout, stderr=PIPE, limit=1 << 22,
    )  # fmt: skip
    running = Up(process, state)
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
async def directory(tmp_path: Path, envoy: Path) -> AsyncIterator[Path]:
    (tmp_path / "manifests").mkdir()
    async with Backend("up", "127.91.8.1") as backend:
        # A name of this run, so that two runs at once get two addresses.
        name = f"up-{os.getpid()}"
        text = "---".join((gateway(name), route(name), service("127.91.8.1", backend.port)))
        (tmp_path / "manifests" / "all.yaml").write_text(text)
        yield tmp_path


async def status(report: Report) -> int:
    [entry] = report["addresses"]
    target = Target(entry["addresses"][0], entry["ports"][0], "up.example.com")
    reader, writer = await target.patiently_connect()
    writer.write(target.request(keep=False))
    found, _ = await answer(reader)
    writer.close()
    return found


async def test_up_serves_and_stops_clean(directory: Path) -> None:
    """Traffic flows once the Gateway is programmed; SIGTERM ends everything, Envoy too, with 0."""
    async with up(directory, "--port-offset", str(OFFSET)) as running:
        served = await status(await running.report(programmed))
        envoys = running.envoys()
        code = await running.stop()

    assert (200, 1, 0, []) == (served, len(envoys), code, running.envoys())


async def test_a_killed_envoy_comes_back(directory: Path) -> None:
    """A killed Envoy is started again and served the same; the Gateway is not programmed in between."""
    async with up(directory, "--port-offset", str(OFFSET)) as running:
        await running.report(programmed)
        [first] = running.envoys()
        os.kill(first, signal.SIGKILL)
        await running.report(lambda report: not programmed(report))
        served = await status(await running.report(programmed))
        [second] = running.envoys()

    assert (200, True) == (served, first != second)


async def test_an_envoy_does_not_outlive_a_killed_control_plane(directory: Path) -> None:
    """SIGKILL of `up` leaves no orphan behind."""
    async with up(directory, "--port-offset", str(OFFSET)) as running:
        await running.report(programmed)
        [envoy] = running.envoys()
        pidfd = os.pidfd_open(envoy)
        running.process.kill()
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, gone.set)
        async with asyncio.timeout(30):
            await gone.wait()
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)

    assert [] == running.envoys()


async def test_an_unread_output_stops_nothing(directory: Path) -> None:
    """With nobody to read the reports traffic flows, edits apply, and SIGTERM ends everything with 0."""
    source = directory / "manifests" / "all.yaml"
    check = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "xds_server.cli", "check", "-f", str(source.parent), "-o", "json"),
        *("--port-offset", str(OFFSET)),
        stdout=PIPE,
    )  # fmt: skip
    report = json.loads((await check.communicate())[0])
    reader, writer = os.pipe()
    try:
        fill(writer)
        async with up(directory, "--port-offset", str(OFFSET), stdout=writer) as running, asyncio.timeout(60):
            before = await status(report)
            source.write_text(source.read_text().replace("rules: [{", "rules: [{matches: [{path: {value: /no}}], "))
            while (after := await status(report)) == before:
                pass
            code = await running.stop()
    finally:
        os.close(reader)
        os.close(writer)

    assert (200, 404, 0, []) == (before, after, code, running.envoys())


def fill(pipe: int) -> None:
    """Write until it takes no more."""
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, b"\n" * 4096)
    os.set_blocking(pipe, True)


async def test_who_has_seen_enough_ends_it(directory: Path) -> None:
    """As `up -o json | head -1`: when the reader goes, it stops in order, with 0 and without a traceback."""
    reader, writer = os.pipe()
    async with up(directory, "--port-offset", str(OFFSET), stdout=writer) as running, asyncio.timeout(60):
        os.close(writer)
        with os.fdopen(reader, "rb") as lines:
            first = json.loads(await asyncio.to_thread(lines.readline))
        assert running.process.stderr is not None
        said = (await running.process.stderr.read()).decode()
        code = await running.process.wait()

    assert ("conditions" in first, 0, False, []) == ("conditions" in first, code, "Traceback" in said, running.envoys())


async def test_a_state_directory_has_one_up(directory: Path) -> None:
    """A second one is refused by the id of the first, before it touches anything of it."""
    async with up(directory, "--port-offset", str(OFFSET)) as first:
        report = await first.report(programmed)
        async with up(directory, "--port-offset", str(OFFSET)) as second:
            assert second.process.stderr is not None
            said = (await second.process.stderr.read()).decode()
            code = await second.process.wait()
        served = await status(report)

    assert (2, 200) == (code, served)
    assert f"--state {first.state}: process {first.process.pid} runs there" in said


async def test_a_port_in_use_is_a_clear_error(directory: Path) -> None:
    """What cannot be bound is told before anything starts, with the flag that helps."""
    async with up(directory, "--port-offset", str(OFFSET)) as first:
        [entry] = (await first.report(programmed))["addresses"]
        address = entry["addresses"][0]
    taken = await asyncio.start_server(lambda *_: None, address, 80 + OFFSET)
    try:
        async with up(directory, "--port-offset", str(OFFSET)) as running:
            assert running.process.stderr is not None
            said = (await running.process.stderr.read()).decode()
            code = await running.process.wait()
    finally:
        taken.close()
        await taken.wait_closed()

    assert (2, True) == (code, f"cannot bind {address}:{80 + OFFSET}" in said and "--port-offset" in said)


async def test_an_envoy_that_does_not_start_is_told(directory: Path) -> None:
    """The log says that Envoy ended, and where its own log is."""
    flags = ("--port-offset", str(OFFSET), "--envoy", "/bin/false")
    async with up(directory, *flags) as running:
        assert running.process.stderr is not None
        async with asyncio.timeout(30):
            while b"Envoy starts again" not in (line := await running.process.stderr.readline()):
                said = line
    assert b"Envoy ended" in said
    assert b"envoy.log" in said
