"""Who is on a link finds the node that announces an address there, before and after another one takes it over."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from datapath.announcing import Announcing, answers, mac, mac_entries
from datapath.conflicts import LEFT_S
from datapath.kernel import layout
from datapath.resources import Announcement
from tests.bpf.lab import NODE, OUTSIDE, UPLINK, Lab, inside

ADDRESSES = ("198.51.100.80", "2001:db8:9::80")
OTHER = bytes.fromhex("020000000c03")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab") / "bpffs") as lab:
        yield lab


@pytest.fixture
def announcing(lab: Lab) -> Announcing:
    return Announcing(lab.stand.map(layout.ANSWERS), lambda: {lab.links[OUTSIDE]: UPLINK})


def announced(lab: Lab, announcing: Announcing, *addresses: str) -> bytes:
    """The node has these addresses on its uplink, whose MAC is given back."""
    with inside(lab.name(NODE)):
        own = mac(UPLINK)
        assert own is not None
        wanted = [Announcement(ip_address(address), ("^up",)) for address in addresses]
        devices = {lab.links[OUTSIDE]: UPLINK}
        lab.stand.map(layout.OWN_MACS).put_all(mac_entries({lab.links[OUTSIDE]: own}).items())
        announcing.reconcile(answers(wanted, devices, {lab.links[OUTSIDE]: own}), told_now=True)
    return own


def forget(lab: Lab, address: str) -> None:
    subprocess.run(["ip", "-n", lab.name(OUTSIDE), "neigh", "flush", "to", address], check=True)


def neighbour(lab: Lab, address: str) -> str:
    """The MAC under which the outside knows an address."""
    command = ["ip", "-n", lab.name(OUTSIDE), "neigh", "show", "to", address]
    found = re.search(r"lladdr (\S+)", subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found[1] if found else ""


def ask(lab: Lab, address: str) -> None:
    """Make the outside ask for the address, and wait for what came of it: a refusal, or nobody there."""
    with inside(lab.name(OUTSIDE)):
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    with opened:
        opened.settimeout(0.5)
        opened.connect_ex((address, 9))


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_outside_finds_the_node_that_announces_an_address(lab: Lab, announcing: Announcing, address: str) -> None:
    """Who asks for an address on the link learns the MAC of the node's link; the node has no such address."""
    own = announced(lab, announcing, *ADDRESSES)
    forget(lab, address)
    ask(lab, address)

    assert own.hex(":") == neighbour(lab, address)
    assert (
        address
        not in subprocess.run(["ip", "-n", lab.name(NODE), "addr"], check=True, capture_output=True, text=True).stdout
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_who_knows_an_address_learns_of_its_new_node(lab: Lab, announcing: Announcing, address: str) -> None:
    """An announcement replaces what was known under another node's MAC."""
    announced(lab, announcing)
    own = announced(lab, announcing, *ADDRESSES)
    lab.ip(OUTSIDE, f"neigh replace {address} lladdr {OTHER.hex(':')} dev eth0 nud stale")
    with inside(lab.name(NODE)):
        announcing.announce()

    assert own.hex(":") == neighbour(lab, address)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_not_announced_any_more_is_not_answered(
    lab: Lab, announcing: Announcing, address: str
) -> None:
    """Once it is taken away, who asks for it finds nobody."""
    announced(lab, announcing, *ADDRESSES)
    announced(lab, announcing)
    forget(lab, address)
    ask(lab, address)

    assert "" == neighbour(lab, address)


def test_what_was_given_up_stays_so_until_a_server_says_otherwise(lab: Lab, announcing: Announcing) -> None:
    """A daemon that is told nothing now takes no address back from the node that has it since."""
    table = lab.stand.map(layout.ANSWERS)
    announced(lab, announcing, *ADDRESSES)
    desired = dict(table.items())
    table.delete_all(desired)
    with inside(lab.name(NODE)):
        announcing.reconcile(desired, told_now=False)
        given_up = dict(table.items())
        announcing.reconcile(desired, told_now=True)

    assert {} == given_up
    assert desired == dict(table.items())


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_a_neighbour_really_has_is_left_to_him(lab: Lab, address: str) -> None:
    """After one defence he is asked, and long after again; when he is gone, it is taken."""
    now, table = 0.0, lab.stand.map(layout.ANSWERS)
    announcing = Announcing(table, lambda: {lab.links[OUTSIDE]: UPLINK}, lambda: now)
    announced(lab, announcing, address)
    key = layout.AnswerKey(ip_address(address), lab.links[OUTSIDE])
    lab.ip(OUTSIDE, f"addr add {address}/128 dev eth0 nodad" if ":" in address else f"addr add {address}/32 dev eth0")
    taken = []
    for at in (1, 2, 3, 2 + LEFT_S):
        now = at
        if at < 3:
            table.delete_all([key])  # as the kernel does when it hears him
        announced(lab, announcing, address)
        taken.append(key in dict(table.items()))
    contested = announcing.contested
    lab.ip(OUTSIDE, f"addr del {address}/{128 if ':' in address else 32} dev eth0")
    now += 2 * LEFT_S
    announced(lab, announcing, address)

    assert [True, False, False, False] == taken
    assert {key} == contested
    assert key in dict(table.items())
    assert frozenset() == announcing.contested
    announced(lab, announcing)
