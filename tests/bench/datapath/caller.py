"""The process that connects, and serves itself what it connects to: one thread, one core, nothing waits for another.

python -m tests.bench.datapath.caller CGROUP NETNS
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import struct
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

from tests.bpf.actor import act, enter

ABORT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset, so that no port is used up."""
PATIENCE: Final = struct.pack("ll", 20, 0)
"""SO_RCVTIMEO: who gets no answer says so."""
IP_PKTINFO: Final = 8
INFORMATION: Final = 12
"""Bytes of an in_pktinfo: an answer comes from the address that was reached."""
CORE: Final = 1
PORT: Final = 8080


class Caller:
    def __init__(self) -> None:
        self._tcp = socket.create_server(("0.0.0.0", PORT), backlog=64)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("0.0.0.0", PORT))
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PATIENCE)
        self._udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def tcp(self, addresses: list[str], port: int, count: int) -> dict[str, Any]:
        """Connect, ask, get an answer, close; the time of connect() alone, and of all."""
        spent, began, cpu_s = [], time.perf_counter(), time.process_time()
        for address in islice(cycle(addresses), count):
            client = socket.socket()
            before = time.perf_counter_ns()
            client.connect((address, port))
            spent.append(time.perf_counter_ns() - before)
            server, _ = self._tcp.accept()
            client.send(b"?")
            server.send(server.recv(1))
            client.recv(1)
            for each in (client, server):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                each.close()
        return _spent(spent, began, cpu_s)

    def udp(self, addresses: list[str], port: int, count: int) -> dict[str, Any]:
        """A socket, a datagram and its answer: the time from the one to the other, and of all."""
        spent, began, cpu_s = [], time.perf_counter(), time.process_time()
        for address in islice(cycle(addresses), count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PATIENCE)
                before = time.perf_counter_ns()
                client.sendto(b"?", (address, port))
                _, [reached], _, sender = self._udp.recvmsg(1, socket.CMSG_SPACE(INFORMATION))
                self._udp.sendmsg([b"!"], [reached], 0, sender)
                client.recvfrom(1)
                spent.append(time.perf_counter_ns() - before)
        return _spent(spent, began, cpu_s)

    def backends(self, address: str, port: int, count: int) -> dict[str, int]:
        """How many of so many sockets get each backend, which on this machine is the own address of each as well."""
        found: dict[str, int] = {}
        for _ in range(count):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect((address, port))
                backend = client.getsockname()[0]
            found[backend] = found.get(backend, 0) + 1
        return found


def _spent(nanoseconds: list[int], began: float, cpu_s: float) -> dict[str, Any]:
    return {
        "median_us": statistics.median(nanoseconds) / 1000,
        "per_s": len(nanoseconds) / (time.perf_counter() - began),
        "cpu_us": (time.process_time() - cpu_s) * 1e6 / len(nanoseconds),
    }


if __name__ == "__main__":
    enter(Path(sys.argv[1]), Path(sys.argv[2]))
    os.sched_setaffinity(0, {CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    act(Caller())
