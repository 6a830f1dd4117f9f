"""Faults of a machine or of a caller: each is told in words, and none is a traceback."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from datapath.attachments import Attachments, Refused
from datapath.control import Answer, serving
from datapath.kernel.programs import Pins
from datapath.lock import Taken, owned

CONFIG = "{{node: n1, server: 'unix:/x', state: {0}, bpffs: {0}/bpf, cgroup: {0}/cgroup}}"


def test_an_object_that_is_not_the_shipped_one_is_refused(tmp_path: Path) -> None:
    """By its name, and nothing is left of pins."""
    (tmp_path / "manifest.json").write_text(json.dumps({"steer.bpf.o": "0"}))
    (tmp_path / "steer.bpf.o").write_bytes(b"another")
    pins = Pins(tmp_path / "bpf")
    pins.bpffs.mkdir()

    with pytest.raises(Refused, match=r"steer\.bpf\.o is not the one in"):
        Attachments(pins, tmp_path, tmp_path, tmp_path).load()

    assert [] == list(pins.bpffs.iterdir())


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """What it leads to stays as it was."""
    (tmp_path / "node.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(Taken, match=r"node\.lock cannot be locked"), owned(tmp_path / "pins", tmp_path / "node.lock"):
        pass

    assert not (tmp_path / "elsewhere").exists()


async def test_a_request_that_is_too_long_ends_its_connection_alone(tmp_path: Path) -> None:
    """Nothing is told of it by the event loop, and the next one is answered."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    async with serving(tmp_path / "control", {"flows": flows}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
        writer.write(b"x" * 100_000)
        await asyncio.wait({asyncio.ensure_future(reader.read())})
        writer.close()
        _, again = await asyncio.open_unix_connection(tmp_path / "control")
        again.close()

    assert [] == told


async def test_who_reads_one_flow_and_goes_is_no_error(tmp_path: Path) -> None:
    """As `flows | head -1` does."""
    (tmp_path / "node.yaml").write_text(CONFIG.format(tmp_path))
    command = [sys.executable, "-m", "xds_server.cli", "node", "flows", "-o", "json", "--config"]
    async with serving(tmp_path / "control.sock", {"flows": flows}):
        reading = await asyncio.create_subprocess_exec(
            *command, str(tmp_path / "node.yaml"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert reading.stdout is not None
        assert reading.stderr is not None
        await reading.stdout.readline()
        reading.stdout._transport.close()  # type: ignore[attr-defined]  # it has no other way
        said = await reading.stderr.read()
        code = await reading.wait()

    assert (0, b"") == (code, said)


async def flows(_: Answer) -> AsyncGenerator[Answer, None]:
    """Without an end."""
    while True:
        yield {"flow": "x" * 1000}


async def test_who_may_not_clean_up_is_told_what_it_lacks(tmp_path: Path) -> None:
    """By name, and the way out."""
    (tmp_path / "node.yaml").write_text(CONFIG.format(tmp_path))
    command = [sys.executable, "-m", "xds_server.cli", "node", "cleanup", "--config", str(tmp_path / "node.yaml")]
    less = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    asked = await asyncio.create_subprocess_exec(*less, *command, stderr=subprocess.PIPE)
    _, said = await asked.communicate()

    assert (1, True) == (asked.returncode, b"cleanup lacks CAP_NET_ADMIN, " in said)
    assert b"Traceback" not in said


async def test_who_asks_a_daemon_that_is_starting_is_told_so(tmp_path: Path) -> None:
    """It has its lock, and no socket yet."""
    (tmp_path / "node.yaml").write_text(CONFIG.format(tmp_path))
    command = [sys.executable, "-m", "xds_server.cli", "node", "restart-envoy", "--config", str(tmp_path / "node.yaml")]
    with owned(tmp_path / "pins", tmp_path / "node.lock"):
        asked = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        _, said = await asked.communicate()

    assert f"tidegate node: the daemon, process {os.getpid()}, is starting, or ending: ask it again\n" == said.decode()
