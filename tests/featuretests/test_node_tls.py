"""The node daemon and the real ADS server, by certificates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from datapath.client import Client, dial
from datapath.discovery import Discovery
from datapath.resources import SERVICE, WORKLOADS, Workloads
from tests.featuretests.test_node_stream import Changes, connected
from tests.unit.datapath.wire import packed, service
from xds_server.certificates.authority import Pair, issue_client, issue_server, new_authority
from xds_server.model.resource import Resource, resource
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb
from xds_server.proxy.bootstrap import ClientTls
from xds_server.xds.credentials import MutualTls
from xds_server.xds.resources import ResourceTable
from xds_server.xds.server import ServerSettings, serving
from xds_server.xds.streams import Streams

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class Mesh:
    """Files of the server and of the node, and what is served."""

    def __init__(self, directory: Path) -> None:
        self.authority = new_authority(NOW)
        server = issue_server(self.authority, ["localhost"], NOW)
        for name, content in (
            ("ca.crt", self.authority.certificate),
            ("s.crt", server.certificate),
            ("s.key", server.key),
        ):
            (directory / name).write_bytes(content)
        self.listen = MutualTls("127.0.0.1", 0, directory / "s.crt", directory / "s.key", directory / "ca.crt")
        self.tls = ClientTls(directory / "n.crt", directory / "n.key", directory / "ca.crt", "localhost")
        self.streams = Streams(ResourceTable())
        self.serve(_web(1), _pods("n1", "10.1.0.1"), _pods("n2", "10.1.0.2"))

    def serve(self, *resources: Resource) -> None:
        self.streams.publish({each.key: each for each in resources})

    def certify(self, name: str, authority: Pair | None = None) -> None:
        pair = issue_client(authority or self.authority, f"spiffe://tidegate.local/node/{name}", NOW, HOUR)
        self.tls.certificate.write_bytes(pair.certificate)
        self.tls.private_key.write_bytes(pair.key)


def _web(last: int) -> Resource:
    message = service(("10.0.0.1", 80, ""), backends=[(f"10.1.0.{last}", 8080, 1)])
    return resource(SERVICE, "default/web/80/TCP", message.SerializeToString())


def _pods(node: str, address: str) -> Resource:
    found = pb.Workloads(workloads=[pb.Workload(namespace="default", name=node, addresses=[packed(address)])])
    return resource(WORKLOADS, node, found.SerializeToString())


def client_of(address: str, mesh: Mesh, discovery: Discovery, changes: Changes) -> Client:
    changes.client = Client(discovery, lambda: dial(address, mesh.tls), changes, chance=lambda: 0.0)
    return changes.client


async def until(changes: Changes, discovery: Discovery, *types: str) -> None:
    async with asyncio.timeout(20):
        while not discovery.heard.issuperset(types):
            await changes.event.wait()
            changes.event.clear()


async def test_a_node_is_served_its_own_pods(tmp_path: Path) -> None:
    """All services, and of pods those of the node that its certificate names."""
    mesh, discovery, changes = Mesh(tmp_path), Discovery("n1"), Changes()
    mesh.certify("n1")
    async with serving(mesh.streams, mesh.listen, ServerSettings(stop_s=0)) as address:
        mesh.streams.open()
        async with connected(client_of(address, mesh, discovery, changes)):
            await until(changes, discovery, SERVICE, WORKLOADS)

    [pods] = discovery.accepted().resources(WORKLOADS)
    assert isinstance(pods, Workloads)
    assert ("n1", (ip_address("10.1.0.1"),)) == (pods.name, pods.workloads[0].addresses)
    assert (SERVICE, "default/web/80/TCP") in discovery.held


async def test_a_renewed_certificate_is_shown_at_the_next_connection(tmp_path: Path) -> None:
    """One of somebody else's authority is refused, told, and tried again until it has been replaced."""
    mesh, discovery, changes = Mesh(tmp_path), Discovery("n1"), Changes()
    mesh.certify("n1", new_authority(NOW))
    async with serving(mesh.streams, mesh.listen, ServerSettings(stop_s=0)) as address:
        mesh.streams.open()
        client = client_of(address, mesh, discovery, changes)
        async with connected(client):
            async with asyncio.timeout(20):
                while not client.stream.failures:
                    await asyncio.sleep(0.01)
            fault, before = client.stream.fault, dict(discovery.held)
            mesh.certify("n1")
            await until(changes, discovery, SERVICE)

    assert ("UNAVAILABLE", {}) == (fault.partition(":")[0], before)
    assert (SERVICE, "default/web/80/TCP") in discovery.held


async def test_a_certificate_of_another_node_is_refused(tmp_path: Path) -> None:
    """A daemon that says it is n1 with the certificate of n2 hears nothing."""
    mesh, discovery = Mesh(tmp_path), Discovery("n1")
    mesh.certify("n2")
    async with serving(mesh.streams, mesh.listen, ServerSettings(stop_s=0)) as address:
        mesh.streams.open()
        client = Client(discovery, lambda: dial(address, mesh.tls), lambda: None, chance=lambda: 0.0)
        async with connected(client), asyncio.timeout(20):
            while not client.stream.failures:
                await asyncio.sleep(0.01)

    assert "PERMISSION_DENIED" == client.stream.fault.partition(":")[0]
    assert ({}, set()) == (discovery.held, discovery.heard)
