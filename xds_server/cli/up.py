"""`tidegate up`: manifests through a local Envoy, in the foreground, for people."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import structlog

from xds_server import log
from xds_server.app import ControlPlane, private_directory
from xds_server.cli.output import OutputClosedError
from xds_server.cli.ports import bindable
from xds_server.cli.view import JsonLines, LiveView, View, shown
from xds_server.config import Config, ConfigError, add_manifests, add_server, config
from xds_server.proxy.bootstrap import BootstrapOptions, XdsSocket, bootstrap
from xds_server.proxy.process import (
    EnvoyNotFoundError,
    EnvoyOptions,
    Event,
    Exited,
    Ready,
    Restarting,
    Started,
    find,
    supervise,
)
from xds_server.proxy.signals import until_signalled
from xds_server.xds.lock import LockedError, locked

NODE: Final = "local"

events = structlog.get_logger(__name__)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_manifests(parser)
    add_server(parser)
    parser.add_argument(
        "--envoy", metavar="PATH", help="the Envoy binary (default: $TIDEGATE_ENVOY, .envoy/, then PATH)"
    )
    parser.add_argument("-o", "--output", choices=("live", "json"), default="live" if sys.stdout.isatty() else "json",
                        help="a live view (default on a terminal), or one JSON report a line")  # fmt: skip


def run(flags: argparse.Namespace) -> int:
    settings = config(flags)
    private_directory(settings.state)
    with _alone(settings.state):
        try:
            _shown_as(flags.output, settings)
        except* OutputClosedError:
            pass  # who started it has seen enough, as of `| head`
    return 0


def _shown_as(output: str, settings: Config) -> None:
    if output == "json":
        log.configure(settings.log_level, settings.log_format)
        until_signalled(lambda: up(settings, JsonLines))
        return
    with (settings.state / "tidegate.log").open("a") as file:  # the terminal belongs to the view
        log.configure(settings.log_level, settings.log_format, file)
        until_signalled(lambda: up(settings, LiveView))


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """One Envoy, its bootstrap, log and sockets to a directory."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(state / "up.lock"))
        except LockedError as error:
            raise ConfigError(f"--state {state}: {error} runs there; end that, or give another directory") from None
        except OSError as error:
            raise ConfigError(f"--state {state}: up.lock cannot be made: {error.strerror}") from None
        yield


async def up(settings: Config, view_of: Callable[[ControlPlane], View]) -> None:
    """Serve and show, until cancelled."""
    async with standing(settings, view_of):
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def standing(settings: Config, view_of: Callable[[ControlPlane], View]) -> AsyncIterator[ControlPlane]:
    """A control plane and its Envoy, both running while the context lasts."""
    binary = _envoy(settings)
    plane = ControlPlane(settings)
    plane.load()
    bindable(plane.pipeline.ingested, settings.port_offset)
    view = view_of(plane)
    plane.observers.append(view.changed)

    def observe(event: Event) -> None:
        match event:
            case Started():
                plane.metrics.envoy_starts.inc()
                plane.lacks = "Envoy is not ready yet"
            case Ready():
                plane.lacks = ""
            case Exited(code=code, last_words=words):
                plane.controller.ended(NODE)
                plane.lacks = f"Envoy ended with {code}"
                events.error("Envoy ended", code=code, last_words=words, log=str(settings.state / "envoy.log"))
            case Restarting(in_s=in_s, failures=failures):
                events.warning("Envoy starts again", in_s=round(in_s, 1), failures=failures)
        view.envoy(event)

    async with plane.serving(), asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(plane.run()),
            tasks.create_task(plane.watch()),
            tasks.create_task(shown(view)),
            tasks.create_task(supervise(_options(settings, binary), observe)),
        ]
        try:
            yield plane
        finally:
            plane.stop()
            for task in running:
                task.cancel()


def _options(settings: Config, binary: Path) -> EnvoyOptions:
    socket = settings.state / "envoy-admin.sock"
    xds = XdsSocket(settings.state / "xds.sock")
    return EnvoyOptions(
        binary=binary,
        bootstrap=bootstrap(BootstrapOptions(node_id=NODE, xds=xds, admin=socket)),
        admin=socket,
        directory=settings.state,
    )


def _envoy(settings: Config) -> Path:
    try:
        return find(Path(settings.envoy) if settings.envoy else None, os.environ)
    except EnvoyNotFoundError as error:
        raise ConfigError(str(error)) from None
