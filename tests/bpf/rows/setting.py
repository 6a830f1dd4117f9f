"""A node with pods, services and neighbours: who is where, and how packets of theirs are written."""

from __future__ import annotations

from typing import NamedTuple

from datapath.kernel.layout import Reason, Service, ServiceFlag
from tests.bpf.frames import ACK, DESTINATION, FIN, TCP, UDP, extension, frame, ipv4, ipv6, tcp, udp

POD, NEIGHBOUR, STRANGER, CLIENT, NODE = "10.1.0.5", "10.1.0.6", "10.1.0.99", "198.51.100.7", "192.0.2.1"
POD6, NEIGHBOUR6, STRANGER6, CLIENT6, NODE6 = "fd00:1::5", "fd00:1::6", "fd00:1::99", "2001:db8:9::7", "2001:db8::1"
MESH, PLAIN, OPEN, GATEWAY, NAMES = "10.96.0.10", "10.96.0.11", "10.96.0.12", "203.0.113.10", "10.96.0.53"
MESH6, PLAIN6, OPEN6, GATEWAY6, NAMES6 = "fd00:96::10", "fd00:96::11", "fd00:96::12", "2001:db8:203::10", "fd00:96::53"
REMOTE, REMOTE6 = "10.2.0.8", "fd00:2::8"
LINK_LOCAL, NODES, ROUTERS, SOLICITED = "fe80::5", "ff02::1", "ff02::2", "ff02::1:ff00:6"
NODE_LINK, NODE_LINK6 = "169.254.1.1", "fe80::64"
SELF, SELF6 = "192.0.0.8", "100:0:0:1::8"
NODE_PORT, HTTP, HTTPS, DNS = 30080, 80, 443, 53
LOOPBACK = 1
OTHER_LINK = 7
P, S = ServiceFlag, Service
SERVICES = {
    (MESH, HTTP, TCP): P.PROXY,
    (MESH6, HTTP, TCP): P.PROXY,
    (PLAIN, HTTP, TCP): P(0),
    (PLAIN6, HTTP, TCP): P(0),
    (OPEN, HTTP, TCP): P.PROXY | P.FAIL_OPEN,
    (OPEN6, HTTP, TCP): P.PROXY | P.FAIL_OPEN,
    (GATEWAY, HTTPS, TCP): P.PROXY | P.EXTERNAL,
    (GATEWAY6, HTTPS, TCP): P.PROXY | P.EXTERNAL,
    (GATEWAY, HTTPS, UDP): P.PROXY | P.EXTERNAL,
    (NAMES, DNS, UDP): P(0),
    (NAMES6, DNS, UDP): P(0),
    (None, NODE_PORT, TCP): P.PROXY | P.EXTERNAL,
}


class Case(NamedTuple):
    sentence: str
    program: str
    packet: bytes
    reason: Reason
    mark: int = 0


def over4(source: str, destination: str, segment: bytes, protocol: int = TCP) -> bytes:
    return frame(ipv4(source, destination, protocol, segment))


def over6(source: str, destination: str, segment: bytes, protocol: int = TCP) -> bytes:
    return frame(ipv6(source, destination, protocol, segment))


def chain(count: int, segment: bytes, *, kinds: int = DESTINATION) -> bytes:
    """A segment behind extension headers, each of which says that one more follows."""
    for each in range(count):
        segment = extension(TCP if each == 0 else kinds, segment)
    return segment


R = Reason
POD_SENDS, BESIDE = "from_workload", "from_stranger"
ARRIVES, TO_POD, LEAVES, ON_LO = "from_network", "to_workload", "to_network", "from_host"
syn, ack, fin = tcp(40000, HTTP), tcp(40000, HTTP, ACK), tcp(40000, HTTP, FIN | ACK)
gate, port = tcp(40000, HTTPS), tcp(40000, NODE_PORT)
quic, query = udp(40000, HTTPS), udp(40000, DNS)
INNER4 = ipv4(GATEWAY, CLIENT, TCP, tcp(HTTPS, 40000, ACK))
INNER6 = ipv6(GATEWAY6, CLIENT6, TCP, tcp(HTTPS, 40000, ACK))
