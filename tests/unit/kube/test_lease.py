"""A Lease on an API server: made, renewed, released, taken over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.kube_api import KubeApi, Refusal
from xds_server.kube.client import Api
from xds_server.kube.lease import ADDRESS, NAME, Elector, identity


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        yield kube


@asynccontextmanager
async def elector(kube: KubeApi, name: str, on_gained: Callable[[], None]) -> AsyncIterator[Elector]:
    """A candidate that runs until the block ends, and then releases what it has."""
    api = Api(kube.configuration())
    made = Elector(api, "tidegate-system", name, on_gained=on_gained)
    task = asyncio.ensure_future(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.wait({task})
        await made.release()
        await api.close()


def spec(kube: KubeApi) -> dict[str, Any]:
    found = kube.object("Lease", "tidegate-system", NAME)
    return found["spec"] if found is not None else {}


async def test_a_lease_is_made_and_released(kube: KubeApi) -> None:
    """It names the holder while there is one, as times with microseconds and whole seconds."""
    gained = asyncio.Event()
    async with elector(kube, "one", gained.set) as one:
        await gained.wait()
        during, leads = spec(kube), one.leads

    assert (True, "one", 15) == (leads, during["holderIdentity"], during["leaseDurationSeconds"])
    assert "2026-01-01T00:00:00.000000Z" != during["renewTime"]
    assert len("2026-01-01T00:00:00.000000Z") == len(during["renewTime"])
    assert (False, False) == (one.leads, "holderIdentity" in spec(kube))


async def test_the_next_one_leads_when_the_first_has_released(kube: KubeApi) -> None:
    """At its next look, and not before."""
    first, second = asyncio.Event(), asyncio.Event()
    async with elector(kube, "one", first.set):
        await first.wait()
    async with elector(kube, "two", second.set) as two:
        await second.wait()

        assert (True, "two", 1) == (two.leads, spec(kube)["holderIdentity"], spec(kube)["leaseTransitions"])


async def test_the_holder_says_where_it_is(kube: KubeApi) -> None:
    """As an annotation, which the others are told of when it changes, and the holder itself never."""
    first, second = asyncio.Event(), asyncio.Event()
    told: dict[str, list[str]] = {"one": [], "two": []}
    async with elector(kube, "two", second.set) as two:
        await second.wait()
        two.on_leader = told["two"].append
        async with elector(kube, "one", first.set) as one:
            one.address, one.on_leader = (lambda: "10.0.0.1:15010"), told["one"].append
            await two.release()
            await first.wait()
            written = kube.object("Lease", "tidegate-system", NAME) or {}
            before = len(kube.requests)
            await kube.until(lambda: len(kube.requests) > before + 1)

    assert {ADDRESS: "10.0.0.1:15010"} == written["metadata"]["annotations"]
    assert {"one": [], "two": ["10.0.0.1:15010"]} == {name: found[:1] for name, found in told.items()}


async def test_who_comes_second_does_not_lead(kube: KubeApi) -> None:
    """It reads, and writes nothing."""
    first = asyncio.Event()
    async with elector(kube, "one", first.set):
        await first.wait()
        before = len(kube.requests)
        async with elector(kube, "two", first.set) as two:
            await kube.until(lambda: len(kube.requests) > before)

            assert (False, ["GET leases"]) == (two.leads, [asked.plain for asked in kube.requests[before:]])


async def test_one_that_could_not_be_written_is_asked_for_again(kube: KubeApi) -> None:
    """Refusals and conflicts end nothing."""
    kube.script("leases", "get", Refusal(500, "InternalError"))
    gained = asyncio.Event()
    async with elector(kube, "one", gained.set) as one:
        await gained.wait()

        assert one.leads


def test_a_pod_is_its_name() -> None:
    """Outside of one, the name of the machine is not enough."""
    assert "tidegate-controller-1" == identity("tidegate-controller-1")
    assert identity("") != identity("")
