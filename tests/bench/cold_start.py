"""The start: from the execution of the control plane until a real Envoy answers for a sample of all applications.

The Envoy starts when the control plane listens, as it does under `tidegate up`.
The limit is a server that has all bytes ready when it is executed, and an Envoy that starts likewise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench import world
from tests.bench.envoy import Envoy, Probe
from tests.bench.measures import Figure, Sizes, ratio, say, seconds
from tests.bench.process import Process
from tests.bench.stand import Plane, backend, listening, sample


class Start(NamedTuple):
    """`cpu_s` is what the server has used of its core until all was served; `marks` what a control plane notes."""

    listening_s: float
    served_s: float
    cpu_s: float
    marks: dict[str, float]


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    medians: dict[int, list[float]] = {}
    with ExitStack() as stack:
        port = backend(stack)
        for at, count in enumerate((sizes.few, sizes.many)):
            manifests = world.write(directory / f"cold-{count}", count, port, 2 * at + 1)
            ours: list[Start] = []
            limit: list[Start] = []
            number = 2 * at + 1
            with ExitStack() as recording:
                plane = Plane(recording, directory, manifests, count, number, sizes.rest_s)
                plane.swarm.quiet()
                tape = plane.recording(directory / f"cold-{count}.tape", world.address(number + 1))
            for round_ in range(sizes.starts):
                say(f"cold start: {count} routes, round {round_ + 1}")
                ours.append(start(directory, "plane", manifests, number, count))
                limit.append(start(directory, "replay", tape, number + 1, count))
                limit.append(start(directory, "replay", tape, number + 1, count))
                ours.append(start(directory, "plane", manifests, number, count))
            medians[count] = [each.served_s for each in ours]
            yield Figure(
                "start",
                f"{count} routes and services, from exec until all are served",
                seconds(medians[count]),
                seconds([each.served_s for each in limit]),
                ratio(medians[count], [each.served_s for each in limit]),
                3.0 if at else None,
                f"until it listens {seconds([each.listening_s for each in ours])} "
                f"against {seconds([each.listening_s for each in limit])}; "
                f"CPU {seconds([each.cpu_s for each in ours])} against {seconds([each.cpu_s for each in limit])}",
            )
    few, many = (medians[count] for count in (sizes.few, sizes.many))
    yield Figure(
        "start", f"{sizes.many} routes against {sizes.few}", seconds(many), seconds(few), ratio(many, few), None
    )


def start(directory: Path, kind: str, source: Path, number: int, count: int) -> Start:
    xds = directory / f"cold-{number}.sock"
    xds.unlink(missing_ok=True)
    pool = () if kind == "replay" else (world.pool(number),)
    with ExitStack() as stack:
        process = stack.enter_context(Process(kind, source, xds, *pool, core=0, wait=False))
        listening(xds)
        listens = time.monotonic()
        address = world.address(number)
        stack.enter_context(Envoy(xds, directory / f"cold-envoy-{number}", "cold"))
        probe = Probe(address, world.PORT + world.OFFSET)
        stack.callback(probe.close)
        served = probe.until_served(sample(count))
        cpu_s = process.cpu_s()
        process.answer()  # that it is ready
        marks = process.ask("marks") if kind == "cluster" else {}
        since = {name: at - process.began for name, at in marks.items()}
        return Start(listens - process.began, served - process.began, cpu_s, since)
