"""Where things are on the node, and what its links are to have."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from datapath.flows import record, text
from datapath.kernel.layout import AddressKey, Event, NodeAddress, Workload
from datapath.probe import file_system, missing_capabilities, mounted, older
from datapath.topology import Role, Topology, inlets, link_entries, node_entries, primary, roles, workload_entries

POD, OTHER = ip_address("10.1.0.1"), ip_address("fd00::1")
TOPOLOGY = Topology(
    pods={POD: 7, OTHER: 7},
    addresses={ip_address("192.168.0.1"): 2, ip_address("192.168.1.1"): 3, ip_address("2001:db8::1"): 2},
    link_addresses={ip_address("fe80::1"): 7},
    devices={2: Role.NETWORK, 1: Role.HOST},
    links={2: "eth0", 3: "eth1", 7: "br0"},
)


def test_a_pod_s_link_has_the_role_of_pods() -> None:
    """A port at which nobody is known has one of its own, until somebody is."""
    known = replace(TOPOLOGY, strangers=frozenset({7, 8}))

    assert {7: Role.WORKLOAD, 8: Role.STRANGER, 2: Role.NETWORK, 1: Role.HOST} == roles(known)


def test_packets_of_a_port_come_from_its_bridge() -> None:
    """Others from the link itself; one that went a moment ago has no name."""
    ported = replace(TOPOLOGY, bridges={7: 3, 8: 4}, strangers=frozenset({8}))

    assert ["eth0", "eth1"] == inlets(ported)
    assert ["eth0", "br0"] == inlets(TOPOLOGY)


def test_a_link_that_leads_off_the_node_is_that() -> None:
    """Also where a pod is behind it."""
    assert {2: Role.TUNNEL} == roles(Topology(pods={POD: 2}, devices={2: Role.TUNNEL}))


def test_entries_are_by_address() -> None:
    """Of pods, of the node, and of its links alone."""
    assert {AddressKey(POD): Workload(7), AddressKey(OTHER): Workload(7)} == workload_entries(TOPOLOGY)
    assert NodeAddress(3) == node_entries(TOPOLOGY)[AddressKey(ip_address("192.168.1.1"))]
    assert {AddressKey(ip_address("fe80::1")): NodeAddress(7)} == link_entries(TOPOLOGY)


@pytest.mark.parametrize(("version", "address"), [(4, "192.168.0.1"), (6, "2001:db8::1")])
def test_the_first_address_of_a_family_is_what_the_node_sends_from(version: int, address: str) -> None:
    """They come in that order."""
    assert ip_address(address) == primary(TOPOLOGY, version)


def test_a_node_may_have_one_family() -> None:
    """Then it has no address of the other."""
    assert None is primary(Topology(), 6)


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", []),
        ("000000c000003000", []),
        ("0000000000003000", ["CAP_PERFMON", "CAP_BPF"]),
        ("0", ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_PERFMON", "CAP_BPF"]),
    ],
)
def test_missing_capabilities_are_named(effective: str, missing: list[str]) -> None:
    """By what /proc says."""
    assert missing == missing_capabilities(f"Name:\tx\nCapEff:\t{effective}\n")


def test_a_kernel_that_is_too_old_is_told_of_each_thing_that_it_has_not() -> None:
    """With the way out."""
    assert [] == older([])
    assert "the kernel has no BPF sk_lookup: run Linux 5.10 or newer, with its BPF features built in" in older(
        ["tc", "sk_lookup"]
    )


def test_the_innermost_and_last_mount_counts(tmp_path: Path) -> None:
    """One may be mounted over another."""
    lines = [
        "1 1 0:1 / / rw - ext4 root rw",
        f"2 1 0:2 / {tmp_path} rw - tmpfs t rw",
        f"3 1 0:3 / {tmp_path} rw shared:1 - bpf b rw",
    ]
    (tmp_path / "below").mkdir()

    assert ["bpf", "bpf", "ext4", ""] == [
        file_system("\n".join(lines), path)
        for path in (tmp_path, tmp_path / "below", tmp_path.parent, tmp_path / "none")
    ]


def test_who_names_the_wrong_place_is_told_where_such_a_file_system_is() -> None:
    """If there is one."""
    mounts = "1 1 0:1 / /sys/fs/cgroup/unified rw - cgroup2 none rw"

    assert [": /sys/fs/cgroup/unified", ""] == [mounted(mounts, kind) for kind in ("cgroup2", "bpf")]


def test_a_record_says_reason_and_direction_by_name() -> None:
    """And the link; a word that a newer program has is its number."""
    event = Event(1_500_000_000, POD, OTHER, 40000, 80, 6, 7, 2, 16, 0)
    links = {7: "br0"}

    known, unknown = (record(each, lambda i: links[i]) for each in (event, event._replace(reason=250, ifindex=0)))

    assert "1.500000 drop_spoofed from_workload tcp 10.1.0.1:40000 -> [fd00::1]:80 at br0 (2 more were not told)" == (
        text(known)
    )
    assert ("250", "") == (unknown["reason"], unknown["link"])
