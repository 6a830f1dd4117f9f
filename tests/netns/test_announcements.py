"""An address that is on no link: who is on the LAN finds the node that announces it, whatever becomes of that node."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.netns.mesh import address_of, until
from tests.netns.stand import FAMILIES, Family, Node
from tests.netns.table import World


def known(world: World, family: Family) -> str:
    """The MAC under which the outside knows the address."""
    shown = world.outside.sh(f"ip neigh show to {address_of('announced', family)}")
    found = re.search(r"lladdr (\S+)", shown)
    return found[1] if found else ""


def mac(node: Node) -> str:
    found = re.search(r"link/ether (\S+)", node.sh("ip link show eth0"))
    assert found is not None
    return found[1]


def holder(world: World, family: Family) -> Node:
    """The node that the outside asks."""
    until(lambda: world.outside.get(address_of("announced", family)).status == 200, f"an answer over {family}")
    return next(node for node in world.mesh.stand.nodes if mac(node) == known(world, family))


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
    node = holder(world, "ipv4")
    [other] = [each for each in world.mesh.stand.nodes if each is not node]
    world.mesh.daemons[node.name].kill()
    for pid in world.mesh.envoys(node):
        os.kill(pid, signal.SIGKILL)
    for family in FAMILIES:
        until(lambda f=family: known(world, f) == mac(other), f"a move of {family} to {other.name}")  # type: ignore[misc]
        assert other is holder(world, family)

    world.mesh.daemons[node.name].start()
    world.mesh.until_tells(node)

    assert [other, other] == [holder(world, family) for family in FAMILIES]
