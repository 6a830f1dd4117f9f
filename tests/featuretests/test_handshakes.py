"""`tidegate serve` and a peer that is refused in the handshake."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from xds_server.cli import main


async def told(reader: asyncio.StreamReader, event: str) -> dict[str, Any]:
    """The next line with this event; every line before it is of a structured log too."""
    while True:
        line: dict[str, Any] = json.loads(await reader.readline())
        if line["event"] == event:
            return line


async def test_a_refused_peer_is_one_structured_line(tmp_path: Path) -> None:
    """Who, why and the way out; nothing else of gRPC's own reaches standard error, and the metric counts it."""
    assert 0 == main(["certificates", "--directory", str(tmp_path / "c")])
    server, authority = tmp_path / "c/xds-server", tmp_path / "c/ca/ca.crt"
    (tmp_path / "manifests").mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "xds_server.cli", "serve", "--allow-empty", "-f", str(tmp_path / "manifests"),
        "--xds-listen", "127.0.0.1:0", "--xds-tls-cert", str(server / "tls.crt"),
        "--xds-tls-key", str(server / "tls.key"), "--xds-tls-client-ca", str(authority),
        "--state", str(tmp_path / "state"), "--admin", "off", "--log-format", "json",
        stderr=PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            serving = await told(process.stderr, "serving")
            port = int(serving["xds"].rpartition(":")[2])
            for _ in range(2):
                tls = ssl.create_default_context(cafile=str(authority))
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
                assert b"" == await reader.read()
                writer.close()
            refused = await told(process.stderr, "peer refused")
            process.terminate()
            rest = [json.loads(line)["event"] async for line in process.stderr]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

    assert ("ipv4:127.0.0.1", "it shows no certificate", 1) == (refused["peer"], refused["reason"], refused["times"])
    assert refused["way_out"]
    assert ["stopping"] == rest
