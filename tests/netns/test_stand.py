"""The stand itself, before there is a mesh on it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns import namespaces
from tests.netns.stand import FAMILIES, PROJECT, Family, Pod, Stand, stand


@dataclass(frozen=True)
class Pods:
    stand: Stand
    client: Pod
    same: Pod
    other: Pod


@pytest.fixture(scope="module")
def pods(standing: Stand) -> Pods:
    client = standing.node1.pod("client")
    same, other = standing.node1.pod("same"), standing.node2.pod("other")
    for server in (same, other):
        server.serve(8080).serve(5353, udp=True)
    return Pods(standing, client, same, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_pods_reach_each_other_as_themselves(pods: Pods, family: Family) -> None:
    """On one node and from node to node, by TCP and UDP, each sees the address of the other."""
    for server in (pods.same, pods.other):
        answer = pods.client.get(server.address(family), 8080)

        assert (server.name, pods.client.address(family)) == (answer.name, answer.peer)
        assert server.name == pods.client.send(server.address(family), 5353).name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_lan_reaches_nodes_and_pods(pods: Pods, family: Family) -> None:
    """The client outside gets to a process of a node, and to pods, without a translation of its address."""
    node = pods.stand.node2
    node.serve(9090, address=node.address(family))

    assert "node2" == pods.stand.outside.get(node.address(family), 9090).name
    assert pods.stand.outside.address(family) == pods.stand.outside.get(pods.other.address(family), 8080).peer


@pytest.mark.parametrize("family", FAMILIES)
def test_a_node_asks_with_its_own_address(pods: Pods, family: Family) -> None:
    """Not with one of the links to its pods."""
    node = pods.stand.node1

    seen = [node.get(server.address(family), 8080).peer for server in (pods.same, pods.other)]

    assert [node.address(family)] * 2 == seen


@pytest.mark.parametrize("family", FAMILIES)
def test_a_smaller_mtu_is_found_out(pods: Pods, family: Family) -> None:
    """What is larger than a link of the way arrives nevertheless, by the message of who cannot pass it on."""
    narrow = pods.stand.node2.pods.get("narrow") or pods.stand.node2.pod("narrow", mtu=1300)

    answer = narrow.get(pods.same.address(family), 8080, headers={"x-filler": "200000"})

    assert 200_000 == len(answer.saw["filler"])


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_as_those_of_kube_proxy_lead_to_a_backend(pods: Pods, family: Family) -> None:
    """For pods and for processes of the node alike."""
    node = pods.stand.node1
    address = {"ipv4": "10.96.0.77", "ipv6": "fd00:96::77"}[family]
    node.kube_proxy((address, 80, pods.other.address(family), 8080))

    assert ["other", "other"] == [asking.get(address).name for asking in (pods.client, node)]


def test_pods_at_a_bridge_reach_each_other() -> None:
    """The other kind of network plugin: one device of the node for all of its pods."""
    with stand(bridge="cni0") as built:
        client, same, other = built.node1.pod("client"), built.node1.pod("same"), built.node2.pod("other")
        servers = [same.serve(8080), other.serve(8080)]

        seen = [client.get(server.address(family), 8080).name for server in servers for family in FAMILIES]

    assert ["same", "same", "other", "other"] == seen


def test_what_a_killed_run_leaves_is_removed_by_the_next() -> None:
    """Namespaces, cgroups with their processes, mounts and folders, and nothing of runs that live."""
    script = """
import os, subprocess
from tests.netns.stand import stand
with stand() as built:
    built.node1.pod("client").serve(8080)
    place = built.run.directory / "bpf"
    place.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", place], check=True)
    print(built.run.name, flush=True)
    os.kill(os.getpid(), 9)
"""
    killed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT, check=False,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    name = killed.stdout.strip()
    before = left(name)

    with namespaces.run() as alive:
        namespaces.remove_leftovers()

        assert alive.directory.is_dir()
        assert (True, []) == (len(before) > 5, left(name))


def left(name: str) -> list[str]:
    directory = Path("/tmp") / name
    places = [namespaces.cgroup2() / name, directory, *namespaces.NAMESPACES.glob(f"{name}-*")]
    return [*map(str, filter(Path.exists, places)), *namespaces.mounts_below(directory)]
