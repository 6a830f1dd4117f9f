"""The life of one local Envoy: found, started, watched, started again, stopped.

Cancelling `supervise` is how it is stopped.
Must not know: what the bootstrap says, which addresses are served.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn

from xds_server.proxy import admin, launcher

ENVIRONMENT = "TIDEGATE_ENVOY"
CHECKOUT = Path(__file__).resolve().parents[2]

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
LOG_ROTATES_AT = 10 << 20
LAST_WORDS = 400


class EnvoyNotFoundError(LookupError):
    """No Envoy where one was looked for; the message says where, and the ways out."""


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    binary: Path
    bootstrap: str
    admin: Path
    directory: Path
    """Where its bootstrap and its log are kept; closed to others."""
    concurrency: int | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    drain_s: float = 0
    """How long clients may take to leave at a stop; 0 closes their connections at once."""
    stop_s: float = 5
    """How long Envoy may take to end after SIGTERM, before it is killed."""


@dataclass(frozen=True, slots=True)
class Started:
    pid: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Ready:
    pid: int


@dataclass(frozen=True, slots=True)
class Exited:
    pid: int
    code: int
    """As of `asyncio`: negative is the number of a signal."""
    last_words: str


@dataclass(frozen=True, slots=True)
class Restarting:
    in_s: float
    failures: int


Event = Started | Ready | Exited | Restarting


def find(named: Path | None, environ: Mapping[str, str], checkout: Path = CHECKOUT) -> Path:
    """The Envoy to run: named, else of the environment, else installed by make, else on PATH.

    :raises EnvoyNotFoundError: one was named that is not there, or none is anywhere.
    """
    for origin, path in (("--envoy", named), (ENVIRONMENT, environ.get(ENVIRONMENT))):
        if not path:
            continue
        if not is_program(Path(path)):
            raise EnvoyNotFoundError(f"{origin} names {path}, which is not a program that may be run")
        return Path(path).absolute()
    installed = checkout / ".envoy/envoy/_bin/envoy"
    if is_program(installed):
        return installed
    if on_path := shutil.which("envoy", path=environ.get("PATH", os.defpath)):
        return Path(on_path).absolute()
    raise EnvoyNotFoundError(
        f"no Envoy found: name one by --envoy FILE or {ENVIRONMENT}=FILE, "
        f"run `make envoy` (which puts it at {installed}), or install it as `envoy` on PATH",
    )


def is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def failures_after(failures: int, lived_s: float) -> int:
    """Failures in a row: a long life forgives those before it."""
    return 1 if lived_s >= HEALTHY_AFTER_S else failures + 1


def delay_s(failures: int, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` in [0, 1) spreads many Envoys over the upper half."""
    ceiling: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 16))
    return ceiling * (0.5 + chance / 2)


def command(options: EnvoyOptions, config: Path) -> list[str]:
    return [
        str(options.binary),
        "--config-path",
        str(config),
        "--log-level",
        options.log_level,
        *fixed_flags(max(1, round(options.drain_s)) if options.drain_s else 30),
        *(["--concurrency", str(options.concurrency)] if options.concurrency else []),
    ]


def fixed_flags(drain_s: int) -> tuple[str, ...]:
    """Of every Envoy that we run.

    One epoch at a time: a killed one leaves no shared memory behind, and a machine may have any number, of any version.
    Connections of a changed or removed listener end within `drain_s`, ten minutes by default. Who is answered meanwhile
    is told to leave with that, all at once: by chance, as is the default, some would be cut off at a request.
    """
    return ("--disable-hot-restart", "--drain-time-s", str(drain_s), "--drain-strategy", "immediate")


async def supervise(
    options: EnvoyOptions,
    observe: Callable[[Event], None],
    chance: Callable[[], float] = random.random,
) -> NoReturn:
    """Keep one Envoy running until cancelled; then end it, and return only when it has ended."""
    options.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = private_file(options.directory / "envoy.json", options.bootstrap)
    clock = asyncio.get_running_loop().time
    failures = restarts = 0
    while True:
        started = clock()
        exited = await one_life(options, config, observe, restarts)
        observe(exited)
        failures = failures_after(failures, clock() - started)
        restarting = Restarting(delay_s(failures, chance()), failures)
        observe(restarting)
        await asyncio.sleep(restarting.in_s)
        restarts += 1


async def one_life(
    options: EnvoyOptions,
    config: Path,
    observe: Callable[[Event], None],
    restarts: int,
) -> Exited:
    log_path = options.directory / "envoy.log"
    with opened_log(log_path) as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(Path(launcher.__file__)),
            str(os.getpid()),
            *command(options, config),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in a terminal is for us: we then stop it in order.
            start_new_session=True,
        )
    try:
        observe(Started(process.pid, restarts))
        async with asyncio.TaskGroup() as tasks:
            readiness = tasks.create_task(announce_ready(options.admin, process.pid, observe))
            code = await process.wait()
            readiness.cancel()
    finally:
        await stop(process, options)
    return Exited(process.pid, code, last_words(log_path))


async def announce_ready(socket: Path, pid: int, observe: Callable[[Event], None]) -> None:
    await admin.ready(socket)
    observe(Ready(pid))


async def stop(process: Process, options: EnvoyOptions) -> None:
    """Let clients leave if asked to, then SIGTERM, then SIGKILL; a second cancellation goes to the last step."""
    if process.returncode is not None:
        return
    try:
        if options.drain_s:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(options.drain_s):
                    await admin.drained(options.admin)
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(options.stop_s):
                await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def private_file(path: Path, content: str | bytes) -> Path:
    """For its owner alone.

    :raises OSError: it cannot be written; nothing of it is left.
    """
    octets = content.encode() if isinstance(content, str) else content
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return path


def replace_private_file(path: Path, content: str | bytes) -> None:
    """As a whole: who reads it finds the one before, or this one, whatever becomes of the process that writes.

    :raises OSError: it cannot be written; the one before is still there.
    """
    new = private_file(path.with_name(f"{path.name}.new"), content)
    try:
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def opened_log(path: Path) -> BinaryIO:
    """Envoy's log, appended to; the one before is kept as `.1` when it has grown large."""
    if path.exists() and path.stat().st_size > LOG_ROTATES_AT:
        path.replace(path.with_name(path.name + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def last_words(log: Path, holding: str = "") -> str:
    """The last line that was logged with these words, short and printable; nothing, when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    line = next((line.strip() for line in reversed(lines) if line.strip() and holding in line), "")
    return "".join(c if c.isprintable() else " " for c in line)[:LAST_WORDS]
