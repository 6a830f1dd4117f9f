"""What is a lie, or no packet at all."""

from __future__ import annotations

from datapath.kernel.layout import MARK_FROM_PROXY, MARK_FROM_PROXY_AS, MARK_REFUSE, MARK_TO_PROXY
from tests.bpf.frames import (
    ARP,
    DESTINATION,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    SCTP,
    TCP,
    UDP,
    arp,
    discovery,
    ethernet,
    extension,
    frame,
    icmp,
    ipv4,
    ipv6,
    tagged,
    udp,
)
from tests.bpf.rows.setting import (
    ARRIVES,
    BESIDE,
    CLIENT,
    CLIENT6,
    DNS,
    GATEWAY,
    GATEWAY6,
    LEAVES,
    LINK_LOCAL,
    MESH,
    MESH6,
    NAMES,
    NAMES6,
    NEIGHBOUR,
    NEIGHBOUR6,
    NODE,
    NODE6,
    NODE_LINK,
    NODE_LINK6,
    NODES,
    ON_LO,
    POD,
    POD6,
    POD_SENDS,
    REMOTE,
    REMOTE6,
    SELF,
    SOLICITED,
    STRANGER,
    STRANGER6,
    TO_POD,
    Case,
    R,
    chain,
    gate,
    over4,
    over6,
    port,
    query,
    syn,
)

# What the node's own programs and Envoy say to each other.
MARKS = (MARK_TO_PROXY, MARK_REFUSE, MARK_FROM_PROXY, MARK_FROM_PROXY_AS)
SOLICITS, ADVERTISES, ROUTER, REDIRECT = 135, 136, 134, 137
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
WHO = {"a pod": POD_SENDS, "who is not known": BESIDE}
# The node's own addresses that only its links have, as the gateway of pods.
OF_LINKS = [
    *(
        Case(f"{who} {what} at a link", program, packet, R.DROP_SPOOFED)
        for who, program in WHO.items()
        for what, packet in (
            ("advertises no address of the node's", discovery(ADVERTISES, LINK_LOCAL, NODE_LINK6)),
            ("keeps the node from none", discovery(SOLICITS, "::", NODE_LINK6)),
            ("does not look for neighbours as the node", discovery(SOLICITS, NODE_LINK6, NEIGHBOUR6)),
            ("does not send as the node", over6(NODE_LINK6, NODES, udp(546, 547), UDP)),
            ("does not say by ARP that it is the node", arp(NODE_LINK, POD)),
        )
    ),
    Case(
        "a pod looks for the node at its link", POD_SENDS, discovery(SOLICITS, LINK_LOCAL, NODE_LINK6), R.PASS_NO_PORTS
    ),
    Case("who is not known may, too", BESIDE, discovery(SOLICITS, LINK_LOCAL, NODE_LINK6), R.PASS_STRANGER),
    Case("a node port is not at an address of a link", POD_SENDS, over6(POD6, NODE_LINK6, port), R.PASS_NO_SERVICE),
]
# Linux takes some of it for ARP; each says that who sends it has his own address.
ODD_ARP = {
    "of IEEE 802": arp(POD, NEIGHBOUR, hardware=6),
    "of other hardware": arp(POD, NEIGHBOUR, hardware=7),
    "of another protocol": arp(POD, NEIGHBOUR, protocol=IPV6),
    "with longer MACs": arp(POD, NEIGHBOUR, lengths=(8, 4)),
    "with longer addresses": arp(POD, NEIGHBOUR, lengths=(6, 16)),
    "that is cut short": arp(POD, NEIGHBOUR)[:41],
    "of nothing": ethernet(b"", ARP).ljust(60, b"\0"),
}
ODD = [
    Case(f"ARP {what} is not for {who}", program, packet, R.DROP_SPOOFED)
    for who, program in WHO.items()
    for what, packet in ODD_ARP.items()
]
FALSE_DISCOVERY = {
    "advertises no pod": (ADVERTISES, POD6, NEIGHBOUR6),
    "advertises no node": (ADVERTISES, POD6, NODE6),
    "keeps no pod from its address": (SOLICITS, "::", NEIGHBOUR6),
    "is no router": (ROUTER, LINK_LOCAL, "::"),
    "redirects nobody": (REDIRECT, LINK_LOCAL, CLIENT6),
}
BEHIND = [
    Case(
        f"{who} {what} behind {count} extension headers",
        program,
        discovery(*said, extensions=count),
        R.DROP_SPOOFED,
    )
    for who, program in WHO.items()
    for what, said in FALSE_DISCOVERY.items()
    for count in range(1, 5)
] + [
    Case(
        "what is true may be behind four", POD_SENDS, discovery(ADVERTISES, POD6, POD6, extensions=4), R.PASS_NO_PORTS
    ),
    Case("but nothing behind five", POD_SENDS, discovery(ADVERTISES, POD6, POD6, extensions=5), R.DROP_EXTENSIONS),
    Case("where he is not known, too", BESIDE, discovery(ROUTER, LINK_LOCAL, "::", extensions=5), R.DROP_EXTENSIONS),
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
    *(
        Case(f"nor is a pod Envoy by mark {mark:#x}", POD_SENDS, over4(POD, MESH, syn), R.STEERED, 0x4000 | mark)
        for mark in MARKS
    ),
    *(
        Case(f"mark {mark:#x} of a pod goes no further", POD_SENDS, over4(POD, REMOTE, syn), R.PASS_NO_SERVICE, mark)
        for mark in MARKS
    ),
    *(
        Case(f"nor does {mark:#x} of who is not known", BESIDE, over4(STRANGER, MESH, syn), R.PASS_STRANGER, mark)
        for mark in MARKS
    ),
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
