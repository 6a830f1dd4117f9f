"""Replicas at one API server, with Envoys at any of them: whoever writes statuses knows what all Envoys said."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.featuretests.proxy import Proxy
from tests.kube_api import KubeApi
from xds_server.app import ControlPlane, Statuses, private_directory, reading
from xds_server.certificates.authority import issue_client, issue_server, new_authority
from xds_server.config import DEFAULT_NAMESPACE, Cluster, Config, TlsFiles
from xds_server.kube.lease import ADDRESS, NAME
from xds_server.model.resource import CLUSTER, LISTENER, ResourceKey
from xds_server.xds.identity import DEFAULT_TRUST_DOMAIN, Node, Replica, uri

NOW = datetime.now(UTC)
CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: tidegate}
spec: {controllerName: tidegate.dev/controller}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: tidegate
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""
WORLD = f"""
{CLASS}
---
apiVersion: tidegate.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {{name: pool}}
spec: {{blocks: [{{cidr: 10.9.0.0/24}}]}}
---
{GATEWAY}
---
apiVersion: v1
kind: Service
metadata: {{name: app}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: app}}
spec:
  parentRefs: [{{name: web}}]
  rules: [{{backendRefs: [{{name: app, port: 80}}]}}]
"""
TRUE = ("True", "Programmed")
LEASE_S = 4.0


class Member:
    """One replica; `stop` is a clean end, `kill` one that leaves the Lease behind."""

    def __init__(self, kube: KubeApi, plane: ControlPlane, statuses: Statuses) -> None:
        self.kube, self.plane, self.statuses = kube, plane, statuses
        runs = (plane.run(), plane.watch(), plane.announce(), statuses.run(plane.loaded))
        self._tasks = [asyncio.ensure_future(each) for each in runs]
        self._stack = AsyncExitStack()

    @property
    def leads(self) -> bool:
        return self.statuses.elector.leads

    def wrote(self) -> int:
        return sum(self.statuses.writer.stats.writes.values())

    def keep(self, stack: AsyncExitStack) -> None:
        self._stack = stack.pop_all()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._stack.aclose()

    async def kill(self) -> None:
        """Nobody waits for the Lease to run out: it is deleted."""

        async def kept() -> None:
            return None

        led, self.statuses.elector.release = self.leads, kept  # type: ignore[method-assign]
        await self.stop()
        if led:
            self.kube.delete("Lease", DEFAULT_NAMESPACE, NAME)


class Mesh:
    def __init__(self, kube: KubeApi, directory: Path, *, datapath: bool = False) -> None:
        self.kube, self._directory, self._datapath = kube, directory, datapath
        self.members: list[Member] = []
        self._authority = new_authority(NOW)
        replica = uri(DEFAULT_TRUST_DOMAIN, Replica("tidegate-xds"))
        server = issue_server(self._authority, ["tidegate-xds"], NOW, uri=replica)
        self._files = TlsFiles(directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
        self._files.certificate.write_bytes(server.certificate)
        self._files.key.write_bytes(server.key)
        self._files.client_ca.write_bytes(self._authority.certificate)

    async def member(self) -> Member:
        """One more replica; the first one leads before it is given."""
        name = f"replica-{len(self.members)}"
        state = private_directory(self._directory / name)
        cluster = Cluster(self.kube.kubeconfig(state / "kubeconfig"), pod=name, ip="127.0.0.1")
        config = Config(
            cluster=cluster,
            state=state,
            admin="",
            xds_listen="127.0.0.1:0",
            xds_tls=self._files,
            datapath=self._datapath,
            announcement_lease_s=LEASE_S,
        )
        plane = ControlPlane(config)
        async with AsyncExitStack() as stack:
            statuses = await stack.enter_async_context(reading(plane, cluster))
            await stack.enter_async_context(plane.serving())
            made = Member(self.kube, plane, statuses)
            made.keep(stack)
        self.members.append(made)
        telling = statuses.telling
        assert telling is not None
        if len(self.members) == 1:
            await self.kube.until(lambda: made.leads)
        else:
            await self.kube.until(lambda: bool(telling.address))
            await telling.up_to_date.wait()
        return made

    def dialled(self, member: Member, node: str) -> grpc.aio.Channel:
        pair = issue_client(self._authority, uri(DEFAULT_TRUST_DOMAIN, Node(node)), NOW, timedelta(hours=1))
        credentials = grpc.ssl_channel_credentials(self._authority.certificate, pair.key, pair.certificate)
        options = [("grpc.ssl_target_name_override", "tidegate-xds"), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(member.plane.address, credentials, options=options)

    def proxy(self, node: str = "n1") -> Proxy:
        tables = [member.plane.pipeline.resources for member in self.members]

        def references(key: ResourceKey) -> tuple[ResourceKey, ...]:
            return next((table[key].references for table in tables if key in table), ())

        def nowhere() -> grpc.aio.Channel:
            raise AssertionError

        return Proxy(nowhere, references, node)

    @asynccontextmanager
    async def at(self, member: Member, proxy: Proxy, node: str = "n1") -> AsyncIterator[None]:
        """Connected to a replica while the block runs."""
        proxy.dial = lambda: self.dialled(member, node)
        task = asyncio.ensure_future(proxy.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def programmed(self) -> tuple[str, str]:
        found = self.kube.object("Gateway", "default", "web") or {}
        conditions = found.get("status", {}).get("conditions", [])
        wanted = [c for c in conditions if c["type"] == "Programmed"]
        newest = [c for c in wanted if c["observedGeneration"] == found["metadata"]["generation"]]
        return (newest[0]["status"], newest[0]["reason"]) if newest else ("", "")

    def message(self) -> str:
        found = self.kube.object("Gateway", "default", "web") or {}
        return str(next(c["message"] for c in found["status"]["conditions"] if c["type"] == "Programmed"))

    def writes(self) -> dict[str, int]:
        return Counter(asked.resource for asked in self.kube.writes if asked.resource != "leases")

    async def settled(self) -> None:
        """All that was said has been told, and the leader has looked at what came of it: it writes what came later."""
        for member in self.members:
            if (telling := member.statuses.telling) is not None and telling.address:
                await telling.up_to_date.wait()
        before = self.writes()["gatewayclasses/status"]
        self.kube.apply(CLASS.replace("name: tidegate", f"name: later-{before}"))
        await self.kube.until(lambda: self.writes()["gatewayclasses/status"] > before)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with KubeApi() as kube:
        kube.apply(WORLD)
        made = Mesh(kube, tmp_path)
        try:
            yield made
        finally:
            for member in made.members:
                await member.stop()


async def test_an_envoy_at_a_follower_makes_the_gateway_programmed(mesh: Mesh) -> None:
    """By the leader's write; the follower writes nothing, and the leader tells nobody."""
    leader, follower = await mesh.member(), await mesh.member()
    lease = mesh.kube.object("Lease", DEFAULT_NAMESPACE, NAME) or {}
    async with mesh.at(follower, mesh.proxy()):
        await mesh.kube.until(lambda: mesh.programmed() == TRUE)

    assert (True, 0) == (leader.leads, follower.wrote())
    assert leader.plane.address == lease["metadata"]["annotations"][ADDRESS]
    assert "" == (leader.statuses.telling.address if leader.statuses.telling else None)
    assert "tidegate_relay_remote_envoys 1.0" in leader.plane.metrics.exposition().decode()


async def test_what_an_envoy_at_the_follower_refuses_shows(mesh: Mesh) -> None:
    """What one Envoy serves at the leader is not programmed while another refuses it, and is once that one serves."""
    leader, follower = await mesh.member(), await mesh.member()
    good, bad = mesh.proxy("n1"), mesh.proxy("n2")
    bad.refuses = lambda key: "no such field" if key.type_url == LISTENER else ""
    async with mesh.at(leader, good, "n1"):
        await mesh.kube.until(lambda: mesh.programmed() == TRUE)
        async with mesh.at(follower, bad, "n2"):
            await mesh.kube.until(lambda: mesh.programmed() == ("False", "Invalid"))
            said = mesh.message()
            bad.refuses = lambda _: ""
            mesh.kube.apply(GATEWAY.replace("port: 80", "port: 81"))
            await mesh.kube.until(lambda: mesh.programmed() == TRUE)

    assert ("n2" in said, "no such field" in said) == (True, True), said


async def test_an_envoy_that_moves_is_not_noticed(mesh: Mesh) -> None:
    """X56: 100 moves between two replicas are 0 writes of status and 0 updates.

    Of what is asked for by name the version that it has is sent again: it may be warming, and waits for an answer.
    """
    members = [await mesh.member(), await mesh.member()]
    proxy = mesh.proxy()
    async with mesh.at(members[1], proxy):
        await mesh.kube.until(lambda: mesh.programmed() == TRUE)
        await proxy.until(lambda: proxy.held.keys() == set(members[1].plane.pipeline.resources))
    before, responses, held = mesh.writes(), len(proxy.responses), dict(proxy.held)
    for number in range(100):
        streams = members[number % 2].plane.streams
        await streams.emptied()
        async with mesh.at(members[number % 2], proxy):
            while not any(isinstance(s["types"], dict) and len(s["types"]) == 4 for s in streams.debug()):
                await asyncio.sleep(0)
    async with mesh.at(members[1], proxy):
        await mesh.settled()

    later = mesh.writes()
    assert {"gatewayclasses/status": 1} == {kind: n - before[kind] for kind, n in later.items() if n != before[kind]}
    sent = [
        (ResourceKey(r.type_url, found.name), found.version)
        for r in proxy.responses[responses:]
        for found in r.resources
    ]
    assert set() == {key.type_url for key, _ in sent} & {CLUSTER, LISTENER}
    assert [] == [key for key, version in sent if key not in held or held[key].version != version]
    assert TRUE == mesh.programmed()


@pytest.mark.parametrize("which", ["follower", "leader"])
async def test_a_replica_that_is_killed_is_not_noticed(mesh: Mesh, which: str) -> None:
    """Its Envoy comes to the other one with what it has; the other one leads in time, and writes nothing."""
    leader, follower = await mesh.member(), await mesh.member()
    killed, left = (follower, leader) if which == "follower" else (leader, follower)
    proxy, other = mesh.proxy("n1"), mesh.proxy("n2")
    async with mesh.at(left, other, "n2"):
        async with mesh.at(killed, proxy, "n1"):
            await mesh.kube.until(lambda: mesh.programmed() == TRUE)
            await mesh.settled()
            before = mesh.writes()
            await killed.kill()
            mesh.members.remove(killed)
        async with mesh.at(left, proxy, "n1"):
            await mesh.kube.until(lambda: left.leads)
            await mesh.settled()

            later = mesh.writes()
            changed = {kind: n - before[kind] for kind, n in later.items() if n != before[kind]}
            assert ({"gatewayclasses/status": 1}, TRUE) == (changed, mesh.programmed())


async def test_the_next_leader_is_told_everything(mesh: Mesh) -> None:
    """An Envoy at a third replica: its words reach the one that leads after the first, also on what changes then."""
    first = await mesh.member()
    second, third = await mesh.member(), await mesh.member()
    proxy = mesh.proxy()
    async with mesh.at(third, proxy):
        await mesh.kube.until(lambda: mesh.programmed() == TRUE)
        await first.kill()
        mesh.members.remove(first)
        await mesh.kube.until(lambda: second.leads or third.leads)
        mesh.kube.apply(GATEWAY.replace("port: 80", "port: 81"))
        await mesh.kube.until(lambda: mesh.programmed() == TRUE)

    assert 1 == sum(member.leads for member in mesh.members)


async def test_an_address_that_is_none_is_not_dialled(mesh: Mesh) -> None:
    """Whatever is in the Lease: a follower looks again when it changes."""
    await mesh.member()
    follower = await mesh.member()
    telling = follower.statuses.telling
    assert telling is not None
    telling.follow("")
    follower.statuses.elector.on_leader("unix:/tmp/elsewhere")

    assert "" == telling.address
