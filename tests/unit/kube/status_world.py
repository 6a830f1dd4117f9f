"""A pipeline, an API server and a status writer between them; what is observed is observed when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.kube_api import KubeApi
from xds_server.ingestion.sources import Settings
from xds_server.kube.client import Api
from xds_server.kube.kinds import KINDS
from xds_server.kube.observed import Observed
from xds_server.kube.status_writer import StatusWriter
from xds_server.model.delivery import Acceptance, DeliveryRef
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import LISTENER, ROUTE_CONFIGURATION
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings

PATIENCE_S = 30  # of a test that fails; none waits for it otherwise
CONTROLLER = "tidegate.dev/controller"
GATEWAY = ObjectRef("Gateway", "default", "web")
CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: tidegate, namespace: ""}
spec: {controllerName: tidegate.dev/controller}
"""
WEB = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  gatewayClassName: tidegate
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""


def route(name: str = "app", gateway: str = "web", path: str = "/") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: default}}
spec:
  parentRefs: [{{name: {gateway}}}]
  rules: [{{matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: app, port: 80}}]}}]
"""


def route_ref(name: str = "app") -> ObjectRef:
    return ObjectRef("HTTPRoute", "default", name)


@dataclass
class Leadership:
    leads: bool = True
    term: int = 1
    remaining_s: float = 10.0


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Replica:
    """A control plane, without its streams: `sync` reads what the API server has, in place of watches."""

    def __init__(self, kube: KubeApi, api: Api) -> None:
        self.kube, self.time, self.leadership = kube, Time(), Leadership()
        self.pipeline = Pipeline.declare(Settings(pool=("192.0.2.0/24",)), TranslationSettings())
        self.observed: dict[ObjectRef, Observed] = {}
        self.writer = StatusWriter(
            api, self.leadership, self.pipeline.statuses, self.observed, CONTROLLER, clock=self.time
        )

    def sync(self) -> None:
        found: dict[ObjectRef, Any] = {}
        for kind in KINDS:
            for each in self.kube.objects(kind.kind):
                metadata = each["metadata"]
                ref = ObjectRef(kind.kind, metadata["namespace"] if kind.namespaced else "", metadata["name"])
                found[ref] = msgspec.convert(each, kind.struct)
                if kind.writes_status:
                    status = msgspec.json.encode(each["status"]) if "status" in each else b""
                    observed = Observed("v1", metadata["resourceVersion"], metadata["uid"], status)
                    if self.observed.get(ref) != observed:
                        self.observed[ref] = observed
                        self.writer.observe(ref)
        for ref in [*self.observed]:
            if ref not in found:
                del self.observed[ref]
                self.writer.observe(ref)
        changes = self.pipeline.apply([*found.items(), *((ref, None) for ref in self.gone(found))])
        assert {} == dict(self.pipeline.graph.faults)
        self.writer.commit(changes.get("statuses", ()))

    def gone(self, found: dict[ObjectRef, Any]) -> list[ObjectRef]:
        return [ref for kind in KINDS for ref in self.pipeline.sources.of(kind.kind) if ref not in found]

    def programmed(self, node: str = "n1") -> None:
        """An Envoy accepts everything that there is."""
        for key, resource in self.pipeline.resources.items():
            if key.type_url in {LISTENER, ROUTE_CONFIGURATION}:
                ref = DeliveryRef(node, 1, key)
                version = resource.version if key.type_url == LISTENER else ""
                self.pipeline.feedback.acceptances.put(ref, Acceptance(ref, version))
        self.writer.commit(self.pipeline.graph.commit().get("statuses", ()))

    async def settled(self) -> None:
        """Until nothing is to be looked at, with everything observed."""
        await self.until(lambda: not self.writer.pending)
        self.sync()
        await self.until(lambda: not self.writer.pending)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Let time pass for the writer."""
        self.time.now += seconds
        self.writer.gained()
        for _ in range(8):
            await asyncio.sleep(0)

    async def in_time(self, holds: Callable[[], bool]) -> None:
        """Let time pass until it holds: what failed last begins to wait when others have waited long enough."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self.later(60)

    def results(self, result: str) -> int:
        """How many writes had this result."""
        return sum(count for (_, found), count in self.writer.stats.writes.items() if found == result)

    def condition(self, type_: str, ref: ObjectRef = GATEWAY) -> dict[str, Any]:
        found = self.kube.object(*ref)
        assert found is not None
        return next(c for c in found["status"]["conditions"] if c["type"] == type_)


@asynccontextmanager
async def replica(kube: KubeApi, **leadership: Any) -> AsyncIterator[Replica]:
    """One that runs, and has observed everything."""
    api = Api(kube.configuration())
    made = Replica(kube, api)
    for name, value in leadership.items():
        setattr(made.leadership, name, value)
    made.sync()
    task = asyncio.ensure_future(made.writer.run())
    try:
        await asyncio.sleep(0)
        yield made
    finally:
        task.cancel()
        await asyncio.wait({task})
        await api.close()
