"""What is written to an API server, how often, and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.kube_api import KubeApi, Object, Refusal
from tests.unit.kube.status_world import CLASS, GATEWAY, WEB, replica, route, route_ref
from xds_server.kube.status_writer import PATIENCE_S, SOFT_S


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        kube.apply(CLASS, WEB, route())
        yield kube


def writes(kube: KubeApi) -> dict[str, int]:
    return Counter(asked.plain for asked in kube.writes)


def parents(kube: KubeApi, name: str = "app") -> list[dict[str, Any]]:
    found = kube.object(*route_ref(name))
    return found["status"]["parents"] if found is not None else []


EACH_ONCE = {"PATCH gatewayclasses/status": 1, "PATCH gateways/status": 1, "PATCH httproutes/status": 1}


async def test_each_object_is_written_once(kube: KubeApi) -> None:
    """Class, Gateway and route; our own writes come back and are found equal."""
    async with replica(kube) as one:
        await one.settled()

    assert EACH_ONCE == writes(kube)
    assert {GATEWAY.name} == {parent["parentRef"]["name"] for parent in parents(kube)}
    assert 3 == one.results("written")


async def test_a_change_is_one_write(kube: KubeApi) -> None:
    """Of the object that it concerns."""
    async with replica(kube) as one:
        await one.settled()
        kube.apply(route(path="/other"))
        one.sync()
        await one.settled()

    assert EACH_ONCE | {"PATCH httproutes/status": 2} == writes(kube)
    assert [2] == [c["observedGeneration"] for c in parents(kube)[0]["conditions"][:1]]


async def test_nothing_is_written_at_rest(kube: KubeApi) -> None:
    """However long, and however often everything is looked at."""
    async with replica(kube) as one:
        await one.settled()
        before = writes(kube)
        for ref in one.observed:
            one.time.now += 60
            one.writer.observe(ref)
        await one.settled()

    assert before == writes(kube)


async def test_nothing_is_written_after_a_restart(kube: KubeApi) -> None:
    """Though no Envoy is heard yet: what was programmed stays so until they had time to come back."""
    async with replica(kube) as one:
        one.programmed()
        await one.settled()
    before = writes(kube)
    async with replica(kube) as two:
        await two.until(lambda: two.writer.pending == 1)
        await two.later(PATIENCE_S - 1)
        two.programmed()
        await two.settled()

    assert "True" == two.condition("Programmed")["status"]
    assert before == writes(kube)


async def test_envoys_that_do_not_come_back_are_told_of(kube: KubeApi) -> None:
    """After 30 s, once."""
    async with replica(kube) as one:
        one.programmed()
        await one.settled()
    before = writes(kube)["PATCH gateways/status"]
    async with replica(kube) as two:
        await two.until(lambda: two.writer.pending == 1)
        await two.later(PATIENCE_S)
        await two.settled()

    assert "Pending" == two.condition("Programmed")["reason"]
    assert before + 1 == writes(kube)["PATCH gateways/status"]


async def test_a_conflict_is_read_again_and_keeps_what_the_other_wrote(kube: KubeApi) -> None:
    """From the API server: what was observed is known to be old."""
    theirs = {"parentRef": {"name": "web"}, "controllerName": "example.com/other", "conditions": []}
    async with replica(kube, leads=False) as one:
        kube.set_status(*route_ref(), {"parents": [theirs]})
        one.leadership.leads = True
        one.writer.gained()
        await one.until(lambda: one.results("conflict") == 1)
        await one.later(1)
        await one.settled()

    assert ["example.com/other", "tidegate.dev/controller"] == [p["controllerName"] for p in parents(kube)]
    assert theirs == parents(kube)[0]
    assert EACH_ONCE | {"PATCH httproutes/status": 2} == writes(kube)


async def test_a_newer_object_is_waited_for(kube: KubeApi) -> None:
    """After a conflict with an edit: a verdict on what was there before is not written over it."""
    async with replica(kube, leads=False) as one:
        kube.apply(route(path="/other"))
        one.leadership.leads = True
        one.writer.gained()
        await one.until(lambda: one.results("conflict") == 1)
        await one.later(1)
        await one.until(lambda: not one.writer.pending)
        before = kube.object(*route_ref())
        one.sync()
        await one.settled()

    assert before is not None
    assert "status" not in before
    assert 2 == parents(kube)[0]["conditions"][0]["observedGeneration"]


@pytest.mark.parametrize("status", [403, 422, 500])
async def test_a_status_that_cannot_be_written_blocks_nobody(kube: KubeApi, status: int) -> None:
    """S18: the others are written; it is tried again later, and told once."""
    kube.script("gateways/status", "patch", *[Refusal(status, "Scripted")] * 3)
    with capture_logs() as logs:
        async with replica(kube) as one:
            await one.until(lambda: one.results("written") == 2)
            for attempts in range(1, 4):
                await one.until(lambda: one.results("refused") + one.results("failed") >= attempts)  # noqa: B023  # now
                await one.later(300)
            await one.until(lambda: one.results("written") == 3)

    assert EACH_ONCE | {"PATCH gateways/status": 4} == writes(kube)
    assert (status != 500) == (1 == len([entry for entry in logs if entry["event"] == "status refused"]))


async def test_what_was_refused_is_tried_again_when_something_else_is_desired(kube: KubeApi) -> None:
    """An author who mends an object does not wait for the back-off of the broken one."""
    kube.script("httproutes/status", "patch", Refusal(422, "Invalid"))
    async with replica(kube) as one:
        await one.until(lambda: one.results("refused") == 1)
        kube.apply(route(path="/other"))
        one.sync()
        await one.settled()

    assert EACH_ONCE | {"PATCH httproutes/status": 2} == writes(kube)


async def test_what_is_gone_is_not_tried_again(kube: KubeApi) -> None:
    """The API server says so; what was observed may still have it."""
    async with replica(kube, leads=False) as one:
        kube.delete(*route_ref())
        one.leadership.leads = True
        one.writer.gained()
        await one.until(lambda: one.results("gone") == 1)
        await one.settled()

    assert 1 == writes(kube)["PATCH httproutes/status"]


async def test_another_object_of_the_same_name_is_not_written_by_mistake(kube: KubeApi) -> None:
    """The verdict is on the one that was there before."""
    async with replica(kube, leads=False) as one:
        kube.delete(*route_ref())
        kube.apply(route())
        one.leadership.leads = True
        one.writer.gained()
        await one.until(lambda: one.results("conflict") == 1)
        await one.later(1)
        await one.until(lambda: not one.writer.pending)
        found = kube.object(*route_ref())

    assert found is not None
    assert "status" not in found


async def test_who_does_not_lead_writes_nothing(kube: KubeApi) -> None:
    """And looks at everything when it does."""
    async with replica(kube, leads=False) as one:
        one.sync()
        one.programmed()
        await one.later(60)
        before = writes(kube)
        one.leadership.leads = True
        one.writer.gained()
        await one.until(lambda: one.results("written") == 3)
        await one.settled()

    assert ({}, EACH_ONCE) == (before, writes(kube))


async def test_counts_of_routes_are_gathered(kube: KubeApi) -> None:
    """Routes that are created in half a minute are 20 writes of their Gateway, and one of each route."""
    async with replica(kube) as one:
        one.programmed()
        await one.settled()
        before = writes(kube)["PATCH gateways/status"]
        for number in range(60):
            kube.apply(*[route(f"r{number}-{each}") for each in range(3)])
            one.sync()
            await one.later(0.5)
            await one.until(lambda: one.writer.pending <= 1)
        await one.later(SOFT_S)
        await one.settled()

    assert writes(kube)["PATCH gateways/status"] - before <= 20 + 1  # the last one tells the rest
    assert 181 == writes(kube)["PATCH httproutes/status"]
    found = kube.object(*GATEWAY)
    assert 181 == (found and found["status"]["listeners"][0]["attachedRoutes"])


async def test_who_undoes_what_was_written_is_not_raced(kube: KubeApi) -> None:
    """It is written again, each time twice as long after the last one: two controllers under one name, say."""
    async with replica(kube) as one:
        await one.settled()
        seen: list[int] = []
        for wait_s in (0.5, 1, 2):
            kube.set_status(*route_ref(), {"parents": []})
            one.sync()
            await one.later(wait_s - 0.1)
            seen.append(writes(kube)["PATCH httproutes/status"])
            await one.later(0.1)
            await one.settled()
            seen.append(writes(kube)["PATCH httproutes/status"])

    assert [1, 2, 2, 3, 3, 4] == seen
    assert parents(kube)


class Old(KubeApi):
    """One whose definition of Gateways knows no kinds of a listener, and drops them."""

    def _put(self, plural: str, found: Object) -> Object:
        for listener in found.get("status", {}).get("listeners", []):
            listener.pop("supportedKinds", None)
        return super()._put(plural, found)


async def test_what_the_api_server_drops_is_not_written_without_end() -> None:
    """It is told once, and tried again later."""
    async with Old() as kube:
        kube.apply(CLASS, WEB)
        with capture_logs() as logs:
            async with replica(kube) as one:
                await one.until(lambda: one.results("written") == 2)
                one.sync()
                await one.later(3)
                early = writes(kube)["PATCH gateways/status"]
                await one.later(300)
                await one.until(lambda: one.results("written") == 3)

    assert (1, 2) == (early, writes(kube)["PATCH gateways/status"])
    assert ["install the newest CRDs"] == [e["error"][-23:] for e in logs if e["event"] == "status refused"]


async def test_an_outage_of_the_api_server_is_waited_out(kube: KubeApi) -> None:
    """Nothing is forgotten, and the server is not stormed when it comes back."""
    kube.apply(*[route(f"r{number}") for number in range(50)])
    async with replica(kube, leads=False) as one:
        await kube.stop()
        one.leadership.leads = True
        one.writer.gained()
        await one.until(lambda: one.results("failed") >= 8)
        asked = len(kube.requests)
        await kube.start()
        await one.in_time(lambda: one.results("written") == 53)
        await one.settled()

    assert EACH_ONCE | {"PATCH httproutes/status": 51} == writes(kube)
    assert (0, 53) == (asked, len(kube.requests))
    assert one.results("failed") <= 16


async def test_a_route_whose_gateway_is_gone_loses_its_entry(kube: KubeApi) -> None:
    """And nothing of anybody else."""
    async with replica(kube) as one:
        await one.settled()
        kube.delete(*GATEWAY)
        one.sync()
        await one.settled()

    assert [] == parents(kube)


async def test_an_ingress_shows_its_address_until_it_is_not_ours(kube: KubeApi) -> None:
    """What we wrote is taken back when its class changes."""
    ingress = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: app, namespace: default}
spec: {ingressClassName: tidegate, defaultBackend: {service: {name: app, port: {number: 80}}}}
"""
    class_ = "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: tidegate, namespace: ''}, %s}"
    kube.apply(ingress, class_ % "spec: {controller: tidegate.dev/controller}")
    async with replica(kube) as one:
        await one.settled()
        found = kube.object("Ingress", "default", "app")
        kube.apply(ingress.replace("Name: tidegate", "Name: other"))
        one.sync()
        await one.settled()

    assert found is not None
    assert ["192.0.2"] == [point["ip"].rpartition(".")[0] for point in found["status"]["loadBalancer"]["ingress"]]
    assert {"loadBalancer": {}} == (kube.object("Ingress", "default", "app") or {})["status"]


async def test_labels_annotations_and_finalizers_are_the_users(kube: KubeApi) -> None:
    """Of an Ingress the API server takes them from whoever puts a status: what is written is the status alone."""
    metadata = "{name: app, namespace: default, labels: {team: a}, annotations: {ingress.tidegate.dev/b: c}"
    metadata += ", finalizers: [example.com/f]}"
    spec = "{ingressClassName: tidegate, defaultBackend: {service: {name: app, port: {number: 80}}}}"
    kube.apply(
        f"{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {metadata}, spec: {spec}}}",
        "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: tidegate, namespace: ''},"
        " spec: {controller: tidegate.dev/controller}}",
    )
    async with replica(kube) as one:
        await one.settled()
    found = kube.object("Ingress", "default", "app") or {}

    assert found["status"]["loadBalancer"]["ingress"]
    assert ({"team": "a"}, {"ingress.tidegate.dev/b": "c"}, ["example.com/f"]) == (
        found["metadata"]["labels"],
        found["metadata"]["annotations"],
        found["metadata"]["finalizers"],
    )
