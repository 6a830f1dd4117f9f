"""Frames that no test run would take: cut within their headers, and tagged, as a pod or somebody outside sends them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from datapath.kernel.layout import Direction, Reason, ServiceFlag
from tests.bpf.frames import IPV4, IPV6, QINQ, TCP, VLAN, extension, frame, ipv4, ipv6, tagged, tcp
from tests.bpf.lab import ADDRESSES, BACKEND, FAMILIES, OUTSIDE, POD, Lab, inside

GATEWAY, GATEWAY6 = "203.0.113.10", "2001:db8:203::10"
HTTPS = 443
FROM_WORKLOAD, FROM_NETWORK = Direction.FROM_WORKLOAD, Direction.FROM_NETWORK
CLIENT, CLIENT6 = ADDRESSES[OUTSIDE]
OWN, OWN6 = ADDRESSES[POD]
OTHER, _ = ADDRESSES[BACKEND]
SYN = tcp(40000, HTTPS)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("bpffs")) as lab:
        for gateway in (GATEWAY, GATEWAY6):
            lab.serve(gateway, HTTPS, ServiceFlag.PROXY | ServiceFlag.EXTERNAL)
        with lab.capture(FAMILIES[0]), lab.capture(FAMILIES[1]):
            yield lab


def counted(node: Lab, who: str, frames: list[bytes], reason: Reason, where: Direction) -> int:
    """How often a verdict was reached while somebody sent frames as they are."""
    before = node.count(reason, where)
    with inside(node.name(who)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        for each in frames:
            raw.send(each)
    return node.grown(reason, where, before, len(frames))


WHOLE = {
    "IPv4": (frame(ipv4(CLIENT, GATEWAY, TCP, SYN)), frame(ipv4(OWN, GATEWAY, TCP, SYN))),
    "IPv6": (frame(ipv6(CLIENT6, GATEWAY6, TCP, SYN)), frame(ipv6(OWN6, GATEWAY6, TCP, SYN))),
    "IPv6 with an extension header": (
        frame(ipv6(CLIENT6, GATEWAY6, 60, extension(TCP, SYN))),
        frame(ipv6(OWN6, GATEWAY6, 60, extension(TCP, SYN))),
    ),
}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_frame_that_is_cut_anywhere_is_malformed(node: Lab, name: str) -> None:
    """From outside it is left to the kernel, from a pod it is dropped: at every byte behind the Ethernet header."""
    from_outside, from_pod = ([whole[:length] for length in range(15, len(whole))] for whole in WHOLE[name])

    assert len(from_outside) == counted(node, OUTSIDE, from_outside, Reason.PASS_MALFORMED, FROM_NETWORK)
    assert len(from_pod) == counted(node, POD, from_pod, Reason.DROP_MALFORMED, FROM_WORKLOAD)


@pytest.mark.parametrize(
    ("sentence", "who", "sent", "reason"),
    [
        ("a whole frame is steered", OUTSIDE, WHOLE["IPv4"][0], Reason.STEERED),
        ("a pod's is, too", POD, WHOLE["IPv6"][1], Reason.STEERED),
        (
            "a tag of no VLAN says nothing",
            OUTSIDE,
            tagged(ipv4(CLIENT, GATEWAY, TCP, SYN), IPV4),
            Reason.STEERED,
        ),
        (
            "a VLAN's frames belong to the VLAN's own link",
            OUTSIDE,
            tagged(ipv4(CLIENT, GATEWAY, TCP, SYN), IPV4, vlan=5),
            Reason.PASS_TAGGED,
        ),
        (
            "the same over IPv6, of a provider's tag",
            OUTSIDE,
            tagged(ipv6(CLIENT6, GATEWAY6, TCP, SYN), IPV6, tag=QINQ, vlan=5),
            Reason.PASS_TAGGED,
        ),
        (
            "a pod does not hide another's address behind a tag",
            POD,
            tagged(ipv4(OTHER, GATEWAY, TCP, SYN), IPV4),
            Reason.DROP_SPOOFED,
        ),
        (
            "nor behind a VLAN's",
            POD,
            tagged(ipv4(OTHER, GATEWAY, TCP, SYN), IPV4, vlan=5),
            Reason.DROP_SPOOFED,
        ),
        (
            "nor behind two",
            POD,
            tagged(b"\0\0\x08\0" + ipv4(OTHER, GATEWAY, TCP, SYN), VLAN),
            Reason.DROP_DOUBLE_TAGGED,
        ),
        (
            "nor behind a provider's and another",
            POD,
            tagged(b"\0\0\x08\0" + ipv4(OTHER, GATEWAY, TCP, SYN), VLAN, tag=QINQ),
            Reason.DROP_DOUBLE_TAGGED,
        ),
        ("nor without", POD, frame(ipv4(OTHER, GATEWAY, TCP, SYN)), Reason.DROP_SPOOFED),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tag_changes_no_identity(node: Lab, sentence: str, who: str, sent: bytes, reason: Reason) -> None:
    """What a frame is wrapped in decides neither whose it is nor what is looked at."""
    where = FROM_WORKLOAD if who == POD else FROM_NETWORK

    assert 1 == counted(node, who, [sent], reason, where), sentence
