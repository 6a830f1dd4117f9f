"""What an Envoy of the daemon's is made of, and which process it is."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from datapath.instances import (
    Instance,
    Wanted,
    ended,
    is_alive,
    kill,
    last_words,
    log_of,
    remember,
    running,
    start_of,
    tidy,
    with_admin,
)
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


def test_a_file_that_cannot_be_removed_is_told_and_left(tmp_path: Path) -> None:
    """Those after it go all the same, and what is kept stays."""
    wanted = Wanted(Path("/bin/true"), "{}", (), tmp_path, tmp_path, drain_s=1)
    (tmp_path / "7.json").mkdir()
    for name in ("6.json", "7.sock", "8.json", "9.json"):
        (tmp_path / name).touch()
    with capture_logs() as logs:
        tidy(wanted, [Instance(9, 0, 0, made_of="")])

    assert {"7.json", "9.json"} == {path.name for path in tmp_path.iterdir()}
    assert [str(tmp_path / "7.json")] == [each["path"] for each in logs]


BEFORE = "[2026-01-01 00:00:00.000][41][warning][main] [x.cc:1] of another\nand its second line\n"


def said(directory: Path, lines: str, *, known: bool = True) -> str:
    """The last words of process 42, which was started after 41."""
    log_of(directory).write_text(BEFORE + lines)
    return last_words(directory, Instance(2, 42, 0, "", log_from=len(BEFORE) if known else None))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "it said nothing"),
        ("error while loading x.so\n\n", "error while loading x.so"),
        ("loading\n[t][42][critical] no\n[t][41][warning] yes\n", "[t][42][critical] no"),
        ("\x1b[31mno\x07" + "x" * 500, " [31mno " + "x" * 392),
    ],
)
def test_last_words_are_of_the_process_itself(tmp_path: Path, lines: str, words: str) -> None:
    """Or of who has not a process's id, since it was started; short, and printable."""
    assert words == said(tmp_path, lines)


def test_of_one_whose_start_is_not_known_only_its_own_words_are_told(tmp_path: Path) -> None:
    """What nobody has begun may be anybody's."""
    assert "it said nothing" == said(tmp_path, "loading\n", known=False)
    assert "[t][42] no" == said(tmp_path, "[t][42] no\nloading\n", known=False)


def test_a_log_that_was_begun_anew_has_nothing_that_is_nobody_s(tmp_path: Path) -> None:
    """It is shorter than it was when the process was started."""
    log_of(tmp_path).write_text("loading\n")

    assert "it said nothing" == last_words(tmp_path, Instance(2, 42, 0, "", log_from=100))
