"""Asks on a link whether somebody has an address, without saying that anybody else has it."""

from __future__ import annotations

import socket
import time
from ipaddress import IPv4Address
from struct import pack
from typing import Final

from datapath.announcement import asking
from datapath.resources import Address

WAIT_S: Final = 0.5
_ALL: Final = 0x0003  # ETH_P_ALL
_ARP: Final = pack(">H", 0x0806)
_IPV6: Final = pack(">H", 0x86DD)
_ADVERTISEMENT: Final = 136
_OUTGOING: Final = 4  # PACKET_OUTGOING


def in_use(link: str, address: Address, mac: bytes) -> bool:
    """Whether anybody answers from another MAC than ours; nobody is on a link that is gone."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL)) as opened:
        try:
            opened.bind((link, _ALL))
            opened.send(asking(address, mac))
            return _answered(opened, address, mac)
        except OSError:
            return False


def _answered(opened: socket.socket, address: Address, mac: bytes) -> bool:
    end = time.monotonic() + WAIT_S
    while (left := end - time.monotonic()) > 0:
        opened.settimeout(left)
        try:
            frame, (_, _, kind, _, _) = opened.recvfrom(256)
        except TimeoutError:
            return False
        if kind != _OUTGOING and frame[6:12] != mac and says(frame, address):
            return True
    return False


def says(frame: bytes, address: Address) -> bool:
    """Whether its sender says that the address is his."""
    if isinstance(address, IPv4Address):
        return frame[12:14] == _ARP and frame[28:32] == address.packed
    return frame[12:14] == _IPV6 and frame[54:55] == bytes([_ADVERTISEMENT]) and frame[62:78] == address.packed
