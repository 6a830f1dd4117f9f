"""`python -m tests.bench.kubernetes`: measure on a test cluster, and print a table of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import world
from tests.bench.envoy import Envoy, Probe
from tests.bench.kubernetes import churn, network, writes
from tests.bench.kubernetes.stand import Sizes, Stand
from tests.bench.kubernetes.start import Starts
from tests.bench.measures import HEAD, Figure, say
from tests.bench.stand import sample

FULL = Sizes(few=1000, many=10_000, most=0, starts=2, burst=1000, edits=100, rate=100, churn_s=60.0, rest_s=60.0)
QUICK = Sizes(few=20, many=600, most=0, starts=1, burst=50, edits=5, rate=50, churn_s=4.0, rest_s=3.0)
MOST = 50_000


def put(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        stand = Stand(stack)
        starts = Starts(stand, directory, sizes.starts)
        stand.grow(sizes.few)
        yield from starts.measure(None)
        stand.grow(sizes.many)
        yield from starts.measure(3.0)
        yield from starts.growth(sizes.many, sizes.few, None)
        yield from starts.weight(sizes.many, sizes.few)
        yield from changed(stand, directory, sizes)
        if sizes.most:
            stand.grow(sizes.most)
            yield from starts.measure(None)
            yield from starts.growth(sizes.most, sizes.many, 6.0)
            yield from starts.weight(sizes.most, sizes.many)


def changed(stand: Stand, directory: Path, sizes: Sizes) -> Iterator[Figure]:
    """All that happens to one control plane, with one Envoy, whose writes are counted."""
    stand.cluster.reset_counts()
    with ExitStack() as stack:
        plane = stack.enter_context(stand.plane(directory, counted=True))
        stack.enter_context(Envoy(plane.socket, directory / "envoy", "envoy"))
        probe = Probe(plane.address, world.PORT + world.OFFSET)
        stack.callback(probe.close)
        probe.until_served(sample(stand.count))
        yield from writes.restart(stand, plane, sizes)
        yield from writes.burst(stand, plane, probe, directory, sizes)
        yield from writes.edits(stand, plane, sizes)
        yield from churn.measure(stand, plane, probe, sizes)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kubernetes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--large", action="store_true", help=f"cold starts with {MOST} routes too; takes much longer")
    parser.add_argument("--churn", type=float, metavar="SECONDS", help=f"of endpoints (default {FULL.churn_s:.0f})")
    flags = parser.parse_args()
    network.enter()
    sizes = QUICK if flags.quick else FULL
    sizes = sizes._replace(most=MOST if flags.large else 0, churn_s=flags.churn or sizes.churn_s)
    began, missed = time.monotonic(), 0
    put(f"{len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}\n\n{HEAD}")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for figure in measure(sizes, Path(directory)):
            missed += figure.reached not in ("", "yes")
            put(figure.row())
    say(f"{time.monotonic() - began:.0f} s; targets missed: {missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
