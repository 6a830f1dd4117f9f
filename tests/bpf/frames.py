"""Packets as they are on a link, by their headers; lengths and next headers follow from what is inside.

Checksums are right where a test rewrites them, else zero: the programs do not look at them.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack
from typing import Final

IPV4, IPV6, ARP, VLAN, QINQ, LLDP = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x88CC
ICMP, TCP, UDP, GRE, ICMPV6, SCTP = 1, 6, 17, 47, 58, 132
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60

FIN, SYN, RST, PUSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_MACS: Final = bytes.fromhex("020000000001020000000002")


def ethernet(payload: bytes, protocol: int) -> bytes:
    return _MACS + pack(">H", protocol) + payload


def tagged(payload: bytes, protocol: int, *, tag: int = VLAN, vlan: int = 0) -> bytes:
    """A frame with a tag in it."""
    return _MACS + pack(">HHH", tag, vlan, protocol) + payload


def checksum(octets: bytes) -> int:
    words = octets + bytes(len(octets) % 2)
    total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    options: bytes = b"",
    fragment: int = 0,
    more: bool = False,
    identification: int = 1,
    version: int = 4,
    words: int | None = None,
) -> bytes:
    """`words` is the header's length as it claims, `fragment` an offset in units of 8 bytes."""
    length = 20 + len(options)
    first = (version << 4) | (length // 4 if words is None else words)
    offset = fragment | (0x2000 if more else 0)
    addresses = ip_address(source).packed + ip_address(destination).packed
    head = pack(">BBHHHBB", first, 0, length + len(payload), identification, offset, 64, protocol)
    check = pack(">H", checksum(head + b"\0\0" + addresses + options))
    return head + check + addresses + options + payload


def ipv6(source: str, destination: str, protocol: int, payload: bytes, *, version: int = 6) -> bytes:
    """`protocol` is the first next header's."""
    head = pack(">IHBB", version << 28, len(payload), protocol, 64)
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def extension(following: int, payload: bytes, *, length: int = 0) -> bytes:
    """A header of 8 bytes and `length` times 8 more: hop by hop, routing, or destination options."""
    return pack(">BB", following, length) + bytes(6 + 8 * length) + payload


def fragment(following: int, payload: bytes, *, offset: int = 0, more: bool = False, identification: int = 1) -> bytes:
    """The fragment header of IPv6; `offset` in units of 8 bytes."""
    return pack(">BBHI", following, 0, offset << 3 | more, identification) + payload


def tcp(
    source: int, destination: int, flags: int = SYN, payload: bytes = b"", *, sequence: int = 1, acknowledged: int = 0
) -> bytes:
    return pack(">HHIIBBHHH", source, destination, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0) + payload


def udp(source: int, destination: int, payload: bytes = b"query") -> bytes:
    return pack(">HHHH", source, destination, 8 + len(payload), 0) + payload


def icmp(kind: int, code: int = 0, payload: bytes = b"") -> bytes:
    """Of both versions."""
    return pack(">BBHI", kind, code, 0, 0) + payload


def arp(
    sender: str, target: str, *, hardware: int = 1, protocol: int = IPV4, lengths: tuple[int, int] = (6, 4)
) -> bytes:
    request = pack(">HHBBH", hardware, protocol, *lengths, 1)
    return ethernet(request + _MACS[6:] + ip_address(sender).packed + bytes(6) + ip_address(target).packed, ARP).ljust(
        60, b"\0"
    )


def discovery(kind: int, source: str, target: str, *, hops: int = 255, extensions: int = 0) -> bytes:
    """What neighbours say and ask of an address, behind so many extension headers."""
    following, segment = ICMPV6, icmp(kind, payload=ip_address(target).packed)
    for _ in range(extensions):
        following, segment = DESTINATION, extension(following, segment)
    packet = ipv6(source, "ff02::1", following, segment)
    return frame(packet[:7] + bytes([hops]) + packet[8:])


def frame(packet: bytes) -> bytes:
    """An IP packet in Ethernet, by the version that it claims; at least as long as the kernel wants one."""
    return ethernet(packet, IPV6 if packet[0] >> 4 == 6 else IPV4)
