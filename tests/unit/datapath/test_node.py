"""The daemon's part between the shells, with maps that are dictionaries."""

from __future__ import annotations

import asyncio
import selectors
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.config import parse
from datapath.discovery import Discovery
from datapath.envoy import Envoy
from datapath.instances import Wanted
from datapath.kernel.sysctls import Sysctls
from datapath.node import GRACE_S, Node
from datapath.reconciler import Entries, ServiceMaps
from tests.unit.datapath.tables import Table
from tests.unit.datapath.wire import response, service


class Clock(selectors.DefaultSelector):
    """Nobody waits: time goes on by as much as is to be waited for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(None if timeout is None else 0)
        if not found:
            self.now += timeout or 0
        return found


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class Expired(Exception):
    pass


def node(folder: Path, services: ServiceMaps) -> Node:
    config = parse(f"{{node: n1, server: 'unix:/x', state: {folder}}}", "f", {})
    envoy = Envoy(Wanted(Path("/bin/true"), "{}", (), folder, folder, drain_s=1), folder / "envoys.json")
    attachments: Any = SimpleNamespace(leading_off=frozenset, attached={}, missing={}, behind={}, repairs=0)
    maps: Any = SimpleNamespace(
        services=services,
        workloads=Entries(Table("workloads")),
        addresses=Entries(Table("node_addresses")),
        answers=Table("answers"),
        connections=Table("connections"),
        translations=Table("translations"),
        listeners=lambda: False,
        sizes=services.sizes,
        unfit=dict,
    )
    return Node(config, Discovery("n1"), envoy, attachments, maps, Sysctls(config.sysctls))


def test_backends_are_deleted_after_a_grace(tmp_path: Path) -> None:
    """A program that looked a service up before it was switched to its next backends finds the old ones meanwhile."""
    services: Table[Any, Any] = Table("svc")
    backends: Table[Any, Any] = Table("backends")
    switched, retired = [], []

    async def change() -> None:
        clock = asyncio.get_running_loop().time
        services.written = lambda: switched.append(clock())
        backends.written = lambda: retired.append(clock())
        made = node(tmp_path, ServiceMaps(services, backends, clock, 1.0))
        for address in ("10.1.0.1", "10.1.0.2"):
            made.discovery.receive(response(("web", service(("10.0.0.1", 80, ""), backends=[(address, 8080, 1)]))))
            await made._fill_services(made.discovery.accepted())

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(change())

    assert (2, 1) == (len(switched), len(backends.content))
    assert switched[-1] + GRACE_S <= retired[-1]


def test_a_repair_forgets_what_was_envoys(tmp_path: Path) -> None:
    """Else an entry would be Envoy's for as long as the daemon runs."""

    class Expiring(ServiceMaps):
        def expire(self) -> None:
            raise Expired

    async def repair() -> None:
        await node(tmp_path, Expiring(Table("svc"), Table("backends"), time.monotonic, 1.0)).repair()

    with asyncio.Runner(loop_factory=Loop) as runner, pytest.raises(Expired):
        runner.run(repair())
