"""The node's Envoy, as the node daemon keeps it: real Envoys, which outlive who started them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from datapath.envoy import Envoy
from datapath.instances import Instance, Wanted, end_all, is_alive, remember, running, since_boot_s
from datapath.kernel.sysctls import migrate_requests
from tests.e2e.installation import WAIT_S, Installation, installed
from tests.e2e.load import Backend, Target, load
from tests.e2e.test_continuity import route, service
from xds_server.proxy.bootstrap import BootstrapOptions, XdsSocket, bootstrap

OFFSET = 19000
REQUESTS = 30_000
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: GATEWAY}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


@pytest.fixture
async def installation(tmp_path: Path, envoy: Path) -> AsyncIterator[Installation]:
    async with Backend("b1", "127.91.8.1") as backend, installed(tmp_path, envoy, OFFSET) as running:
        running.write("gateway.yaml", GATEWAY)
        running.write("a.yaml", service("a", backend))
        running.write("route.yaml", route("a"))
        await running.start_control_plane()
        yield running


@pytest.fixture
async def wanted(installation: Installation, envoy: Path) -> AsyncIterator[Wanted]:
    """In a folder that stands for a cgroup, so that no privilege is needed; whatever was started ends with the test."""
    directory = installation.directory
    made = Wanted(
        binary=envoy,
        bootstrap=bootstrap(BootstrapOptions("n1", XdsSocket(installation.socket), directory / "admin")),
        arguments=("--concurrency", "1", "--log-level", "warning"),
        directory=directory / "node-envoy",
        cgroup=directory / "cgroup",
        drain_s=2,
    )
    yield made
    await end_all(made, memory(made))


@pytest.fixture(autouse=True)
def migrates() -> Iterator[None]:
    """As the daemon has it, where that is allowed."""
    changed: list[tuple[Path, str]] = []

    def write(path: Path, text: str) -> None:
        before = path.read_text()
        path.write_text(text)
        changed.append((path, before))

    with suppress(PermissionError):
        migrate_requests(write)
    yield
    for path, before in changed:
        path.write_text(before)


def memory(wanted: Wanted) -> Path:
    return wanted.cgroup.with_name("envoys.json")


def target(installation: Installation) -> Target:
    output = subprocess.run(installation.check, check=True, capture_output=True, text=True).stdout
    [entry] = json.loads(output)["addresses"]
    return Target(entry["addresses"][0], 80 + OFFSET, "any.example.com")


@asynccontextmanager
async def kept(wanted: Wanted) -> AsyncIterator[Envoy]:
    """A daemon's part for Envoy; when it ends, Envoy does not."""
    envoy = Envoy(wanted, memory(wanted), chance=lambda: 0.0)
    running = asyncio.ensure_future(envoy.run())
    try:
        yield envoy
    finally:
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            running.result()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.02)


def pid(envoy: Envoy) -> int:
    assert envoy.state.current is not None
    return envoy.state.current.pid


async def test_it_outlives_the_daemon_and_is_adopted_by_the_next(wanted: Wanted) -> None:
    """The same process, in the cgroup that was named; and it ends when all is to end."""
    async with kept(wanted) as first:
        await until(lambda: first.state.ready)
        started = pid(first)
    async with kept(wanted) as second:
        await until(lambda: second.state.ready)
        listeners = await second.active()

        assert started == pid(second)
    ended = await end_all(wanted, memory(wanted))

    assert listeners
    assert str(started) == (wanted.cgroup / "cgroup.procs").read_text()
    assert [started] == ended
    assert [] == running(memory(wanted), wanted)


async def test_one_that_was_not_remembered_is_found_in_its_cgroup(wanted: Wanted) -> None:
    """A daemon that is killed a moment after it has started an Envoy leaves no orphan."""
    async with kept(wanted) as first:
        await until(lambda: first.state.ready)
        started = pid(first)
    memory(wanted).unlink()

    assert [(1, started)] == [(found.number, found.pid) for found in running(memory(wanted), wanted)]


async def test_a_killed_one_is_started_again(wanted: Wanted) -> None:
    """Also one that was adopted, whose parent is another."""
    async with kept(wanted) as first:
        await until(lambda: first.state.ready)
    async with kept(wanted) as second:
        await until(lambda: second.state.ready)
        before = pid(second)
        os.kill(before, signal.SIGKILL)
        await until(lambda: second.state.starts and second.state.ready)

        assert before != pid(second)


async def test_of_a_killed_one_the_signal_is_told(wanted: Wanted) -> None:
    """Not what it said last, which is about something else."""
    async with kept(wanted) as envoy:
        await until(lambda: envoy.state.ready)
        os.kill(pid(envoy), signal.SIGKILL)
        await until(lambda: envoy.state.fault)

        assert "Envoy was killed by SIGKILL" == envoy.state.fault


def program(wanted: Wanted, text: str) -> Path:
    """One that stands for Envoy."""
    found = wanted.cgroup.with_name("program")
    found.write_text(f"#!/bin/sh\n{text}\n")
    found.chmod(0o755)
    return found


async def test_of_one_that_cannot_be_loaded_the_loader_s_words_are_told(wanted: Wanted) -> None:
    """With its status; they have no process's id."""
    words = "error while loading shared libraries: libx.so: cannot open shared object file"
    binary = program(wanted, f"echo '{words}' >&2; exit 127")
    async with kept(replace(wanted, binary=binary)) as envoy:
        await until(lambda: envoy.state.fault)

        assert f"Envoy ended with status 127: {words}" == envoy.state.fault


async def test_starts_that_fail_leave_no_files(wanted: Wanted) -> None:
    """Neither do those of a daemon before: there are files of those that run."""
    wanted.directory.mkdir()
    for name in ("7.json", "7.sock", "envoy.log.1"):
        (wanted.directory / name).touch()
    async with kept(replace(wanted, binary=program(wanted, "exit 1"))) as envoy:
        await until(lambda: envoy.state.starts > 2 and envoy.state.current is None)
    async with kept(wanted) as envoy:
        await until(lambda: envoy.state.ready)
        assert envoy.state.current is not None
        number = envoy.state.current.number

    files = {"envoy.log", "envoy.log.1", f"{number}.json", f"{number}.sock"}
    assert files == {path.name for path in wanted.directory.iterdir()}


async def test_without_its_binary_the_cause_is_told_when_it_has_ended(wanted: Wanted, envoy: Path) -> None:
    """That it cannot be replaced is known before; nothing is started for that."""
    binary = program(wanted, f'exec {envoy} "$@"')
    async with kept(replace(wanted, binary=binary)) as daemon:
        await until(lambda: daemon.state.ready)
        binary.unlink()
        started = await daemon.restarted()
        os.kill(pid(daemon), signal.SIGKILL)
        await until(lambda: not daemon.state.ready)
        fault = daemon.state.fault

        assert (None, 1) == (started, daemon.state.starts)
    assert fault.startswith(f"Envoy was killed by SIGKILL; Envoy cannot be started: {binary}: No such file")


async def test_one_that_hangs_is_ended_and_another_one_serves(wanted: Wanted) -> None:
    """It does not answer for longer than it may; and that is told."""
    async with kept(replace(wanted, silence_s=1)) as envoy:
        await until(lambda: envoy.state.ready)
        os.kill(hung := pid(envoy), signal.SIGSTOP)
        await until(lambda: envoy.state.fault)
        fault = envoy.state.fault
        await until(lambda: envoy.state.ready)

        assert (1, 2, True) == (envoy.state.hung, envoy.state.starts, hung != pid(envoy))
    assert "Envoy ended: it did not answer for 1 s" == fault


async def test_one_that_hangs_while_it_is_replaced_is_ended(wanted: Wanted, installation: Installation) -> None:
    """Its successor has no configuration yet, which is no silence, and serves when it has."""
    async with kept(replace(wanted, silence_s=1)) as envoy:
        await until(lambda: envoy.state.ready)
        await installation.control_plane.end(signal.SIGKILL)
        envoy.restart()
        await until(lambda: envoy.state.successor)
        assert envoy.state.successor is not None
        successor = envoy.state.successor.pid
        os.kill(pid(envoy), signal.SIGSTOP)
        await until(lambda: pid(envoy) == successor and envoy.state.answers)
        waits = envoy.state.ready
        await installation.start_control_plane()
        await until(lambda: envoy.state.ready)

        assert (False, 1, successor) == (waits, envoy.state.hung, pid(envoy))


async def test_a_successor_that_hangs_is_followed_by_another(wanted: Wanted, installation: Installation) -> None:
    """The old one serves all the time."""
    async with kept(replace(wanted, silence_s=1)) as envoy:
        await until(lambda: envoy.state.ready)
        old = pid(envoy)
        await installation.control_plane.end(signal.SIGKILL)
        envoy.restart()
        await until(lambda: envoy.state.successor)
        assert envoy.state.successor is not None
        os.kill(hung := envoy.state.successor.pid, signal.SIGSTOP)
        await until(lambda: envoy.state.successor and envoy.state.successor.pid != hung)

        assert (old, True, 1) == (pid(envoy), envoy.state.ready, envoy.state.hung)


async def test_a_daemon_that_wants_another_replaces_what_it_finds(wanted: Wanted) -> None:
    """A new version of the daemon brings its own arguments to an Envoy that runs."""
    async with kept(wanted) as first:
        await until(lambda: first.state.ready)
        before = pid(first)
    async with kept(replace(wanted, arguments=("--concurrency", "2", "--log-level", "warning"))) as second:
        await until(lambda: second.state.ready and pid(second) != before and not second.state.draining)

    assert [pid(second)] == [instance.pid for instance in running(memory(wanted), wanted)]


async def test_a_successor_that_ends_is_tried_again_while_the_old_one_serves(
    wanted: Wanted, installation: Installation
) -> None:
    """Without a control plane it gets no configuration; killed, it is followed by the next."""
    async with kept(wanted) as envoy:
        await until(lambda: envoy.state.ready)
        old = pid(envoy)
        await installation.control_plane.end(signal.SIGKILL)
        envoy.restart()
        await until(lambda: envoy.state.successor)
        assert envoy.state.successor is not None
        os.kill(first := envoy.state.successor.pid, signal.SIGKILL)
        await until(lambda: envoy.state.successor and envoy.state.successor.pid != first)

        assert (old, True) == (pid(envoy), envoy.state.ready)


async def test_of_two_that_are_found_the_newer_one_takes_over(wanted: Wanted, installation: Installation) -> None:
    """A daemon that is killed while it replaces an Envoy leaves two; the next daemon goes on with it."""
    async with kept(wanted) as first:
        await until(lambda: first.state.ready)
        await installation.control_plane.end(signal.SIGKILL)
        first.restart()
        await until(lambda: first.state.successor)
        assert first.state.successor is not None
        newer = first.state.successor.pid
    async with kept(wanted) as second:
        await installation.start_control_plane()
        await until(lambda: second.state.ready and pid(second) == newer)

        assert newer == pid(second)


async def test_of_two_that_nobody_remembers_the_one_that_took_over_serves_on(wanted: Wanted) -> None:
    """The file is damaged while the older one drains: the newer one has clients, and only the older one leaves."""
    async with kept(replace(wanted, drain_s=600)) as first:
        await until(lambda: first.state.ready)
        older = pid(first)
        first.restart()
        await until(lambda: first.state.draining)
        newer = pid(first)
    memory(wanted).write_text("[")
    (wanted.cgroup / "cgroup.procs").write_text(f"{older}\n{newer}\n")
    async with kept(replace(wanted, drain_s=600)) as second:
        await until(second.adopted.is_set)
        adopted = pid(second), [each.pid for each in second.state.draining]

    assert (newer, [older]) == adopted


async def test_a_drain_ends_in_its_time_whatever_becomes_of_the_daemon(wanted: Wanted) -> None:
    """Else each restart of it would leave one Envoy more, as long as somebody stays connected."""
    drains = replace(wanted, drain_s=600)
    async with kept(drains) as first:
        await until(lambda: first.state.ready)
        first.restart()
        await until(lambda: first.state.draining)
        [since_s] = [each.drains_since for each in first.state.draining]
    async with kept(drains) as second:
        await until(second.adopted.is_set)
        [draining] = second.state.draining
    over = since_boot_s() - drains.ends_s
    remember(memory(wanted), [replaced(each, over) for each in running(memory(wanted), wanted)])
    async with kept(drains) as third:
        await until(lambda: third.state.current and not third.state.draining)

    assert (since_s, False) == (draining.drains_since, is_alive(draining))


def replaced(instance: Instance, since_s: float) -> Instance:
    """As if it drained since then, if it does."""
    return instance if instance.drains_since is None else msgspec.structs.replace(instance, drains_since=since_s)


async def test_a_successor_that_a_wrong_server_keeps_waiting_is_replaced_when_that_is_corrected(
    wanted: Wanted, installation: Installation
) -> None:
    """The one of the wrong configuration ends, and that it did not serve is told meanwhile."""
    nowhere = bootstrap(BootstrapOptions("n1", XdsSocket(installation.directory / "none"), Path("/admin")))
    async with kept(wanted) as first:
        await until(lambda: first.state.ready)
        old = pid(first)
    async with kept(replace(wanted, bootstrap=nowhere, patience_s=0.01)) as second:
        await until(lambda: second.state.successor)
        assert second.state.successor is not None
        wrong = second.state.successor
        await until(lambda: second.overdue_s)
    async with kept(replace(wanted, arguments=("--concurrency", "2", "--log-level", "warning"))) as third:
        await until(lambda: third.state.ready and pid(third) not in {old, wrong.pid} and not third.state.draining)

        assert (1, False, 0.0) == (third.state.starts, is_alive(wrong), third.overdue_s)


async def test_an_envoy_is_replaced_also_while_another_is_to_take_over(
    wanted: Wanted, installation: Installation
) -> None:
    """The successor that waits is ended, and a new one waits in its place."""
    async with kept(wanted) as envoy:
        await until(lambda: envoy.state.ready)
        old = pid(envoy)
        await installation.control_plane.end(signal.SIGKILL)
        envoy.restart()
        await until(lambda: envoy.state.successor)
        assert envoy.state.successor is not None
        before = envoy.state.successor
        envoy.restart()
        await until(lambda: envoy.state.successor and envoy.state.successor != before)

        assert (old, True, False) == (pid(envoy), envoy.state.ready, is_alive(before))


@asynccontextmanager
async def crowded(wanted: Wanted) -> AsyncIterator[tuple[Envoy, Instance]]:
    """One drains, another one serves, and is to be replaced when it may be."""
    async with kept(wanted) as envoy:
        await until(lambda: envoy.state.ready)
        first = envoy.state.current
        assert first is not None
        assert await envoy.restarted()
        await until(lambda: envoy.state.draining)
        assert await envoy.restarted() is None
        yield envoy, first


@pytest.mark.parametrize(("most_draining", "workers"), [(1, 1), (4, 8)])
async def test_no_more_drain_or_listen_than_may(wanted: Wanted, most_draining: int, workers: int) -> None:
    """A new one waits until one of them has ended, or listens no more: which is told, and asked for by nobody anew."""
    async with crowded(replace(wanted, most_draining=most_draining, workers=workers)) as (envoy, first):
        second = pid(envoy)

        assert f"a new Envoy is started when one of those has ended that drain: {first.pid}" == envoy.state.waits
        assert is_alive(first)
        await until(lambda: pid(envoy) != second)

        assert ("", 3) == (envoy.state.waits, envoy.state.starts)


async def test_one_that_is_started_after_a_crash_is_replaced_for_nothing_of_before(wanted: Wanted) -> None:
    """It was to be replaced when it was killed, and its successor is new already."""
    async with crowded(replace(wanted, most_draining=1)) as (envoy, first):
        os.kill(pid(envoy), signal.SIGKILL)
        await until(lambda: envoy.state.starts == 3 and envoy.state.ready)
        third = pid(envoy)
        await until(lambda: not envoy.state.draining and not is_alive(first))
        assert await envoy.restarted()

        assert (third, 4) == (pid(envoy), envoy.state.starts)


async def test_no_request_is_lost_while_it_is_replaced(wanted: Wanted, installation: Installation) -> None:
    """R13, R14: three times, the last one begun while the control plane is away, when the old one serves on:
    0 of 30,000 requests fail.
    """
    async with kept(wanted) as envoy:
        await until(lambda: envoy.state.ready)
        async with load(target(installation)) as tally:
            for away in (False, False, True):
                old = pid(envoy)
                if away:
                    await installation.control_plane.end(signal.SIGKILL)
                envoy.restart()
                if away:
                    await until(lambda: envoy.state.successor)
                    goal = tally.total + 2000
                    await until(lambda: tally.total >= goal or tally.failed)  # noqa: B023  # awaited here
                    assert old == pid(envoy)
                    await installation.start_control_plane()
                await until(lambda: pid(envoy) != old and not envoy.state.draining)  # noqa: B023  # awaited here
            while tally.total < REQUESTS and not tally.failed:
                goal = tally.total + 1000
                await until(lambda: tally.total >= goal or tally.failed)  # noqa: B023  # awaited here

    assert {} == tally.failed
