"""Packets whose checksums are right, and what they say when read back: computed here, by RFC 1071 over the whole."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack, pack_into, unpack_from
from typing import Final, NamedTuple

from tests.bpf.frames import FRAGMENT, TCP, UDP, checksum

ETHERNET: Final = 14
CHECK_AT: Final = {TCP: 16, UDP: 6}


class Seen(NamedTuple):
    """Who a packet is from and to, and whether its checksums hold: None for a datagram that has none."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    network: bool
    transport: bool | None


def transport_at(packet: bytes) -> tuple[int, int]:
    """Where the transport header begins in an IP packet, and its protocol; extension headers are walked."""
    if packet[0] >> 4 == 4:
        return (packet[0] & 15) * 4, packet[9]
    at, protocol = 40, packet[6]
    while protocol not in CHECK_AT:
        length = 8 if protocol == FRAGMENT else (packet[at + 1] + 1) * 8
        at, protocol = at + length, packet[at]
    return at, protocol


def addresses(packet: bytes) -> tuple[bytes, bytes]:
    if packet[0] >> 4 == 4:
        return packet[12:16], packet[16:20]
    return packet[8:24], packet[24:40]


def over_all(packet: bytes) -> int:
    """The checksum of pseudo header, transport header and payload: zero if the one in it is right."""
    at, protocol = transport_at(packet)
    source, destination = addresses(packet)
    return checksum(source + destination + pack(">II", len(packet) - at, protocol) + packet[at:])


def sealed(frame: bytes) -> bytes:
    """A frame with the checksum of its transport."""
    packet = bytearray(frame[ETHERNET:])
    at, protocol = transport_at(bytes(packet))
    computed = over_all(bytes(packet))
    pack_into(">H", packet, at + CHECK_AT[protocol], computed or 0xFFFF)
    return frame[:ETHERNET] + bytes(packet)


def seen(frame: bytes) -> Seen:
    packet = frame[ETHERNET:]
    at, protocol = transport_at(packet)
    source, destination = (str(ip_address(address)) for address in addresses(packet))
    source_port, destination_port = unpack_from(">HH", packet, at)
    (check,) = unpack_from(">H", packet, at + CHECK_AT[protocol])
    network = packet[0] >> 4 == 6 or checksum(packet[:at]) == 0
    transport = None if protocol == UDP and not check else over_all(packet) == 0
    return Seen(source, source_port, destination, destination_port, network, transport)
