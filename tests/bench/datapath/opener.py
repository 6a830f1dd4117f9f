"""The process that opens connections one after the other: how long each took, and whether it was served.

python -m tests.bench.datapath.opener ADDRESS PORT COUNT
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from typing import Final

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


def opened(address: str, port: int) -> tuple[int, int]:
    """Nanoseconds until connect() returned, and until the answer had come whole."""
    with socket.socket() as client:
        began = time.perf_counter_ns()
        client.connect((address, port))
        connected = time.perf_counter_ns()
        client.send(REQUEST)
        answer = b""
        while piece := client.recv(4096):
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{address}:{port} answers {answer[:200]!r}")
        return connected - began, time.perf_counter_ns() - began


def main(address: str, port: int, count: int) -> None:
    spent = [opened(address, port) for _ in range(count)]
    found: dict[str, float] = {}
    for name, nanoseconds in zip(("connect", "whole"), zip(*spent, strict=True), strict=True):
        hundredths = statistics.quantiles(nanoseconds, n=100)
        found |= {f"{name}_p50_us": hundredths[49] / 1000, f"{name}_p99_us": hundredths[98] / 1000}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
