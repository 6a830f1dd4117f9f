"""The addresses at the other ends of links, in network namespaces that nobody enters.

The kernel tells them to who has NET_ADMIN there, by the number that it has given the namespace here.
They were set by who made the link, or by somebody with as many rights: no packet changes them.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from datapath.kernel.netlink import Netlink, attribute, attributes

_GET_ADDRESS: Final = 22
_ADDRESS: Final = 1
_LOCAL: Final = 2
_NETNS: Final = 10
_HEADER: Final = "=BBBBI"
_HEADER_SIZE: Final = struct.calcsize(_HEADER)
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_LINK_SCOPE: Final = 253
# The link, or its namespace, has gone since; or it is of a user's own namespace, in which root has no say.
_NOT_TOLD: Final = frozenset({errno.ENODEV, errno.EINVAL, errno.EPERM, errno.ENONET})


class Peer(NamedTuple):
    """The other end of a link: the number of its namespace here, and its ifindex there."""

    netns: int
    ifindex: int


def addresses(peers: Mapping[int, Peer]) -> dict[int, frozenset[IPv4Address | IPv6Address]]:
    """Of each link, by its ifindex, what the other end has; without those that every link of IPv6 has."""
    with Netlink(socket.NETLINK_ROUTE, strict=True) as netlink:
        return {ifindex: frozenset(_addresses(netlink, peer)) for ifindex, peer in peers.items()}


def _addresses(netlink: Netlink, peer: Peer) -> Iterator[IPv4Address | IPv6Address]:
    for family in _FAMILIES:
        request = struct.pack(_HEADER, family, 0, 0, 0, peer.ifindex) + attribute(_NETNS, struct.pack("=i", peer.netns))
        try:
            told = netlink.dump(_GET_ADDRESS, request)
        except OSError as error:
            if error.errno in _NOT_TOLD:
                return
            raise
        for message in told:
            *_, scope, ifindex = struct.unpack_from(_HEADER, message)
            found = attributes(message[_HEADER_SIZE:])
            own = found.get(_LOCAL, found.get(_ADDRESS))
            if own is not None and ifindex == peer.ifindex and scope < _LINK_SCOPE:
                yield ip_address(own)
