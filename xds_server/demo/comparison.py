"""Prints what was asked, expected and seen. Must not know: who asked, and whom."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import nullcontext
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

WIDTH = 200


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    asked: str
    at: str
    expected: str
    seen: str
    agrees: bool


async def compare(rows: AsyncIterable[Row], console: Console | None = None) -> int:
    """How many differ; each row is printed."""
    shown = console or Console()
    if not shown.is_terminal:
        shown.width = WIDTH
    table = Table("step", "asked", "at", "expected", "seen", box=SIMPLE_HEAD)
    count = differ = 0
    # On a terminal rows appear as they are seen; a log gets the whole table once.
    with Live(table, console=shown) if shown.is_terminal else nullcontext():
        async for row in rows:
            count += 1
            differ += not row.agrees
            colour = "green" if row.agrees else "bold red"
            table.add_row(row.name, Text(row.asked), row.at, Text(row.expected), Text(row.seen, style=colour))
    if not shown.is_terminal:
        shown.print(table)
    shown.print(f"{count - differ} as expected, {differ} different")
    return differ
