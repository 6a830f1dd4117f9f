"""The table where the node's pods are at a bridge, as another kind of network plugin has it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest

from datapath.announcement import gratuitous
from tests.netns.conftest import STAND
from tests.netns.mesh import address_of, until
from tests.netns.namespaces import batch
from tests.netns.stand import FAMILIES, Family, Pod
from tests.netns.table import ROWS, Row, World, populated

SAY: Final = (
    "import socket; raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(('eth0', 0)); raw.send({!r})"
)
NAMES = ("GAMMA", "L4", "direct", "outside", "host", "hairpin", "own backend", "consumer", "preserved")


@pytest.fixture(scope="module")
def bridged(request: pytest.FixtureRequest, envoy: Path) -> Iterator[World]:
    with populated(envoy, bridge="cni0") as made:
        request.node.stash[STAND] = made.mesh.stand
        yield made


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row", [row for row in ROWS if row.name in NAMES], ids=lambda row: row.asked)
def test_the_table_holds_at_a_bridge(bridged: World, row: Row, family: Family) -> None:
    """Each row sees what it expects."""
    seen = row.seen(bridged, family)

    assert row.expected == (row.expected if row.agrees(row.expected, seen) else seen)


@pytest.fixture(scope="module")
def late(bridged: World) -> Pod:
    """A pod of node1 that nobody has told of, but whose port the daemon has seen."""
    made = bridged.node.pod("late").serve(8080)
    pins = bridged.mesh.stand.run.directory / bridged.node.name / "bpf"
    until(lambda: [*pins.glob("tidegate/*/links/from_stranger@*")], "a program at the port of a pod that is not known")
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_that_is_not_known_yet_is_not_taken_for_a_forger(bridged: World, late: Pod, family: Family) -> None:
    """It reaches pods of its node and of the other, and Services without routes; it is asked as well."""
    reached = [late.get(pod.address(family), 8080).name for pod in (bridged.one, bridged.two)]
    served = late.get(address_of("two", family)).name

    assert (["one", "two"], "two") == (reached, served)
    assert "late" == bridged.client.get(late.address(family), 8080).name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("who", ["client", "late"])
def test_a_port_has_the_addresses_of_its_own_pod(bridged: World, late: Pod, who: str, family: Family) -> None:
    """Neither a pod nor one that is not known yet sends as its neighbour, not even to another neighbour."""
    forger, stolen = {"client": bridged.client, "late": late}[who], bridged.consumer.address(family)
    batch(forger.namespace.name, [f"address add {stolen} dev lo" + " nodad" * (family == "ipv6")])
    try:
        for whom in (bridged.one, bridged.two):
            forger.send(whom.address(family), 5353, text=f"stolen {who} {family}", source=stolen, timeout_s=0.3)
        answer = forger.get(address_of("shared", family), source=stolen, timeout_s=0.3)
    finally:
        batch(forger.namespace.name, [f"address del {stolen} dev lo"])

    heard = [*bridged.one.ask("heard"), *bridged.two.ask("heard")]

    assert ("TimeoutError", 0) == (answer.error, heard.count(f"stolen {who} {family}"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_neighbour_s_address_is_not_taken_by_saying_so(bridged: World, family: Family) -> None:
    """Who tells the bridge that a neighbour's address has his MAC is not heard: the neighbour is still found."""
    asked, forger = bridged.one.address(family), bridged.client
    own = forger.sh("cat /sys/class/net/eth0/address").strip()
    ours = gratuitous(ip_address(asked), bytes.fromhex(own.replace(":", "")))
    forger.sh(f"{sys.executable} -c {shlex.quote(SAY.format(ours))}")
    known = bridged.consumer.sh(f"ip neigh show to {asked}") + bridged.node.sh(f"ip neigh show to {asked}")

    assert "one" == bridged.consumer.get(asked, 8080).name
    assert own not in known
