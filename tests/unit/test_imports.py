"""The import contract: who may know whom, read from the source by `ast`, so that nothing has to be importable."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# Package or module of xds_server -> what else of xds_server it may import (a prefix allows all below it).
CONTRACT: dict[str, frozenset[str]] = {
    "graph": frozenset(),
    "model": frozenset(),
    "objects": frozenset(),
    "ingestion": frozenset({"graph", "model", "objects"}),
    "translation": frozenset({"graph", "model", "proto"}),
    "status": frozenset({"graph", "model"}),
    "explain": frozenset({"translation.envoy", "translation.names", "model", "proto"}),
    "xds": frozenset({"model.resource"}),
    "files": frozenset({"objects", "model.refs"}),
    "kube": frozenset({"objects", "model", "overview", "status.collections", "status.merge"}),
    "relay": frozenset({"kube.client", "model", "proto", "xds.credentials", "xds.detail", "xds.server", "xds.streams"}),
    "certificates": frozenset({"kube.client", "proto", "xds.credentials", "xds.identity"}),
    "proto": frozenset(),
    "proxy": frozenset(),
    "demo": frozenset(),
    "log": frozenset(),
    "collector": frozenset(),
    "overview": frozenset(),
    "metrics": frozenset({"model", "xds.streams", "kube.stats", "kube.status_stats"}),
    "config": frozenset({"log", "xds.identity"}),
    "pipeline": frozenset({"graph", "model", "objects", "ingestion", "translation", "status"}),
    "cluster": frozenset({"config", "ingestion.sources", "model", "objects", "pipeline", "translation.settings"}),
    "embedded": frozenset({"config", "ingestion.sources", "model", "objects", "pipeline", "translation.settings"}),
}
# Package or module of datapath -> what else of datapath it may import.
DATAPATH: dict[str, frozenset[str]] = {
    "kernel": frozenset(),
    "resources": frozenset(),
    "discovery": frozenset({"resources"}),
    "accepted": frozenset({"discovery", "resources"}),
    "client": frozenset({"discovery"}),
    "intercept": frozenset({"kernel.layout", "resources"}),
    "ports": frozenset({"resources"}),
    "topology": frozenset({"kernel.layout", "ports", "resources"}),
    "awhile": frozenset(),
    "serving": frozenset({"resources"}),
    "enrolment": frozenset({"resources"}),
    "reconciler": frozenset({"intercept", "kernel.layout"}),
    "workloads": frozenset({"kernel.peers", "ports", "resources", "topology"}),
    "places": frozenset(),
    "shape": frozenset(),
    "config": frozenset({"places", "shape"}),
    "container": frozenset({"config"}),
    "control": frozenset(),
    "lock": frozenset(),
    "launcher": frozenset(),
    "probe": frozenset({"config", "kernel"}),
    "instances": frozenset({"kernel.sysctls", "launcher"}),
    "starts": frozenset({"instances"}),
    "envoy": frozenset({"instances", "starts"}),
    "attachments": frozenset({"kernel", "topology"}),
    "tables": frozenset({"kernel", "reconciler"}),
    "outcome": frozenset({"envoy", "intercept", "kernel.routing", "resources", "serving", "topology"}),
    "reach": frozenset({"attachments", "awhile", "envoy", "outcome", "serving"}),
    "view": frozenset({"attachments", "intercept", "outcome", "reconciler", "resources", "tables", "topology"}),
    "ageing": frozenset({"kernel.layout"}),
    "entries": frozenset({"ageing", "kernel"}),
    "flows": frozenset({"ageing", "kernel"}),
}
# The composition root and its shells may import any of ours, except the command line.
SHELLS = frozenset({"app", "controller", "admin", "announcing", "told", "cli"})

# Library -> the modules that may import it; everybody else goes through them.
BORDERS: dict[str, frozenset[str]] = {
    "envoy": frozenset({"translation.envoy", "xds", "explain"}),
    "envoy_data_plane": frozenset({"proxy.bootstrap_message", "cli"}),
    "grpc": frozenset(
        {"xds.server", "xds.reflection", "xds.csds", "xds.credentials", "xds.health", "demo", "certificates", "relay"}
    ),
    "grpc_reflection": frozenset({"xds.server", "xds.reflection", "demo"}),
    "grpc_health": frozenset({"xds.server", "xds.health"}),
    "kubernetes_asyncio": frozenset({"kube"}),
    "aiohttp": frozenset({"admin", "kube.client", "proxy", "demo", "cli"}),
    "prometheus_client": frozenset({"metrics", "admin"}),
    "watchfiles": frozenset({"files"}),
    "ryaml": frozenset({"files"}),
    "yaml": frozenset({"files", "cli", "kube.client"}),
    "uvloop": frozenset({"cli", "app"}),
}

# Pure: a function of its arguments. No event loop, clock, network, process or chance.
PURE = frozenset({"graph", "model", "objects", "ingestion", "translation", "status", "explain", "overview"})
PURE |= {f"xds.{module}" for module in ("detail", "events", "gates", "names", "resource_type", "resources", "stats")}
PURE |= {f"certificates.{module}" for module in ("authority", "keeping", "token_review")}
PURE |= {f"xds.{module}" for module in ("handshakes", "identity", "secrets", "stream", "subscription", "wire")}
PURE |= {f"relay.{module}" for module in ("address", "daemons", "inbox", "message", "words")}
PURE |= {"kube.election", "kube.held", "kube.kinds", "kube.observed", "kube.pending"}
DATAPATH_PURE = frozenset({"discovery", "enrolment", "intercept", "kernel.layout", "places", "ports", "reconciler"})
DATAPATH_PURE |= {"resources", "serving", "shape", "topology"}
IMPURE = frozenset(
    {"asyncio", "random", "secrets", "selectors", "socket", "subprocess", "threading", "time", "structlog"}
)


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Each module's dotted name below its package, and its file."""
    root = PROJECT / package
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(source: str, module: str, package: str, *, is_package: bool) -> Iterator[str]:
    """Absolute dotted names that a source imports, those inside functions and type-checking blocks too."""
    inside = [package, *filter(None, module.split("."))]
    here = inside if is_package else inside[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = [*here[: len(here) - node.level + 1]] if node.level else []
            origin += node.module.split(".") if node.module else []
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def below(name: str, prefixes: Iterable[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@cache
def imported(package: str) -> list[tuple[str, str]]:
    return [
        (module, name)
        for module, path in modules(package)
        for name in imports(path.read_text(), module, package, is_package=path.name == "__init__.py")
    ]


def ours(name: str) -> str | None:
    package, _, rest = name.partition(".")
    return rest if package == "xds_server" else None


def test_each_package_imports_only_what_its_row_of_the_contract_allows() -> None:
    """Imports point down the layers; none points back or sideways."""
    breaches = [
        f"xds_server.{module} imports {name}"
        for module, name in imported("xds_server")
        if (target := ours(name)) and (own := module.partition(".")[0]) not in SHELLS and not below(target, {own})
        if not below(target, CONTRACT.get(own, frozenset()))
    ]

    assert "" == "\n".join(breaches)


def test_every_package_has_a_row() -> None:
    """A new package says whom it may know before it knows anybody."""
    unknown = {module.partition(".")[0] for module, _ in modules("xds_server")} - {"", *CONTRACT, *SHELLS}

    assert set() == unknown


def test_nobody_imports_the_command_line() -> None:
    """The command line is above everything."""
    breaches = [
        f"xds_server.{module} imports {name}"
        for module, name in imported("xds_server")
        if below(ours(name) or "", {"cli"}) and not below(module, {"cli"})
    ]

    assert "" == "\n".join(breaches)


@pytest.mark.parametrize("library", sorted(BORDERS))
def test_a_library_is_known_at_its_border_only(library: str) -> None:
    """What can change under us has few doors into the code."""
    breaches = [
        f"xds_server.{module} imports {name}"
        for module, name in imported("xds_server")
        if below(name, {library}) and not below(module, BORDERS[library])
    ]

    assert "" == "\n".join(breaches)


def test_the_core_is_pure() -> None:
    """The packages between the sources and the streams have no event loop, clock, network, chance or log."""
    breaches = [
        f"xds_server.{module} imports {name}"
        for module, name in imported("xds_server")
        if below(module, PURE) and below(name, IMPURE)
    ]

    assert "" == "\n".join(breaches)


def test_control_plane_and_datapath_share_messages_and_the_local_envoy_alone() -> None:
    """What the node daemon and the control plane share is a protocol, and how a local Envoy is told where it is."""
    breaches = [
        *(
            f"datapath.{module} imports {name}"
            for module, name in imported("datapath")
            if below(name, {"xds_server"}) and not below(name, {"xds_server.proto", "xds_server.proxy"})
        ),
        *(
            f"xds_server.{module} imports {name}"
            for module, name in imported("xds_server")
            if below(name, {"datapath"})
        ),
    ]

    assert "" == "\n".join(breaches)


def test_the_kernel_knows_nothing_above_it() -> None:
    """Maps, programs and links do not know what they are for."""
    breaches = [
        f"datapath.{module} imports {name}"
        for module, name in imported("datapath")
        if (own := module.partition(".")[0]) in DATAPATH and below(name, {"datapath"})
        if not below(name, {"datapath." + each for each in {own, *DATAPATH[own]}})
    ]

    assert "" == "\n".join(breaches)


def test_the_core_of_the_datapath_is_pure() -> None:
    """What is decided of the kernel's entries is decided without asking anybody."""
    breaches = [
        f"datapath.{module} imports {name}"
        for module, name in imported("datapath")
        if below(module, DATAPATH_PURE) and below(name, IMPURE)
    ]

    assert "" == "\n".join(breaches)


def test_relative_and_nested_imports_are_seen() -> None:
    """The reader of imports resolves relative names and looks into functions."""
    source = "from ..model import route\ndef f():\n    from . import names\n    import asyncio"

    found = set(imports(source, "translation.route", "xds_server", is_package=False))

    assert {"xds_server.model.route", "xds_server.translation.names", "asyncio"} == found
