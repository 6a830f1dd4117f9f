"""A control plane that serves Envoys and daemons: both of a node give its name, and each is what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.featuretests.manifests import GATEWAY, ROUTE, SERVICE
from tests.featuretests.mesh import Mesh
from tests.featuretests.mesh import mesh as running
from tests.featuretests.proxy import connected
from xds_server.model.resource import INTERCEPTED, LISTENER, ROUTE_CONFIGURATION, WORKLOADS, ResourceKey
from xds_server.proto.tidegate.datapath.v1.datapath_pb2 import Service, Workloads

LED = ResourceKey(INTERCEPTED, "gateway/default/web/80/TCP")
MESH = ResourceKey(INTERCEPTED, "default/web/80/TCP")
TABLE = ResourceKey(ROUTE_CONFIGURATION, "service/default/web/80")
REACHED = SERVICE.replace("{ports:", "{clusterIP: 10.96.0.1, ports:")
CONSUMER = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: mine, namespace: east}
spec:
  parentRefs: [{group: "", kind: Service, name: web, namespace: default}]
  rules: [{backendRefs: [{name: web, namespace: default, port: 80}]}]
"""
BYTES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: tidegate, listeners: [{name: lines, port: 53, protocol: TCP}]}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: lines}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
"""
PROGRAMMED = ("True", "Programmed")
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: east, uid: NAME}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: ADDRESS}]}
"""


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
    """What it acknowledges, and its coming and going, programs no Gateway of Envoy's; what it refuses is told there."""
    await mesh.apply(GATEWAY, ROUTE, SERVICE)
    await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == PROGRAMMED)
    async with connected(f"unix:{tmp_path / 'xds.sock'}", lambda _: (), types=(INTERCEPTED,)) as daemon:
        await daemon.until(lambda: LED in daemon.held)
        assert {"n1", "daemon of n1"} == {node.node for node in mesh.plane.pipeline.feedback.nodes}
        assert 1 == len(mesh.plane.told.replica().streams)
        daemon.refuses = lambda key: "no room" if key.name.startswith("gateway/") else ""
        await mesh.replace(1, GATEWAY.replace("port: 80", "port: 81"))
        await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("False", "Invalid"))
        daemon.refuses = lambda _: ""
        await mesh.replace(1, GATEWAY)
        await mesh.replace(2, ROUTE.replace("port: 80", "port: 80, weight: 2"))
    await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == PROGRAMMED)


async def test_a_gateway_of_bytes_is_programmed_when_daemons_have_it(mesh: Mesh, tmp_path: Path) -> None:
    """Envoy has no part in it: without a daemon nothing serves it, and what a daemon refuses is told."""
    await mesh.apply(BYTES, SERVICE)
    before = mesh.condition("Gateway", "web", "Programmed")
    async with connected(f"unix:{tmp_path / 'xds.sock'}", lambda _: (), types=(INTERCEPTED,)) as daemon:
        await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == PROGRAMMED)
        daemon.refuses = lambda _: "no room"
        await mesh.replace(1, BYTES.replace("port: 53", "port: 54"))
        await mesh.until(lambda: mesh.condition("Gateway", "web", "Programmed") == ("False", "Invalid"))

    assert ("False", "Pending") == before


async def test_pods_come_to_a_route_without_a_listener(mesh: Mesh, tmp_path: Path) -> None:
    """Of Envoy's only the route table changes; the daemon of their node is told of them."""
    async with connected(f"unix:{tmp_path / 'xds.sock'}", lambda _: (), types=(INTERCEPTED, WORKLOADS)) as daemon:
        await mesh.apply(REACHED, CONSUMER, POD.replace("NAME", "a").replace("ADDRESS", "10.0.0.1"))
        await daemon.until(lambda: MESH in daemon.held and Service.FromString(daemon.held[MESH].body).HasField("proxy"))
        await mesh.until(lambda: b"10.0.0.1" in mesh.proxy.held[TABLE].body)
        before = len(mesh.proxy.responses)
        await mesh.apply(POD.replace("NAME", "b").replace("ADDRESS", "10.0.0.2"))
        await mesh.until(lambda: b"10.0.0.2" in mesh.proxy.held[TABLE].body)
        told = ResourceKey(WORKLOADS, "n1")
        await daemon.until(lambda: len(Workloads.FromString(daemon.held[told].body).workloads) == 2)

        assert [ROUTE_CONFIGURATION] == [response.type_url for response in mesh.proxy.responses[before:]]


async def test_a_service_without_routes_is_the_kernels_again(mesh: Mesh, tmp_path: Path) -> None:
    """Its listener goes, and its resource stays without a proxy."""
    async with connected(f"unix:{tmp_path / 'xds.sock'}", lambda _: (), types=(INTERCEPTED,)) as daemon:
        await mesh.apply(REACHED, CONSUMER)
        await daemon.until(lambda: MESH in daemon.held and Service.FromString(daemon.held[MESH].body).HasField("proxy"))
        await mesh.replace(2, "")
        await daemon.until(lambda: not Service.FromString(daemon.held[MESH].body).HasField("proxy"))

        assert {"capture/ipv4", "capture/ipv6"} == {key.name for key in mesh.proxy.held if key.type_url == LISTENER}
        assert [""] == [each.listener for each in Service.FromString(daemon.held[MESH].body).frontends]
