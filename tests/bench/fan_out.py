"""B4: one changed resource to M delta streams, from the order to change it until the last stream has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.client import Client, Swarm
from tests.bench.measures import Figure, Sizes, against_itself, interval, milliseconds, ratio, say
from tests.bench.process import Process
from xds_server.model.resource import CLUSTER


class Arm(NamedTuple):
    process: Process
    socket: Path
    swarm: Swarm
    samples: list[float]
    cpu_s: list[float]

    @classmethod
    def start(cls, stack: ExitStack, kind: str, count: int, socket: Path) -> Arm:
        process = stack.enter_context(Process(kind, str(count), socket, core=0))
        swarm = Swarm()
        stack.callback(swarm.close)
        return cls(process, socket, swarm, [], [])

    def grow(self, streams: int) -> None:
        """Connect clients until there are so many, and give each the whole table."""
        while len(self.swarm.clients) < streams:
            client = self.swarm.add(Client(self.socket, f"node-{len(self.swarm.clients)}"))
            client.subscribe(CLUSTER)
        self.swarm.until(lambda: all(client.messages for client in self.swarm.clients), "the first response")
        self.samples.clear()
        self.cpu_s.clear()

    def change(self, revision: int) -> None:
        """Change one resource when nothing else is going on."""
        self.swarm.quiet(0.02)
        self.process.ask("settle")
        clients = self.swarm.clients
        had = [len(client.messages) for client in clients]
        cpu_s, began = self.process.cpu_s(), time.monotonic()
        self.process.tell("change", number=0, revision=revision)
        missing = len(clients)

        def all_have_it() -> bool:
            nonlocal missing
            missing = sum(len(client.messages) == before for client, before in zip(clients, had, strict=True))
            return not missing

        self.swarm.until(all_have_it, "a change")
        self.samples.append(max(client.messages[-1].last for client in clients) - began)
        self.process.answer()
        self.process.ask("settle")
        self.cpu_s.append(self.process.cpu_s() - cpu_s)


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        many = Arm.start(stack, "table", sizes.many, directory / "many.sock")
        few = Arm.start(stack, "table", sizes.few, directory / "few.sock")
        limit = Arm.start(stack, "bytes", sizes.many, directory / "limit.sock")
        revision = 0
        for streams in sizes.streams:
            say(f"B4: {streams} streams")
            for arm in (many, few, limit):
                arm.grow(streams)
            for _ in range(sizes.rounds // 2 + 1):
                revision += 2
                for arm in (many, few, limit):
                    arm.change(revision - 1)
                for arm in (limit, few, many):
                    arm.change(revision)
            for arm in (many, few, limit):
                del arm.samples[:2], arm.cpu_s[:2]  # the first round warms up
            yield from _figures(streams, sizes, many, few, limit)


def _figures(streams: int, sizes: Sizes, many: Arm, few: Arm, limit: Arm) -> Iterator[Figure]:
    target: Callable[[float], float | None] = lambda most: most if streams == sizes.streams[-1] else None  # noqa: E731
    yield Figure(
        "B4",
        f"one change to {streams} streams, {sizes.many} resources: until the last has it",
        milliseconds(many.samples),
        milliseconds(limit.samples),
        ratio(many.samples, limit.samples),
        target(3.0),
        f"ratio in {interval(many.samples, limit.samples)}; "
        f"limit against itself {against_itself(limit.samples):.2f}; CPU {_cpu(many)} against {_cpu(limit)}",
    )
    yield Figure(
        "B4",
        f"the same with {sizes.many} resources, against {sizes.few}",
        milliseconds(many.samples),
        milliseconds(few.samples),
        ratio(many.samples, few.samples),
        target(1.3),
        f"ratio in {interval(many.samples, few.samples)}; ours against itself {against_itself(many.samples):.2f}",
    )


def _cpu(arm: Arm) -> str:
    return f"{sum(arm.cpu_s) / len(arm.cpu_s) * 1000:.0f} ms"
