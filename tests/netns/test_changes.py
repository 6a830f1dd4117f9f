"""What is served changes under load: a route that comes or goes is no request's business."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import STAND
from tests.netns.load import load
from tests.netns.mesh import Manifest, address_of, until
from tests.netns.stand import FAMILIES
from tests.netns.table import World, populated

TURNS = 3


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, envoy: Path) -> Iterator[World]:
    """With a kube-proxy, which would lead elsewhere what it sees, and time for the slowest request in half a drain."""
    with populated(envoy, drain_s=4) as made:
        request.node.stash[STAND] = made.mesh.stand
        rules = [(address_of("near", family), 80, made.impostor.address(family), 8080) for family in FAMILIES]
        for node in made.mesh.stand.nodes:
            node.kube_proxy(*rules)
        yield made


def test_a_service_comes_to_envoy_and_leaves_it_without_a_lost_request(world: World) -> None:
    """Its route is deleted and made again, three times: connections that Envoy has it ends, and none breaks."""
    with load(world) as going:
        for _ in range(TURNS):
            for manifests, via in ((without(world, "HTTPRoute", "near"), "nobody"), (world.mesh.world, "envoy")):
                world.mesh.apply("mesh", *manifests)
                until(lambda seen=via: seen == reached_by(world), f"near by {via}")  # type: ignore[misc]
                going.go_on(2000)
        failed = going.failed

    assert {} == failed


def without(world: World, kind: str, name: str) -> list[Manifest]:
    return [each for each in world.mesh.world if (each["kind"], each["metadata"]["name"]) != (kind, name)]


def reached_by(world: World) -> str | None:
    """Who is between the client and the service; None while the families differ."""
    seen = {world.client.get(address_of("near", family)).via for family in FAMILIES}
    return seen.pop() if len(seen) == 1 else None
