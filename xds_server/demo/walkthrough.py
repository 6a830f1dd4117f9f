"""Runs the steps against what is served.

Must not know: who serves, and how; it has addresses, and a directory that it may edit.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import grpc
from rich.console import Console

from xds_server.demo.backends import EXAMPLE
from xds_server.demo.client import CLIENT_ADDRESS
from xds_server.demo.comparison import Row, compare
from xds_server.demo.edits import EDITS
from xds_server.demo.steps import DOORS, STEPS, Step, World

OPENING_S = 30.0


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
    return await compare(results(world, steps), console)


async def results(world: World, steps: Iterable[Step]) -> AsyncIterator[Row]:
    for step in steps:
        try:
            seen = await step.run(world)
        except (OSError, LookupError, ValueError, grpc.RpcError) as fault:
            seen = f"{type(fault).__name__}: {fault}"
        at = step.at.replace("/default/", " ")
        yield Row(step.name, step.asked, at, step.expected, seen, step.agrees(step.expected, seen))


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
