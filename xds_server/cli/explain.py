"""`tidegate explain`: what a request would meet, by manifests or by a cluster as it is now."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from xds_server.cli.ends import addressed, between, clients_of, meant
from xds_server.cli.kernel import left_alone, transport_route
from xds_server.cli.offline import Offline, load
from xds_server.cli.report import served_at
from xds_server.config import ConfigError, add_objects, config
from xds_server.explain.explain import explain
from xds_server.explain.listener import ANY_ADDRESS
from xds_server.explain.request import Request, destination
from xds_server.explain.result import Backend, Result, document
from xds_server.model.refs import RouteRef
from xds_server.status.conditions import rows, translated
from xds_server.translation import names


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_objects(parser)
    parser.add_argument("method", metavar="METHOD", help="GET, POST, ...")
    parser.add_argument("url", metavar="URL", help="http://host[:port]/path or https://...; without --port-offset")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="may be repeated")
    parser.add_argument("--parent", default="", metavar="KIND/NAMESPACE/NAME", help="at this Gateway or Ingress only")
    parser.add_argument("--address", default="", metavar="IP", help="at this address only (default: the URL's, if any)")
    parser.add_argument("--client", default="", metavar="IP|NAMESPACE/POD", help="where the request comes from")
    parser.add_argument(
        "--datapath", action="store_true", help="as `serve --datapath` has it: the URL's host may be a Service's name"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default text)")


def run(flags: argparse.Namespace) -> int:
    settings = config(flags)
    if flags.parent and flags.address:
        raise ConfigError("--parent and --address name the same thing twice: give one")
    found = load(settings)
    for problem in found.problems:
        print(f"not served: {problem.text}", file=sys.stderr)
    parents = served_at(found.pipeline)
    if flags.parent and flags.parent not in parents and flags.parent not in map(str, parents.values()):
        what = "Gateway, Ingress or Service with routes" if settings.datapath else "Gateway or Ingress"
        raise ConfigError(f"--parent {flags.parent}: no such {what} is served; {meant(flags.parent, sorted(parents))}")
    headers = tuple(_header(text) for text in flags.header)
    try:
        places = (
            [""] if flags.parent else addressed(found.pipeline, flags.url, flags.address, datapath=settings.datapath)
        )
        clients = clients_of(found.pipeline, flags.client, datapath=settings.datapath)
        results = [
            result
            for address, client in between(places, clients)
            for result in explain(
                found.pipeline.resources,
                Request(flags.method, flags.url, headers, client),
                parent=flags.parent,
                address=address,
                port_offset=settings.port_offset,
                frontends={parent: str(ref) for parent, ref in parents.items()},
            )
        ]
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if settings.datapath and not flags.parent and places == [""]:
        results = _by_name(flags.url, results)
    results = list(_as_clients_see(found, _in_kernel(found, flags.url, results)))
    if flags.output == "json":
        documents = [document(result) | {"conditions": _failing(found, result)} for result in results]
        print(json.dumps({"results": documents}, indent=2))
    else:
        _show(found, results)
    return 0


def _by_name(url: str, results: list[Result]) -> list[Result]:
    """Without Services, which are reached by a name of theirs or by an address, and this host is neither."""
    elsewhere = [result for result in results if not result.parent.startswith("Service/")]
    if results and not elsewhere:
        _, host, _ = destination(url)
        way = "give NAME.NAMESPACE of a Service, or its address"
        raise ConfigError(f"URL: {host} is no Service, and no Gateway or Ingress listens at its port; {way}")
    return elsewhere


def _in_kernel(found: Offline, url: str, results: Iterable[Result]) -> Iterator[Result]:
    """With what the daemon is not told: whose backends these are, and why a Service is not its."""
    _, _, port = destination(url)
    for result in results:
        if result.outcome != "kernel":
            yield result
        elif not result.parent:
            left = left_alone(found.pipeline, result.address, port)
            yield replace(result, parent=left.parent, reason=left.reason) if left else result
        elif route := transport_route(found.pipeline, result.parent, result.address, port):
            yield replace(
                result,
                route=RouteRef(route, 0, 0),
                backends=tuple(replace(each, service="", port=0) for each in result.backends),
                reason="the kernel chooses one of the route's backends, and no proxy sees the connection",
            )
        else:
            yield result


def _as_clients_see(found: Offline, results: Iterable[Result]) -> Iterator[Result]:
    """Results at the addresses and ports that clients use, where Envoy binds others behind a Service or at a node."""
    frontends = {str(ref): frontend for ref, frontend in found.pipeline.ingested.frontends.items()}
    for result in results:
        served = names.parse_listener(result.listener) if result.address in ANY_ADDRESS else None
        frontend = frontends.get(str(served.frontend)) if served is not None else None
        if served is None or frontend is None or not frontend.addresses:
            yield result
            continue
        six, port = ":" in result.address, frontend.client_port(served.port)
        own = [each for each in frontend.addresses if (":" in each) == six]
        if own:
            at = "" if port == served.port else f" port {port}"
            yield replace(result, address=", ".join(f"{each}{at}" for each in own))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError(f"-H {text!r}: give it as 'name: value'")
    return name.strip(), value.strip()


def _failing(found: Offline, result: Result) -> list[str]:
    """What is wrong with the route object, in the words of its conditions: often why Envoy answers by itself."""
    status = found.pipeline.statuses.get(result.route.source) if result.route else None
    failing = [row for row in translated(rows([status] if status else [])) if row.fails]
    return list(dict.fromkeys(f"{row.type}={row.status} {row.reason}: {row.message}" for row in failing))


def _show(found: Offline, results: Iterable[Result]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for result in results:
        for line in _lines(result):
            console.print(line)
        for condition in _failing(found, result):
            console.print(f"  {'condition':<12} {escape(condition)}")


def _route(result: Result) -> str:
    """Those of a Service that follow no route go to its own endpoints, as by a route of its own."""
    if result.route is None:
        return ""
    what = "of its own, for port" if result.route.source.kind == "Service" else "rule"
    return f"{result.route.source} {what} {result.route.rule}"


def _port(backend: Backend) -> str:
    """Not of backends that the daemon is told as addresses alone."""
    return f"{backend.service}:{backend.port} " if backend.service else ""


def _lines(result: Result) -> list[str]:
    said = f" {result.status}" if result.status else ""
    target = f" -> {result.location}" if result.location else ""
    facts = [
        ("listener", result.listener),
        ("virtual host", result.virtual_host),
        ("route", _route(result)),
        ("match", result.match),
        *(("filter", text) for text in result.filters),
        *(
            (
                "backend",
                f"{_port(each)}weight {each.weight}: {', '.join(each.endpoints) or 'no endpoint'}",
            )
            for each in result.backends
        ),
        ("why", result.reason),
        *(("passed over", text) for text in result.considered),
        *(("share", f"{each.share:.4%} {each.outcome} {each.status or each.cluster}") for each in result.alternatives),
    ]
    place = f"[bold]{escape(result.parent or '-')}[/] at {result.address or '-'}"
    return [
        f"{place}: [bold]{result.outcome}{said}[/]{escape(target)}",
        *(f"  {label:<12} {escape(text)}" for label, text in facts if text),
    ]
