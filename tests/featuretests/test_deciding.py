"""Daemons at any replica of the control plane: the one that leads decides among all of them who has an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datapath.client import Client
from datapath.discovery import Discovery, types
from datapath.resources import ANNOUNCEMENTS, Announcements
from tests.featuretests.test_relay import WORLD, Member, Mesh
from tests.kube_api import KubeApi

POLICY = """
apiVersion: tidegate.dev/v1alpha1
kind: L2AnnouncementPolicy
metadata: {name: all}
spec: {loadBalancerIPs: true}
"""
PATIENCE_S = 40


class Daemon:
    """Of a node, as far as it hears of addresses; its kernel has at once what it is told."""

    def __init__(self, mesh: Mesh, node: str) -> None:
        self._mesh, self._node = mesh, node
        self.discovery = Discovery(node)
        self.changed = asyncio.Event()
        self.client: Client | None = None

    @property
    def announces(self) -> bool:
        found = self.discovery.accepted()
        told = found.resources(ANNOUNCEMENTS)
        return found.told_announcements and any(isinstance(each, Announcements) and each.announcements for each in told)

    async def until(self, *, announces: bool) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.announces != announces:
                self.changed.clear()
                await self.changed.wait()

    @asynccontextmanager
    async def at(self, member: Member) -> AsyncIterator[Daemon]:
        client = self.client = Client(
            self.discovery, lambda: self._mesh.dialled(member, self._node), self._taken, chance=lambda: 0.0
        )
        task = asyncio.ensure_future(client.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _taken(self) -> None:
        assert self.client is not None
        self.client.settled(self.discovery.accepted().responses, types(self._node).keys(), {})
        self.changed.set()


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with KubeApi() as kube:
        kube.apply(WORLD)
        kube.apply(POLICY)
        made = Mesh(kube, tmp_path, datapath=True)
        try:
            yield made
        finally:
            for member in made.members:
                await member.stop()


async def test_a_daemon_at_a_follower_takes_an_address_over(mesh: Mesh) -> None:
    """From one at the leader that is gone; which is told, at the follower, that it is not its any more."""
    leader, follower = await mesh.member(), await mesh.member()
    first, second = Daemon(mesh, "n1"), Daemon(mesh, "n2")
    async with first.at(leader):
        await first.until(announces=True)
        async with second.at(follower):
            await second.until(announces=False)
            assert second.client is not None
    async with second.at(follower):
        await second.until(announces=True)
        async with first.at(follower):
            await first.until(announces=False)

            assert second.announces


async def test_an_envoy_that_does_not_serve_at_a_follower_loses_the_address(mesh: Mesh) -> None:
    """To the node of a daemon at the leader."""
    leader, follower = await mesh.member(), await mesh.member()
    first, second = Daemon(mesh, "n1"), Daemon(mesh, "n2")
    async with second.at(follower):
        await second.until(announces=True)
        async with first.at(leader):
            assert second.client is not None
            second.client.tell([str(mesh_address(second))])
            await first.until(announces=True)


async def test_what_nobody_decides_is_not_told_any_more(mesh: Mesh) -> None:
    """The leader is gone: its follower ends the stream of a daemon that has an address, which keeps it, and is told
    that it has it when the follower leads.
    """
    leader, follower = await mesh.member(), await mesh.member()
    daemon = Daemon(mesh, "n1")
    async with daemon.at(follower):
        await daemon.until(announces=True)
        await leader.kill()
        mesh.members.remove(leader)
        await daemon.until(announces=True)
        assert daemon.client is not None
        async with asyncio.timeout(PATIENCE_S):
            while not daemon.client.stream.failures:
                await asyncio.sleep(0.05)
        held = [each.announcements for each in daemon.discovery.accepted().resources(ANNOUNCEMENTS)]  # type: ignore[union-attr]
        await daemon.until(announces=True)

    assert [1] == [len(each) for each in held]


def mesh_address(daemon: Daemon) -> str:
    [found] = daemon.discovery.accepted().resources(ANNOUNCEMENTS)
    assert isinstance(found, Announcements)
    return str(found.announcements[0].address)
