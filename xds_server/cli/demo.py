"""`tidegate demo`: the example with its backends, walked through."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from xds_server import log
from xds_server.app import ControlPlane
from xds_server.cli.ports import bindable
from xds_server.cli.report import served_at
from xds_server.cli.up import standing
from xds_server.config import Config, ConfigError
from xds_server.demo.backends import EXAMPLE, serve_backends
from xds_server.demo.walkthrough import walkthrough
from xds_server.graph import Changes
from xds_server.model.refs import ObjectRef
from xds_server.proxy.process import Event
from xds_server.proxy.signals import until_signalled

_OFFSET = 10000


class Silent:
    """The walk-through prints; the view need not."""

    def __init__(self, _: ControlPlane) -> None:
        """Nothing of the control plane is shown."""

    def changed(self, changes: Changes) -> None:
        """Not shown."""

    def envoy(self, event: Event) -> None:
        """Not shown."""

    async def show(self) -> None:
        """Nothing to wait for."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--envoy", default="", metavar="PATH", help="the Envoy binary")
    parser.add_argument(
        "--port-offset",
        type=int,
        metavar="N",
        help=f"add N to every port (default: 0, or {_OFFSET} for users who may not bind port 80)",
    )


def run(flags: argparse.Namespace) -> int:
    differ = [1]
    with tempfile.TemporaryDirectory(prefix="tidegate-demo-") as scratch:
        state = Path(scratch)
        manifests = state / "bookinfo"
        shutil.copytree(EXAMPLE, manifests)  # the walk-through edits it
        log.configure("info", "json", (state / "tidegate.log").open("a"))
        told = Config(manifests=(manifests,), state=state, admin="", envoy=flags.envoy, ingress_mode="shared")
        settings = _ports(told, flags.port_offset)

        async def walk() -> None:
            async with AsyncExitStack() as stack:
                await serve_backends(stack)
                plane = await stack.enter_async_context(standing(settings, Silent))
                differ[0] = await walkthrough(_address_of(plane), settings.port_offset, manifests)

        until_signalled(walk)
    return 1 if differ[0] else 0


def _ports(settings: Config, offset: int | None) -> Config:
    """The asked offset; without one, none if low ports may be bound."""
    if offset is not None:
        return replace(settings, port_offset=offset)
    plane = ControlPlane(settings)
    plane.load()
    try:
        bindable(plane.pipeline.ingested, 0)
    except ConfigError as error:
        Console().print(f"{error}\nUsing --port-offset {_OFFSET}.", highlight=False, soft_wrap=True)
        return replace(settings, port_offset=_OFFSET)
    return settings


def _address_of(plane: ControlPlane) -> Callable[[str], str | None]:
    def address_of(parent: str) -> str | None:
        ingested = plane.pipeline.ingested
        found = ingested.frontends.get(served_at(plane.pipeline).get(parent, ObjectRef("", "", "")))
        return found.addresses[0] if found and found.addresses else None

    return address_of
