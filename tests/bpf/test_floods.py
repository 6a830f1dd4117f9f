"""Floods of openings, by nobody who ever goes on: who means it is served meanwhile."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest

from datapath.kernel.layout import ServiceFlag
from tests.bpf.frames import TCP, frame, ipv4, ipv6, tcp
from tests.bpf.lab import ADDRESSES, FAMILIES, NODE, OUTSIDE, UPLINK, Lab, inside
from tests.bpf.translated import sealed

GATEWAY = ("203.0.113.10", "2001:db8:203::10")
HTTPS = 443
OPENINGS = 3000
LIARS = 100
"""Addresses that openings come from; they are on the link, and nobody has them."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("bpffs")) as lab:
        for gateway in GATEWAY:
            lab.serve(gateway, HTTPS, ServiceFlag.PROXY | ServiceFlag.EXTERNAL)
        yield lab


def mac(node: Lab, who: str, link: str) -> bytes:
    said = subprocess.run(
        ["ip", "-n", node.name(who), "-j", "link", "show", link], check=True, capture_output=True
    ).stdout
    return bytes.fromhex(json.loads(said)[0]["address"].replace(":", ""))


def openings(family: int) -> Iterator[bytes]:
    """IP packets, from one address after the other, with their checksums."""
    first = int(ip_address(ADDRESSES[OUTSIDE][family])) + 50
    for number in count():
        source = str(ip_address(first + number % LIARS))
        segment = tcp(1024 + number // LIARS, HTTPS)
        make = ipv6 if family else ipv4
        yield sealed(frame(make(source, GATEWAY[family], TCP, segment)))[14:]


def cookies(node: Lab) -> tuple[int, int]:
    """How many the node has sent in the place of remembering, and how many have come back."""
    with inside(node.name(NODE)):
        lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("TcpExt:"))
    found = dict(zip(names, map(int, values), strict=True))
    return found["SyncookiesSent"], found["SyncookiesRecv"]


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_flood_of_openings_costs_no_connection(node: Lab, family: int) -> None:
    """3,000 openings in the names of others fill what a listener remembers; 20 clients amid them reach it."""
    with inside(node.name(OUTSIDE)):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind(("eth0", 0))
    head = mac(node, NODE, UPLINK) + mac(node, OUTSIDE, "eth0") + (b"\x86\xdd" if family else b"\x08\x00")
    flood, served = openings(family), 0
    sent, returned = cookies(node)
    with link, node.capture(FAMILIES[family]) as listener:
        for _ in range(20):
            for _ in range(OPENINGS // 20):
                link.send(head + next(flood))
            with node.connect(OUTSIDE, (GATEWAY[family], HTTPS)) as client:
                server, peer = listener.accept()
                with server:
                    client.sendall(b"x")
                    served += server.recv(1) == b"x" and peer[0] == ADDRESSES[OUTSIDE][family]
    after = cookies(node)

    assert 20 == served
    assert after[0] - sent > OPENINGS // 2
    assert after[1] - returned > 10
