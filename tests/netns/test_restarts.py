"""Whatever is killed, replaced or away, in every order: no request is lost that Envoy need not lose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.load import load
from tests.netns.mesh import until
from tests.netns.table import World, settle

MANY = 30_000
KILLS = 20


@pytest.fixture(autouse=True)
def whole(world: World) -> Iterator[None]:
    """All of it runs before a test, and again after it."""
    yield
    world.mesh.control_plane.start()
    for node in world.mesh.stand.nodes:
        world.mesh.daemons[node.name].start()
        world.mesh.until_tells(node)
    settle(world)


def test_daemon_and_control_plane_may_be_killed_in_every_order(world: World) -> None:
    """30,000 requests, while the one, the other and both are killed, the daemon twenty times more: 0 fail."""
    mesh, daemon, server = world.mesh, world.mesh.daemons["node1"], world.mesh.control_plane
    steps = [
        daemon.kill, daemon.start, server.kill, server.start,
        daemon.kill, server.kill, daemon.start, server.start,
        server.kill, daemon.kill, server.start, daemon.start,
    ]  # fmt: skip
    with load(world) as going:
        for step in steps:
            step()
            going.go_on(500)
        for _ in range(KILLS):
            daemon.kill()
            daemon.start()
            going.go_on(300)
        mesh.until_tells(world.node)
        going.go_on(max(0, MANY - going.total))
        failed = going.failed

    assert {} == failed


def test_envoy_is_replaced_without_a_lost_request(world: World) -> None:
    """Three hot restarts under 30,000 requests, the last one while the control plane is away: 0 fail."""
    with load(world) as going:
        for away in (False, False, True):
            if away:
                world.mesh.control_plane.kill()
            before = world.mesh.envoys(world.node)
            world.mesh.command(world.node, "restart-envoy")
            going.go_on(2000)
            if away:
                world.mesh.control_plane.start()
            until(lambda old=before: not old & world.mesh.envoys(world.node), "the old Envoy has gone")  # type: ignore[misc]
        going.go_on(max(0, MANY - going.total))
        failed = going.failed

    assert {} == failed
