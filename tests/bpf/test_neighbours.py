"""Who asks on a link for an address that is announced there is answered; who says that he has it now is believed."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from struct import pack

import pytest

from datapath.announcement import gratuitous, solicited_node_mac
from datapath.kernel import layout
from datapath.kernel.layout import Answer, AnswerKey, MacKey, NodeAddress, Reason
from datapath.kernel.maps import Map
from tests.bpf.frames import ICMPV6, checksum
from tests.bpf.stand import TC_ACT_UNSPEC, Stand

LOOPBACK, OTHER_LINK = 1, 7
OWN, ASKING, OTHER = bytes.fromhex("020000000a01"), bytes.fromhex("020000000b02"), bytes.fromhex("020000000c03")
OWN_ELSEWHERE = bytes.fromhex("020000000a07")
ADDRESS, ELSEWHERE, CLIENT = "192.0.2.80", "192.0.2.81", "192.0.2.7"
ADDRESS6, ELSEWHERE6, CLIENT6 = "2001:db8::80", "2001:db8::81", "2001:db8::7"
TC_ACT_REDIRECT = 7
SOLICITED_OVERRIDE, OVERRIDE = 0x60000000, 0x20000000


def arp(operation: int, sender: str, target: str, mac: bytes = ASKING, to: bytes = b"\xff" * 6) -> bytes:
    message = pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    message += mac + ip_address(sender).packed + bytes(6) + ip_address(target).packed
    return (to + mac + b"\x08\x06" + message).ljust(60, b"\0")


def discovery(
    kind: int, source: str, target: str, *, mac: bytes = ASKING, hops: int = 255, option: bytes = b""
) -> bytes:
    message = pack(">BBHI", kind, 0, 0, 0) + ip_address(target).packed + option
    ip = (
        pack(">IHBB", 6 << 28, len(message), ICMPV6, hops)
        + ip_address(source).packed
        + ip_address("ff02::1:ff00:80").packed
    )
    return solicited_node_mac(IPv6Address(target)) + mac + b"\x86\xdd" + ip + message


@pytest.fixture
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Two addresses are announced on the link that packets come from, two others on another link."""
    with Stand(tmp_path_factory.mktemp("bpffs")) as stand:
        answers = stand.map(layout.ANSWERS)
        for address, link in (
            (ADDRESS, LOOPBACK),
            (ADDRESS6, LOOPBACK),
            (ELSEWHERE, OTHER_LINK),
            (ELSEWHERE6, OTHER_LINK),
        ):
            answers.put(AnswerKey(ip_address(address), link), Answer(OWN))
        stand.map(layout.OWN_MACS).put_all((MacKey(each), NodeAddress(1)) for each in (OWN, OWN_ELSEWHERE))
        yield stand


@pytest.fixture
def answers(stand: Stand) -> Map[AnswerKey, Answer]:
    return stand.map(layout.ANSWERS)


def test_an_arp_request_is_answered(stand: Stand) -> None:
    """The answer goes to who asked, from the MAC of the link, and says that MAC."""
    outcome = stand.run("from_network", arp(1, CLIENT, ADDRESS))
    expected = (
        pack(">HHBBH", 1, 0x0800, 6, 4, 2) + OWN + ip_address(ADDRESS).packed + ASKING + ip_address(CLIENT).packed
    )

    assert (TC_ACT_REDIRECT, (Reason.NEIGHBOUR_ANSWERED,)) == (outcome.action, outcome.reasons)
    assert ASKING + OWN + b"\x08\x06" + expected == outcome.packet[:42]


def test_an_arp_probe_is_answered(stand: Stand) -> None:
    """Who is about to take the address, and has none yet, is told that it is taken."""
    outcome = stand.run("from_network", arp(1, "0.0.0.0", ADDRESS))

    assert (TC_ACT_REDIRECT, (Reason.NEIGHBOUR_ANSWERED,)) == (outcome.action, outcome.reasons)


@pytest.mark.parametrize(
    "packet",
    [
        arp(1, CLIENT, ELSEWHERE),
        arp(1, CLIENT, CLIENT),
        arp(2, CLIENT, ADDRESS),
        arp(1, ADDRESS, ADDRESS, mac=OWN),
        gratuitous(ip_address(ADDRESS), OWN_ELSEWHERE),
        gratuitous(ip_address(ADDRESS6), OWN_ELSEWHERE),
        arp(1, CLIENT, ADDRESS)[:41],
        arp(1, CLIENT, ADDRESS).replace(b"\x08\x00\x06\x04", b"\x08\x01\x06\x04"),
        discovery(135, CLIENT6, ELSEWHERE6),
        discovery(135, CLIENT6, CLIENT6),
        discovery(135, CLIENT6, ADDRESS6, hops=254),
        discovery(135, CLIENT6, ADDRESS6)[:77],
        discovery(136, ADDRESS6, ADDRESS6, mac=OWN),
        discovery(133, CLIENT6, ADDRESS6),
    ],
    ids=[
        "an address of another link",
        "an address that is not announced",
        "an ARP answer",
        "our own gratuitous ARP",
        "that of another link of ours on the same segment",
        "the same over IPv6",
        "an ARP request cut short",
        "ARP for another protocol",
        "an IPv6 address of another link",
        "an IPv6 address that is not announced",
        "a solicitation from beyond the link",
        "a solicitation cut short",
        "our own advertisement",
        "another kind of discovery",
    ],
)
def test_all_else_of_neighbours_passes(stand: Stand, answers: Map[AnswerKey, Answer], packet: bytes) -> None:
    """What does not ask for an address that is announced on this link passes unchanged, and takes nothing away."""
    outcome = stand.run("from_network", packet)

    assert (TC_ACT_UNSPEC, packet) == (outcome.action, outcome.packet)
    assert 4 == len(dict(answers.items()))


@pytest.mark.parametrize("option", [b"", b"\x01\x01" + ASKING, b"\x0e\x01" + bytes(6) + b"\x01\x01" + ASKING])
def test_a_solicitation_is_answered(stand: Stand, option: bytes) -> None:
    """The advertisement goes to who asked, with a right checksum, whatever options the question had."""
    outcome = stand.run("from_network", discovery(135, CLIENT6, ADDRESS6, option=option))
    ethernet, ip, message = outcome.packet[:14], outcome.packet[14:54], outcome.packet[54:]
    pseudo = ip[8:40] + pack(">II", len(message), ICMPV6)

    assert (TC_ACT_REDIRECT, (Reason.NEIGHBOUR_ANSWERED,)) == (outcome.action, outcome.reasons)
    assert ASKING + OWN + b"\x86\xdd" == ethernet
    assert pack(">IHBB", 6 << 28, 32, ICMPV6, 255) + ip_address(ADDRESS6).packed + ip_address(CLIENT6).packed == ip
    assert pack(">BB", 136, 0) == message[:2]
    assert pack(">I", SOLICITED_OVERRIDE) + ip_address(ADDRESS6).packed + b"\x02\x01" + OWN == message[4:]
    assert 0 == checksum(pseudo + message)


def test_a_probe_of_ipv6_is_answered_to_all(stand: Stand) -> None:
    """Who has no address yet is told on the group of all nodes, as an answer that nobody has solicited."""
    outcome = stand.run("from_network", discovery(135, "::", ADDRESS6))

    assert TC_ACT_REDIRECT == outcome.action
    assert bytes.fromhex("333300000001") + OWN == outcome.packet[:12]
    assert ip_address("ff02::1").packed == outcome.packet[38:54]
    assert pack(">I", OVERRIDE) == outcome.packet[58:62]


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6])
def test_an_address_is_given_up_to_who_says_that_he_has_it(
    stand: Stand, answers: Map[AnswerKey, Answer], address: str
) -> None:
    """After another node's announcement nobody is answered for the address any more, without a daemon's help."""
    announced = stand.run("from_network", gratuitous(ip_address(address), OTHER))
    question = arp(1, CLIENT, ADDRESS) if address == ADDRESS else discovery(135, CLIENT6, ADDRESS6)
    asked = stand.run("from_network", question)

    assert (TC_ACT_UNSPEC, (Reason.NEIGHBOUR_YIELDED,)) == (announced.action, announced.reasons)
    assert (TC_ACT_UNSPEC, question) == (asked.action, asked.packet)
    assert AnswerKey(ip_address(address), LOOPBACK) not in dict(answers.items())
    assert 3 == len(dict(answers.items()))


@pytest.mark.parametrize("address", [ELSEWHERE, ELSEWHERE6])
def test_an_address_of_another_link_stays(stand: Stand, answers: Map[AnswerKey, Answer], address: str) -> None:
    """What is said on one link takes nothing away on another."""
    stand.run("from_network", gratuitous(ip_address(address), OTHER))

    assert 4 == len(dict(answers.items()))
