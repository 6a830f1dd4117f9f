"""A control plane that serves Envoys and daemons: both of a node give its name, and each is what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.featuretests.manifests import GATEWAY, ROUTE, SERVICE
from tests.featuretests.mesh import Mesh
from tests.featuretests.mesh import mesh as running
from tests.featuretests.proxy import connected
from xds_server.model.resource import INTERCEPTED, LISTENER, ResourceKey
from xds_server.proto.tidegate.datapath.v1.datapath_pb2 import Service

LED = ResourceKey(INTERCEPTED, "gateway/default/web/80/TCP")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with running(tmp_path, datapath=True) as found:
        yield found


async def test_a_daemon_is_told_where_its_envoy_listens(mesh: Mesh, tmp_path: Path) -> None:
    """The listener that a frontend names is one that the Envoys have, and goes with the Gateway's port."""
    async with connected(f"unix:{tmp_path / 'xds.sock'}", lambda _: (), types=(INTERCEPTED,)) as daemon:
        await mesh.apply(GATEWAY, ROUTE, SERVICE)
        await daemon.until(lambda: LED in daemon.held)
        [frontend] = Service.FromString(daemon.held[LED].body).frontends

        assert frontend.listener in {key.name for key in mesh.proxy.held if key.type_url == LISTENER}

        await mesh.replace(1, GATEWAY.replace("port: 80", "port: 81"))
        await daemon.until(lambda: LED not in daemon.held)

        assert ["gateway/default/web/81/TCP"] == [key.name for key in daemon.held]


async def test_a_daemon_does_not_stand_in_for_its_envoy(mesh: Mesh, tmp_path: Path) -> None:
    """What a daemon refuses, or its coming and going, leaves a Gateway programmed."""
    await mesh.apply(GATEWAY, ROUTE, SERVICE)
    await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("True", "Programmed"))
    async with connected(f"unix:{tmp_path / 'xds.sock'}", lambda _: (), types=(INTERCEPTED,)) as daemon:
        daemon.refuses = lambda _: "no room"
        await daemon.until(lambda: LED in daemon.refused)
        await mesh.replace(2, ROUTE.replace("port: 80", "port: 80, weight: 2"))
        await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("True", "Programmed"))

        assert {"n1"} == {node.node for node in mesh.plane.pipeline.feedback.nodes}
        assert 1 == len(mesh.plane.told.replica().streams)
        assert {} == dict(mesh.plane.pipeline.feedback.rejections.items())
    assert ("True", "Programmed") == mesh.condition("Gateway", "web", "Programmed")
