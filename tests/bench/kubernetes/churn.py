"""B5 and B7: endpoints that change all the time: how late each is served, what is sent for it, and what it leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from queue import SimpleQueue
from statistics import quantiles
from typing import NamedTuple

from tests.bench import world
from tests.bench.envoy import Probe
from tests.bench.kubernetes.applications import Answered, Writer, move, one
from tests.bench.kubernetes.network import ENDPOINTS
from tests.bench.kubernetes.stand import Sizes, Stand, settle, turning
from tests.bench.measures import Figure, milliseconds, say
from tests.bench.stand import Plane
from xds_server.model.resource import CLUSTER_LOAD_ASSIGNMENT

MOST_MS = 100.0
MOST_GROWTH = 1.02
_WATCHED = 10  # one of so many changes is looked for in answers
_LONGEST_S = 10.0
_PAUSE_S = 0.001
"""Who asks without a pause takes a core from the API server and Envoy, and measures that."""


class Watched(NamedTuple):
    number: int
    address: bytes
    asked: float


class Churn:
    """Changes at a rate; each service has its two endpoints, then one other, and so on in turns."""

    def __init__(self, writer: Writer, count: int, rate: int, duration_s: float) -> None:
        self._writer, self._count, self._rate = writer, count, rate
        self.changes = int(rate * duration_s)
        self.watched: SimpleQueue[Watched | None] = SimpleQueue()
        self.answered: dict[str, list[Answered]] = {}

    def run(self) -> None:
        asyncio.run(self._run())
        self.watched.put(None)

    async def _run(self) -> None:
        began = time.monotonic()
        async with self._writer.session() as session, asyncio.TaskGroup() as tasks:

            async def change(number: int, addresses: tuple[str, ...]) -> None:
                answer = await one(session, move(number, addresses))
                self.answered.setdefault(world.cluster(number), []).append(answer)

            for at in range(self.changes):
                await asyncio.sleep(max(0.0, began + at / self._rate - time.monotonic()))
                turn, number = divmod(at, self._count)
                addresses = ENDPOINTS[:2] if turn % 2 else ENDPOINTS[2:]
                tasks.create_task(change(number, addresses))
                if not at % _WATCHED and not turn % 2:
                    self.watched.put(Watched(number, addresses[0].encode(), time.monotonic()))


def watch(churn: Churn, probe: Probe) -> tuple[list[float], int]:
    """Until when each watched change was seen in an answer, and how many answers were not 200.

    All that have not been seen are asked for in turns: one that is late must not make others so.
    """
    seen: list[float] = []
    waiting: list[Watched] = []
    errors, ended = 0, False
    while waiting or not ended:
        while not ended and (not waiting or not churn.watched.empty()):
            found = churn.watched.get()
            ended = found is None
            waiting += [found] if found is not None else []
        for watched in tuple(waiting):
            status, head = probe.ask(world.hostname(watched.number))
            errors += status != 200
            if b"x-served-by: " + watched.address in head:
                seen.append(time.monotonic() - watched.asked)
                waiting.remove(watched)
            elif time.monotonic() > watched.asked + _LONGEST_S:
                raise TimeoutError(f"{world.hostname(watched.number)} keeps its endpoints")
        time.sleep(_PAUSE_S)
    return seen, errors


def measure(stand: Stand, plane: Plane, probe: Probe, sizes: Sizes) -> Iterator[Figure]:
    settle(plane)
    say(f"B5: {sizes.rate} endpoint changes a second for {sizes.churn_s:.0f} s")
    churn = Churn(stand.writer, stand.count, sizes.rate, sizes.churn_s)
    stand.cluster.reset_counts()
    client, messages = plane.client, len(plane.client.messages)
    cpu_s, rss_kib = plane.process.cpu_s(), plane.process.rss_kib()
    with ThreadPoolExecutor(1) as executor:
        looking = executor.submit(watch, churn, probe)
        turning(plane.swarm, churn.run)
        seen, errors = turning(plane.swarm, looking.result)
    plane.rest()
    cpu_s, grown_kib = plane.process.cpu_s() - cpu_s, plane.process.rss_kib()
    sent = client.messages[messages:]
    what = f"{sizes.rate} endpoint changes a second on {stand.count} services for {sizes.churn_s:.0f} s"
    p99_ms = quantiles(seen, n=100)[-1] * 1000
    yield Figure(
        "B5",
        f"{what}: from the request to the API server until Envoy serves it, p99",
        f"{p99_ms:.1f} ms",
        f"{MOST_MS:.0f} ms",
        p99_ms / MOST_MS,
        1.0,
        f"median {milliseconds(seen)}, longest {max(seen) * 1000:.0f} ms, of {len(seen)} that were watched; "
        f"{errors} answers other than 200",
    )
    arrived, answers = _arrivals(plane, messages, churn)
    yield Figure(
        "B5",
        "- from the API server's answer to the first byte, p99",
        f"{quantiles(arrived, n=100)[-1] * 1000:.1f} ms",
        note=f"median {milliseconds(arrived)}; the API server answered after {milliseconds(answers)}, "
        f"p99 {quantiles(answers, n=100)[-1] * 1000:.1f} ms; "
        f"CPU {cpu_s / churn.changes * 1000:.1f} ms a change",
    )
    other = sum(len(message.payload) for message in sent if message.type_url != CLUSTER_LOAD_ASSIGNMENT)
    own = sum(len(message.payload) for message in sent)
    yield Figure(
        "B5",
        "bytes of routes, clusters and listeners for it",
        f"{other} B",
        "0 B",
        float(other),
        0.0,
        f"{own / churn.changes:.0f} B of endpoints a change, {len(sent)} responses",
    )
    written = stand.writes()
    yield Figure("B9", "writes for it", f"{sum(written.values())}", "0", float(sum(written.values())), 0.0)
    yield Figure(
        "B7",
        f"RSS after {sizes.churn_s:.0f} s of it, against before",
        f"{grown_kib / 1024:.0f} MiB",
        f"{rss_kib / 1024:.0f} MiB",
        grown_kib / rss_kib,
        MOST_GROWTH,
    )


def _arrivals(plane: Plane, messages: int, churn: Churn) -> tuple[list[float], list[float]]:
    """From the answer to the first change of each service to the response for it; and how long answers took.

    Of a service that is changed again before that, nothing tells which change a response is for.
    """
    arrived: list[float] = []
    first: dict[str, float] = {}
    for message in plane.client.messages[messages:]:
        for name in message.names:
            first.setdefault(name, message.first)
    for name, answers in churn.answered.items():
        again = answers[1].asked if len(answers) > 1 else inf
        if name in first and first[name] < again:
            arrived.append(max(0.0, first[name] - answers[0].answered))
    return arrived, [each.answered - each.asked for answers in churn.answered.values() for each in answers]
