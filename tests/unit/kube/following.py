"""A source that follows the fake API server, and a controller that only remembers what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.kube_api import PATIENCE_S, KubeApi
from xds_server.kube.client import Api
from xds_server.kube.contact import Contact
from xds_server.kube.kinds import KINDS
from xds_server.kube.reflector import Link, Timing
from xds_server.kube.source import KubernetesSource
from xds_server.kube.stats import SourceStats
from xds_server.model.refs import ObjectRef

QUICK: Final = Timing(watch_s=60.0, silence_s=0.3, steady_s=0.2)
PATIENT: Final = Timing()


class World:
    """`objects` are those put, `told` each change of one, `missing` those that are not to be had."""

    def __init__(self) -> None:
        self.objects: dict[ObjectRef, Any] = {}
        self.told: list[tuple[ObjectRef, Any | None]] = []
        self.missing: dict[ObjectRef, str] = {}
        self.wanted: set[ObjectRef] = set()
        self.on_commit: Callable[[], None] = lambda: None
        self.pauses: list[float] = []
        self.stats = SourceStats()
        self._changed = asyncio.Event()

    def apply(self, changes: dict[ObjectRef, Any | None]) -> None:
        for ref, value in changes.items():
            self.told.append((ref, value))
            if value is None:
                self.objects.pop(ref, None)
            else:
                self.objects[ref] = value
        self._changed.set()

    def absent(self, ref: ObjectRef, why: str) -> None:
        if why:
            self.missing[ref] = why
        else:
            self.missing.pop(ref, None)
        self._changed.set()

    def commit(self) -> None:
        self.on_commit()

    async def load(self) -> None:
        self.on_commit()

    async def pause(self, seconds: float) -> None:
        """No time passes but that of the network."""
        self.pauses.append(seconds)
        self._changed.set()
        await asyncio.sleep(0.001)

    def names(self, kind: str = "HTTPRoute") -> list[str]:
        return sorted(ref.name for ref in self.objects if ref.kind == kind)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def following(kube: KubeApi, world: World, timing: Timing = PATIENT) -> AsyncIterator[KubernetesSource]:
    """A source that runs while the context lasts."""
    api = Api(kube.configuration())
    link = Link(api, Contact(world.pause, lambda: 0.5), world.stats, timing)
    source = KubernetesSource(link, world, lambda: world.wanted, KINDS)
    running = asyncio.ensure_future(source.run(world.commit))
    try:
        yield source
    finally:
        running.cancel()
        await asyncio.wait({running})
        await api.close()
        if not running.cancelled():
            running.result()
