"""`python -m tests.bench`: measure, and print the table of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import cold_start, fan_out, memory, reconnect, traffic, visible
from tests.bench.measures import FULL, HEAD, QUICK, Figure, Sizes, say
from tests.bench.process import pin

BENCHMARKS: dict[str, Callable[[Sizes, Path], Iterator[Figure]]] = {
    "b2": visible.measure,
    "b4": fan_out.measure,
    "b6": reconnect.measure,
    "b8": traffic.measure,
    "start": cold_start.measure,
    "memory": memory.measure,
}


def put(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    flags = parser.parse_args()
    unknown = [name for name in flags.benchmarks if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    began = time.monotonic()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    put(f"{len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}\n\n{HEAD}")
    pin(1)
    missed = 0
    for name in flags.benchmarks or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            for figure in BENCHMARKS[name](QUICK if flags.quick else FULL, Path(directory)):
                missed += figure.reached not in ("", "yes")
                put(figure.row())
    say(f"{time.monotonic() - began:.0f} s; targets missed: {missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
