"""What is said on a link of an address that this node has taken over: a gratuitous ARP, an unsolicited advertisement.

Those who know the address under another node's MAC learn of this one's; the node that had it gives it up.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import pack
from typing import Final

_ETHERTYPE_IPV4: Final = 0x0800
_ETHERTYPE_ARP: Final = 0x0806
_ETHERTYPE_IPV6: Final = 0x86DD
_BROADCAST: Final = b"\xff" * 6
_ALL_NODES: Final = IPv6Address("ff02::1")
_SOLICITED_NODE: Final = IPv6Address("ff02::1:ff00:0").packed[:13]
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
_ICMPV6: Final = 58
_HOP_LIMIT: Final = 255
_SOLICITATION: Final = 135
_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_TARGET_MAC: Final = 2  # an option
_REQUEST: Final = 1
_SHORTEST_FRAME: Final = 60


def gratuitous(address: IPv4Address | IPv6Address, mac: bytes) -> bytes:
    """The frame to send from the link with this MAC."""
    return _arp(address, mac) if address.version == 4 else _advertisement(address, mac)


def asking(address: IPv4Address | IPv6Address, mac: bytes) -> bytes:
    """The frame that asks who has an address, from nobody's: RFC 5227, section 2.1.1; RFC 4862, section 5.4.2."""
    return _arp(address, mac, sender=bytes(4)) if address.version == 4 else _solicitation(address, mac)


def solicited_node_mac(address: IPv6Address) -> bytes:
    """The group of Ethernet on which an address is asked for: a link has to take in what is sent to it."""
    return b"\x33\x33\xff" + address.packed[-3:]


def _arp(address: IPv4Address, mac: bytes, sender: bytes = b"") -> bytes:
    """A request, since some take in no answer that they have not asked for; RFC 5227, section 3."""
    own = sender or address.packed
    message = pack(">HHBBH", 1, _ETHERTYPE_IPV4, 6, 4, _REQUEST) + mac + own + bytes(6) + address.packed
    return (_BROADCAST + mac + pack(">H", _ETHERTYPE_ARP) + message).ljust(_SHORTEST_FRAME, b"\0")


def _advertisement(address: IPv6Address, mac: bytes) -> bytes:
    head = pack(">BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE)
    message = head + address.packed + pack(">BB", _TARGET_MAC, 1) + mac
    return _ALL_NODES_MAC + mac + _ipv6(address.packed, _ALL_NODES.packed, message)


def _solicitation(address: IPv6Address, mac: bytes) -> bytes:
    group = _SOLICITED_NODE + address.packed[-3:]
    message = pack(">BBHI", _SOLICITATION, 0, 0, 0) + address.packed
    return solicited_node_mac(address) + mac + _ipv6(bytes(16), group, message)


def _ipv6(source: bytes, destination: bytes, message: bytes) -> bytes:
    """From the type of Ethernet on."""
    pseudo = source + destination + pack(">II", len(message), _ICMPV6)
    message = message[:2] + pack(">H", _checksum(pseudo + message)) + message[4:]
    ip = pack(">IHBB", 6 << 28, len(message), _ICMPV6, _HOP_LIMIT) + source + destination
    return pack(">H", _ETHERTYPE_IPV6) + ip + message


def _checksum(octets: bytes) -> int:
    total = sum(int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
