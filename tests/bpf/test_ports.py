"""The node daemon where pods are at a bridge, or where no route would tell: each has its own link all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datapath.kernel import layout
from datapath.kernel.maps import opened
from datapath.resources import WORKLOADS
from tests.bpf.daemon import Node, node
from tests.unit.datapath.wire import packed, response, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, envoy: Path) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), envoy) as made:
        made.ip("link add br0 type bridge")
        made.ip("link set br0 up")
        made.ip("addr add 10.1.0.1/24 dev br0")
        made.ip("addr add fd00:1::1/64 dev br0 nodad")
        made.start()
        await made.connected(1)
        yield made


def pods(**addresses: list[str]) -> Any:
    found = [
        pb.Workload(namespace="default", name=name, addresses=map(packed, each)) for name, each in addresses.items()
    ]
    return response(("n1", pb.Workloads(workloads=found)), type_url=WORKLOADS)


def at(here: Node, link: str) -> set[str]:
    """The programs at a link."""
    index = here.index(link)
    return {name.partition("@")[0] for name in here.links() if name.endswith(f"@{index}")}


async def test_each_pod_of_a_bridge_is_at_its_port(here: Node) -> None:
    """Programs and entries are the port's, and none the bridge's; who is not known may be none of them."""
    here.plug("a0", "br0", "10.1.0.5/24", "fd00:1::5/64")
    here.plug("b0", "br0", "10.1.0.6/24", "fd00:1::6/64")
    here.plug("c0", "br0", "10.1.0.7/24", "fd00:1::7/64")
    await here.ads.say(pods(a=["10.1.0.5", "fd00:1::5"], b=["10.1.0.6", "fd00:1::6"]))
    await here.until(lambda: at(here, "b0") == {"from_workload", "to_workload"})
    await here.until(lambda: at(here, "c0") == {"from_stranger"})
    a, b = here.index("a0"), here.index("b0")

    assert {"10.1.0.5": a, "fd00:1::5": a, "10.1.0.6": b, "fd00:1::6": b} == here.pods()
    assert ({"from_workload", "to_workload"}, set()) == (at(here, "a0"), at(here, "br0"))


async def test_a_pod_that_is_told_later_is_no_stranger_any_more(here: Node) -> None:
    """It has the programs of pods from then on, and those alone; before that, its packets were its own."""
    here.plug("d0", "br0", "10.1.0.8/24")
    await here.ads.say(pods(a=["10.1.0.5"]))
    await here.until(lambda: at(here, "d0") == {"from_stranger"})
    await here.ads.say(pods(a=["10.1.0.5"], d=["10.1.0.8"]))
    await here.until(lambda: at(here, "d0") == {"from_workload", "to_workload"})

    assert {"10.1.0.5": here.index("a0"), "10.1.0.8": here.index("d0")} == here.pods()


async def test_a_pod_that_gives_itself_another_s_address_does_not_have_it(here: Node) -> None:
    """Neither of a pod that is known, nor of one that comes later; both stay where they are."""
    here.plug("thief", "br0", "10.1.0.20/24")
    here.plug("known", "br0", "10.1.0.21/24")
    known = {"thief": ["10.1.0.20"], "known": ["10.1.0.21"]}
    await here.ads.say(pods(**known))
    await here.until(lambda: 2 == len(here.pods()))
    for address in ("10.1.0.21/24", "10.1.0.22/24"):
        here.in_pod("thief", f"addr add {address} dev eth0")
    here.plug("later", "br0", "10.1.0.22/24")
    await here.ads.say(pods(**known, later=["10.1.0.22"]))
    await here.until(lambda: 3 == len(here.pods()))

    assert {
        "10.1.0.20": here.index("thief"),
        "10.1.0.21": here.index("known"),
        "10.1.0.22": here.index("later"),
    } == here.pods()


async def test_a_pod_is_found_when_its_address_comes_last(here: Node) -> None:
    """Nobody tells of addresses in its namespace; until it is found, the status says so."""
    here.plug("slow", "br0")
    await here.ads.say(pods(slow=["10.1.0.30"]))
    await here.until(lambda: at(here, "slow") == {"from_stranger"})
    told = {each["what"] for each in (await here.status())["findings"]}
    here.in_pod("slow", "addr add 10.1.0.30/24 dev eth0")
    await here.until(lambda: {"10.1.0.30": here.index("slow")} == here.pods())
    await here.until(lambda: at(here, "slow") == {"from_workload", "to_workload"})

    assert any("pod 10.1.0.30 has no link" in each for each in told)


async def test_a_pod_is_found_where_its_route_leads_to_the_node_itself(here: Node) -> None:
    """As where another plugin's programs forward: there is one route for all pods, by an address of the node."""
    for command in (
        "link add host0 type veth peer name net0",
        "link set host0 up",
        "addr add 10.3.0.1/32 dev host0",
        "route add 10.3.0.1 dev host0 scope link",
        "route add 10.3.0.0/24 via 10.3.0.1 dev host0 src 10.3.0.1",
    ):
        here.ip(command)
    here.plug("lxc1", "", "10.3.0.5/32")
    here.plug("lxc2", "", "10.3.0.6/32")
    await here.ads.say(pods(one=["10.3.0.5"]))
    await here.until(lambda: {"10.3.0.5": here.index("lxc1")} == here.pods())
    await here.until(lambda: at(here, "lxc1") == {"from_workload", "to_workload"})

    assert set() == at(here, "lxc2") | at(here, "host0")


async def test_addresses_of_services_that_kube_proxy_has_on_a_link_are_not_the_node_s(here: Node) -> None:
    """In its mode IPVS each is on a link that leads nowhere: a port of the node is none of theirs."""
    here.ip("link add kube-ipvs0 type bridge")
    for address in ("10.96.0.10/32", "203.0.113.7/32"):
        here.ip(f"addr add {address} dev kube-ipvs0")
    here.ip("addr add fd00:96::10/128 dev kube-ipvs0 nodad")
    await here.ads.say(response(("node port", service(("", 30080, ""), backends=[("10.1.0.5", 8080, 1)]))))
    await here.until(lambda: "198.51.100.1" in reached_at(here, 30080))

    assert not {"10.96.0.10", "203.0.113.7", "fd00:96::10"} & (reached_at(here, 30080) | own(here))
    assert any("kube-proxy is in mode IPVS" in each["what"] for each in (await here.status())["findings"])


async def test_addresses_of_links_are_the_node_s_and_no_service_s(here: Node) -> None:
    """Those that only neighbours reach the node by: nobody else may have them, and a node port is none of theirs."""
    await here.ads.say(response(("node port", service(("", 30081, ""), backends=[("10.1.0.5", 8080, 1)]))))
    for address in ("fe80::64/64", "169.254.1.1/32 scope link"):
        here.ip(f"addr add {address} dev br0" + " nodad" * (":" in address))
    await here.until(lambda: {"fe80::64", "169.254.1.1"} <= of_links(here))
    await here.until(lambda: "198.51.100.1" in reached_at(here, 30081))
    served = of_links(here) & (reached_at(here, 30081) | own(here))
    here.ip("addr del fe80::64/64 dev br0")
    await here.until(lambda: "fe80::64" not in of_links(here))

    assert (set(), True) == (served, "169.254.1.1" in of_links(here))


def reached_at(here: Node, port: int) -> set[str]:
    return {str(key.address) for key in here.services() if key.port == port}


def own(here: Node) -> set[str]:
    with opened(layout.NODE_ADDRESSES, here.pins.maps) as addresses:
        return {str(key.address) for key, _ in addresses.items()}


def of_links(here: Node) -> set[str]:
    with opened(layout.LINK_ADDRESSES, here.pins.maps) as addresses:
        return {str(key.address) for key, _ in addresses.items()}
