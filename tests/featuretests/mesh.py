"""The whole control plane in one process: manifests in a folder, real gRPC, and a proxy that holds what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.featuretests.proxy import Proxy, connected
from xds_server.app import ControlPlane
from xds_server.config import Config
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import CLUSTER, LISTENER, ResourceKey


class Mesh:
    """`apply` returns when the proxy has what the manifests say, and the statuses know that it does."""

    def __init__(self, plane: ControlPlane, manifests: Path, proxy: Proxy) -> None:
        self.plane, self.manifests, self.proxy = plane, manifests, proxy
        self._files = 0

    async def apply(self, *documents: str) -> None:
        for text in documents:
            self._files += 1
            (self.manifests / f"{self._files:04}.yaml").write_text(text)
        await self._settled()

    async def replace(self, number: int, text: str) -> None:
        """Write the n-th document anew; an empty one deletes it."""
        path = self.manifests / f"{number:04}.yaml"
        if text:
            path.write_text(text)
        else:
            path.unlink()
        await self._settled()

    def condition(self, kind: str, name: str, type_: str, section: str = "") -> tuple[str, str]:
        """Status and reason; of a route, at its first parent."""
        status = self.plane.pipeline.statuses[ObjectRef(kind, "default", name)]
        found = [
            condition
            for verdict in status.verdicts
            for condition in verdict.conditions
            if condition.type == type_ and (verdict.ref.section == section or not section)
        ]
        return found[0].status, found[0].reason

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what the proxy answered has become a status that satisfies the test."""
        await self.proxy.until(holds)

    async def _settled(self) -> None:
        self.plane.load()
        await self.proxy.until(self._in_sync)

    def _in_sync(self) -> bool:
        table = self.plane.pipeline.resources
        held = {key: resource.version for key, resource in self.proxy.held.items()}
        wanted = {key for key in table if key.type_url in {CLUSTER, LISTENER}}
        wanted |= {reference for key in held if key in table for reference in table[key].references}
        wanted -= set(self.proxy.refused)
        stale = {key for key in held if key.type_url in {CLUSTER, LISTENER} and key not in table}
        return not stale and all(key not in table or held.get(key) == table[key].version for key in wanted)


@asynccontextmanager
async def mesh(directory: Path, *, datapath: bool = False) -> AsyncIterator[Mesh]:
    manifests = directory / "manifests"
    manifests.mkdir()
    plane = ControlPlane(Config(manifests=(manifests,), state=directory, admin="", datapath=datapath))
    plane.load()

    def references(key: ResourceKey) -> tuple[ResourceKey, ...]:
        resource = plane.pipeline.resources.get(key)
        return resource.references if resource else ()

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(plane.serving())
        proxy = await stack.enter_async_context(connected(f"unix:{directory / 'xds.sock'}", references))
        plane.observers.append(lambda _: proxy.changed.set())
        running = asyncio.ensure_future(plane.run())
        stack.callback(running.cancel)
        yield Mesh(plane, manifests, proxy)
