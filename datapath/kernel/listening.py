"""Sockets of TCP that listen in this network namespace, whosever they are: the kernel tells them all at once."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Final

from datapath.kernel.layout import Address
from datapath.kernel.netlink import Netlink

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_LISTEN: Final = 1 << 10
_REQUEST: Final = "=BBBBI48x"
# Family, state, ..., the port (big endian), the other's port, the address.
_TOLD: Final = ">BBBBHH16s"
_FAMILIES: Final = {socket.AF_INET: 4, socket.AF_INET6: 16}


def listening() -> frozenset[tuple[Address, int]]:
    """Address and port of each; IPv4's where a socket of IPv6 is for that."""
    found = set()
    with Netlink(_SOCK_DIAG) as netlink:
        for family, length in _FAMILIES.items():
            for message in netlink.dump(_BY_FAMILY, struct.pack(_REQUEST, family, socket.IPPROTO_TCP, 0, 0, _LISTEN)):
                *_, port, _, address = struct.unpack_from(_TOLD, message)
                own = ip_address(address[:length])
                found.add((getattr(own, "ipv4_mapped", None) or own, port))
    return frozenset(found)
