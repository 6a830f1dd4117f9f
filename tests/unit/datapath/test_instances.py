"""What an Envoy of the daemon's is made of, and which process it is."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from datapath.instances import Instance, Wanted, ended, is_alive, kill, remember, running, start_of, with_admin
from xds_server.proxy.bootstrap import BootstrapOptions, XdsSocket, bootstrap


def test_metrics_are_asked_for_where_the_admin_socket_is() -> None:
    """Each Envoy has a socket of its own, and its listener for metrics leads there."""
    options = BootstrapOptions("n", XdsSocket(Path("/x.sock")), Path("/e/admin.sock"), metrics=("127.0.0.1", 15090))
    text = with_admin(bootstrap(options), Path("/e/7.sock"))

    assert "/e/7.sock" == json.loads(text)["admin"]["address"]["pipe"]["path"]
    assert (2, 0) == (text.count('"/e/7.sock"'), text.count("admin.sock"))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process
        process.kill()


async def test_a_process_with_the_id_of_one_that_has_ended_is_another(
    tmp_path: Path, process: subprocess.Popen[bytes]
) -> None:
    """It began at another time: it is neither adopted, nor awaited, nor ended."""
    wanted = Wanted(Path("/bin/true"), "{}", (), tmp_path, tmp_path, drain_s=1)
    own = Instance(1, process.pid, start_of(process.pid) or 0, made_of="")
    before = msgspec.structs.replace(own, started=own.started - 1)
    remember(tmp_path / "envoys.json", [own, before])
    found = running(tmp_path / "envoys.json", wanted)
    kill(before)
    lives = is_alive(own)
    async with asyncio.timeout(30):
        await ended(before)

    assert ([own], True, None) == (found, lives, process.poll())
