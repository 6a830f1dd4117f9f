"""What a control plane has that reads the API server now, for the first time and without any fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from tests.featuretests.proxy import connected
from tests.kubernetes.cluster import Cluster
from xds_server import config
from xds_server.app import ControlPlane, reading
from xds_server.config import Config
from xds_server.model.resource import Resource, ResourceKey


@asynccontextmanager
async def fresh(cluster: Cluster, state: Path) -> AsyncIterator[ControlPlane]:
    """One in this process, which reads past the fault proxy, and writes nothing."""
    where = config.Cluster(cluster.kubeconfig_outside)
    plane = ControlPlane(Config(cluster=where, state=state, admin=""))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(reading(plane, where))
        running = [asyncio.ensure_future(each) for each in (plane.run(), plane.watch())]
        try:
            await plane.loaded.wait()
            yield plane
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


async def same_as_fresh(cluster: Cluster, sockets: Mapping[str, Path], state: Path) -> int:
    """Wait until replicas give a proxy the names and versions that a fresh one has; how many those are."""
    async with fresh(cluster, state) as plane:

        def references(key: ResourceKey) -> tuple[ResourceKey, ...]:
            found = plane.pipeline.resources.get(key)
            return found.references if found is not None else ()

        for name, socket in sockets.items():
            async with connected(f"unix:{socket}", references) as proxy:
                with suppress(TimeoutError):
                    await proxy.until(partial(_same, proxy.held, plane.pipeline.resources))
                expected, found = _versions(plane.pipeline.resources), _versions(proxy.held)
                assert set() == expected.items() ^ found.items(), f"{name} and one that starts now differ"
        return len(plane.pipeline.resources)


def _same(one: Mapping[ResourceKey, Resource], other: Mapping[ResourceKey, Resource]) -> bool:
    return _versions(one) == _versions(other)


def _versions(resources: Mapping[ResourceKey, Resource]) -> dict[ResourceKey, str]:
    return {key: resource.version for key, resource in resources.items()}
