"""`tidegate check`: every object's conditions and warnings, of manifests or of a cluster as it is now."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape

from xds_server.cli.offline import load
from xds_server.cli.report import conditions, report
from xds_server.config import add_objects, config
from xds_server.model.refs import ObjectRef
from xds_server.status.conditions import ConditionRow, translated


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_objects(parser)
    parser.add_argument(
        "--datapath", action="store_true", help="as `serve --datapath` sees them: Services may be parents of routes"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default text)")


def run(flags: argparse.Namespace) -> int:
    settings = config(flags)
    found = load(settings)
    rows = translated(conditions(found.pipeline))
    content = report(found.pipeline, rows, found.problems, found.notices, settings.port_offset)
    if flags.output == "json":
        print(json.dumps(content, indent=2))
    else:
        _show(rows, content, found.place)
    homeless = any(frontend["message"] for frontend in content["addresses"])
    unresolved = any(warning.unresolved for warning in found.pipeline.ingested.warnings.values())
    return 1 if found.problems or homeless or unresolved or any(row.fails for row in rows) else 0


def _show(
    rows: list[ConditionRow], content: dict[str, Any], place: Callable[[ObjectRef], tuple[str, int] | None]
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for problem in content["problems"]:
        console.print(f"[red]✗[/] {escape(problem['text'])}")
    failing = {row[:3] for row in rows if row.fails}
    subject = ""
    for row in rows:
        if subject != (subject := "/".join(part for part in (row.kind, row.namespace, row.name) if part)):
            defined = place(ObjectRef(*row[:3])) if row[:3] in failing else None
            at = f" ({defined[0]}:{defined[1]})" if defined else ""
            console.print(f"[bold]{escape(subject)}[/]{escape(at)}")
        console.print(f"  {_mark(row)} {escape(_line(row))}")
    for warning in content["warnings"]:
        about = "/".join(warning[part] for part in ("kind", "namespace", "name") if warning.get(part))
        where = " ".join(part for part in (about, warning.get("field", "")) if part)
        console.print(f"[yellow]![/] {escape(f'{where}: ' + warning['message'])}")
    for frontend in content["addresses"]:
        about = "/".join(frontend[part] for part in ("kind", "namespace", "name") if frontend[part])
        if frontend["message"]:
            console.print(f"[red]✗[/] {escape(about)} has no address: {escape(frontend['message'])}")
            continue
        udp = [f"{port}/UDP" for port in frontend["udp_ports"]]
        ports = ", ".join([*map(str, frontend["ports"]), *udp]) or "none"
        console.print(f"{escape(about)} at {escape(', '.join(frontend['addresses']))}, ports {ports}")
    console.print(
        f"{len(rows)} conditions, {sum(row.fails for row in rows)} of them failing; "
        f"{len(content['problems'])} problems; {len(content['warnings'])} warnings"
    )


def _mark(row: ConditionRow) -> str:
    if row.fails:
        return "[red]✗[/]"
    return "[yellow]![/]" if row.doubtful else "[green]✓[/]"


def _line(row: ConditionRow) -> str:
    where = " ".join(part for part in (row.parent, row.section) if part)
    text = f"{row.type}={row.status} {row.reason}" + (f": {row.message}" if row.message else "")
    return f"{where}: {text}" if where else text
