"""Runs the steps against what is served, and prints what was asked, expected and seen.

Must not know: who serves, and how; it has addresses, and a directory that it may edit.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import grpc
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xds_server.demo.backends import EXAMPLE
from xds_server.demo.client import CLIENT_ADDRESS
from xds_server.demo.edits import EDITS
from xds_server.demo.steps import DOORS, STEPS, Step, World

OPENING_S = 30.0
WIDTH = 200


async def walkthrough(
    address_of: Callable[[str], str | None],
    port_offset: int,
    directory: Path,
    *,
    certificates: Path = EXAMPLE / "tls",
    console: Console | None = None,
    source: str = CLIENT_ADDRESS,
    more: Sequence[Step] = (),
) -> int:
    """How many steps differ; each is a row of the table that is printed.

    `address_of` is asked anew at each step, and `directory` is edited and restored.
    `source` is the address of the client, and `more` are steps of the caller's own.
    """
    trusted = ssl.create_default_context(cafile=certificates / "ca.crt")
    world = World(address_of, port_offset, directory, trusted, source)
    steps = (*STEPS, *EDITS, *more)
    await listening(world)
    shown = console or Console()
    if not shown.is_terminal:
        shown.width = WIDTH
    table = Table("step", "asked", "at", "expected", "seen", box=SIMPLE_HEAD)
    differ = 0
    # On a terminal rows appear as they are seen; a log gets the whole table once.
    with Live(table, console=shown) if shown.is_terminal else nullcontext():
        async for step, seen in results(world, steps):
            agrees = step.agrees(step.expected, seen)
            differ += not agrees
            at = step.at.replace("/default/", " ")
            colour = "green" if agrees else "bold red"
            table.add_row(step.name, Text(step.asked), at, Text(step.expected), Text(seen, style=colour))
    if not shown.is_terminal:
        shown.print(table)
    shown.print(f"{len(steps) - differ} as expected, {differ} different")
    return differ


async def results(world: World, steps: Iterable[Step]) -> AsyncIterator[tuple[Step, str]]:
    for step in steps:
        try:
            yield step, await step.run(world)
        except (OSError, LookupError, ValueError, grpc.RpcError) as fault:
            yield step, f"{type(fault).__name__}: {fault}"


async def listening(world: World) -> None:
    """Return when every door of the example is open, or after a while: then the steps tell what is missing."""
    try:
        async with asyncio.timeout(OPENING_S):
            for parent, port in DOORS:
                while not await is_open(world.address_of(parent), world.port(port)):
                    await asyncio.sleep(0.05)
    except TimeoutError:
        return


async def is_open(address: str | None, port: int) -> bool:
    if address is None:
        return False
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True
