"""Packets, and what each meets: one sentence a row. The tests of this kernel and of other kernels read them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from datapath.kernel import layout
from datapath.kernel.layout import (
    MARK_FROM_PROXY,
    MARK_FROM_PROXY_AS,
    MARK_MASK,
    MARK_REFUSE,
    MARK_TO_PROXY,
    AddressKey,
    NodeAddress,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Workload,
)
from tests.bpf.frames import (
    ACK,
    ARP,
    AUTHENTICATION,
    DESTINATION,
    FIN,
    FRAGMENT,
    GRE,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    LLDP,
    PUSH,
    QINQ,
    ROUTING,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    VLAN,
    arp,
    discovery,
    ethernet,
    extension,
    fragment,
    frame,
    icmp,
    ipv4,
    ipv6,
    tagged,
    tcp,
    udp,
)
from tests.bpf.stand import TC_ACT_SHOT, TC_ACT_UNSPEC, Stand

POD, NEIGHBOUR, STRANGER, CLIENT, NODE = "10.1.0.5", "10.1.0.6", "10.1.0.99", "198.51.100.7", "192.0.2.1"
POD6, NEIGHBOUR6, STRANGER6, CLIENT6, NODE6 = "fd00:1::5", "fd00:1::6", "fd00:1::99", "2001:db8:9::7", "2001:db8::1"
MESH, PLAIN, OPEN, GATEWAY, NAMES = "10.96.0.10", "10.96.0.11", "10.96.0.12", "203.0.113.10", "10.96.0.53"
MESH6, PLAIN6, OPEN6, GATEWAY6, NAMES6 = "fd00:96::10", "fd00:96::11", "fd00:96::12", "2001:db8:203::10", "fd00:96::53"
REMOTE, REMOTE6 = "10.2.0.8", "fd00:2::8"
LINK_LOCAL, NODES, ROUTERS, SOLICITED = "fe80::5", "ff02::1", "ff02::2", "ff02::1:ff00:6"
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
POD_SENDS, ARRIVES, TO_POD, LEAVES, ON_LO = "from_workload", "from_network", "to_workload", "to_network", "from_host"
syn, ack, fin = tcp(40000, HTTP), tcp(40000, HTTP, ACK), tcp(40000, HTTP, FIN | ACK)
gate, port = tcp(40000, HTTPS), tcp(40000, NODE_PORT)
quic, query = udp(40000, HTTPS), udp(40000, DNS)
INNER4 = ipv4(GATEWAY, CLIENT, TCP, tcp(HTTPS, 40000, ACK))
INNER6 = ipv6(GATEWAY6, CLIENT6, TCP, tcp(HTTPS, 40000, ACK))

STEERED = [
    Case("a pod's connection to a proxied service is Envoy's", POD_SENDS, over4(POD, MESH, syn), R.STEERED),
    Case("the same over IPv6", POD_SENDS, over6(POD6, MESH6, syn), R.STEERED),
    Case("so is what follows in it", POD_SENDS, over4(POD, MESH, ack), R.STEERED),
    Case("the same over IPv6, behind the opening", POD_SENDS, over6(POD6, MESH6, ack), R.STEERED),
    Case("and its data", POD_SENDS, over4(POD, MESH, tcp(40000, HTTP, PUSH | ACK, b"GET /")), R.STEERED),
    Case("and its end", POD_SENDS, over4(POD, MESH, fin), R.STEERED),
    Case("and its reset", POD_SENDS, over4(POD, MESH, tcp(40000, HTTP, RST)), R.STEERED),
    Case("and a segment without any flag", POD_SENDS, over4(POD, MESH, tcp(40000, HTTP, 0)), R.STEERED),
    Case("and one with all flags", POD_SENDS, over4(POD, MESH, tcp(40000, HTTP, 0xFF)), R.STEERED),
    Case("a pod reaches a gateway from inside", POD_SENDS, over4(POD, GATEWAY, gate), R.STEERED),
    Case("the same over IPv6, of a gateway", POD_SENDS, over6(POD6, GATEWAY6, gate), R.STEERED),
    Case("a pod reaches a node port of its node", POD_SENDS, over4(POD, NODE, port), R.STEERED),
    Case("the same over IPv6, of a node port", POD_SENDS, over6(POD6, NODE6, port), R.STEERED),
    Case("a service that fails open is Envoy's while there is one", POD_SENDS, over4(POD, OPEN, syn), R.STEERED),
    Case("the same over IPv6, of one that fails open", POD_SENDS, over6(POD6, OPEN6, syn), R.STEERED),
    Case("a client outside reaches a gateway", ARRIVES, over4(CLIENT, GATEWAY, gate), R.STEERED),
    Case("the same over IPv6, from outside", ARRIVES, over6(CLIENT6, GATEWAY6, gate), R.STEERED),
    Case("a client outside reaches a node port", ARRIVES, over4(CLIENT, NODE, port), R.STEERED),
    Case("the same over IPv6, of a node port from outside", ARRIVES, over6(CLIENT6, NODE6, port), R.STEERED),
    Case("a pod of another node reaches a gateway", ARRIVES, over4(REMOTE, GATEWAY, gate), R.STEERED),
    Case("a tunnel's inner packet reaches a gateway", "from_tunnel", over4(CLIENT, GATEWAY, gate), R.STEERED),
    Case("the same over IPv6, in a tunnel", "from_tunnel", over6(CLIENT6, GATEWAY6, gate), R.STEERED),
    Case("IPv4 options are skipped", POD_SENDS, frame(ipv4(POD, MESH, TCP, syn, options=bytes(4))), R.STEERED),
    Case("as many as there can be", POD_SENDS, frame(ipv4(POD, MESH, TCP, syn, options=bytes(40))), R.STEERED),
    Case("padding of a short frame is not looked at", POD_SENDS, over4(POD, MESH, syn).ljust(60, b"\0"), R.STEERED),
    Case("one extension header is skipped", POD_SENDS, over6(POD6, MESH6, chain(1, syn), DESTINATION), R.STEERED),
    Case("two are", POD_SENDS, over6(POD6, MESH6, chain(2, syn), DESTINATION), R.STEERED),
    Case("three are", POD_SENDS, over6(POD6, MESH6, chain(3, syn), DESTINATION), R.STEERED),
    Case("four are", POD_SENDS, over6(POD6, MESH6, chain(4, syn), DESTINATION), R.STEERED),
    Case("hop by hop options are", POD_SENDS, over6(POD6, MESH6, extension(TCP, syn), HOP_BY_HOP), R.STEERED),
    Case("a routing header is", POD_SENDS, over6(POD6, MESH6, extension(TCP, syn), ROUTING), R.STEERED),
    Case(
        "a long extension header is skipped whole",
        POD_SENDS,
        over6(POD6, MESH6, extension(TCP, syn, length=3), DESTINATION),
        R.STEERED,
    ),
    Case(
        "a fragment header without fragments is skipped",
        POD_SENDS,
        over6(POD6, MESH6, fragment(TCP, syn), FRAGMENT),
        R.STEERED,
    ),
    Case("bits of others in the mark are kept", POD_SENDS, over4(POD, MESH, syn), R.STEERED, 0x4000),
    Case("a foreign mark in our bits is replaced", ARRIVES, over4(CLIENT, GATEWAY, gate), R.STEERED, 0x0100),
]

PASSED = [
    Case("a pod's connection to another pod is untouched", POD_SENDS, over4(POD, REMOTE, syn), R.PASS_NO_SERVICE),
    Case("the same over IPv6, of pods", POD_SENDS, over6(POD6, REMOTE6, syn), R.PASS_NO_SERVICE),
    Case("a service's other port is nobody's", POD_SENDS, over4(POD, MESH, gate), R.PASS_NO_SERVICE),
    Case("the same over IPv6, of another port", POD_SENDS, over6(POD6, MESH6, gate), R.PASS_NO_SERVICE),
    Case(
        "a service's port over UDP is not its port over TCP", POD_SENDS, over4(POD, MESH, quic, UDP), R.PASS_NO_SERVICE
    ),
    Case("a node port of another machine is untouched", POD_SENDS, over4(POD, CLIENT, port), R.PASS_NO_SERVICE),
    Case("the same over IPv6, of another machine", POD_SENDS, over6(POD6, CLIENT6, port), R.PASS_NO_SERVICE),
    Case("a node port is no port of a pod", POD_SENDS, over4(POD, REMOTE, port), R.PASS_NO_SERVICE),
    Case("a node port is no port of a service", POD_SENDS, over4(POD, MESH, port), R.PASS_NO_SERVICE),
    Case("a forwarded node port is not of this node", ARRIVES, over4(CLIENT, REMOTE, port), R.PASS_NO_SERVICE),
    Case("a mesh service is not for outside", ARRIVES, over4(CLIENT, MESH, syn), R.PASS_NOT_EXTERNAL),
    Case("the same over IPv6, of a mesh service", ARRIVES, over6(CLIENT6, MESH6, syn), R.PASS_NOT_EXTERNAL),
    Case("nor is one in the kernel", ARRIVES, over4(CLIENT, PLAIN, syn), R.PASS_NOT_EXTERNAL),
    Case("nor its data", ARRIVES, over4(CLIENT, MESH, ack), R.PASS_NOT_EXTERNAL),
    Case("nor names", ARRIVES, over4(CLIENT, NAMES, query, UDP), R.PASS_NOT_EXTERNAL),
    Case("traffic to the node itself is untouched", ARRIVES, over4(CLIENT, NODE, tcp(40000, 22)), R.PASS_NO_SERVICE),
    Case("the same over IPv6, to the node", ARRIVES, over6(CLIENT6, NODE6, tcp(40000, 22)), R.PASS_NO_SERVICE),
    Case("traffic through the node is untouched", ARRIVES, over4(CLIENT, POD, tcp(40000, 8080)), R.PASS_NO_SERVICE),
    Case("port zero is a port of nobody", POD_SENDS, over4(POD, MESH, tcp(0, 0)), R.PASS_NO_SERVICE),
    Case("a broadcast is untouched", ARRIVES, over4(CLIENT, "255.255.255.255", udp(68, 67), UDP), R.PASS_NO_SERVICE),
    Case("a multicast is untouched", ARRIVES, over4(CLIENT, "224.0.0.251", udp(5353, 5353), UDP), R.PASS_NO_SERVICE),
    Case(
        "the same over IPv6, of a multicast",
        ARRIVES,
        over6(CLIENT6, "ff02::fb", udp(5353, 5353), UDP),
        R.PASS_NO_SERVICE,
    ),
    Case("address zero is no node's", ARRIVES, over4(CLIENT, "0.0.0.0", port), R.PASS_NO_SERVICE),
    Case(
        "a VXLAN packet between nodes is untouched", ARRIVES, over4(CLIENT, NODE, udp(5, 4789), UDP), R.PASS_NO_SERVICE
    ),
    Case("so is one of Geneve", ARRIVES, over4(CLIENT, NODE, udp(5, 6081), UDP), R.PASS_NO_SERVICE),
    Case("so is one of WireGuard", ARRIVES, over4(CLIENT, NODE, udp(51820, 51820), UDP), R.PASS_NO_SERVICE),
    Case("GRE has no ports", ARRIVES, over4(CLIENT, NODE, bytes(8), GRE), R.PASS_NO_PORTS),
    Case("IP in IP has none", ARRIVES, over4(CLIENT, NODE, ipv4(CLIENT, GATEWAY, TCP, gate), 4), R.PASS_NO_PORTS),
    Case(
        "IPv6 in IPv4 has none", ARRIVES, over4(CLIENT, NODE, ipv6(CLIENT6, GATEWAY6, TCP, gate), 41), R.PASS_NO_PORTS
    ),
    Case(
        "IPv6 in IPv6 has none", ARRIVES, over6(CLIENT6, NODE6, ipv6(CLIENT6, GATEWAY6, TCP, gate), 41), R.PASS_NO_PORTS
    ),
    Case("ESP has none", ARRIVES, over4(CLIENT, NODE, bytes(16), 50), R.PASS_NO_PORTS),
    Case(
        "an authentication header is not looked into",
        ARRIVES,
        over6(CLIENT6, NODE6, extension(TCP, gate), AUTHENTICATION),
        R.PASS_NO_PORTS,
    ),
    Case("SCTP is untouched", POD_SENDS, over4(POD, MESH, bytes(12), SCTP), R.PASS_NO_PORTS),
    Case("the same over IPv6, of SCTP", POD_SENDS, over6(POD6, MESH6, bytes(12), SCTP), R.PASS_NO_PORTS),
    Case("OSPF is untouched", ARRIVES, over4(CLIENT, "224.0.0.5", bytes(24), 89), R.PASS_NO_PORTS),
    Case("VRRP is untouched", ARRIVES, over4(CLIENT, "224.0.0.18", bytes(24), 112), R.PASS_NO_PORTS),
    Case("an unknown protocol is untouched", ARRIVES, over4(CLIENT, GATEWAY, bytes(8), 253), R.PASS_NO_PORTS),
    Case("no next header is untouched", ARRIVES, over6(CLIENT6, GATEWAY6, b"", 59), R.PASS_NO_PORTS),
    Case(
        "five extension headers are too many",
        POD_SENDS,
        over6(POD6, MESH6, chain(5, syn), DESTINATION),
        R.PASS_EXTENSIONS,
    ),
    Case("so are six", POD_SENDS, over6(POD6, MESH6, chain(6, syn), DESTINATION), R.PASS_EXTENSIONS),
    Case("from outside, too", ARRIVES, over6(CLIENT6, GATEWAY6, chain(5, gate), DESTINATION), R.PASS_EXTENSIONS),
]

UNDERWAY = [
    Case("a pod's connection that was there before goes on", POD_SENDS, over4(POD, PLAIN, ack), R.PASS_UNDERWAY),
    Case("the same over IPv6, of one before", POD_SENDS, over6(POD6, PLAIN6, ack), R.PASS_UNDERWAY),
    Case("to its end", POD_SENDS, over4(POD, PLAIN, fin), R.PASS_UNDERWAY),
    Case("to a service with a route it does not", POD_SENDS, over4(POD, MESH, ack), R.STEERED),
    Case("nor to one that fails open, while there is Envoy", POD_SENDS, over4(POD, OPEN, ack), R.STEERED),
]

ANYTHING = [
    Case("ARP passes from a pod", POD_SENDS, arp(POD, NEIGHBOUR), R.PASS_NOT_IP),
    Case("ARP passes to a pod", TO_POD, arp(POD, NEIGHBOUR), R.PASS_NOT_IP),
    Case("ARP passes from outside", ARRIVES, arp(CLIENT, GATEWAY), R.PASS_NOT_IP),
    Case("ARP passes to outside", LEAVES, arp(NODE, CLIENT), R.PASS_NOT_IP),
    Case("an ARP of nothing passes", POD_SENDS, ethernet(b"", ARP).ljust(60, b"\0"), R.PASS_NOT_IP),
    Case("LLDP passes", ARRIVES, ethernet(bytes(46), LLDP), R.PASS_NOT_IP),
    Case("a frame of length instead of type passes", ARRIVES, ethernet(bytes(46), 46), R.PASS_NOT_IP),
    Case("an unknown type passes", ARRIVES, ethernet(bytes(46), 0xFFFF), R.PASS_NOT_IP),
    Case("a frame with nothing in it passes", ARRIVES, ethernet(bytes(1), 0), R.PASS_NOT_IP),
    Case(
        "a tag that is still in the frame is not looked below",
        ARRIVES,
        tagged(ipv4(CLIENT, GATEWAY, TCP, gate), IPV4),
        R.PASS_NOT_IP,
    ),
    Case("nor is one of a provider", ARRIVES, tagged(ipv4(CLIENT, GATEWAY, TCP, gate), IPV4, tag=QINQ), R.PASS_NOT_IP),
    Case("nor on the way out", LEAVES, tagged(ipv4(CLIENT, GATEWAY, TCP, gate), IPV4, vlan=5), R.PASS_NOT_IP),
    Case(
        "a pod may not put a tag below a tag",
        POD_SENDS,
        tagged(ipv4(NEIGHBOUR, MESH, TCP, syn), IPV4),
        R.DROP_DOUBLE_TAGGED,
    ),
    Case(
        "nor a provider's", POD_SENDS, tagged(ipv6(NEIGHBOUR6, MESH6, TCP, syn), IPV6, tag=QINQ), R.DROP_DOUBLE_TAGGED
    ),
    Case("nor one of a VLAN", POD_SENDS, tagged(ipv4(POD, MESH, TCP, syn), IPV4, vlan=9), R.DROP_DOUBLE_TAGGED),
    Case("nor two", POD_SENDS, tagged(b"\0\0\x08\0" + ipv4(POD, MESH, TCP, syn), VLAN), R.DROP_DOUBLE_TAGGED),
    Case("ping passes from a pod", POD_SENDS, over4(POD, REMOTE, icmp(8), ICMP), R.PASS_NO_PORTS),
    Case("its answer passes", POD_SENDS, over4(POD, REMOTE, icmp(0), ICMP), R.PASS_NO_PORTS),
    Case("ping of a service's address passes", POD_SENDS, over4(POD, MESH, icmp(8), ICMP), R.PASS_NO_PORTS),
    Case("ping passes over IPv6", POD_SENDS, over6(POD6, REMOTE6, icmp(128), ICMPV6), R.PASS_NO_PORTS),
    Case("its answer passes over IPv6", POD_SENDS, over6(POD6, REMOTE6, icmp(129), ICMPV6), R.PASS_NO_PORTS),
    Case("ping passes from outside", ARRIVES, over4(CLIENT, GATEWAY, icmp(8), ICMP), R.PASS_NO_PORTS),
    Case("ping passes from outside over IPv6", ARRIVES, over6(CLIENT6, GATEWAY6, icmp(128), ICMPV6), R.PASS_NO_PORTS),
    Case("ping passes to a pod", TO_POD, over4(CLIENT, POD, icmp(8), ICMP), R.PASS_NO_PORTS),
    Case("ping passes to outside", LEAVES, over4(POD, CLIENT, icmp(8), ICMP), R.PASS_NO_PORTS),
    Case("IGMP passes from outside", ARRIVES, over4(CLIENT, "224.0.0.1", bytes(8), 2), R.PASS_NO_PORTS),
]

NEIGHBOURS = [
    Case(
        "a pod solicits neighbours from its link's address",
        POD_SENDS,
        over6(LINK_LOCAL, SOLICITED, icmp(135), ICMPV6),
        R.PASS_NO_PORTS,
    ),
    Case("and from its own", POD_SENDS, over6(POD6, SOLICITED, icmp(135), ICMPV6), R.PASS_NO_PORTS),
    Case(
        "and from none, to see that an address is free",
        POD_SENDS,
        over6("::", SOLICITED, icmp(135), ICMPV6),
        R.PASS_NO_PORTS,
    ),
    Case("it advertises itself", POD_SENDS, over6(LINK_LOCAL, NODES, icmp(136), ICMPV6), R.PASS_NO_PORTS),
    Case("it solicits routers", POD_SENDS, over6(LINK_LOCAL, ROUTERS, icmp(133), ICMPV6), R.PASS_NO_PORTS),
    Case(
        "it reports what it listens to, behind hop by hop options",
        POD_SENDS,
        over6(LINK_LOCAL, "ff02::16", extension(ICMPV6, icmp(143)), HOP_BY_HOP),
        R.PASS_NO_PORTS,
    ),
    Case(
        "it reports so before it has an address",
        POD_SENDS,
        over6("::", "ff02::16", extension(ICMPV6, icmp(143)), HOP_BY_HOP),
        R.PASS_NO_PORTS,
    ),
    Case("neighbours are found from outside", ARRIVES, over6("fe80::1", SOLICITED, icmp(135), ICMPV6), R.PASS_NO_PORTS),
    Case("and advertised", ARRIVES, over6("fe80::1", NODES, icmp(136), ICMPV6), R.PASS_NO_PORTS),
    Case("routers advertise themselves", ARRIVES, over6("fe80::1", NODES, icmp(134), ICMPV6), R.PASS_NO_PORTS),
    Case(
        "a pod may not open a connection from its link's address",
        POD_SENDS,
        over6(LINK_LOCAL, MESH6, syn),
        R.DROP_SPOOFED,
    ),
    Case("nor send datagrams from it", POD_SENDS, over6(LINK_LOCAL, NAMES6, query, UDP), R.DROP_SPOOFED),
    Case("nor a connection from none", POD_SENDS, over6("::", MESH6, syn), R.DROP_SPOOFED),
    Case(
        "ICMP of IPv6 in IPv4 is no neighbour's", POD_SENDS, over4("0.0.0.0", NODE, icmp(135), ICMPV6), R.DROP_SPOOFED
    ),
]

SOLICITS, ADVERTISES, ROUTER, REDIRECT = 135, 136, 134, 137
BESIDE = "from_stranger"
# What who is at a link says of itself to its neighbours, who believe it.
CLAIMS = [
    Case("a pod looks whether its address is free", POD_SENDS, arp("0.0.0.0", POD), R.PASS_NOT_IP),
    Case("a pod does not say that it has another pod's", POD_SENDS, arp(NEIGHBOUR, POD), R.DROP_SPOOFED),
    Case("nor that it has the node's", POD_SENDS, arp(NODE, POD), R.DROP_SPOOFED),
    Case("nor one of nobody", POD_SENDS, arp(STRANGER, POD), R.DROP_SPOOFED),
    Case("a pod advertises its own address", POD_SENDS, discovery(ADVERTISES, POD6, POD6), R.PASS_NO_PORTS),
    Case("and its link's", POD_SENDS, discovery(ADVERTISES, LINK_LOCAL, LINK_LOCAL), R.PASS_NO_PORTS),
    Case("not another pod's", POD_SENDS, discovery(ADVERTISES, POD6, NEIGHBOUR6), R.DROP_SPOOFED),
    Case("nor from its link's address", POD_SENDS, discovery(ADVERTISES, LINK_LOCAL, NEIGHBOUR6), R.DROP_SPOOFED),
    Case("nor the node's", POD_SENDS, discovery(ADVERTISES, POD6, NODE6), R.DROP_SPOOFED),
    Case("nor one of nobody over IPv6", POD_SENDS, discovery(ADVERTISES, POD6, STRANGER6), R.DROP_SPOOFED),
    Case("it looks for another pod", POD_SENDS, discovery(SOLICITS, POD6, NEIGHBOUR6), R.PASS_NO_PORTS),
    Case("it looks whether its own is free", POD_SENDS, discovery(SOLICITS, "::", POD6), R.PASS_NO_PORTS),
    Case("which keeps nobody from having his", POD_SENDS, discovery(SOLICITS, "::", NEIGHBOUR6), R.DROP_SPOOFED),
    Case("it is no router", POD_SENDS, discovery(ROUTER, LINK_LOCAL, "::"), R.DROP_SPOOFED),
    Case("and redirects nobody", POD_SENDS, discovery(REDIRECT, LINK_LOCAL, CLIENT6), R.DROP_SPOOFED),
    Case(
        "what comes from beyond the link is no neighbour's",
        POD_SENDS,
        discovery(ADVERTISES, POD6, NEIGHBOUR6, hops=254),
        R.PASS_NO_PORTS,
    ),
    Case("what is cut short says nothing", POD_SENDS, discovery(ADVERTISES, POD6, NEIGHBOUR6)[:60], R.PASS_NO_PORTS),
    Case("who is not known is not steered", BESIDE, over4(STRANGER, MESH, syn), R.PASS_STRANGER),
    Case("the same over IPv6, of who is not known", BESIDE, over6(STRANGER6, MESH6, syn), R.PASS_STRANGER),
    Case("he may not have a pod's address", BESIDE, over4(NEIGHBOUR, MESH, syn), R.DROP_SPOOFED),
    Case("the same over IPv6, of a pod's", BESIDE, over6(NEIGHBOUR6, MESH6, syn), R.DROP_SPOOFED),
    Case("nor the node's address", BESIDE, over4(NODE, MESH, syn), R.DROP_SPOOFED),
    Case("the same over IPv6, of the node's", BESIDE, over6(NODE6, MESH6, syn), R.DROP_SPOOFED),
    Case("he may ask for a pod", BESIDE, arp(STRANGER, NEIGHBOUR), R.PASS_STRANGER),
    Case("but not as another pod", BESIDE, arp(NEIGHBOUR, POD), R.DROP_SPOOFED),
    Case("nor as the node", BESIDE, arp(NODE, POD), R.DROP_SPOOFED),
    Case("he finds neighbours", BESIDE, discovery(SOLICITS, LINK_LOCAL, NEIGHBOUR6), R.PASS_STRANGER),
    Case("he says what he has", BESIDE, discovery(ADVERTISES, STRANGER6, STRANGER6), R.PASS_STRANGER),
    Case("and not what a pod has", BESIDE, discovery(ADVERTISES, STRANGER6, NEIGHBOUR6), R.DROP_SPOOFED),
    Case("nor is he a router", BESIDE, discovery(ROUTER, LINK_LOCAL, "::"), R.DROP_SPOOFED),
    Case("nor does he hide behind a tag", BESIDE, tagged(ipv4(NEIGHBOUR, MESH, TCP, syn), IPV4), R.DROP_DOUBLE_TAGGED),
    Case("once he is known he is himself", BESIDE, over4(POD, MESH, syn), R.PASS_STRANGER),
]

SPOOFED = [
    Case("a pod may not send from another pod's address", POD_SENDS, over4(NEIGHBOUR, MESH, syn), R.DROP_SPOOFED),
    Case("the same over IPv6, of another pod", POD_SENDS, over6(NEIGHBOUR6, MESH6, syn), R.DROP_SPOOFED),
    Case("nor from an address of nobody", POD_SENDS, over4(STRANGER, MESH, syn), R.DROP_SPOOFED),
    Case("the same over IPv6, of nobody", POD_SENDS, over6(STRANGER6, MESH6, syn), R.DROP_SPOOFED),
    Case("nor from the node's", POD_SENDS, over4(NODE, MESH, syn), R.DROP_SPOOFED),
    Case("the same over IPv6, of the node", POD_SENDS, over6(NODE6, MESH6, syn), R.DROP_SPOOFED),
    Case("nor from a client's", POD_SENDS, over4(CLIENT, GATEWAY, gate), R.DROP_SPOOFED),
    Case("nor from a service's", POD_SENDS, over4(MESH, REMOTE, syn), R.DROP_SPOOFED),
    Case("nor from loopback", POD_SENDS, over4("127.0.0.1", NODE, syn), R.DROP_SPOOFED),
    Case("the same over IPv6, of loopback", POD_SENDS, over6("::1", NODE6, syn), R.DROP_SPOOFED),
    Case("nor from address zero", POD_SENDS, over4("0.0.0.0", NODE, udp(68, 67), UDP), R.DROP_SPOOFED),
    Case("nor from a broadcast address", POD_SENDS, over4("255.255.255.255", MESH, syn), R.DROP_SPOOFED),
    Case("nor from a multicast address", POD_SENDS, over4("224.0.0.1", MESH, syn), R.DROP_SPOOFED),
    Case("nor from a link's address of IPv4", POD_SENDS, over4("169.254.0.5", MESH, syn), R.DROP_SPOOFED),
    Case("nor from what a pod sees as itself", POD_SENDS, over4(SELF, POD, syn), R.DROP_SPOOFED),
    Case("nor a ping", POD_SENDS, over4(NEIGHBOUR, REMOTE, icmp(8), ICMP), R.DROP_SPOOFED),
    Case("nor a ping over IPv6", POD_SENDS, over6(NEIGHBOUR6, REMOTE6, icmp(128), ICMPV6), R.DROP_SPOOFED),
    Case("nor a neighbour's solicitation", POD_SENDS, over6(NEIGHBOUR6, SOLICITED, icmp(135), ICMPV6), R.DROP_SPOOFED),
    Case("nor a datagram", POD_SENDS, over4(NEIGHBOUR, NAMES, query, UDP), R.DROP_SPOOFED),
    Case("nor a protocol that is not looked at", POD_SENDS, over4(NEIGHBOUR, REMOTE, bytes(12), SCTP), R.DROP_SPOOFED),
    Case(
        "nor behind too many extension headers",
        POD_SENDS,
        over6(NEIGHBOUR6, MESH6, chain(5, syn), DESTINATION),
        R.DROP_SPOOFED,
    ),
    Case("nor in fragments", POD_SENDS, frame(ipv4(NEIGHBOUR, MESH, TCP, syn, more=True)), R.DROP_SPOOFED),
    Case("nor in the last of them", POD_SENDS, frame(ipv4(NEIGHBOUR, MESH, TCP, bytes(8), fragment=9)), R.DROP_SPOOFED),
    Case("a mark does not excuse it", POD_SENDS, over4(NEIGHBOUR, MESH, syn), R.DROP_SPOOFED, 0x4000),
    Case("nobody's address is fine from outside", ARRIVES, over4(STRANGER, GATEWAY, gate), R.STEERED),
]

MALFORMED = [
    Case(
        "IPv4 of another version",
        ARRIVES,
        ethernet(ipv4(CLIENT, GATEWAY, TCP, gate, version=5), IPV4),
        R.PASS_MALFORMED,
    ),
    Case("IPv6 in a frame of IPv4", ARRIVES, ethernet(ipv6(CLIENT6, GATEWAY6, TCP, gate), IPV4), R.PASS_MALFORMED),
    Case(
        "IPv4 in a frame of IPv6",
        ARRIVES,
        ethernet(ipv4(CLIENT, GATEWAY, TCP, gate).ljust(60, b"\0"), IPV6),
        R.PASS_MALFORMED,
    ),
    Case("a header of no words", ARRIVES, frame(ipv4(CLIENT, GATEWAY, TCP, gate, words=0)), R.PASS_MALFORMED),
    Case("a header of four words", ARRIVES, frame(ipv4(CLIENT, GATEWAY, TCP, gate, words=4)), R.PASS_MALFORMED),
    Case(
        "a header that ends behind the packet",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, b"", words=15)),
        R.PASS_MALFORMED,
    ),
    Case(
        "IPv6 of another version",
        ARRIVES,
        ethernet(ipv6(CLIENT6, GATEWAY6, TCP, gate, version=7), IPV6),
        R.PASS_MALFORMED,
    ),
    Case("from an IPv4 address in IPv6", ARRIVES, over6(f"::ffff:{POD}", GATEWAY6, gate), R.PASS_MALFORMED),
    Case("to an IPv4 service in IPv6", ARRIVES, over6(CLIENT6, f"::ffff:{GATEWAY}", gate), R.PASS_MALFORMED),
    Case("to address zero in IPv6", ARRIVES, over6(CLIENT6, "::", port), R.PASS_MALFORMED),
    Case(
        "extension headers without end", ARRIVES, over6(CLIENT6, GATEWAY6, b"\x3c\xff", DESTINATION), R.PASS_MALFORMED
    ),
    Case(
        "an extension header longer than the packet",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, extension(TCP, gate)[:1] + b"\xff" + bytes(30), DESTINATION),
        R.PASS_MALFORMED,
    ),
    Case("nothing behind an IPv4 header", ARRIVES, frame(ipv4(CLIENT, GATEWAY, TCP, b"")), R.PASS_MALFORMED),
    Case("nothing behind an IPv6 header", ARRIVES, over6(CLIENT6, GATEWAY6, b""), R.PASS_MALFORMED),
    Case("zeros in a frame of IPv4", ARRIVES, ethernet(bytes(60), IPV4), R.PASS_MALFORMED),
    Case("zeros in a frame of IPv6", ARRIVES, ethernet(bytes(60), IPV6), R.PASS_MALFORMED),
    Case("ones in a frame of IPv4", ARRIVES, ethernet(b"\xff" * 60, IPV4), R.PASS_MALFORMED),
    Case("ones in a frame of IPv6", ARRIVES, ethernet(b"\xff" * 60, IPV6), R.PASS_MALFORMED),
    Case(
        "text in a frame of IPv4, which says that it is a fragment",
        ARRIVES,
        ethernet(b"GET / HTTP/1.1\r\nHost: nowhere.example\r\n\r\n", IPV4),
        R.PASS_NO_PORTS,
    ),
    Case(
        "a pod's packet of another version is dropped",
        POD_SENDS,
        ethernet(ipv4(POD, MESH, TCP, syn, version=6), IPV4),
        R.DROP_MALFORMED,
    ),
    Case("a pod's short header is dropped", POD_SENDS, frame(ipv4(POD, MESH, TCP, syn, words=4)), R.DROP_MALFORMED),
    Case("a pod may not be an IPv4 address in IPv6", POD_SENDS, over6(f"::ffff:{POD}", MESH6, syn), R.DROP_MALFORMED),
    Case("nor send to one", POD_SENDS, over6(POD6, f"::ffff:{MESH}", syn), R.DROP_MALFORMED),
    Case("nor to address zero", POD_SENDS, over6(POD6, "::", port), R.DROP_MALFORMED),
    Case("a pod's zeros are dropped", POD_SENDS, ethernet(bytes(60), IPV6), R.DROP_MALFORMED),
    Case("a pod's ones are dropped", POD_SENDS, ethernet(b"\xff" * 60, IPV4), R.DROP_MALFORMED),
    Case("what leaves is the kernel's own to check", TO_POD, ethernet(bytes(60), IPV4), R.PASS_MALFORMED),
    Case("outside, too", LEAVES, ethernet(bytes(60), IPV6), R.PASS_MALFORMED),
    Case("and on loopback", ON_LO, ethernet(bytes(60), IPV6), R.PASS_MALFORMED),
]

BALANCED = [
    Case("a service without a proxy is the kernel's", POD_SENDS, over4(POD, PLAIN, syn), R.REFUSED_NO_BACKEND),
    Case("the same over IPv6, of one without a proxy", POD_SENDS, over6(POD6, PLAIN6, syn), R.REFUSED_NO_BACKEND),
    Case("so are names", POD_SENDS, over4(POD, NAMES, query, UDP), R.REFUSED_NO_BACKEND),
    Case("the same over IPv6, of names", POD_SENDS, over6(POD6, NAMES6, query, UDP), R.REFUSED_NO_BACKEND),
    Case("datagrams are never Envoy's", ARRIVES, over4(CLIENT, GATEWAY, quic, UDP), R.REFUSED_NO_BACKEND),
]

ERRORS = [
    Case(
        "too big a packet of a gateway is for Envoy to know",
        ARRIVES,
        over4(CLIENT, GATEWAY, icmp(3, 4, INNER4), ICMP),
        R.STEERED_ERROR,
    ),
    Case(
        "so is a host that cannot be reached",
        ARRIVES,
        over4(CLIENT, GATEWAY, icmp(3, 1, INNER4), ICMP),
        R.STEERED_ERROR,
    ),
    Case(
        "so is a router between that says it",
        ARRIVES,
        over4(NEIGHBOUR, GATEWAY, icmp(11, 0, INNER4), ICMP),
        R.STEERED_ERROR,
    ),
    Case("so is a problem with a header", ARRIVES, over4(CLIENT, GATEWAY, icmp(12, 0, INNER4), ICMP), R.STEERED_ERROR),
    Case("the ports are enough", ARRIVES, over4(CLIENT, GATEWAY, icmp(3, 4, INNER4[:28]), ICMP), R.STEERED_ERROR),
    Case(
        "too big a packet of IPv6 is for Envoy to know",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, icmp(2, 0, INNER6), ICMPV6),
        R.STEERED_ERROR,
    ),
    Case(
        "so is a host that IPv6 cannot reach",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, icmp(1, 0, INNER6), ICMPV6),
        R.STEERED_ERROR,
    ),
    Case("so is a hop limit", ARRIVES, over6(CLIENT6, GATEWAY6, icmp(3, 0, INNER6), ICMPV6), R.STEERED_ERROR),
    Case(
        "so is a pod's own",
        POD_SENDS,
        over4(POD, MESH, icmp(3, 4, ipv4(MESH, POD, TCP, tcp(HTTP, 40000, ACK))), ICMP),
        R.STEERED_ERROR,
    ),
    Case(
        "an echo that looks like one is none",
        ARRIVES,
        over4(CLIENT, GATEWAY, icmp(8, 4, INNER4), ICMP),
        R.PASS_NO_PORTS,
    ),
    Case("nor is IPv6's", ARRIVES, over6(CLIENT6, GATEWAY6, icmp(128, 0, INNER6), ICMPV6), R.PASS_NO_PORTS),
    Case(
        "an error about who does not get it is a lie",
        ARRIVES,
        over4(CLIENT, NODE, icmp(3, 4, INNER4), ICMP),
        R.PASS_NO_PORTS,
    ),
    Case("the same over IPv6, of a lie", ARRIVES, over6(CLIENT6, NODE6, icmp(2, 0, INNER6), ICMPV6), R.PASS_NO_PORTS),
    Case("an error about nothing is passed", ARRIVES, over4(CLIENT, GATEWAY, icmp(3, 4), ICMP), R.PASS_NO_PORTS),
    Case("one about half a header is", ARRIVES, over4(CLIENT, GATEWAY, icmp(3, 4, INNER4[:12]), ICMP), R.PASS_NO_PORTS),
    Case("one without the ports is", ARRIVES, over4(CLIENT, GATEWAY, icmp(3, 4, INNER4[:20]), ICMP), R.PASS_NO_PORTS),
    Case(
        "one about half a header of IPv6 is",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, icmp(2, 0, INNER6[:39]), ICMPV6),
        R.PASS_NO_PORTS,
    ),
    Case(
        "one about a datagram is",
        ARRIVES,
        over4(CLIENT, GATEWAY, icmp(3, 3, ipv4(GATEWAY, CLIENT, UDP, quic)), ICMP),
        R.PASS_NO_PORTS,
    ),
    Case(
        "one about another's connection is",
        ARRIVES,
        over4(CLIENT, NODE, icmp(3, 4, ipv4(NODE, CLIENT, TCP, tcp(22, 40000, ACK))), ICMP),
        R.PASS_NO_PORTS,
    ),
    Case("a header without its type is", ARRIVES, over4(CLIENT, GATEWAY, b"", ICMP), R.PASS_NO_PORTS),
]

GUARDED = [
    Case(
        "Envoy's packets to a pod pass", TO_POD, over4(NODE, POD, tcp(50000, 8080)), R.PASS_FROM_PROXY, MARK_FROM_PROXY
    ),
    Case(
        "the same over IPv6, to a pod", TO_POD, over6(NODE6, POD6, tcp(50000, 8080)), R.PASS_FROM_PROXY, MARK_FROM_PROXY
    ),
    Case("and to another node", LEAVES, over4(NODE, REMOTE, tcp(50000, 8080)), R.PASS_FROM_PROXY, MARK_FROM_PROXY),
    Case("and into a tunnel", "to_tunnel", over4(NODE, REMOTE, tcp(50000, 80)), R.PASS_FROM_PROXY, MARK_FROM_PROXY),
    Case("even to a service", LEAVES, over4(NODE, MESH, syn), R.PASS_FROM_PROXY, MARK_FROM_PROXY),
    Case("others' packets to a pod pass", TO_POD, over4(REMOTE, POD, tcp(50000, 8080)), R.PASS_NO_SERVICE),
    Case("others' packets to outside pass", LEAVES, over4(POD, REMOTE, tcp(50000, 8080)), R.PASS_NO_SERVICE),
    Case("others' packets pass into a tunnel", "to_tunnel", over6(POD6, REMOTE6, tcp(5, 80)), R.PASS_NO_SERVICE),
    Case(
        "datagrams from a client's address are not recorded",
        LEAVES,
        over4(POD, REMOTE, query, UDP),
        R.PASS_NO_SERVICE,
        MARK_FROM_PROXY_AS,
    ),
    Case(
        "a process of the node reaches a service that it has marked",
        ON_LO,
        over4(NODE, MESH, syn),
        R.STEERED,
        MARK_TO_PROXY,
    ),
    Case("the same over IPv6, of a process", ON_LO, over6(NODE6, MESH6, syn), R.STEERED, MARK_TO_PROXY),
    Case("what follows is steered already", ON_LO, over4(NODE, MESH, ack), R.PASS_STEERED, MARK_TO_PROXY),
    Case("the same over IPv6, of what follows", ON_LO, over6(NODE6, MESH6, ack), R.PASS_STEERED, MARK_TO_PROXY),
    Case("by an address of the node it needs no mark", ON_LO, over4(NODE, NODE, port), R.STEERED),
    Case("Envoy does not reach itself over loopback", ON_LO, over4(NODE, GATEWAY, gate), R.DROP_LOOP, MARK_FROM_PROXY),
    Case(
        "the same over IPv6, of loopback and Envoy", ON_LO, over6(NODE6, GATEWAY6, gate), R.DROP_LOOP, MARK_FROM_PROXY
    ),
    Case("nor from its client's address", ON_LO, over4(POD, GATEWAY, gate), R.DROP_LOOP, MARK_FROM_PROXY_AS),
    Case("nor by a node port", ON_LO, over4(NODE, NODE, port), R.DROP_LOOP, MARK_FROM_PROXY),
    Case(
        "its answers on loopback pass",
        ON_LO,
        over4(GATEWAY, NODE, tcp(HTTPS, 40000, SYN | ACK)),
        R.PASS_FROM_PROXY,
        MARK_FROM_PROXY,
    ),
    Case(
        "even to who uses a service's port",
        ON_LO,
        over4(GATEWAY, GATEWAY, tcp(HTTPS, HTTPS, SYN | ACK)),
        R.PASS_FROM_PROXY,
        MARK_FROM_PROXY,
    ),
    Case(
        "it reaches a process of the node",
        ON_LO,
        over4(NODE, NODE, tcp(50000, 8080)),
        R.PASS_FROM_PROXY,
        MARK_FROM_PROXY,
    ),
    Case(
        "what processes of the node say to each other passes", ON_LO, over4(NODE, NODE, tcp(5, 8080)), R.PASS_NO_SERVICE
    ),
    Case("pings on loopback pass", ON_LO, over4(NODE, NODE, icmp(8), ICMP), R.PASS_NO_PORTS),
]

FRAGMENTS = [
    Case(
        "a fragment whose first was not seen passes",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, bytes(8), fragment=185, identification=77)),
        R.PASS_FRAGMENT,
    ),
    Case(
        "the same over IPv6, of a fragment",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, fragment(TCP, bytes(8), offset=185, identification=77), FRAGMENT),
        R.PASS_FRAGMENT,
    ),
    Case(
        "a first fragment has its ports",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, gate, more=True, identification=5)),
        R.STEERED,
    ),
    Case(
        "the next ones are known by it",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, bytes(8), fragment=3, more=True, identification=5)),
        R.STEERED,
    ),
    Case(
        "so is the last", ARRIVES, frame(ipv4(CLIENT, GATEWAY, TCP, bytes(8), fragment=4, identification=5)), R.STEERED
    ),
    Case(
        "another packet's is not",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, bytes(8), fragment=3, identification=6)),
        R.PASS_FRAGMENT,
    ),
    Case(
        "nor another sender's",
        ARRIVES,
        frame(ipv4(STRANGER, GATEWAY, TCP, bytes(8), fragment=3, identification=5)),
        R.PASS_FRAGMENT,
    ),
    Case(
        "a first fragment of IPv6 has its ports",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, fragment(TCP, gate, more=True, identification=5), FRAGMENT),
        R.STEERED,
    ),
    Case(
        "the next ones of IPv6 are known by it",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, fragment(TCP, bytes(8), offset=3, identification=5), FRAGMENT),
        R.STEERED,
    ),
    Case(
        "behind an extension header, too",
        ARRIVES,
        over6(CLIENT6, GATEWAY6, extension(FRAGMENT, fragment(TCP, bytes(8), offset=3, identification=5)), DESTINATION),
        R.STEERED,
    ),
    Case(
        "a first fragment that is too short for its ports is malformed",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, bytes(8), more=True)),
        R.PASS_MALFORMED,
    ),
    Case("fragments of ping pass", ARRIVES, frame(ipv4(CLIENT, GATEWAY, ICMP, icmp(8), more=True)), R.PASS_NO_PORTS),
    Case(
        "the later ones of ping, too",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, ICMP, bytes(8), fragment=9)),
        R.PASS_NO_PORTS,
    ),
    Case(
        "a pod's own fragment without its first passes",
        POD_SENDS,
        frame(ipv4(POD, MESH, TCP, bytes(8), fragment=9, identification=78)),
        R.PASS_FRAGMENT,
    ),
    Case(
        "a bit that says not to fragment is no fragment",
        ARRIVES,
        frame(ipv4(CLIENT, GATEWAY, TCP, gate, fragment=0x4000)),
        R.STEERED,
    ),
]

WHOLE = {
    "a TCP segment over IPv4": over4(CLIENT, GATEWAY, gate),
    "a TCP segment over IPv6": over6(CLIENT6, GATEWAY6, gate),
    "a datagram over IPv4": over4(CLIENT, NAMES, udp(40000, DNS, b""), UDP),
    "a datagram over IPv6": over6(CLIENT6, NAMES6, udp(40000, DNS, b""), UDP),
    "a segment behind an extension header": over6(CLIENT6, GATEWAY6, extension(TCP, gate), DESTINATION),
}
# What the kernel gives to a program at all: a whole network header. Shorter ones are sent over a link elsewhere.
CUT = [
    Case(f"{name} that is cut after {length} bytes", ARRIVES, packet[:length], R.PASS_MALFORMED)
    for name, packet in WHOLE.items()
    for length in range(34 if "IPv4" in name else 54, len(packet))
]

CASES = [
    *STEERED,
    *PASSED,
    *UNDERWAY,
    *ANYTHING,
    *NEIGHBOURS,
    *CLAIMS,
    *SPOOFED,
    *MALFORMED,
    *BALANCED,
    *ERRORS,
    *GUARDED,
    *FRAGMENTS,
    *CUT,
]


@contextmanager
def listening() -> Iterator[tuple[int, int]]:
    """Two sockets that listen on loopback, of either family, as Envoy's do."""
    with socket.socket(socket.AF_INET) as four, socket.socket(socket.AF_INET6) as six:
        for each, address in ((four, "127.0.0.1"), (six, "::1")):
            each.bind((address, 0))
            each.listen()
        yield four.fileno(), six.fileno()


@contextmanager
def furnished(folder: Path) -> Iterator[Stand]:
    """A node with two pods, of which one is behind the link that packets come from, and an Envoy that listens."""
    with Stand(folder) as stand, listening() as fds:
        services, workloads = stand.map(layout.SERVICES), stand.map(layout.WORKLOADS)
        nodes = stand.map(layout.NODE_ADDRESSES)
        for number, ((address, at, protocol), flags) in enumerate(SERVICES.items(), 1):
            key = ServiceKey(ip_address(address) if address else None, at, protocol)
            services.put(key, Service(flags, number))
        for address, link in ((POD, LOOPBACK), (POD6, LOOPBACK), (NEIGHBOUR, OTHER_LINK), (NEIGHBOUR6, OTHER_LINK)):
            workloads.put(AddressKey(ip_address(address)), Workload(link))
        for address in (NODE, NODE6):
            nodes.put(AddressKey(ip_address(address)), NodeAddress(2))
        for slot, fd in zip((0, layout.LISTENERS_PER_FAMILY), fds, strict=True):
            stand.listen(fd, slot)
        yield stand


def promised(case: Case) -> tuple[int, int]:
    """The action and the mark, which a verdict's name says."""
    if case.reason.name.startswith("DROP_"):
        return TC_ACT_SHOT, case.mark
    if case.reason.name.startswith("STEERED"):
        return TC_ACT_UNSPEC, (case.mark & ~MARK_MASK) | MARK_TO_PROXY
    if case.reason.name.startswith("REFUSED_"):
        return TC_ACT_UNSPEC, (case.mark & ~MARK_MASK) | MARK_REFUSE
    return TC_ACT_UNSPEC, case.mark
