"""Two replicas of a whole control plane at one API server: who writes statuses, and how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.featuretests.manifests import GATEWAY, GATEWAY_CLASS, ROUTE
from tests.kube_api import KubeApi
from xds_server.app import ControlPlane, Statuses, private_directory, reading
from xds_server.config import Cluster, Config

EACH_ONCE = {"PATCH gatewayclasses/status": 1, "PATCH gateways/status": 1, "PATCH httproutes/status": 1}


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        kube.apply(GATEWAY_CLASS, GATEWAY, ROUTE)
        yield kube


@asynccontextmanager
async def replica(kube: KubeApi, state: Path, name: str) -> AsyncIterator[tuple[ControlPlane, Statuses]]:
    private_directory(state)
    cluster = Cluster(kube.kubeconfig(state / "kubeconfig"), pod=name)
    plane = ControlPlane(Config(cluster=cluster, state=state, admin=""))
    async with AsyncExitStack() as stack:
        statuses = await stack.enter_async_context(reading(plane, cluster))
        await stack.enter_async_context(plane.serving())
        running = [asyncio.ensure_future(each) for each in (plane.run(), plane.watch(), statuses.run(plane.loaded))]
        try:
            yield plane, statuses
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


def writes(kube: KubeApi) -> dict[str, int]:
    return Counter(asked.plain for asked in kube.writes if not asked.plain.endswith("leases"))


def written(*replicas: Statuses) -> dict[str, int]:
    found: Counter[str] = Counter()
    for statuses in replicas:
        for (kind, result), count in statuses.writer.stats.writes.items():
            found[kind] += count if result == "written" else 0
    return {kind: count for kind, count in found.items() if count}


async def test_one_replica_writes_and_the_next_finds_nothing_to_write(kube: KubeApi, tmp_path: Path) -> None:
    """Each object once; who takes over at a clean stop looks at everything, and writes what changes from then on."""
    async with replica(kube, tmp_path / "two", "two") as (plane, second):
        async with replica(kube, tmp_path / "one", "one") as (_, first):
            await kube.until(lambda: written(first, second) == {"GatewayClass": 1, "Gateway": 1, "HTTPRoute": 1})
            assert EACH_ONCE == writes(kube)
            writer, waiting = (first, second) if first.elector.leads else (second, first)
            alone = (writer.elector.leads, waiting.elector.leads, waiting.writer.stats.writes.total())
        await kube.until(lambda: second.elector.leads)
        kube.apply(ROUTE.replace("80", "81"))

        # The second one may hear of the last write after it began to lead, and be told so by a conflict.
        await kube.until(lambda: written(first, second) == {"GatewayClass": 1, "Gateway": 1, "HTTPRoute": 2})

        assert (True, False, 0) == alone
        found = plane.metrics.exposition().decode()
        assert "tidegate_leader 1.0" in found
        assert 'tidegate_status_writes_total{kind="HTTPRoute",result="written"}' in found


async def test_a_replica_that_has_not_loaded_does_not_lead(kube: KubeApi, tmp_path: Path) -> None:
    """What it would write of objects that it has not read is that nobody serves them."""
    kube.script("httproutes", "list", "silent")
    async with replica(kube, tmp_path / "one", "one") as (plane, statuses):
        await kube.until(lambda: any(asked.plain == "GET gateways" for asked in kube.requests))

        assert (False, False) == (plane.loaded.is_set(), statuses.elector.leads)
    assert [] == kube.writes
