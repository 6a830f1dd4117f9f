"""Generated objects at an API server: made, changed and removed by who leads; those of others are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from tests.kube_api import PATIENCE_S, KubeApi, Refusal
from tests.unit.kube.status_world import Leadership
from xds_server.kube.client import Api
from xds_server.kube.generated_writer import GeneratedWriter
from xds_server.kube.observed import Observed
from xds_server.model.generated import Generated
from xds_server.model.refs import ObjectRef

OWNER = ObjectRef("Gateway", "default", "web")
REF = ObjectRef("Service", "default", "tidegate-gateway-web")
LABELS = {"app.kubernetes.io/managed-by": "tidegate"}


def generated(port: int = 80, owner: ObjectRef | None = OWNER) -> Generated:
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": REF.name, "namespace": REF.namespace, "labels": LABELS},
        "spec": {"type": "LoadBalancer", "ports": [{"port": port}]},
    }
    return Generated(REF, owner, msgspec.json.encode(manifest))


class Replica:
    def __init__(self, kube: KubeApi, api: Api) -> None:
        self.kube, self.leadership = kube, Leadership()
        self.desired: dict[ObjectRef, Generated] = {REF: generated()}
        self.observed = {OWNER: Observed("v1", "1", "uid-of-web", b"")}
        self.writer = GeneratedWriter(api, self.leadership, self.desired, self.observed)

    async def settled(self) -> None:
        """It has looked at everything that it wants to."""
        async with asyncio.timeout(PATIENCE_S):
            while self.writer.pending or self.writer.term != self.leadership.term:
                await asyncio.sleep(0)

    @property
    def service(self) -> Any:
        return self.kube.object(*REF)

    def writes(self) -> list[str]:
        return [asked.plain for asked in self.kube.writes]


@asynccontextmanager
async def running(*before: dict[str, Any]) -> AsyncIterator[Replica]:
    async with KubeApi() as kube:
        kube.apply(*before)
        api = Api(kube.configuration())
        replica = Replica(kube, api)
        task = asyncio.create_task(replica.writer.run())
        try:
            await replica.settled()
            yield replica
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await api.close()


def service(labels: dict[str, str], name: str = REF.name) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 1}]}}


async def test_an_object_is_made_with_its_owner() -> None:
    """Kubernetes removes it with the Gateway."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        [owner] = replica.service["metadata"]["ownerReferences"]

        assert {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "name": "web",
            "uid": "uid-of-web",
            "controller": True,
        } == owner
        assert ["PATCH services"] == replica.writes()


async def test_a_second_look_and_a_second_leader_write_nothing() -> None:
    """0 writes at rest, and none after a restart; what the API server adds changes nothing."""
    async with running() as replica:
        await replica.kube.until(lambda: len(replica.kube.writes) == 1)
        replica.kube.apply({**replica.service, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}})
        replica.writer.commit([REF])
        await replica.settled()
        replica.leadership.term += 1
        replica.writer.gained()
        await replica.settled()

        assert ["PATCH services"] == replica.writes()


async def test_what_changes_is_written_once_and_what_is_gone_is_removed() -> None:
    """By the label: also what an earlier leader has made."""
    async with running(service(LABELS, "left-over")) as replica:
        await replica.kube.until(lambda: replica.kube.object("Service", "default", "left-over") is None)
        replica.desired[REF] = generated(port=8080)
        replica.writer.commit([REF])
        await replica.kube.until(lambda: replica.service["spec"]["ports"] == [{"port": 8080}])
        del replica.desired[REF]
        replica.writer.commit([REF])
        await replica.kube.until(lambda: replica.service is None)

        assert 2 == replica.writes().count("PATCH services") == replica.writes().count("DELETE services")


async def test_what_is_undecided_is_left_as_it_is() -> None:
    """Neither changed nor removed, and not made where it is not."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        other = REF._replace(name="tidegate-gateway-other")
        replica.desired |= {ref: Generated(ref, OWNER, b"") for ref in (REF, other)}
        replica.writer.commit([REF, other])
        await replica.settled()

        assert ["PATCH services"] == replica.writes()


async def test_what_somebody_else_deletes_is_made_again() -> None:
    """The source tells of the change."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        replica.kube.delete(*REF)
        replica.writer.commit([REF])
        await replica.kube.until(lambda: replica.service is not None)


async def test_the_object_of_somebody_else_is_never_touched() -> None:
    """Neither changed nor removed; the log says what to do."""
    async with running(service({})) as replica:
        await replica.kube.until(lambda: REF in replica.writer.refused)
        del replica.desired[REF]
        replica.writer.commit([REF])
        await replica.settled()

        assert [] == replica.writes()
        assert "is left alone: delete or rename it" in replica.writer.refused[REF]


async def test_who_does_not_lead_writes_nothing() -> None:
    """Until he does: then everything that is wanted by then."""
    async with KubeApi() as kube:
        api = Api(kube.configuration())
        replica = Replica(kube, api)
        replica.leadership.leads = False
        task = asyncio.create_task(replica.writer.run())
        await asyncio.sleep(0)
        before = list(kube.requests)
        replica.leadership.leads = True
        replica.writer.gained()
        await kube.until(lambda: replica.service is not None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()

    assert [] == before


@pytest.mark.parametrize("status", [429, 500])
async def test_what_is_refused_is_tried_again(status: int) -> None:
    """And told meanwhile."""
    async with KubeApi() as kube:
        api = Api(kube.configuration())
        replica = Replica(kube, api)
        kube.script("services", "patch", Refusal(status, "Refused"))
        task = asyncio.create_task(replica.writer.run())
        await kube.until(lambda: replica.service is not None)
        await replica.settled()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()

    assert {} == replica.writer.refused


async def test_an_object_that_cannot_be_changed_is_made_anew() -> None:
    """A cluster IP, say, never changes: what is ours may go."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        replica.kube.script("services", "patch", Refusal(422, "Invalid"))
        replica.desired[REF] = generated(port=8080)
        replica.writer.commit([REF])
        await replica.kube.until(lambda: replica.service and replica.service["spec"]["ports"] == [{"port": 8080}])

        assert "DELETE services" in replica.writes()


async def test_an_object_whose_making_was_never_confirmed_is_removed() -> None:
    """The answer to what made it was lost; it is ours all the same, and goes when it is not wanted any more."""
    async with running() as replica:
        replica.kube.delete(*REF)
        replica.kube.script("services", "patch", "lose")
        replica.leadership.term += 1
        replica.writer.gained()
        await replica.settled()
        assert replica.service is not None

        del replica.desired[REF]
        replica.writer.commit([REF])
        await replica.settled()
        assert replica.service is None
