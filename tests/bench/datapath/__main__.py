"""`python -m tests.bench.datapath`: measure what the kernel side costs, and print a table of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.datapath import connect, opening, steady
from tests.bench.measures import HEAD, Figure, say

BENCHMARKS: dict[str, Callable[[bool, Path], Iterator[Figure]]] = {
    "b11": steady.measure,
    "b12": opening.measure,
    "b13": connect.measure,
}
"""Each is told whether small sizes are enough."""


def put(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.datapath", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    flags = parser.parse_args()
    unknown = [name for name in flags.benchmarks if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    began, missed = time.monotonic(), 0
    put(f"{len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}\n\n{HEAD}")
    for name in flags.benchmarks or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            for figure in BENCHMARKS[name](flags.quick, Path(directory)):
                missed += figure.reached not in ("", "yes")
                put(figure.row())
    say(f"{time.monotonic() - began:.0f} s; targets missed: {missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
