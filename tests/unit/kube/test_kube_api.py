"""The API server of our tests does what they rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.kube_api import KubeApi, Refusal
from xds_server.kube.client import MERGE, Api, ApiError

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {hostnames: [a.example]}
"""
PATH = "/apis/gateway.networking.k8s.io/v1/httproutes"
OBJECT = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes/web"


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        kube.apply(ROUTE)
        yield kube


@pytest.fixture
async def api(kube: KubeApi) -> AsyncIterator[Api]:
    api = Api(kube.configuration())
    yield api
    await api.close()


async def test_a_write_is_seen_by_a_watch_and_conflicts_with_an_older_one(kube: KubeApi, api: Api) -> None:
    """A status subresource changes the status alone, gives a new version, and refuses who has an older one."""
    before = msgspec.json.decode(await api.request("GET", OBJECT))
    version = before["metadata"]["resourceVersion"]
    params = {"watch": "1", "resourceVersion": version}
    async with api.stream(PATH, params=params, silence_s=30) as lines:
        body = {"metadata": {"resourceVersion": version}, "status": {"parents": []}, "spec": {}}
        await api.request("PATCH", f"{OBJECT}/status", body=msgspec.json.encode(body), content_type=MERGE)
        event = msgspec.json.decode(await anext(aiter(lines)))
    with pytest.raises(ApiError) as refused:
        await api.request("PATCH", f"{OBJECT}/status", body=msgspec.json.encode(body), content_type=MERGE)

    assert ("MODIFIED", {"parents": []}) == (event["type"], event["object"]["status"])
    assert before["spec"] == event["object"]["spec"]
    assert (409, "Conflict") == (refused.value.status, refused.value.reason)
    assert ["PATCH httproutes/status"] * 2 == [asked.plain for asked in kube.writes]


async def test_pages_are_as_of_the_first(kube: KubeApi, api: Api) -> None:
    """What is written between two pages is not in the second."""
    for number in range(3):
        kube.apply(ROUTE.replace("web", f"web-{number}"))
    first = msgspec.json.decode(await api.request("GET", PATH, params={"limit": "2"}))
    kube.delete("HTTPRoute", "default", "web-2")
    follow = {"limit": "2", "continue": first["metadata"]["continue"]}
    second = msgspec.json.decode(await api.request("GET", PATH, params=follow))

    assert [["web", "web-0"], ["web-1", "web-2"]] == [
        [item["metadata"]["name"] for item in page["items"]] for page in (first, second)
    ]
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_a_script_is_played_once_and_an_outage_keeps_objects_and_port(kube: KubeApi, api: Api) -> None:
    """A fault is of the next request, and not of the one after; a server that comes back is the same one."""
    kube.script("httproutes", "get", Refusal(429, retry_after_s="3"), "cut")
    refusals = []
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            await api.request("GET", OBJECT)
        refusals.append((refused.value.status, refused.value.retry_after_s))
    await kube.stop()
    with pytest.raises(ApiError, match="ClientConnector"):
        await api.request("GET", OBJECT)
    await kube.start()
    found = msgspec.json.decode(await api.request("GET", OBJECT))

    assert [(429, 3.0), (0, None)] == refusals
    assert "web" == found["metadata"]["name"]
