"""`tidegate status`: what runs on a cluster, and what is wrong and what to do."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from xds_server.config import DEFAULT_NAMESPACE, ConfigError
from xds_server.kube.client import Api, ApiError, CredentialsError, credentials
from xds_server.kube.inspection import inspected
from xds_server.overview.facts import Facts
from xds_server.overview.findings import findings
from xds_server.overview.report import report

_COLOURS = {"error": ("red", "✗"), "warning": ("yellow", "!"), "unknown": ("cyan", "?")}
_FRONTENDS = (("Gateway", "gateways"), ("Ingress", "ingresses"))
_WIDTH = 200


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="(default: that of this user)")
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig (default: its current one)")
    parser.add_argument(
        "--namespace", default=DEFAULT_NAMESPACE, help=f"of the installation (default {DEFAULT_NAMESPACE})"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default text)")


def run(flags: argparse.Namespace) -> int:
    facts = asyncio.run(_facts(flags))
    found = findings(facts)
    content = report(facts, found)
    if flags.output == "json":
        print(json.dumps(content, indent=2))
    else:
        show(content)
    return 1 if any(finding.severity == "error" for finding in found) else 0


async def _facts(flags: argparse.Namespace) -> Facts:
    try:
        api = Api(await credentials(flags.kubeconfig, flags.context))
    except CredentialsError as error:
        raise ConfigError(str(error)) from None
    try:
        return await inspected(api, flags.namespace)
    except (ApiError, msgspec.DecodeError) as error:
        raise ConfigError(f"{api.host}: {error}; check --kubeconfig and --context") from None
    finally:
        await api.close()


def show(content: dict[str, Any]) -> None:
    """The report as people read it."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH
    of = content["installation"]
    versions = f"Tidegate {', '.join(of['tidegate']) or 'unknown'}, Envoy {', '.join(of['envoy']) or 'unknown'}"
    console.print(f"{versions}, in {of['namespace']} of {escape(of['server'])} (Kubernetes {escape(of['kubernetes'])})")
    _table(
        console,
        ("controller", "node", "ready", "version", "since", "leads", "resources", "source last heard"),
        (_controller(each) for each in content["controllers"]),
    )
    _table(
        console,
        ("proxy", "node", "ready", "version", "since", "Envoy", "connected to", "last ACK", "last NACK"),
        (_proxy(each) for each in content["proxies"]),
    )
    _table(
        console,
        ("frontend", "class", "addresses", "conditions"),
        (_frontend(kind, each) for kind, plural in _FRONTENDS for each in content[plural]),
    )
    _table(
        console,
        ("pool", "addresses", "used", "free"),
        ((f"{p['kind']} {p['name']}", p["total"], p["used"], p["available"]) for p in content["pools"]),
    )
    for routes in content["routes"]:
        if routes["objects"]:
            counted = f"{routes['objects']}, {routes['attached']} of them ours, {routes['without_fault']} without fault"
            console.print(f"{routes['kind']}: {counted}")
    for secret, until in content["certificates"].items():
        console.print(f"Certificate of Secret {escape(secret)}: until {until}")
    console.print(f"Features: {', '.join(of['features']) or 'unknown'}")
    for finding in content["findings"]:
        colour, sign = _COLOURS[finding["severity"]]
        where = " ".join(filter(None, (finding["object"], finding["field"])))
        console.print(f"[{colour}]{sign}[/] {escape(where)}: {escape(finding['message'])}")
        console.print(f"    {escape(finding['way_out'])}")
    counts = [f"{sum(f['severity'] == kind for f in content['findings'])} {kind}s" for kind in ("error", "warning")]
    console.print(", ".join(counts) if content["findings"] else "Nothing is wrong.")


def _table(console: Console, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    table = Table(*columns, box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    if table.row_count:
        console.print(table)


def _controller(each: dict[str, Any]) -> tuple[Any, ...]:
    oldest = each["oldest_source"]
    heard = "unknown" if oldest["age_s"] is None else f"{oldest['age_s']:.0f} s ago ({oldest['kind']})"
    leads = "yes" if each["leads"] else "no"
    return (*_pod(each), leads, each["resources"], heard)


def _proxy(each: dict[str, Any]) -> tuple[Any, ...]:
    types = [(name, of) for stream in each["streams"] for name, of in stream["types"].items()]
    replicas = ", ".join(stream["replica"] for stream in each["streams"]) or "nobody, or unknown"
    return (*_pod(each), each["envoy"], replicas, _last(types, "last_ack_s"), _last(types, "last_nack_s"))


def _pod(each: dict[str, Any]) -> tuple[Any, ...]:
    ready = ("yes" if each["ready"] else "no") + (f", {each['restarts']} restarts" if each["restarts"] else "")
    return each["pod"], each["node"], ready, each["version"], each["since"]


def _last(types: list[tuple[str, dict[str, Any]]], which: str) -> str:
    said = [(of[which], name) for name, of in types if of[which] is not None]
    return f"{min(said)[0]:.0f} s ago ({min(said)[1]})" if said else "never"


def _frontend(kind: str, each: dict[str, Any]) -> tuple[Any, ...]:
    conditions = ", ".join(f"{name} {status}" for name, status in each.get("conditions", {}).items())
    name = f"{kind} {each['namespace']}/{each['name']}"
    return name, each["class"], ", ".join(each["addresses"]) or "none", conditions
