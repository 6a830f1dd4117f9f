"""The Gateway whose address is announced: which node the LAN finds it at, and what becomes of it when that one dies."""

from __future__ import annotations

import os
import re
import signal

from tests.netns.mesh import address_of, until
from tests.netns.stand import FAMILIES, Family, Node
from tests.netns.table import World, told


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


def killed(world: World) -> tuple[Node, Node]:
    """Who had the addresses, whose daemon and Envoys are killed, and the other, once it has them all."""
    node = holder(world, "ipv4")
    [other] = [each for each in world.mesh.stand.nodes if each is not node]
    world.mesh.daemons[node.name].kill()
    for pid in world.mesh.envoys(node):
        os.kill(pid, signal.SIGKILL)
    moved(world, other)
    return node, other


def moved(world: World, node: Node) -> None:
    """Wait until the outside knows the addresses under the node's MAC."""
    for family in FAMILIES:
        until(lambda f=family: known(world, f) == mac(node), f"a move of {family} to {node.name}")  # type: ignore[misc]


def taken_over(world: World, family: Family) -> str:
    """Who answers after that; all runs again afterwards."""
    node, other = killed(world)
    seen = told(world, world.outside.get(address_of("announced", family)))
    world.mesh.daemons[node.name].start()
    world.mesh.until_tells(node)
    return f"{seen}, {'by the other node' if holder(world, family) is other else 'by a node that came back'}"
