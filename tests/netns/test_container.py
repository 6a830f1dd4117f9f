"""The daemon in a container like the chart's: what it starts outlives it, and it has no more rights than it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.container import CAPABILITIES, KEPT, Container, rights
from tests.netns.load import load
from tests.netns.mesh import address_of, until
from tests.netns.table import World, settle

PODS = 3


@pytest.fixture(scope="module")
def container(world: World) -> Iterator[Container]:
    """In the place of the daemon of node 1; its Envoy is another than that of before, which it replaces."""
    before = world.mesh.envoys(world.node)
    world.mesh.daemons["node1"].end()
    made = Container(world.mesh, world.node, concurrency=1)
    made.start()
    until(lambda: (now := world.mesh.envoys(world.node)) and not now & before, "an Envoy of the container's")
    settle(world)
    yield made
    made.end()


def test_a_container_is_replaced_without_a_lost_request(world: World, container: Container) -> None:
    """Three times under load, each with all that is left in it: Envoy is the same process, and 0 requests fail."""
    envoys = world.mesh.envoys(world.node)
    with load(world) as going:
        for _ in range(PODS):
            container.end()
            going.go_on(500)
            container.start()
            world.mesh.until_tells(world.node)
            going.go_on(500)
        failed = going.failed

    assert {} == failed
    assert envoys == world.mesh.envoys(world.node)
    assert "envoy" == world.client.get(address_of("near", "ipv4")).via


def test_envoy_is_replaced_at_the_same_port_for_its_metrics(world: World, container: Container) -> None:
    """The old one and the new one have it both, and the daemon says that it is ready by its own."""
    before = world.mesh.envoys(world.node)
    with load(world) as going:
        world.mesh.command(world.node, "restart-envoy")
        until(lambda: not before & world.mesh.envoys(world.node), "the old Envoy has gone")
        going.go_on(500)
        failed = going.failed
    places = ("15090/ready", "15090/stats/prometheus", "15091/readyz", "15091/healthz", "15091/metrics")
    asked = " ".join(f"http://127.0.0.1:{place}" for place in places)

    assert {} == failed
    assert ["200"] * 5 == world.node.sh(
        f"for url in {asked}; do curl -s -o /dev/null -w '%{{http_code}} ' $url; done"
    ).split()


def test_the_rights_of_the_first_step_are_gone(world: World, container: Container) -> None:
    """Daemon and Envoy have four capabilities, and can get no other."""
    kept = sum(1 << CAPABILITIES[name] for name in KEPT)
    [envoy] = world.mesh.envoys(world.node)

    assert [(kept, kept, 1)] * 2 == [rights(process) for process in (container.pid, envoy)]


def test_nothing_is_amiss(world: World, container: Container) -> None:
    """`tidegate node status` finds nothing: settings could be written, programs are where they belong."""
    assert "nothing is wrong" in world.mesh.command(world.node, "status")
