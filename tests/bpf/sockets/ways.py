"""How clients write addresses, whom they reach, and what they are told."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, NamedTuple

from datapath.kernel.libbpf import call
from tests.bpf.socket_stand import Endpoint, Sockets

NODE4: Final = "10.9.0.100"
NODE6: Final = "fd09::64"
BACKENDS: Final = tuple(f"10.9.0.{number}" for number in range(1, 5))
KINDS: Final = ("tcp", "udp")
STEERING: Final = (
    "rule add pref 9 fwmark 0x200/0xf00 lookup 2004",
    "-6 rule add pref 9 fwmark 0x200/0xf00 lookup 2004",
    f"route add local default dev lo src {NODE4} table 2004",
    f"-6 addr add {NODE6}/128 dev lo nodad",
    f"-6 route add local default dev lo src {NODE6} table 2004",
)
"""As a node has it: what is marked is delivered here."""


class Way(NamedTuple):
    """How a client writes addresses, and those of a service of its own in this way."""

    name: str
    service: str
    backend: str
    asked: str
    """The service, as the client has it."""


WAYS: Final = (
    Way("IPv4", "10.96.0.{}", "10.9.0.{}", "10.96.0.{}"),
    Way("IPv6", "fd96::{}", "fd09::{}", "fd96::{}"),
    Way("IPv4 through an IPv6 socket", "10.96.0.{}", "10.9.0.{}", "::ffff:10.96.0.{}"),
)
numbers = count(1)


@contextmanager
def listener(sockets: Sockets, slot: int) -> Iterator[None]:
    """A listening socket where Envoy's are published."""
    fd, key = sockets.loaded.maps["listeners"], slot.to_bytes(4, sys.byteorder)
    with socket.create_server(("127.0.0.1", 0)) as server:
        call("bpf_map_update_elem", "listeners", fd, key, server.fileno().to_bytes(8, sys.byteorder), 0)
        yield
        call("bpf_map_delete_elem", "listeners", fd, key)


def served(outcomes: list[dict[str, Any]]) -> Counter[str]:
    return Counter(each.get("error") or f"{each['backend'][0]} {each['backend'][1]}" for each in outcomes)


def names(*endpoints: Endpoint) -> set[str]:
    return {f"{address} {port}" for address, port in endpoints}
