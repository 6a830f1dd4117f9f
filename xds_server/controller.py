"""The loop: wait for a change, let a burst gather, commit, publish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from xds_server.graph import Changes
from xds_server.metrics import Metrics
from xds_server.model.delivery import Acceptance, DeliveryRef, Rejection
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import LISTENER, ROUTE_CONFIGURATION, Resource, ResourceKey
from xds_server.pipeline import Pipeline

log = structlog.get_logger(__name__)

HOLD_OFF_S: Final = 0.1
"""At most one commit in this time: a lone change goes out at once, a burst is gathered."""

_NOTED: Final = frozenset({LISTENER, ROUTE_CONFIGURATION})

Publish = Callable[[Mapping[ResourceKey, Resource | None]], object]
Committed = Callable[[Changes], None]


class Controller:
    """Owns the pipeline: everything that changes it goes through here, on one event loop."""

    def __init__(self, pipeline: Pipeline, metrics: Metrics, publish: Publish, committed: Committed) -> None:
        self.pipeline, self._metrics = pipeline, metrics
        self._publish, self._committed = publish, committed
        self._changed = asyncio.Event()

    def apply(self, changes: dict[ObjectRef, Any | None]) -> None:
        """Take new objects; None deletes one."""
        for ref, value in changes.items():
            self.pipeline.put(ref, value)
            self._metrics.object_changes.labels(ref.kind).inc()
        if changes:
            self._changed.set()

    def accepted(self, node: str, type_url: str, versions: Mapping[str, str]) -> None:
        """An Envoy acknowledged these versions by resource name."""
        feedback = self.pipeline.feedback
        if type_url not in _NOTED and not feedback.rejections:
            return  # there are many of these, and nothing to note
        for name, version in versions.items():
            ref = DeliveryRef(node, ResourceKey(type_url, name))
            if ref in feedback.rejections:
                feedback.rejections.delete(ref)
                self._changed.set()
            acceptance = _noted(type_url, version)
            if acceptance is not None and feedback.acceptances.get(ref) != acceptance:
                feedback.acceptances.put(ref, acceptance)
                self._changed.set()

    def rejected(self, node: str, type_url: str, name: str, version: str, detail: str) -> None:
        """An Envoy refused a version of a resource."""
        ref = DeliveryRef(node, ResourceKey(type_url, name))
        self.pipeline.feedback.rejections.put(ref, Rejection(version, detail))
        self._changed.set()

    def gone(self, node: str) -> None:
        """The last stream of a node ended: what it said no longer counts."""
        for source in self.pipeline.feedback:
            for ref in [ref for ref in source if ref.node == node]:
                source.delete(ref)
                self._changed.set()

    async def run(self) -> None:
        """Commit after each change until cancelled."""
        while True:
            await self._changed.wait()
            self.commit()
            await asyncio.sleep(HOLD_OFF_S)

    def commit(self) -> None:
        """Bring everything up to date and hand on what changed."""
        self._changed.clear()
        started = time.perf_counter()
        changes = self.pipeline.graph.commit()
        published = self.pipeline.published(changes)
        duration_s = time.perf_counter() - started
        self._metrics.commit_seconds.observe(duration_s)
        self._metrics.resources_changed(published)
        self._forget(published)
        for key in changes.get("faults", ()):
            self._fault(key)
        if published:
            self._publish(published)
        self._committed(changes)
        log.debug("committed", resources=len(published), seconds=round(duration_s, 6))

    def _forget(self, published: dict[ResourceKey, Resource | None]) -> None:
        """What is no longer served cannot be refused or accepted."""
        gone = {key for key, resource in published.items() if resource is None}
        if not gone:
            return
        for source in self.pipeline.feedback:
            for ref in [ref for ref in source if ref.resource in gone]:
                source.delete(ref)
                self._changed.set()

    def _fault(self, key: tuple[str, Any]) -> None:
        text = self.pipeline.graph.faults.get(key)
        if text is not None:
            self._metrics.faults.inc()
            log.error("transformation failed", collection=key[0], key=str(key[1]), error=text[:512])


def _noted(type_url: str, version: str) -> Acceptance | None:
    """What status reads: which version of a listener, and that a route configuration is there at all."""
    if type_url == LISTENER:
        return Acceptance(version)
    return Acceptance("") if type_url == ROUTE_CONFIGURATION else None
