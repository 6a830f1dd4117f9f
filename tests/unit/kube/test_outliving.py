"""Pools, and the end of their kind: addresses that are in use are not torn away by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.kube_api import DEFAULT, PATIENCE_S, KubeApi, Object, Refusal
from tests.unit.kube.following import World, following
from xds_server.kube.reflector import Timing
from xds_server.kube.source import KubernetesSource
from xds_server.model.refs import ObjectRef

PLURAL, KIND = "loadbalancerippools", "LoadBalancerIPPool"
SOON = Timing(settle_s=0.01, return_s=0.05)
[SERVED] = [kind for kind in DEFAULT if kind.kind == KIND]


def pool(name: str, network: str = "192.0.2.0/24") -> Object:
    spec = {"blocks": [{"cidr": network}]}
    return {"apiVersion": "tidegate.dev/v1alpha1", "kind": KIND, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        kube.apply(pool("a"), pool("b"))
        yield kube


@pytest.fixture
def world() -> World:
    return World()


async def synced(source: KubernetesSource) -> None:
    source._discovery._every_s = 0.05
    await source.synced.wait()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)


def disabled(world: World) -> dict[str, bool]:
    found: dict[ObjectRef, Any] = world.objects
    return {ref.name: each.spec.disabled for ref, each in found.items() if ref.kind == KIND}


async def test_a_pool_that_is_deleted_is_gone(kube: KubeApi, world: World) -> None:
    """Also while discovery fails for a moment; its kind stays."""
    async with following(kube, world, SOON) as source:
        await synced(source)
        kube.script("tidegate.dev", "discover", Refusal(503))
        kube.delete(KIND, "", "a")
        await world.until(lambda: disabled(world) == {"b": False})


@pytest.mark.parametrize("ending", ["end", "unserve"])
async def test_pools_outlive_their_kind_as_disabled(kube: KubeApi, world: World, ending: str) -> None:
    """Whoever has an address keeps it, and nobody gets a new one; readiness and the log say so."""
    with capture_logs() as logs:
        async with following(kube, world, SOON) as source:
            await synced(source)
            getattr(kube, ending)(PLURAL)
            await world.until(lambda: disabled(world) == {"a": True, "b": True})
            remark = source.remark()

    assert "LoadBalancerIPPool: served no more; addresses stay with who has them: a, b" in remark
    assert [] == [ref for ref, value in world.told if value is None and ref.kind == KIND]
    told = [entry["objects"] for entry in logs if "served no more" in entry["event"]]
    assert ["a", "b"] == sorted(name for names in told for name in names)


async def test_when_the_kind_is_back_its_pools_are_those_that_there_are(kube: KubeApi, world: World) -> None:
    """An empty list says nothing: a kind is installed before its objects are made, and those one after the other."""
    async with following(kube, world, SOON) as source:
        await synced(source)
        kube.unserve(PLURAL)
        await world.until(lambda: disabled(world) == {"a": True, "b": True})
        await eventually(lambda: KIND not in source.ages())
        lists = world.stats.lists[KIND]
        kube.serve(SERVED)
        await eventually(lambda: world.stats.lists[KIND] > lists and KIND in source.ages())
        assert {"a": True, "b": True} == disabled(world)
        kube.apply(pool("a"))
        await world.until(lambda: disabled(world) == {"a": False})

    told = [(ref.name, value is None or value.spec.disabled) for ref, value in world.told if ref.kind == KIND]
    assert [("a", False), ("b", True)] == told[-2:]
