"""Envoy processes that outlive the daemon: started, remembered in a file, found again, asked, ended.

A process is known by its id and its start, so that another one with the same id is not taken for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import msgspec
import structlog

from datapath import launcher
from xds_server.proxy import admin
from xds_server.proxy.process import fixed_flags, opened_log, private_file, replace_private_file

log = structlog.get_logger("envoy")

_STOPPING_S: Final = 1.0
"""Until all threads of an Envoy have closed their listeners, after the time to leave is over."""

_NAMES: Final = {int(each): each.name for each in signal.Signals}
KILLED: Final = "was killed"
"""What the end of a process begins with that has no last words."""
_LOOK_S: Final = 0.1
_KILLED_S: Final = 2.0
"""Who is killed is gone by then."""
_TAIL: Final = 1 << 16
_LONGEST_WORDS: Final = 400
_SAID_BY: Final = re.compile(r"\[[^]]*\]\[(\d+)\]")


class Instance(msgspec.Struct, frozen=True):
    """One Envoy process; numbers rise."""

    number: int
    pid: int
    started: int
    """In ticks since the machine's start, as /proc has it."""
    made_of: str
    """Digest of its binary, bootstrap, cgroup and arguments."""
    drains_since: float | None = None
    """When its clients were told to leave for another, in seconds since the machine's start."""
    workers: int = 0
    """0 where that is not known."""
    log_from: int | None = None
    """The size of the log when it was started; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an Envoy is made of; the place of its admin socket in `bootstrap` differs from one to the next."""

    binary: Path
    bootstrap: str
    arguments: tuple[str, ...]
    directory: Path
    """For its files; closed to others."""
    cgroup: Path
    drain_s: float
    """How long connections of an old one may take to end."""
    stop_s: float = 5.0
    silence_s: float = 30.0
    """For how long it may not answer."""
    patience_s: float = 30.0
    """For how long one may not serve that is to take over, before that is told."""
    workers: int = 1
    room: int = 16
    """For workers of all Envoys together, as long as they listen."""
    most_draining: int = 4
    """So many may drain at the same time: each has its memory."""

    @property
    def ends_s(self) -> float:
        """Who is told to leave for another one has ended after so long, whoever is connected."""
        return self.leaving_s + _STOPPING_S + self.drain_s / 2

    @property
    def leaving_s(self) -> int:
        """For half of that time clients are told to leave, and are served; then it takes none, and they may finish."""
        return max(1, round(self.drain_s / 2))

    def is_listening(self, instance: Instance) -> bool:
        """Whether one that drains may still take connections."""
        since_s = instance.drains_since
        return since_s is None or since_boot_s() < since_s + self.leaving_s + _STOPPING_S

    @property
    def flags(self) -> tuple[str, ...]:
        return (*fixed_flags(self.leaving_s), *self.arguments)

    def made_of(self) -> str:
        found = self.binary.stat()
        parts = (str(self.binary), found.st_size, found.st_mtime_ns, self.bootstrap, self.cgroup, *self.flags)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]

    def admin(self, number: int) -> Path:
        return self.directory / f"{number}.sock"


def with_admin(bootstrap: str, socket: Path) -> str:
    """With its admin socket elsewhere, also where it is asked for metrics itself."""
    before = json.loads(bootstrap)["admin"]["address"]["pipe"]["path"]
    return bootstrap.replace(json.dumps(before), json.dumps(str(socket)))


def start(wanted: Wanted, number: int) -> Instance:
    """:raises OSError: it could not be started at all."""
    made_of = wanted.made_of()
    wanted.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted.cgroup.mkdir(exist_ok=True)
    socket = wanted.admin(number)
    socket.unlink(missing_ok=True)
    config = private_file(wanted.directory / f"{number}.json", with_admin(wanted.bootstrap, socket))
    command = [
        sys.executable,
        "-I",
        str(Path(launcher.__file__)),
        str(wanted.cgroup),
        str(wanted.binary),
        "--config-path",
        str(config),
        *wanted.flags,
    ]
    with opened_log(log_of(wanted.directory)) as output:
        log_from = os.fstat(output.fileno()).st_size
        # What asyncio starts, it would kill when its transport is collected.
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
            setsid=True,
        )
    return Instance(number, pid, start_of(pid) or 0, made_of, workers=wanted.workers, log_from=log_from)


def log_of(directory: Path) -> Path:
    return directory / "envoy.log"


def last_words(directory: Path, instance: Instance) -> str:
    """The last line of a process in the log, short and printable.

    Envoy's own has the id of its thread, which is its process's. The loader's, or that of a program around Envoy, has
    none: it is taken where nobody else has begun it, and the process has said nothing by itself since its start.
    """
    try:
        with log_of(directory).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            since = instance.log_from if (instance.log_from or 0) <= size else None  # it was another file
            file.seek(max(since or 0, size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "its log is gone"
    said = [(_SAID_BY.match(line), line) for line in lines if line.strip()]
    own = [line for by, line in said if by and int(by[1]) == instance.pid]
    nobodys = [line for by, line in said if not by and since is not None]
    line = next(reversed(own or nobodys), "it said nothing")
    return "".join(c if c.isprintable() else " " for c in line)[:_LONGEST_WORDS]


def start_of(pid: int) -> int | None:
    """None where there is no such process, or it has ended and nobody has taken note."""
    found = _state_and_start(pid)
    return None if found is None or found[0] in {"Z", "X"} else found[1]


def _state_and_start(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def is_alive(instance: Instance) -> bool:
    return start_of(instance.pid) == instance.started


async def ended(instance: Instance) -> str:
    """Return when the process is no more: with how it ended, where it is our child, or nothing."""
    try:
        descriptor = os.pidfd_open(instance.pid)
    except ProcessLookupError:
        return ""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        found = _state_and_start(instance.pid)
        if found and found[1] == instance.started:  # also where its other threads are about to end still
            loop.add_reader(descriptor, over.set)
            await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        how = _reap(instance.pid)
    return how


def _reap(pid: int) -> str:
    with suppress(ChildProcessError):  # one that was adopted has another parent
        found, status = os.waitpid(pid, os.WNOHANG)
        if not found:
            return ""
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return f"{KILLED} by {_NAMES.get(number, f'signal {number}')}"
        return f"ended with status {os.WEXITSTATUS(status)}"
    return ""


async def stop(instance: Instance, wanted: Wanted) -> None:
    """SIGTERM, then SIGKILL; return when it has ended."""
    _signal(instance, signal.SIGTERM)
    try:
        async with asyncio.timeout(wanted.stop_s):
            await ended(instance)
    except TimeoutError:
        kill(instance)
        await ended(instance)
    for path in (wanted.admin(instance.number), wanted.directory / f"{instance.number}.json"):
        _take_away(path)


def tidy(wanted: Wanted, kept: Iterable[Instance]) -> None:
    """Take the files of all others away: one that has ended by itself leaves them."""
    numbers = {str(instance.number) for instance in kept}
    for path in wanted.directory.glob("[0-9]*"):
        if path.suffix in {".json", ".sock"} and path.stem not in numbers:
            _take_away(path)


def _take_away(path: Path) -> None:
    """As on a file system that has become read-only, it may stay: nothing hangs on it."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("a file of an Envoy that is gone stays", path=str(path), reason=error.strerror)


async def end_all(wanted: Wanted, memory: Path) -> list[int]:
    """End every Envoy that is remembered, or in the cgroup for this directory; gives their ids."""
    found = running(memory, wanted)
    async with asyncio.TaskGroup() as tasks:
        for instance in found:
            tasks.create_task(stop(instance, wanted))
    return [instance.pid for instance in found]


def kill(instance: Instance) -> None:
    _signal(instance, signal.SIGKILL)


def since_boot_s() -> float:
    """A clock that all daemons of a machine have in common, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def retire(instance: Instance, wanted: Wanted) -> None:
    """Let its clients leave for the one that has taken over, then end it: in the time that is left of it.

    Envoy goes on with a drain that it has begun when it is asked again, as by a daemon that has come since.
    """
    socket = wanted.admin(instance.number)
    assert instance.drains_since is not None
    began_s = instance.drains_since
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(began_s + wanted.ends_s - since_boot_s()):
            await admin.ask(socket, "/drain_listeners?graceful", method="POST")
            # Nobody may be connected at a moment, and somebody in the next, for as long as it listens.
            await asyncio.sleep(began_s + wanted.leaving_s + _STOPPING_S - since_boot_s())
            while await admin.connected(socket):
                await asyncio.sleep(_LOOK_S)
    await stop(instance, wanted)


def _signal(instance: Instance, number: signal.Signals) -> None:
    """By a descriptor, so that nobody else can be meant."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(instance.pid)
        try:
            if is_alive(instance):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


async def listeners(socket: Path) -> frozenset[str] | None:
    """The names of those that are active, also where they are bound to no port; None where Envoy does not answer."""
    try:
        status, body = await admin.ask(socket, "/listeners?format=json")
    except OSError:
        return None
    if status != HTTPStatus.OK:
        return None
    return frozenset(found["name"] for found in json.loads(body).get("listener_statuses", ()))


def remember(path: Path, instances: Iterable[Instance]) -> None:
    replace_private_file(path, msgspec.json.encode(tuple(instances)))


def running(path: Path, wanted: Wanted) -> list[Instance]:
    """Those that still run, oldest first: what is remembered, and who is in the cgroup besides.

    A daemon that is killed a moment after it has started one has not remembered it.
    """
    found = [each for each in _remembered(path) if is_alive(each)]
    known = {instance.pid for instance in found}
    found += [each for pid in _members(wanted.cgroup) if pid not in known and (each := _stray(pid, wanted))]
    return sorted(found, key=lambda instance: instance.number)


def _remembered(path: Path) -> list[Instance]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Instance])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.warning("which Envoys run cannot be read, and is looked for", path=str(path), reason=str(error)[:256])
        return []


def others(wanted: Wanted) -> list[int]:
    """Who is in Envoy's cgroup and was not started for this state directory: connections come to them, too."""
    return [pid for pid in _members(wanted.cgroup) if _stray(pid, wanted) is None and start_of(pid) is not None]


def end_rest(cgroup: Path) -> list[int]:
    """End whoever is still in Envoy's cgroup, which nobody else is put into: Envoys of another state directory."""
    found = _members(cgroup)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _KILLED_S
    while _members(cgroup) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _members(cgroup: Path) -> list[int]:
    try:
        return [int(word) for word in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _stray(pid: int, wanted: Wanted) -> Instance | None:
    """By the configuration that it was given; None for a process that is none of ours."""
    started = start_of(pid)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    config = next((Path(word) for word in words if word.endswith(".json")), Path())
    if started is None or config.parent != wanted.directory or not config.stem.isdecimal():
        return None
    return Instance(int(config.stem), pid, started, made_of="")
