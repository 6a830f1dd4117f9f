"""B6: all streams are lost at once and come back, without anything, or with the versions of all that they have."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.bench.client import Client, Swarm
from tests.bench.measures import Figure, Sizes, ratio, say, seconds
from tests.bench.process import Process
from tests.bench.table import clusters, versions
from xds_server.model.resource import CLUSTER


class Herd:
    """M clients of one server, that come back together."""

    def __init__(self, process: Process, socket: Path) -> None:
        self.process, self._socket = process, socket
        self.times: list[float] = []
        self.cpu_s: list[float] = []
        self.peak_kib = 0
        self.sent = 0
        """Resources that clients got, in the last storm."""

    def full(self, streams: int) -> None:
        """Until each has all there is."""
        swarm, began, cpu_s = self._connect(streams, None)
        swarm.until(lambda: all(client.messages for client in swarm.clients), "the full state")
        self.times.append(max(client.messages[-1].last for client in swarm.clients) - began)
        self._leave(swarm, cpu_s)

    def resume(self, streams: int, had: Mapping[str, str], revision: int) -> None:
        """Until the last has been understood; a change afterwards shows that all are served and got nothing else."""
        swarm, began, cpu_s = self._connect(streams, had)
        while (seen := self.process.ask("requests"))["requests"] < streams:
            swarm.turn(0.01)
        self.times.append(seen["last"] - began)
        swarm.quiet(0.05)
        self.process.tell("change", number=0, revision=revision)
        swarm.until(lambda: all(client.messages for client in swarm.clients), "the change after a resume")
        self.process.answer()
        self.sent = sum(len(each.names) for client in swarm.clients for each in client.messages) - streams
        self._leave(swarm, cpu_s)

    def _connect(self, streams: int, had: Mapping[str, str] | None) -> tuple[Swarm, float, float]:
        while self.process.ask("restart")["streams"]:
            time.sleep(0.01)
        swarm, cpu_s, began = Swarm(), self.process.cpu_s(), time.monotonic()
        for number in range(streams):
            swarm.add(Client(self._socket, f"node-{number}")).subscribe(CLUSTER, versions=had)
            if had is not None:
                swarm.turn(0)
        return swarm, began, cpu_s

    def _leave(self, swarm: Swarm, cpu_s: float) -> None:
        self.peak_kib = max(self.peak_kib, self.process.peak_kib())
        self.cpu_s.append(self.process.cpu_s() - cpu_s)
        swarm.close()


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    for count in (sizes.few, sizes.many):
        had = versions(clusters(count))
        for streams in sizes.streams:
            say(f"B6: {streams} streams, {count} resources")
            with ExitStack() as stack:
                ours, limit = (
                    Herd(stack.enter_context(Process(kind, str(count), socket, core=0)), socket)
                    for kind, socket in (("table", directory / "table.sock"), ("bytes", directory / "bytes.sock"))
                )
                for _ in range(sizes.storms):
                    for herd in (ours, limit):
                        herd.full(streams)
                yield _full(streams, count, ours, limit)
                peak = ours.peak_kib
                for herd in (ours, limit):
                    herd.times.clear()
                    herd.cpu_s.clear()
                # The first change differs from what clients bring along: it is made before they come.
                for round_ in range(sizes.storms if streams < sizes.streams[-1] else 1):
                    for herd in (ours, limit):
                        herd.resume(streams, had if not round_ else _after(had, round_), round_ + 1)
                yield Figure(
                    "B6",
                    f"{streams} streams resume with the versions of {count} resources: until all are understood",
                    seconds(ours.times),
                    seconds(limit.times),
                    ratio(ours.times, limit.times),
                    None,
                    f"{ours.sent} resources sent; the limit reads requests and does not parse them; "
                    f"CPU {ours.cpu_s[-1]:.2f} s against {limit.cpu_s[-1]:.2f} s; "
                    f"peak RSS {max(peak, ours.peak_kib) // 1024} MiB",
                )


def _after(had: Mapping[str, str], revision: int) -> Mapping[str, str]:
    """What clients have after the change that ends a storm."""
    from tests.bench.table import cluster

    changed = cluster(0, revision)
    return {**had, changed.name: changed.version}


def _full(streams: int, count: int, ours: Herd, limit: Herd) -> Figure:
    return Figure(
        "B6",
        f"{streams} streams come back with nothing, {count} resources: until all have everything",
        seconds(ours.times),
        seconds(limit.times),
        ratio(ours.times, limit.times),
        None,
        f"CPU {sum(ours.cpu_s) / len(ours.cpu_s):.2f} s against {sum(limit.cpu_s) / len(limit.cpu_s):.2f} s; "
        f"peak RSS {ours.peak_kib // 1024} MiB against {limit.peak_kib // 1024} MiB",
    )
