"""Netlink by its own protocol, for what a library has no words for."""

from __future__ import annotations

import os
import socket
import struct
from types import TracebackType
from typing import Final, Self

_HEADER: Final = "=IHHII"
_HEADER_SIZE: Final = struct.calcsize(_HEADER)
_DUMP: Final = 0x301  # a request, for all there is
_ERROR: Final = 2
_DONE: Final = 3
_SOL_NETLINK: Final = 270
_STRICT: Final = 12
_TYPE: Final = 0x3FFF  # of an attribute, without what it says of its bytes
_LARGEST: Final = 1 << 16
_ANSWER_S: Final = 10


class Netlink:
    """`strict`: the kernel heeds what a dump asks for besides its kind."""

    def __init__(self, protocol: int, *, strict: bool = False) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_ANSWER_S)
        self._asked = 0
        if strict:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """What is told, each without the header of netlink.

        :raises OSError: nothing is, with the reason's number.
        """
        self._asked += 1
        self._socket.send(struct.pack(_HEADER, _HEADER_SIZE + len(body), kind, _DUMP, self._asked, 0) + body)
        told: list[bytes] = []
        while True:
            octets = self._socket.recv(_LARGEST)
            while octets:
                length, answer, _, sequence, _ = struct.unpack_from(_HEADER, octets)
                message, octets = octets[_HEADER_SIZE:length], octets[(length + 3) & ~3 :]
                if sequence != self._asked:
                    continue
                if answer not in {_ERROR, _DONE}:
                    told.append(message)
                    continue
                (code,) = struct.unpack_from("=i", message)
                if code:
                    raise OSError(-code, f"netlink: {os.strerror(-code)}")
                return told


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def attributes(octets: bytes) -> dict[int, bytes]:
    """By kind; of several of one kind the last."""
    found = {}
    while len(octets) >= 4:
        length, kind = struct.unpack_from("=HH", octets)
        found[kind & _TYPE] = octets[4:length]
        octets = octets[(max(length, 4) + 3) & ~3 :]
    return found
