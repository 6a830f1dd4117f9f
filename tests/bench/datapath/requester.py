"""The process that asks: as many requests as will go for a moment, on connections that are kept, or each on a new one.

python -m tests.bench.datapath.requester CGROUP NETNS
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.bpf.actor import act, enter

CORE: Final = 0
KEPT: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
CLOSED: Final = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
LONGEST: Final = 4096
"""An answer is shorter, and comes whole."""


class Requester:
    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, int], list[socket.socket]] = {}

    def kept(self, address: str, port: int, connections: int, seconds: float) -> dict[str, Any]:
        """A request follows an answer on each of so many connections, which stay for the next time."""
        clients = self._kept.setdefault((address, port, connections), [])
        clients += [socket.create_connection((address, port)) for _ in range(connections - len(clients))]
        spent: list[int] = []
        began = time.perf_counter_ns()
        until, asked, by_fd = began + seconds * 1e9, {}, {client.fileno(): client for client in clients}
        with select.epoll() as poll:
            for fd, client in by_fd.items():
                poll.register(fd, select.EPOLLIN)
                asked[fd] = time.perf_counter_ns()
                client.send(KEPT)
            while asked:
                for fd, _ in poll.poll():
                    _check(by_fd[fd].recv(LONGEST))
                    now = time.perf_counter_ns()
                    spent.append(now - asked.pop(fd))
                    if now < until:
                        asked[fd] = now
                        by_fd[fd].send(KEPT)
        return {"per_s": len(spent) / (time.perf_counter_ns() - began) * 1e9, **_median("whole", spent)}

    def closed(self, address: str, port: int, connections: int, seconds: float) -> dict[str, Any]:
        """So many at a time, each for one request: until connect() has returned, and until all has come."""
        connected: list[int] = []
        whole: list[int] = []
        began = time.perf_counter_ns()
        until, opened = began + seconds * 1e9, {}
        with select.epoll() as poll:

            def connect() -> None:
                client = socket.socket()
                before = time.perf_counter_ns()
                client.connect((address, port))
                connected.append(time.perf_counter_ns() - before)
                client.send(CLOSED)
                opened[client.fileno()] = client, before
                poll.register(client, select.EPOLLIN)

            for _ in range(connections):
                connect()
            while opened:
                for fd, _ in poll.poll():
                    client, before = opened[fd]
                    if answer := client.recv(LONGEST):
                        _check(answer)
                        continue
                    now = time.perf_counter_ns()
                    whole.append(now - before)
                    del opened[fd]
                    client.close()
                    if now < until:
                        connect()
        per_s = len(whole) / (time.perf_counter_ns() - began) * 1e9
        return {"per_s": per_s, **_median("connect", connected), **_median("whole", whole)}


def _check(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"ok\n"):
        raise RuntimeError(f"answered {answer[:200]!r}")


def _median(name: str, nanoseconds: list[int]) -> dict[str, float]:
    return {"requests": len(nanoseconds), f"{name}_p50_us": statistics.median(nanoseconds) / 1000}


if __name__ == "__main__":
    enter(Path(sys.argv[1]), Path(sys.argv[2]))
    os.sched_setaffinity(0, {CORE})
    act(Requester())
