"""What the daemon changes of a node: it sees when somebody else takes it back, and a clean-up leaves nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from difflib import ndiff
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from datapath.kernel import layout
from datapath.kernel.layout import MapType, ServiceKey
from datapath.kernel.libbpf import call
from datapath.kernel.maps import NO_PREALLOC, created
from datapath.kernel.programs import running
from datapath.resources import ANNOUNCEMENTS, WORKLOADS
from tests.bpf.daemon import Node, node
from tests.bpf.lab import inside, run
from tests.unit.datapath.wire import packed, response, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEB: Final = ServiceKey(ip_address("10.96.0.1"), 80, 6)
# With the names of links that the settings below are of.
SETTINGS: Final = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/up0/rp_filter": "1",
    "ipv4/conf/br0/rp_filter": "1",
    "ipv4/conf/lo/rp_filter": "1",
    "ipv4/ip_local_port_range": "40000 65535",
    "ipv4/ip_local_reserved_ports": "50000,62000-62010",
}
LOCAL: Final = "ipv4/conf/lo/accept_local"
CHANGED: Final = (
    "ipv4/conf/up0/rp_filter",
    "ipv4/conf/br0/rp_filter",
    "ipv4/conf/lo/rp_filter",
    "ipv4/conf/lo/accept_local",
    "ipv4/ip_local_reserved_ports",
    "ipv4/tcp_migrate_req",
)
SHOWN: Final = (
    "ip rule",
    "ip -6 rule",
    "ip route show table all",
    "ip -6 route show table all",
    "nft list ruleset",
    "tc qdisc show",
    "ip maddress show",
    "ip link show",
)


@asynccontextmanager
async def furnished(directory: Path, envoy: Path) -> AsyncIterator[Node]:
    """A node with settings of its own, and a pod at a bridge; the daemon does not run yet."""
    async with node(directory, envoy) as made:
        made.ip("link add br0 type bridge")
        made.ip("link set br0 up")
        made.ip("addr add 10.1.0.1/24 dev br0")
        made.plug("a0", "br0", "10.1.0.5/24")
        for name, value in SETTINGS.items():
            put(made, name, value)
        yield made


async def run_all(here: Node) -> None:
    """The daemon has done all that it does."""
    here.start()
    await here.connected(1)
    pods = pb.Workloads(workloads=[pb.Workload(namespace="default", name="a", addresses=[packed("10.1.0.5")])])
    await here.ads.say(response(("n1", pods), type_url=WORKLOADS))
    await here.ads.say(response(("web", service(("10.96.0.1", 80, ""), backends=[("10.1.0.5", 8080, 1)]))))
    told = pb.Announcements(announcements=[pb.Announcement(address=packed("2001:db8:9::80"))])
    await here.ads.say(response(("n1", told), type_url=ANNOUNCEMENTS))
    await here.until(lambda: f"to_workload@{here.index('a0')}" in here.links())
    await here.until(lambda: WEB in here.services())
    await here.until(lambda: "33:33:ff:00:00:80" in shown(here, "ip maddress show"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, envoy: Path) -> AsyncIterator[Node]:
    async with furnished(tmp_path_factory.mktemp("node"), envoy) as made:
        await run_all(made)
        yield made


def put(here: Node, name: str, value: str) -> None:
    with inside(here.namespace):
        Path("/proc/sys/net", name).write_text(value)


def setting(here: Node, name: str) -> str:
    with inside(here.namespace):
        return " ".join(Path("/proc/sys/net", name).read_text().split())


def shown(here: Node, command: str) -> str:
    entered = ["nsenter", f"--net=/run/netns/{here.namespace}", *command.split()]
    return subprocess.run(entered, check=True, capture_output=True, text=True).stdout


def state(here: Node) -> dict[str, str]:
    """All settings of the node's network, and what commands show of it."""
    found = {command: shown(here, command) for command in SHOWN}
    with inside(here.namespace):
        for path in sorted(Path("/proc/sys/net").rglob("*")):
            if path.is_file() and path.stat().st_mode & 0o200:
                with suppress(OSError):  # some can only be written
                    found[str(path)] = path.read_text()
    return found


def differing(before: str, after: str) -> list[str]:
    """Lines that there were or are, but of link-local addresses: these come by themselves, a while after the link."""
    lines = [line for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    return [line for line in lines if "fe80::" not in line]


async def test_cleanup_leaves_the_node_as_it_was(tmp_path: Path, envoy: Path) -> None:
    """B17: no rule, route, table, filter, group of a link or setting is another one than before the daemon ran."""
    async with furnished(tmp_path, envoy) as here:
        before = state(here)
        await run_all(here)
        changed = {name for name, value in state(here).items() if before.get(name) != value}
        done, said = await here.ask("cleanup", "--force")
        after = state(here)

    assert (0, True) == (done, "nothing of Tidegate is left" in said)
    assert {f"/proc/sys/net/{name}" for name in CHANGED} <= changed
    assert [] == [line for name, value in after.items() for line in differing(before.get(name, ""), value)]
    assert before.keys() == after.keys()


async def test_settings_whose_memory_is_lost_are_named(tmp_path: Path, envoy: Path) -> None:
    """Of the daemon that comes after, and of a clean-up, which leaves them; with the command that sets them right."""
    command = "sysctl -w net.ipv4.conf.lo.accept_local=0 net.ipv4.tcp_migrate_req=0"
    async with node(tmp_path, envoy) as made:
        made.start()
        await made.connected(1)
        await made.until(lambda: "1" == setting(made, "ipv4/tcp_migrate_req") == setting(made, LOCAL))
        made.end()
        for each in [*made.state.iterdir()]:
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        made.start()
        await made.connected(2)
        _, told = await made.ask("status")
        code, said = await made.ask("cleanup", "--force")
        put(made, "ipv4/tcp_migrate_req", "0")
        put(made, LOCAL, "0")

    assert f"  tell it by `{command}`, where they were so" in told
    assert (0, False) == (code, "nothing of Tidegate is left" in said)
    assert said.endswith(f"set right those that are not your own: {command}\n")


async def test_ports_of_ours_are_reserved_where_processes_would_have_them(here: Node) -> None:
    """Beside what was reserved before."""
    assert "50000,61000-65535" == setting(here, "ipv4/ip_local_reserved_ports")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ipv4/conf/br0/rp_filter", "1", "2"),
        ("ipv4/conf/up0/rp_filter", "1", "2"),
        ("ipv4/conf/lo/accept_local", "0", "1"),
        ("ipv4/tcp_migrate_req", "0", "1"),
        ("ipv4/ip_local_reserved_ports", "50001", "50001,61000-65535"),
    ],
)
async def test_a_setting_that_somebody_changes_back_is_set_again(
    here: Node, name: str, value: str, expected: str
) -> None:
    """Within a moment, whichever it is."""
    put(here, name, value)

    await here.until(lambda: expected == setting(here, name))


@pytest.mark.parametrize(
    ("undone", "seen_by"),
    [
        ("ip rule del pref 9", "ip rule"),
        ("ip -6 rule del pref 9", "ip -6 rule"),
        ("ip route flush table 2004", "ip route show table 2004"),
        ("ip -6 route flush table 2004", "ip -6 route show table 2004"),
        ("nft delete table inet tidegate", "nft list ruleset"),
        ("nft flush chain inet tidegate prerouting", "nft list ruleset"),
    ],
)
async def test_a_rule_or_route_that_somebody_removes_is_put_back(here: Node, undone: str, seen_by: str) -> None:
    """B7: within a moment, as it was."""
    await here.until(lambda: "tidegate" in shown(here, "nft list ruleset"))
    before, repairs = shown(here, seen_by), repaired(here)
    shown(here, undone)

    await here.until(lambda: repaired(here) > repairs)
    await here.until(lambda: before == shown(here, seen_by))


def repaired(here: Node) -> int:
    """How often the daemon has found that somebody has taken what is its own; it may be back before anybody looks."""
    return here.log.read_text().count("changed by somebody else")


@pytest.mark.parametrize("pin", ["maps/svc", "maps/workloads", "maps/connections", "programs/steer", "links/steer"])
async def test_a_pin_that_somebody_removes_is_put_back(here: Node, pin: str) -> None:
    """With what it held: services, pods and connections are those that there were."""
    services, pods = here.services(), here.pods()
    path = here.pins.folder / pin
    path.unlink()

    await here.until(path.exists)
    await here.until(lambda: running(here.pins.links / "steer", here.pins))

    assert (services, pods) == (here.services(), here.pods())


async def test_a_map_that_somebody_puts_in_the_place_of_ours_is_not_used(here: Node) -> None:
    """It is ours again, with its entries."""
    services = here.services()
    with created(layout.SERVICES, MapType.HASH, 16, NO_PREALLOC) as other:
        (here.pins.maps / "svc").unlink()
        call("bpf_obj_pin", "svc", other.fd, os.fsencode(here.pins.maps / "svc"))

    await here.until(lambda: services == here.services())


@pytest.mark.parametrize("folder", ["tidegate", f"tidegate/{layout.LAYOUT}"])
async def test_all_pins_are_put_back(here: Node, folder: str) -> None:
    """Somebody has removed the folder, and with it detached everything."""
    services, links = here.services(), here.links()
    run("rm", "-r", str(here.pins.bpffs / folder))

    await here.until(lambda: links == here.links())
    await here.until(lambda: running(here.pins.links / "steer", here.pins))

    assert services == here.services()
