"""Whatever is killed, replaced or away, in every order: no request is lost that Envoy need not lose."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datapath.kernel.layout import NODE_ADDRESSES, AddressKey, NodeAddress
from datapath.kernel.maps import opened
from datapath.kernel.programs import detach
from tests.netns.another import CHANGES, LAYOUT, another
from tests.netns.load import load
from tests.netns.mesh import address_of, until
from tests.netns.stand import FAMILIES, PROJECT
from tests.netns.table import World, settle, told

MANY = 30_000
KILLS = 20


@pytest.fixture(autouse=True)
def whole(world: World) -> Iterator[None]:
    """All of it runs before a test, and again after it, by this version's code."""
    yield
    daemon = world.mesh.daemons["node1"]
    if daemon.code != PROJECT:
        daemon.kill()
        daemon.code = PROJECT
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


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_daemon_of_another_layout_takes_over_without_a_lost_request(
    world: World, tmp_path: Path, change: str
) -> None:
    """B4: its maps are filled before its programs are attached, up and down: 0 of the requests fail."""
    daemon, code = world.mesh.daemons["node1"], another(change, tmp_path)
    before = layouts(world)
    with load(world) as going:
        for version, layout in ((code, {str(LAYOUT)}), (PROJECT, before)):
            daemon.kill()
            daemon.code = version
            daemon.start()
            until(lambda there=layout: there == layouts(world), "the end of the other layout")  # type: ignore[misc]
            going.go_on(2000)
        failed = going.failed

    assert {} == failed


def test_a_daemon_of_another_layout_that_knows_nothing_leaves_what_there_is(world: World, tmp_path: Path) -> None:
    """B4: before a server, or the file, has said what its maps are to have, the other layout's programs go on."""
    daemon, before = world.mesh.daemons["node1"], layouts(world)
    daemon.kill()
    world.mesh.control_plane.kill()
    (world.mesh.stand.run.directory / "node1/state/accepted.json").unlink()
    daemon.code = another("services", tmp_path)
    daemon.start()
    world.mesh.until_tells(world.node)
    until(lambda: len(addresses(world)), "the first map of the new layout")
    answers = [world.client.get(address_of("near", family)).via for family in FAMILIES]
    both = layouts(world)
    world.mesh.control_plane.start()
    until(lambda: {str(LAYOUT)} == layouts(world), "the end of the other layout")

    assert (["envoy"] * 2, before | {str(LAYOUT)}) == (answers, both)


def addresses(world: World) -> dict[AddressKey, NodeAddress]:
    """Of node1, as the other layout has them."""
    maps = world.mesh.stand.run.directory / f"node1/bpf/tidegate/{LAYOUT}/maps"
    with opened(NODE_ADDRESSES, maps) as found:
        return dict(found.items())


def layouts(world: World) -> set[str]:
    """Those that have something pinned on node1."""
    return {each.name for each in (world.mesh.stand.run.directory / "node1/bpf/tidegate").iterdir()}


def test_without_envoy_a_service_that_may_do_without_it_is_served_by_the_kernel(world: World) -> None:
    """Its fail mode is OPEN: connections go to a backend as they are, until there is an Envoy again."""
    without_envoy(world)

    seen = {told(world, world.client.get(address_of("near", family))) for family in FAMILIES}
    world.mesh.daemons["node1"].start()
    settle(world)

    assert {"200 one by nobody, route none, for client"} == seen


def test_without_envoy_a_gateway_waits_and_then_refuses(world: World) -> None:
    """Its fail mode is CLOSED: a connection waits for as long as a restart takes, and is refused after it."""
    without_envoy(world)
    edge = address_of("edge", "ipv4")

    errors = [world.outside.get(edge, host="one.example.com", timeout_s=10).error for _ in range(2)]

    assert ["ConnectionRefusedError"] * 2 == errors


def test_a_killed_envoy_costs_what_it_had_and_no_new_connection(world: World) -> None:
    """Its daemon starts another; what connects meanwhile waits, or goes straight to a backend, and is served."""
    kills = 3
    with load(world, keep_alive=False) as going:
        for _ in range(kills):
            kill_envoy(world)
            going.go_on(1000, whatever=True)
            until(lambda: world.client.get(address_of("near", "ipv4")).via == "envoy", "the next Envoy")
        failed = sum(going.failed.values())

    assert failed <= kills * len(going.places) * 2


def test_a_pod_that_starts_without_a_daemon_is_in_the_mesh_when_there_is_one(world: World) -> None:
    """Until then Services with a route do not answer it, rather than past their route; all else of it works."""
    world.mesh.daemons["node1"].kill()
    late = world.mesh.pod(world.node, "late")
    world.mesh.declare()

    before = [late.get(address_of("far", family)).status for family in FAMILIES]
    plain = told(world, late.get(address_of("two", "ipv4")))
    world.mesh.daemons["node1"].start()
    until(lambda: late.get(address_of("far", "ipv4")).via == "envoy", "the new pod in the mesh")

    assert ([0, 0], "200 two by nobody, route none, for late") == (before, plain)
    assert "200 two by envoy, route far, for late" == told(world, late.get(address_of("far", "ipv6")))


def test_what_somebody_detaches_is_attached_again(world: World) -> None:
    """Who replaces the programs of a link takes its pod out of the mesh for a moment only."""
    links = world.mesh.stand.run.directory / "node1/bpf/tidegate"
    ours = {pin.name for pin in links.rglob("*_workload@*")}
    for pin in [*links.rglob("*_workload@*")]:
        detach(pin)

    until(lambda: ours == {pin.name for pin in links.rglob("*_workload@*")}, "programs at the links of pods")

    assert len(ours) >= 6
    assert "envoy" == world.client.get(address_of("near", "ipv4")).via


def test_an_envoy_whose_sockets_are_in_no_map_is_replaced(world: World) -> None:
    """All pins are lost while no daemon runs: the next one says that Envoy is not found, and starts one that is."""
    daemon, before = world.mesh.daemons["node1"], world.mesh.envoys(world.node)
    daemon.kill()
    shutil.rmtree(world.mesh.stand.run.directory / "node1/bpf/tidegate")
    daemon.start()
    world.mesh.until_tells(world.node)
    found = until(lambda: unfound(world), "what is said of an Envoy that is not found")
    until(lambda: not before & world.mesh.envoys(world.node), "the end of the old Envoy")
    until(lambda: world.mesh.status(world.node)["envoy"]["ready"], "the next Envoy")
    seen = {told(world, world.client.get(address_of("near", family))) for family in FAMILIES}

    assert (False, {"200 one by envoy, route near, for client"}) == (found["envoy"]["ready"], seen)


def unfound(world: World) -> Any:
    """What the status says while a finding is about Envoy's sockets."""
    found = world.mesh.status(world.node)
    return found if any("do not find the sockets" in each["what"] for each in found["findings"]) else None


def test_cleanup_leaves_nothing_behind(world: World) -> None:
    """No program, map, rule, route, table or Envoy; pods reach each other as before."""
    world.mesh.command(world.node, "cleanup", "--force")
    world.mesh.daemons["node1"].kill()
    pins = world.mesh.stand.run.directory / "node1/bpf/tidegate"

    rules = [family for family in ("-4", "-6") if "fwmark" in world.node.sh(f"ip {family} rule")]
    routes = world.node.sh("ip route show table 2004 2>/dev/null || true")

    assert (False, [], "", "") == (pins.exists(), rules, routes, world.node.sh("nft list ruleset").strip())
    assert frozenset() == world.mesh.envoys(world.node)
    assert "two" == world.client.get(world.two.ipv4, 8080).name


def without_envoy(world: World) -> None:
    """Nor anybody who would start one."""
    world.mesh.daemons["node1"].kill()
    kill_envoy(world)
    until(lambda: not world.node.sh("ss --no-header --listening --tcp --numeric sport = :15001"), "the end of Envoy")


def kill_envoy(world: World) -> None:
    """Until the kernel has closed its sockets: before, a connection may still come to one of them."""
    killed = world.mesh.envoys(world.node)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not killed & world.mesh.envoys(world.node), "the end of Envoy")
