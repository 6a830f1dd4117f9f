"""By which version each kind is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.kube_api import PATIENCE_S, KubeApi, Refusal, Served
from xds_server.kube.client import Api
from xds_server.kube.contact import Contact
from xds_server.kube.discovery import Discovery, chosen
from xds_server.kube.kinds import BY_KIND, GATEWAY, Kind
from xds_server.kube.reflector import Link
from xds_server.kube.stats import SourceStats

TLS = BY_KIND["TLSRoute"]


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        (["v1", "v1alpha3", "v1alpha2"], "v1"),
        (["v1alpha2", "v1alpha3"], "v1alpha3"),
        (["v1alpha2"], "v1alpha2"),
        (["v2"], ""),
        ([], ""),
    ],
)
def test_the_first_version_that_there_is(has: list[str], expected: str) -> None:
    """By our preference, not by the server's."""
    assert expected == chosen(TLS, dict.fromkeys(has, frozenset({"tlsroutes"})))
    assert "" == chosen(TLS, dict.fromkeys(has, frozenset({"httproutes"})))


class Told:
    def __init__(self, kube: KubeApi) -> None:
        self.api, self.versions, self._changed = Api(kube.configuration()), [""][:0], asyncio.Event()
        link = Link(self.api, Contact(self._sleep, lambda: 0.5), SourceStats())
        self.discovery = Discovery(link, [TLS], self._tell, every_s=0.001)

    async def _sleep(self, _: float) -> None:
        await asyncio.sleep(0)

    def _tell(self, _: Kind, version: str) -> None:
        self.versions.append(version)
        self._changed.set()

    async def until(self, *expected: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.versions != [*expected]:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi([Served("TLSRoute", GATEWAY, ("v1",), "tlsroutes")]) as kube:
        yield kube


@pytest.fixture
async def told(kube: KubeApi) -> AsyncIterator[Told]:
    told = Told(kube)
    running = asyncio.ensure_future(told.discovery.run())
    yield told
    running.cancel()
    await asyncio.wait({running})
    await told.api.close()


async def test_where_everything_is_there_nothing_is_asked(kube: KubeApi, told: Told) -> None:
    """Only a poke makes it ask again."""
    await told.until("v1")
    for _ in range(20):
        await told.api.request("GET", "/apis")
    assert 22 == len(kube.requests)
    told.discovery.poke()
    await kube.until(lambda: len(kube.requests) == 24)


async def test_a_kind_is_gone_only_when_it_is_so_three_times(kube: KubeApi, told: Told) -> None:
    """An answer that is wrong for a moment, as of a server that starts, deletes nothing."""
    await told.until("v1")
    kube.script(GATEWAY, "discover", *[Refusal(404)] * 2)
    told.discovery.poke()
    await kube.until(lambda: not kube.scripted())
    await kube.until(lambda: kube.requests[-1].path.endswith("/v1"))
    assert ["v1"] == told.versions
    kube.unserve("tlsroutes")
    told.discovery.poke()
    await told.until("v1", "")


async def test_an_error_is_no_answer(kube: KubeApi, told: Told) -> None:
    """A server that cannot say what it has is asked again, and what was known stays."""
    await told.until("v1")
    kube.script(GATEWAY, "discover", *[Refusal(503)] * 5)
    told.discovery.poke()
    await kube.until(lambda: not kube.scripted())
    kube.serve(Served("TLSRoute", GATEWAY, ("v1alpha2", "v1alpha3"), "tlsroutes"))
    told.discovery.poke()
    await told.until("v1", "v1alpha3")
