"""What `tidegate up` shows: a live view for people, or a report a line for programs."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections import deque
from typing import Final, Protocol

import structlog
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xds_server.app import ControlPlane
from xds_server.cli import output
from xds_server.cli.report import addresses, conditions, report
from xds_server.graph import Changes
from xds_server.graph.collection import MISSING
from xds_server.proxy.process import Event, Exited, Ready, Restarting, Started
from xds_server.status.conditions import ConditionRow

_EVENTS: Final = 12
_ROWS: Final = 40
_PAUSE_S: Final = 0.1  # a burst of changes is one report

log = structlog.get_logger(__name__)


class View(Protocol):
    """Told of each commit and of Envoy's life; `show` runs until cancelled."""

    def changed(self, changes: Changes) -> None: ...
    def envoy(self, event: Event) -> None: ...
    async def show(self) -> None: ...


async def shown(view: View) -> None:
    """Show until cancelled; a view that fails ends alone, and traffic goes on.

    :raises OutputClosedError: nobody reads any more.
    """
    try:
        await view.show()
    except output.OutputClosedError:
        raise
    except Exception:
        log.exception("the view has failed; serving goes on without it")


class JsonLines:
    """A report on standard output whenever one differs from the last; who reads slowly gets the latest."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane, self._dirty, self._last = plane, asyncio.Event(), ""
        self._descriptor = sys.stdout.fileno()
        self._dirty.set()

    def changed(self, _: Changes) -> None:
        self._dirty.set()

    def envoy(self, event: Event) -> None:
        """Envoy's own life is in the log."""

    async def show(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            text = self._report()
            if text != self._last:
                self._last = text
                await output.write(self._descriptor, f"{text}\n".encode())
                await asyncio.sleep(_PAUSE_S)

    def _report(self) -> str:
        plane = self._plane
        rows = conditions(plane.pipeline)
        return json.dumps(
            report(plane.pipeline, rows, plane.scan.problems, plane.scan.notices, plane.config.port_offset)
        )


class Terminal(io.StringIO):
    """Collects what is drawn, so that it can be written without waiting for a terminal that was stopped."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def taken(self) -> bytes:
        drawn = self.getvalue()
        self.seek(0)
        self.truncate()
        return drawn.encode(errors="replace")


class LiveView:
    """Tables of addresses, routes and problems, and the last edits."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane, self._dirty = plane, asyncio.Event()
        self._events: deque[str] = deque(maxlen=_EVENTS)
        self._envoy = "starting"
        self._dirty.set()

    def changed(self, changes: Changes) -> None:
        for name in self._plane.pipeline.sources._fields:
            for ref, before in changes.get(name, {}).items():
                gone = ref not in self._plane.pipeline.sources.of(ref.kind)
                self._say(f"{ref} {'deleted' if gone else 'added' if before is MISSING else 'changed'}")
        self._dirty.set()

    def envoy(self, event: Event) -> None:
        match event:
            case Started(pid=pid):
                self._envoy = f"pid {pid}, starting"
            case Ready(pid=pid):
                self._envoy = f"pid {pid}, ready"
            case Exited(code=code, last_words=words):
                self._envoy = "ended"
                self._say(f"Envoy ended with {code}: {words}")
            case Restarting(in_s=in_s):
                self._say(f"Envoy starts again in {in_s:.1f} s")
        self._dirty.set()

    async def show(self) -> None:
        terminal, descriptor = Terminal(terminal=sys.stdout.isatty()), sys.stdout.fileno()
        try:
            with Live(console=Console(file=terminal), auto_refresh=False, vertical_overflow="crop") as live:
                while True:
                    await self._dirty.wait()
                    self._dirty.clear()
                    live.update(self._screen(), refresh=True)
                    await output.write(descriptor, terminal.taken())
                    await asyncio.sleep(_PAUSE_S)
        finally:
            output.write_last(descriptor, terminal.taken())  # the cursor is shown again

    def _say(self, text: str) -> None:
        self._events.append(f"{time.strftime('%H:%M:%S')} {text}")

    def _screen(self) -> RenderableType:
        rows = conditions(self._plane.pipeline)
        return Group(
            self._frontends(rows),
            _routes(rows),
            *(Text(f"✗ {problem.text}", style="red") for problem in self._plane.scan.problems[:10]),
            *(Text(event, style="dim") for event in self._events),
        )

    def _frontends(self, rows: list[ConditionRow]) -> Table:
        table = Table("served", "addresses", "ports", "state", title=f"Envoy: {self._envoy}", title_justify="left")
        programmed = {row[:3]: row for row in rows if row.type == "Programmed" and not row.section}
        for entry in addresses(self._plane.pipeline, self._plane.config.port_offset)[:_ROWS]:
            about = (entry["kind"], entry["namespace"], entry["name"])
            table.add_row(
                Text("/".join(part for part in about if part) or "shared"),
                Text(", ".join(entry["addresses"]) or entry["message"]),
                ", ".join(map(str, entry["ports"])),
                _state(programmed.get(about)),
            )
        return table


def _routes(rows: list[ConditionRow]) -> Table:
    table = Table("object", "parent", "state")
    found: dict[tuple[str, ...], list[ConditionRow]] = {}
    for row in rows:
        if row.kind not in {"Gateway", "GatewayClass"}:
            found.setdefault((row.kind, row.namespace, row.name, row.parent, row.section), []).append(row)
    for (kind, namespace, name, parent, section), group in list(found.items())[:_ROWS]:
        failing = next((row for row in group if row.fails), None)
        where = " ".join(part for part in (parent, section) if part)
        table.add_row(
            Text(f"{kind}/{namespace}/{name}"), Text(where), _state(failing) if failing else Text("✓", style="green")
        )
    if len(found) > _ROWS:
        table.add_row(f"and {len(found) - _ROWS} more", "", "")
    return table


def _state(row: ConditionRow | None) -> Text:
    if row is None or not row.fails:
        return Text("✓", style="green")
    return Text(f"{row.type}={row.status} {row.reason}: {row.message}"[:200], style="red")
