"""An address that is on no link: who is on the LAN finds the node that announces it, whatever becomes of that node."""

from __future__ import annotations

import os
import signal

import pytest

from tests.netns.announced import holder, killed, moved
from tests.netns.mesh import address_of, until
from tests.netns.stand import FAMILIES, Family
from tests.netns.table import World


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lan_finds_a_gateway_whose_address_is_announced(world: World, family: Family) -> None:
    """No route leads there, and no node has the address; the backend is told the client's own."""
    node = holder(world, family)
    answer = world.outside.get(address_of("announced", family))

    assert ("envoy", "announced") == (answer.via, answer.seen("x-route"))
    assert world.outside.address(family) == answer.forwarded_for
    assert address_of("announced", family) not in node.sh("ip address")


def test_another_node_takes_over_from_one_that_died(world: World) -> None:
    """Its daemon and its Envoys are killed: the other node announces its addresses, and keeps them when it is back."""
    node, other = killed(world)
    assert [other, other] == [holder(world, family) for family in FAMILIES]

    world.mesh.daemons[node.name].start()
    world.mesh.until_tells(node)

    assert [other, other] == [holder(world, family) for family in FAMILIES]


def test_another_node_takes_over_from_one_whose_envoy_hangs(world: World) -> None:
    """Its daemon runs, and nobody would be served there; when Envoy goes on, nothing moves back."""
    node = holder(world, "ipv4")
    [other] = [each for each in world.mesh.stand.nodes if each is not node]
    envoys = world.mesh.envoys(node)
    for pid in envoys:
        os.kill(pid, signal.SIGSTOP)
    moved(world, other)
    during = [world.outside.get(address_of("announced", family)).status for family in FAMILIES]
    told = world.mesh.status(node)["unserved"]
    for pid in envoys:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not world.mesh.status(node)["unserved"], "an Envoy that serves for long enough")

    assert [200, 200] == during
    assert {address_of("announced", family) for family in FAMILIES} <= set(told)
    assert [other, other] == [holder(world, family) for family in FAMILIES]
