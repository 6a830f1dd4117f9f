"""Stories of users, through the whole control plane and a proxy that holds what it was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.featuretests.manifests import GATEWAY, ROUTE, SERVICE
from tests.featuretests.mesh import Mesh
from tests.featuretests.mesh import mesh as running
from xds_server.graph import Changes
from xds_server.model.resource import CLUSTER, ROUTE_CONFIGURATION

URL = "http://web.example.com/"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with running(tmp_path) as found:
        yield found


async def test_route_recovers_when_its_service_appears(mesh: Mesh) -> None:
    """A route to a missing Service answers 500 and says so; when the Service comes, both heal."""
    await mesh.apply(GATEWAY, ROUTE)
    broken = mesh.condition("HTTPRoute", "web", "ResolvedRefs"), mesh.proxy.ask("GET", URL).status
    await mesh.apply(SERVICE)

    assert (("False", "BackendNotFound"), 500) == broken
    assert ("True", "ResolvedRefs") == mesh.condition("HTTPRoute", "web", "ResolvedRefs")
    assert ("127.90.1.1:8080",) == mesh.proxy.ask("GET", URL).endpoints


async def test_a_gateway_is_programmed_once_its_listener_is_accepted(mesh: Mesh) -> None:
    """`Programmed` is what the proxy said, not what was sent."""
    await mesh.apply(GATEWAY)
    await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("True", "Programmed"))

    assert ("True", "Programmed") == mesh.condition("Gateway", "web", "Programmed", "http")


async def test_a_refused_table_shows_at_its_gateway_and_clears(mesh: Mesh) -> None:
    """X51: a NACK makes the Gateway not programmed, with what Envoy said; the next accepted version clears it."""
    mesh.proxy.refuses = lambda key: "no such field" if key.type_url == ROUTE_CONFIGURATION else ""
    await mesh.apply(GATEWAY, SERVICE, ROUTE)
    await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("False", "Invalid"))
    mesh.proxy.refuses = lambda _: ""
    await mesh.replace(
        3, ROUTE.replace("backendRefs", "name: first, backendRefs").replace("port: 80", "port: 80, weight: 2")
    )
    await mesh.replace(3, ROUTE.replace("rules:", "hostnames: [web.example.com]\n  rules:"))

    await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("True", "Programmed"))


async def test_an_endpoint_change_sends_endpoints_and_nothing_else(mesh: Mesh) -> None:
    """A pure endpoint event costs one load assignment: no route, no cluster."""
    await mesh.apply(GATEWAY, SERVICE, ROUTE)
    before = len(mesh.proxy.responses)

    await mesh.replace(2, SERVICE.replace("127.90.1.1", "127.90.1.2"))

    sent = mesh.proxy.responses[before:]
    assert ["ClusterLoadAssignment"] == [response.type_url.rpartition(".")[2] for response in sent]
    assert ("127.90.1.2:8080",) == mesh.proxy.ask("GET", URL).endpoints


async def test_the_same_manifest_again_sends_nothing(mesh: Mesh) -> None:
    """B8: a resync is 0 bytes."""
    await mesh.apply(GATEWAY, SERVICE, ROUTE)
    before = len(mesh.proxy.responses)

    await mesh.replace(2, SERVICE + "\n# touched\n")

    assert before == len(mesh.proxy.responses)


async def test_a_cluster_goes_only_after_the_route_that_named_it(mesh: Mesh) -> None:
    """X41: the removal of a cluster is the last thing that is sent."""
    await mesh.apply(GATEWAY, SERVICE, ROUTE, SERVICE.replace("name: web", "name: other"))
    before = len(mesh.proxy.responses)
    await mesh.replace(3, ROUTE.replace("name: web, port", "name: other, port"))

    sent = mesh.proxy.responses[before:]
    removal = next(i for i, r in enumerate(sent) if r.type_url == CLUSTER and r.removed_resources)
    routes = next(i for i, r in enumerate(sent) if r.type_url == ROUTE_CONFIGURATION)
    assert routes < removal


async def test_a_bad_object_harms_no_other(mesh: Mesh) -> None:
    """A manifest that cannot be used is a problem with its place; everything else goes on."""
    await mesh.apply(
        GATEWAY, SERVICE, ROUTE, ROUTE.replace("name: web}\nspec", "name: bad}\nspec").replace("rules", "rulez")
    )

    [problem] = mesh.plane.scan.problems
    assert ("HTTPRoute", "default", "bad") == problem.object
    assert "route" == mesh.proxy.ask("GET", URL).outcome


async def test_an_observer_that_raises_ends_nothing(mesh: Mesh) -> None:
    """A view with a defect is logged once; the other observers are told, and commits go on."""

    def broken(_: Changes) -> None:
        raise RuntimeError("a defect")

    mesh.plane.observers.insert(0, broken)
    with capture_logs() as logs:
        await mesh.apply(GATEWAY, SERVICE, ROUTE)
        await mesh.replace(2, SERVICE.replace("127.90.1.1", "127.90.1.2"))

    assert ("127.90.1.2:8080",) == mesh.proxy.ask("GET", URL).endpoints
    assert ["observer failed"] == [entry["event"] for entry in logs if entry["log_level"] == "error"]


async def test_everything_deleted_leaves_nothing(mesh: Mesh) -> None:
    """When the last manifest is gone, the proxy has no resource and the graph no entry."""
    await mesh.apply(GATEWAY, SERVICE, ROUTE)
    for number in (1, 2, 3):
        await mesh.replace(number, "")

    assert {} == mesh.proxy.held
    assert {} == {c.name: len(c) for c in mesh.plane.pipeline.graph.collections if len(c) and c.name not in SAID}


SAID = {"nodes"}
