"""What `tidegate status` asks of an API server, and what it passes over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio import client

from xds_server.kube.client import Api
from xds_server.kube.inspection import inspected

HOME = "/api/v1/namespaces/tidegate-system"
POD = {"metadata": {"name": "c1", "namespace": "tidegate-system"}}
POOLS = "/apis/cilium.io/v2/ciliumloadbalancerippools"
WORLD: dict[str, Any] = {
    "/version": {"gitVersion": "v1.37.2"},
    "/apis/cilium.io": {"versions": [{"version": "v2"}]},
    "/apis/cilium.io/v2": {"resources": [{"name": "ciliumloadbalancerippools"}]},
    POOLS: {"items": [{"metadata": {"name": "blue"}}]},
    f"{HOME}/pods": {"items": [POD]},
    f"{HOME}/configmaps/tidegate-ca": {"data": {"ends.json": '{"tidegate-operator-a": "2026-01-01T00:00:00Z"}'}},
}


@asynccontextmanager
async def answering(world: dict[str, Any]) -> AsyncIterator[tuple[Api, list[str]]]:
    """An API server that has these answers, and 404 otherwise; gives what it was asked."""
    asked = list[str]()

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        found = world.get(request.path)
        return web.json_response({} if found is None else found, status=404 if found is None else 200)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    api = Api(configuration)
    try:
        yield api, asked
    finally:
        await api.close()
        await runner.cleanup()


@pytest.mark.parametrize("read", [True, False])
async def test_pools_of_cilium_are_looked_at_where_the_control_plane_reads_them(*, read: bool) -> None:
    """A replica says which kinds it hears of; whoever may not list the others need not."""
    ages = {"CiliumLoadBalancerIPPool": 1.0} if read else {"Gateway": 1.0}
    page = {"tidegate": "0.1.0", "ages": ages}
    async with answering({**WORLD, f"{HOME}/pods/c1:15081/proxy/status": page}) as (api, asked):
        facts = await inspected(api, "tidegate-system")

    assert read == ("CiliumLoadBalancerIPPool" in facts.pools)
    assert read == (POOLS in asked)


async def test_until_when_certificates_hold_is_read() -> None:
    """Of the ConfigMap that the Job keeps, and of no Secret."""
    async with answering(WORLD) as (api, asked):
        facts = await inspected(api, "tidegate-system")

    assert {"tidegate-operator-a": datetime(2026, 1, 1, tzinfo=UTC)} == facts.ends
    assert [] == [path for path in asked if "secrets" in path]
