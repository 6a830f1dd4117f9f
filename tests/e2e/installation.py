"""A control plane and an Envoy as processes of their own, so that either can be killed while the other goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from xds_server.proxy import admin

WAIT_S = 30.0


class Process:
    """A child with its output in a file; always ended by whoever started it."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log, self._command = log, command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None


class Installation:
    """`tidegate serve` on a directory, and an Envoy of it; addresses are asked of `tidegate check`."""

    def __init__(self, directory: Path, envoy: Path, port_offset: int) -> None:
        self.directory, self.port_offset = directory, port_offset
        self.manifests, self.socket = directory / "manifests", directory / "xds.sock"
        self.admin = directory / "admin.sock"
        self.manifests.mkdir()
        command = (sys.executable, "-m", "xds_server.cli")
        flags = ("-f", str(self.manifests), "--port-offset", str(port_offset))
        self.check = (*command, "check", *flags, "-o", "json")
        self.control_plane = Process(
            directory / "control-plane.log", *command, "serve", *flags,
            "--xds-listen", f"unix:{self.socket}", "--admin", "off", "--log-format", "json",
        )  # fmt: skip
        self._bootstrap = (
            *command, "bootstrap", "--xds-address", f"unix:{self.socket}",
            "--admin-socket", str(self.admin), "--node-id", "e2e",
        )  # fmt: skip
        self.envoy = Process(
            directory / "envoy.log", str(envoy), "-c", str(directory / "envoy.json"), "--disable-hot-restart",
            "--concurrency", "1", "--log-level", "warning", "--drain-time-s", "2",
        )  # fmt: skip

    def write(self, name: str, text: str) -> None:
        """Put a manifest in place as an editor does: whole or not at all.

        GATEWAY in it becomes a name of this run, so that two runs at once get two addresses.
        """
        text = text.replace("GATEWAY", f"web-{os.getpid()}")
        part = self.directory / f"{name}.part"
        part.write_text(text)
        part.replace(self.manifests / name)

    async def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's counters whose name matches."""
        _, body = await admin.ask(self.admin, "/stats?filter=" + pattern)
        return {name: int(value) for name, value in re.findall(r"(?m)^(\S+): (\d+)$", body.decode())}

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for another process to get there; a bound ends a test that never would."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = holds()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.02)

    async def _listening(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(str(self.socket))
            writer.close()
            return True
        return False

    async def start_control_plane(self) -> None:
        await self.control_plane.start()
        await self.until(self._listening)

    async def start_envoy(self) -> None:
        process = await asyncio.create_subprocess_exec(*self._bootstrap, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        (self.directory / "envoy.json").write_bytes(output)
        await self.envoy.start()
        await self.until(lambda: admin.is_ready(self.admin))


@asynccontextmanager
async def installed(directory: Path, envoy: Path, port_offset: int) -> AsyncIterator[Installation]:
    """Both running while the context lasts; the caller has written the manifests."""
    installation = Installation(directory, envoy, port_offset)
    try:
        yield installation
    finally:
        for process in (installation.envoy, installation.control_plane):
            if process.running:
                await process.end()
