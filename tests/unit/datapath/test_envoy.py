"""Who serves, of two Envoys that do not always answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from datapath.envoy import Envoy
from datapath.instances import Instance, Wanted, remember, start_of

PATIENCE_S = 30
OLD, NEW = 1, 2
MEMORY = "envoys.json"


@dataclass(eq=False)
class Stand:
    """A process, and an admin socket that answers unless the question is one of those that are in vain."""

    process: subprocess.Popen[bytes]
    listeners: set[str]
    in_vain: Callable[[str], bool] = lambda _: False
    asked: list[str] = field(default_factory=list)

    def instance(self, number: int, made_of: str) -> Instance:
        return Instance(number, self.process.pid, start_of(self.process.pid) or 0, made_of)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(path)
        if not self.in_vain(path):
            body = json.dumps({"listener_statuses": [{"name": name} for name in sorted(self.listeners)]})
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    def times(self, path: str) -> int:
        return sum(each.startswith(path) for each in self.asked)


@contextmanager
def stand(wanted: Wanted, number: int, *listeners: str) -> Iterator[Stand]:
    """Its command names the configuration, by which it is found where it is not remembered."""
    command = [sys.executable, "-c", "input()", str(wanted.directory / f"{number}.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield Stand(process, set(listeners))
        process.kill()


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    (tmp_path / "cgroup").mkdir()
    bootstrap = json.dumps({"admin": {"address": {"pipe": {"path": "/admin.sock"}}}})
    return Wanted(Path("/bin/true"), bootstrap, (), tmp_path, tmp_path / "cgroup", drain_s=600)


def unremembered(wanted: Wanted, *stands: Stand) -> None:
    """They are in the cgroup, and nothing else is known of them."""
    (wanted.cgroup / "cgroup.procs").write_text("".join(f"{each.process.pid}\n" for each in stands))


def remembered(wanted: Wanted, *stands: Stand) -> None:
    made_of = wanted.made_of()
    remember(wanted.directory / MEMORY, [each.instance(number, made_of) for number, each in enumerate(stands, 1)])


@pytest.fixture
def two(wanted: Wanted) -> Iterator[tuple[Stand, Stand]]:
    """The older one has a listener that the newer one has not."""
    with ExitStack() as stack:
        old = stack.enter_context(stand(wanted, OLD, "capture/ipv4", "a"))
        yield old, stack.enter_context(stand(wanted, NEW, "capture/ipv4"))


@asynccontextmanager
async def kept(wanted: Wanted, *stands: Stand) -> AsyncIterator[Envoy]:
    """The daemon's part, with all that is there asked for."""
    envoy = Envoy(wanted, wanted.directory / MEMORY, chance=lambda: 0.0)
    envoy.named = lambda: frozenset({"a"})
    servers = [
        await asyncio.start_unix_server(each.answer, wanted.admin(number)) for number, each in enumerate(stands, 1)
    ]
    running = asyncio.ensure_future(envoy.run())
    try:
        yield envoy
    finally:
        running.cancel()
        await asyncio.wait({running})
        for server in servers:
            server.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


def pid(envoy: Envoy) -> int:
    assert envoy.state.current is not None
    return envoy.state.current.pid


async def test_nobody_takes_over_from_one_that_does_not_say_what_it_has(
    wanted: Wanted, two: tuple[Stand, Stand]
) -> None:
    """It is asked again, and what it has besides is awaited."""
    old, new = two
    old.in_vain = lambda path: path.startswith("/listeners") and old.times("/listeners") <= 3
    remembered(wanted, old, new)
    async with kept(wanted, old, new) as envoy:
        await until(lambda: old.times("/listeners") > 3 and envoy.state.lacks)
        waiting = pid(envoy), set(envoy.state.lacks)
        new.listeners.add("a")
        await until(lambda: pid(envoy) == new.process.pid)

    assert (old.process.pid, {"a"}) == waiting


@pytest.mark.parametrize("silent", [OLD, NEW])
@pytest.mark.parametrize(("more", "serves"), [({"a"}, NEW), (set(), OLD)])
async def test_of_two_that_nobody_remembers_each_is_heard(
    wanted: Wanted, two: tuple[Stand, Stand], silent: int, more: set[str], serves: int
) -> None:
    """Whichever misses questions: the newer one serves where it has all, and the older one where it has not."""
    mute = two[silent - 1]
    mute.in_vain = lambda path: path.startswith("/listeners") and mute.times("/listeners") <= 2
    two[1].listeners |= more
    unremembered(wanted, *two)
    async with kept(wanted, *two) as envoy:
        await until(envoy.adopted.is_set)
        adopted = pid(envoy)

    assert two[serves - 1].process.pid == adopted


async def test_one_that_is_silent_for_long_has_nothing_that_is_awaited(
    wanted: Wanted, two: tuple[Stand, Stand]
) -> None:
    """Of two that nobody remembers the older one hangs: the newer one serves."""
    old, _ = two
    old.in_vain = lambda _: True
    unremembered(wanted, *two)
    async with kept(replace(wanted, silence_s=0), *two) as envoy:
        await until(envoy.adopted.is_set)

        assert two[1].process.pid == pid(envoy)


async def test_one_question_in_vain_is_no_silence_however_long_that_is(
    wanted: Wanted, two: tuple[Stand, Stand]
) -> None:
    """The daemon itself may have been stopped all the time: it asks again before it ends an Envoy."""
    old, _ = two
    old.in_vain = lambda path: path == "/ready" and old.times("/ready") == 2
    remembered(wanted, old)
    async with kept(replace(wanted, silence_s=0), old) as envoy:
        await until(lambda: old.times("/ready") > 4)

        assert (0, old.process.pid) == (envoy.state.hung, pid(envoy))
