"""`tidegate node`: the daemon of a node, and what may be asked of it."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from xds_server.proxy.signals import until_signalled

if TYPE_CHECKING:
    from datapath.cleanup import Removed
    from datapath.config import Config
    from datapath.places import Places

STOP_S: Final = 10.0

_ACTIONS: Final = {
    "run": "run the daemon",
    "status": "say what is attached, what is desired and what is wrong",
    "flows": "print drops, refusals and connections that begin, as they happen",
    "maps": "print the entries of the kernel's maps",
    "restart-envoy": "replace the node's Envoy by a new one, without losing a request",
    "cleanup": "take programs, maps, routes and Envoy out of this machine",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"  {name:14} {text}" for name, text in _ACTIONS.items())
    parser.add_argument("action", nargs="?", choices=[*_ACTIONS], default="run", metavar="ACTION",
                        help="what to do (default: run), see below")  # fmt: skip
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the daemon's configuration (YAML)")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="of status, flows and maps")
    parser.add_argument("--force", action="store_true", help="cleanup: end a daemon that runs")


def run(flags: argparse.Namespace) -> int:
    try:
        from datapath.config import ConfigError, load, load_places  # noqa: PLC0415  (see below)
    except ImportError as error:
        print(f"tidegate node: {error.name} is not installed: install tidegate[node]", file=sys.stderr)
        return 2
    try:
        if flags.action == "run":
            return _run(load(flags.config))
        return _ASK[flags.action](load_places(flags.config), flags)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"tidegate node: {line}", file=sys.stderr)
        return 2


def _run(config: Config) -> int:
    from datapath.container import enter_node  # noqa: PLC0415

    enter_node(config.cgroup)
    # What needs the kernel's libraries is imported where it is used: status of a remote shell needs none of it.
    from datapath import app  # noqa: PLC0415
    from datapath.attachments import Refused  # noqa: PLC0415
    from datapath.lock import Taken  # noqa: PLC0415

    _log_to_standard_error(config)
    try:
        until_signalled(lambda: app.run(config))
    except (Refused, Taken) as error:
        print(f"tidegate node: {error}", file=sys.stderr)
        return 1
    return 0


def _status(places: Places, flags: argparse.Namespace) -> int:
    from datapath import status  # noqa: PLC0415
    from datapath.control import asked  # noqa: PLC0415

    try:
        [found] = asked(places.control, {"ask": "status"})
    except (OSError, ValueError) as error:
        return _no_daemon(places, error)
    if flags.output == "json":
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(status.text(found)))
    return 1 if found["findings"] else 0


def _flows(places: Places, flags: argparse.Namespace) -> int:
    from datapath import flows  # noqa: PLC0415
    from datapath.control import asked  # noqa: PLC0415

    try:
        for found in asked(places.control, {"ask": "flows"}, within_s=None):
            try:
                print(json.dumps(found) if flags.output == "json" else flows.text(found), flush=True)
            except BrokenPipeError:
                _read_enough()
                return 0
    except OSError as error:
        return _no_daemon(places, error)
    return 0


def _maps(places: Places, flags: argparse.Namespace) -> int:
    from datapath.entries import records, text  # noqa: PLC0415
    from datapath.kernel.programs import Pins  # noqa: PLC0415

    try:
        for record in records(Pins(places.bpffs).maps):
            for line in [json.dumps(record)] if flags.output == "json" else text(record):
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _read_enough()
    except OSError as error:
        why = {
            errno.ENOENT: f"there are no maps in {places.pins}: no daemon has run here",
            errno.EACCES: f"the maps in {places.pins} may not be read: run it as root",
            errno.EPERM: f"the maps in {places.pins} may not be read: run it as root",
        }.get(error.errno or 0, f"the maps in {places.pins} cannot be read: {error}")
        print(f"tidegate node: {why}", file=sys.stderr)
        return 1
    return 0


def _read_enough() -> None:
    """Who reads what we write does not any more, as `head`: nothing of it is said when we end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _restart_envoy(places: Places, flags: argparse.Namespace) -> int:
    from datapath.control import asked  # noqa: PLC0415

    try:
        [found] = asked(places.control, {"ask": "restart-envoy"})
    except (OSError, ValueError) as error:
        return _no_daemon(places, error)
    if found["fault"]:
        old = "the old one serves" if found["serves"] else "none serves"
        print(f"tidegate node: no new Envoy, and {old}: {found['fault']}", file=sys.stderr)
        return 1
    print(f"a new Envoy is started, process {found['pid']}; `tidegate node status` says when it has taken over")
    return 0


def _cleanup(places: Places, flags: argparse.Namespace) -> int:
    from datapath.cleanup import cleanup  # noqa: PLC0415
    from datapath.lock import Taken, owned  # noqa: PLC0415
    from datapath.probe import missing_capabilities  # noqa: PLC0415

    if not any(path.is_dir() for path in (places.state, places.pins, places.envoy_cgroup)):
        print(
            f"tidegate node: there is no {places.state} and no {places.pins}: no daemon has run here", file=sys.stderr
        )
        return 1
    if lacks := missing_capabilities(Path("/proc/self/status").read_text()):
        print(f"tidegate node: cleanup lacks {', '.join(lacks)}: run it as root", file=sys.stderr)
        return 1
    if flags.force:
        _stop_daemon(places)
    # Without it, what is pinned and who is in Envoy's cgroup are there to be found all the same.
    made = not places.state.is_dir()
    places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with owned(places.pins, places.lock, named=False):  # also on a full disk
            removed = cleanup(places)
    except Taken as error:
        print(f"tidegate node: {error}, or give --force", file=sys.stderr)
        return 1
    finally:
        if made:
            shutil.rmtree(places.state)
    places.lock.unlink(missing_ok=True)
    print("\n".join([*(f"removed {name}" for name in removed.parts), _left(removed)]))
    return 0


def _left(removed: Removed) -> str:
    from datapath.kernel.sysctls import set_right  # noqa: PLC0415

    if removed.unknown:
        what = "settings of the kernel may be Tidegate's, and what they were is not known"
        way = f"set right those that are not your own: {set_right(removed.unknown)}"
    elif removed.lost:
        what, way = f"what settings of the kernel were is not known: {removed.lost}", "remove it when they are right"
    else:
        return "nothing of Tidegate is left"
    return f"all else of Tidegate is removed, but {what}: {way}"


def _stop_daemon(places: Places) -> None:
    """Ask it to end; where it does not, end it: it keeps nothing that a killed one would lose."""
    from datapath.control import asked  # noqa: PLC0415
    from datapath.lock import holders  # noqa: PLC0415

    with suppress(OSError, ValueError):  # none runs, or it does not answer
        list(asked(places.control, {"ask": "stop"}))
        _await_end(places)
    for pid in holders(places.lock, places.pins):
        print(f"tidegate node: the daemon, process {pid}, does not end, and is killed", file=sys.stderr)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _await_end(places)


def _await_end(places: Places) -> None:
    from datapath.lock import holders  # noqa: PLC0415

    deadline = time.monotonic() + STOP_S
    while holders(places.lock, places.pins) and time.monotonic() < deadline:
        time.sleep(0.05)


def _no_daemon(places: Places, error: Exception) -> int:
    from datapath.lock import holders  # noqa: PLC0415

    ended = isinstance(error, FileNotFoundError | ConnectionRefusedError)
    way = "run `tidegate node` with this configuration" if ended else "see its log"
    if ended and (pids := holders(places.lock)):
        print(f"tidegate node: the daemon, process {min(pids)}, is starting, or ending: ask it again", file=sys.stderr)
        return 1
    print(f"tidegate node: no daemon answers at {places.control}: {error}: {way}", file=sys.stderr)
    return 1


_ASK: Final[dict[str, Callable[[Places, argparse.Namespace], int]]] = {
    "status": _status,
    "flows": _flows,
    "maps": _maps,
    "restart-envoy": _restart_envoy,
    "cleanup": _cleanup,
}


def _log_to_standard_error(config: Config) -> None:
    """Readable on a terminal, JSON lines elsewhere."""
    text = config.log_format == "text" or (config.log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.log_level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
