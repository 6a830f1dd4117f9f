"""Resident memory of the control plane: what a route costs, and what a stream costs that is served as an Envoy is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import world
from tests.bench.measures import Figure, Sizes, say
from tests.bench.stand import Plane
from tests.bench.traffic import BACKEND

MOST_PER_ROUTE_KIB = 80
MOST_PER_STREAM_KIB = 100


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    rss: dict[int, int] = {}
    for number, count in enumerate((sizes.few, sizes.many), 1):
        say(f"memory: {count} routes")
        with ExitStack() as stack:
            manifests = world.write(directory / f"memory-{count}", count, BACKEND, number)
            plane = Plane(stack, directory, manifests, count, number, sizes.rest_s)
            plane.rest()
            rss[count] = plane.process.rss_kib()
            streams = sizes.streams[0]
            settled = [_rss(plane)]
            for batch in range(2):
                for at in range(streams):
                    plane.join(f"node-{batch}-{at}")
                settled.append(_rss(plane))
            # The first batch also grows the allocator's pools; the second shows what streams cost.
            slope = (settled[2] - settled[1]) / streams
            yield Figure(
                "memory",
                f"a stream, {count} routes",
                f"{slope:.1f} KiB",
                f"{MOST_PER_STREAM_KIB} KiB",
                slope / MOST_PER_STREAM_KIB,
                1.0,
                f"RSS {settled[0] // 1024} MiB with 1 stream, {settled[1] // 1024} with {streams + 1}, "
                f"{settled[2] // 1024} with {2 * streams + 1}",
            )
    slope = (rss[sizes.many] - rss[sizes.few]) / (sizes.many - sizes.few)
    yield Figure(
        "memory",
        "a route with its Service and EndpointSlice",
        f"{slope:.1f} KiB",
        f"{MOST_PER_ROUTE_KIB} KiB",
        slope / MOST_PER_ROUTE_KIB,
        1.0,
        f"RSS {rss[sizes.few] // 1024} MiB with {sizes.few} routes, {rss[sizes.many] // 1024} with {sizes.many}",
    )


def _rss(plane: Plane) -> int:
    plane.rest()
    return plane.process.rss_kib()
