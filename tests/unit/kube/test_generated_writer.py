"""Generated objects at an API server: made, changed and removed by who leads; those of others are left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest

from tests.kube_api import PATIENCE_S, KubeApi, Refusal
from tests.unit.kube.status_world import Leadership
from xds_server.kube.client import Api
from xds_server.kube.generated_writer import DIGEST, GeneratedWriter
from xds_server.kube.observed import Observed
from xds_server.metrics import generated_counters
from xds_server.model.generated import Generated
from xds_server.model.refs import ObjectRef

OWNER = ObjectRef("Gateway", "default", "web")
REF = ObjectRef("Service", "default", "tidegate-gateway-web")
LABELS = {"app.kubernetes.io/managed-by": "tidegate"}


def generated(port: int = 80, owner: ObjectRef | None = OWNER, **spec: Any) -> Generated:
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": REF.name, "namespace": REF.namespace, "labels": LABELS},
        "spec": {"type": "LoadBalancer", "ports": [{"port": port}], **spec},
    }
    return Generated(REF, owner, msgspec.json.encode(manifest))


class Replica:
    def __init__(self, kube: KubeApi, api: Api) -> None:
        self.kube, self.leadership = kube, Leadership()
        self.desired: dict[ObjectRef, Generated] = {REF: generated()}
        self.observed = {OWNER: Observed("v1", "1", "uid-of-web", b"")}
        self.now = 0.0
        """Where a test has stopped the time; 0.0 while it runs."""
        self.writer = GeneratedWriter(
            api, self.leadership, self.desired, self.observed, clock=lambda: self.now or time.monotonic()
        )

    def stop_time(self) -> None:
        self.now = time.monotonic()

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


def service(labels: dict[str, str], name: str = REF.name, **metadata: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels, **metadata}
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


def _more(kube: KubeApi, than: int) -> bool:
    return len(kube.requests) > than


MADE: dict[str, Any] = {
    "annotations": {DIGEST: "0"},
    "managedFields": [{"manager": "tidegate", "operation": "Apply"}],
}


async def test_what_changes_is_written_once_and_what_is_gone_is_removed() -> None:
    """Also what an earlier leader has made."""
    old = "tidegate-gateway-old"
    async with running(service(LABELS, old, **MADE)) as replica:
        await replica.kube.until(lambda: replica.kube.object("Service", "default", old) is None)
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
        told = replica.writer.refused[REF]
        del replica.desired[REF]
        replica.writer.commit([REF])
        await replica.settled()

        assert [] == replica.writes()
        assert "is left alone: delete or rename it" in told
        assert {} == replica.writer.refused


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


async def test_what_only_a_new_object_can_have_is_made_anew_after_a_trial() -> None:
    """A load balancer's class never changes: the old Service goes once a new one is known to be taken."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        replica.kube.script("services", "patch", Refusal(422, "Invalid"))
        replica.desired[REF] = generated(loadBalancerClass="example.com/other")
        replica.writer.commit([REF])
        await replica.kube.until(lambda: replica.service and "loadBalancerClass" in replica.service["spec"])

        assert ["PATCH services", "POST services", "DELETE services", "PATCH services"] == replica.writes()[1:]
        assert "All" == next(asked for asked in replica.kube.writes if asked.method == "POST").query["dryRun"]
        assert [REF.name] == [found["metadata"]["name"] for found in replica.kube.objects("Service")]


@pytest.mark.parametrize("wanted", [generated(8080), generated(loadBalancerClass="example.com/other")])
async def test_a_service_that_works_is_not_removed_for_one_that_cannot_be(wanted: Generated) -> None:
    """Neither for what is simply wrong, nor where the trial fails; the reason is told."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        before = replica.service
        replica.kube.script("services", "patch", Refusal(422, "Invalid", message="no such port"))
        replica.kube.script("services", "create", Refusal(422, "Invalid", message="no such class"))
        replica.desired[REF] = wanted
        replica.writer.commit([REF])
        await replica.kube.until(lambda: REF in replica.writer.refused)

        assert before == replica.service
        assert replica.writer.refused[REF].startswith("Invalid: no such ")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("tidegate-gateway-mine", {}),
        ("tidegate-gateway-mine", {"annotations": {DIGEST: "0"}}),
        ("tidegate-gateway-mine", {**MADE, "managedFields": [{"manager": "kubectl", "operation": "Apply"}]}),
        ("mine", MADE),
    ],
)
async def test_a_label_that_anybody_may_set_makes_nothing_ours(name: str, made: dict[str, Any]) -> None:
    """Nor do a copied annotation, or a copy under another name: nothing is deleted."""
    theirs = service(LABELS, name, **made)
    copied = {**theirs, "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1"}
    async with running(theirs, copied) as replica:
        await replica.kube.until(lambda: replica.service is not None)
        await replica.settled()

        assert ["PATCH services"] == replica.writes()


async def test_a_list_that_cannot_be_read_is_read_again_later_and_ends_nothing() -> None:
    """Whatever answers in place of the API server; commits in between ask for nothing."""
    async with KubeApi() as kube:
        api = Api(kube.configuration())
        replica = Replica(kube, api)
        replica.stop_time()
        kube.script("services", "list", "babble", "babble")
        task = asyncio.create_task(replica.writer.run())
        await kube.until(lambda: len(kube.requests) == 1)
        for _ in range(20):
            replica.writer.commit([REF])
            replica.writer.gained()
            await asyncio.sleep(0)
        asked = len(kube.requests)
        replica.now += 60.0
        replica.writer.gained()
        await kube.until(lambda: len(kube.requests) == 2)
        while kube.scripted() or replica.service is None:
            replica.now += 60.0
            replica.writer.gained()
            await asyncio.sleep(0)
        alive = not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()

    assert (1, True) == (asked, alive)


async def test_an_answer_that_cannot_be_read_is_asked_for_again() -> None:
    """Of one object, as of all."""
    async with KubeApi() as kube:
        api = Api(kube.configuration())
        replica = Replica(kube, api)
        kube.script("services", "get", "babble")
        task = asyncio.create_task(replica.writer.run())
        await kube.until(lambda: replica.service is not None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


async def test_who_undoes_what_is_written_is_not_raced() -> None:
    """The second time waits, and the third longer, whatever is told meanwhile."""
    async with running() as replica:
        await replica.kube.until(lambda: replica.service is not None)
        await replica.settled()
        replica.stop_time()
        writes = []
        for wait_s in (0.6, 0.6, 0.6, 0.6, 0.6, 0.6):
            replica.kube.apply({**replica.service, "spec": {"ports": []}})
            replica.now += wait_s
            replica.writer.observe(REF)
            for _ in range(3):
                seen = len(replica.kube.requests)
                replica.writer.observe(REF)
                await replica.kube.until(partial(_more, replica.kube, seen))
            writes.append(len(replica.writes()))

        assert writes[-1] < 1 + len(writes)


async def test_a_change_that_no_model_shows_is_set_back() -> None:
    """Source ranges restrict access: who observes tells of each version of an object."""
    async with running() as replica:
        replica.desired[REF] = generated(loadBalancerSourceRanges=["192.0.2.0/24"])
        replica.writer.commit([REF])
        await replica.kube.until(lambda: replica.service and "loadBalancerSourceRanges" in replica.service["spec"])
        await replica.settled()
        replica.kube.apply({**replica.service, "spec": {**replica.service["spec"], "loadBalancerSourceRanges": []}})
        replica.writer.observe(REF)
        await replica.kube.until(lambda: replica.service["spec"]["loadBalancerSourceRanges"] != [])


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


async def test_what_is_refused_is_told_while_it_is() -> None:
    """To the graph and to the metrics; who stops leading knows nothing any more."""
    told: list[tuple[ObjectRef, str]] = []
    async with running(service({})) as replica:
        await replica.kube.until(lambda: REF in replica.writer.refused)
        await replica.settled()
        counted = list(generated_counters(lambda: replica.writer.refused, lambda: replica.writer.pending)())
        replica.writer.on_refused = lambda ref, why: told.append((ref, why))
        replica.leadership.leads = False
        replica.writer.gained()
        while not told:
            await asyncio.sleep(0)

    assert {("EndpointSlice", 0.0), ("Service", 1.0)} == {(s.labels["kind"], s.value) for s in counted[0].samples}
    assert [(REF, "")] == told
