"""A node and a client as network namespaces, where nftables leads connections to Envoy as the programs of a node do."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.e2e.translated import Answer

T = TypeVar("T")

NODE: Final = ("10.99.0.1", "fd99::1")
CLIENT: Final = ("10.99.0.2", "fd99::2")
_NUMBERS: Final = count()
_CLONE_NEWNET: Final = 0x4000_0000

_SET_UP: Final = """
ip -n {node} link set lo up
ip -n {client} link set lo up
ip -n {node} link add pods type veth peer name eth0 netns {client}
ip -n {node} addr add 10.99.0.1/16 dev pods
ip -n {node} addr add fd99::1/64 dev pods nodad
ip -n {client} addr add 10.99.0.2/16 dev eth0
ip -n {client} addr add fd99::2/64 dev eth0 nodad
ip -n {node} link set pods up
ip -n {client} link set eth0 up
ip -n {client} route add default via 10.99.0.1
ip -n {client} -6 route add default via fd99::1
ip -n {node} rule add pref 9 fwmark 0x200/0xf00 lookup 2004
ip -n {node} -6 rule add pref 9 fwmark 0x200/0xf00 lookup 2004
ip -n {node} route add local default dev lo table 2004
ip -n {node} -6 route add local default dev lo table 2004
"""
_RULES: Final = """
table inet redirected {
  chain prerouting {
    type filter hook prerouting priority mangle
    meta l4proto tcp socket transparent 1 meta mark set 0x200 accept
    ip daddr 192.0.2.0/24 meta l4proto tcp tproxy ip to 127.0.0.1:15001 meta mark set 0x200 accept
    ip6 daddr 2001:db8::/32 meta l4proto tcp tproxy ip6 to [::1]:15001 meta mark set 0x200 accept
    ip daddr 10.99.0.1 tcp dport 30000-30100 tproxy ip to 127.0.0.1:15001 meta mark set 0x200 accept
  }
}
"""


@dataclass(frozen=True)
class Network:
    """192.0.2.0/24, 2001:db8::/32 and the node's ports from 30000 on are led to the node's Envoy."""

    node: str
    client: str

    def wrapped(self, program: Path, directory: Path) -> Path:
        """A program that runs on the node."""
        script = directory / "on-node"
        script.write_text(f'#!/bin/sh\nexec ip netns exec {self.node} {program.resolve()} "$@"\n')
        script.chmod(0o755)
        return script

    def listening(self, address: str) -> socket.socket:
        """A socket that listens on the node."""
        return within(self.node, lambda: socket.create_server((address, 0), family=family(address), backlog=64))

    def connect(self, address: str, port: int, *, on_node: bool = False, source: str = "") -> socket.socket:
        def connected() -> socket.socket:
            made = socket.socket(family(address))
            made.settimeout(20)
            if source:
                made.bind((source, 0))
            made.connect((address, port))
            return made

        return within(self.node if on_node else self.client, connected)

    def ask(
        self, address: str, port: int, path: str = "/", host: str = "example.com", *, source: str = "", **headers: str
    ) -> Answer:
        """What the client is answered, on a connection of its own."""
        with closing(HTTPConnection(address, port)) as connection:
            connection.sock = self.connect(address, port, source=source)
            connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"host": host, "connection": "close", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())


@contextmanager
def network(*more: str) -> Iterator[Network]:
    """`more` addresses are the client's too."""
    own = f"{os.getpid()}-{next(_NUMBERS)}"
    made = Network(f"tg-n{own}", f"tg-c{own}")
    _run(f"ip netns add {made.node}")
    _run(f"ip netns add {made.client}")
    try:
        for line in _SET_UP.strip().format(node=made.node, client=made.client).splitlines():
            _run(line)
        for address in more:
            length = "64 dev eth0 nodad" if ":" in address else "16 dev eth0"
            _run(f"ip -n {made.client} addr add {address}/{length}")
        _run(f"ip netns exec {made.node} nft -f -", _RULES)
        yield made
    finally:
        _run(f"ip netns delete {made.node}")
        _run(f"ip netns delete {made.client}")


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def within(namespace: str, made: Callable[[], T]) -> T:
    """What a function makes in a namespace: a socket stays in that where it was made."""
    results: list[T] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            with Path(f"/run/netns/{namespace}").open() as entered:
                if ctypes.CDLL(None, use_errno=True).setns(entered.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            results.append(made())
        except BaseException as fault:  # noqa: BLE001  # raised where it was called for
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return results[0]


def _run(command: str, text: str = "") -> Any:
    subprocess.run(command.split(), input=text, text=True, check=True, capture_output=True)
