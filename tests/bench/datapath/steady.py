"""B11: what requests cost on connections that are kept, by the way that the connections came to Envoy."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.datapath.compared import Pair, microseconds, rate, rates, times
from tests.bench.datapath.ways import THEIRS, Way, stand
from tests.bench.measures import Figure, say

MOST: Final = 1.05
"""Of the time and the CPU of who dials Envoy."""
LEAST_RATE: Final = 0.95
CONNECTIONS: Final = (1, 128)
SECONDS: Final = 1
"""Of a turn: the least that the generator knows."""


class Sizes(NamedTuple):
    rounds: int


FULL: Final = Sizes(rounds=20)
QUICK: Final = Sizes(rounds=1)


def measure(quick: bool, directory: Path) -> Iterator[Figure]:
    sizes = QUICK if quick else FULL
    with stand(directory) as built:
        ways = {"direct": built.direct()} | {name: built.way(name) for name in built.nodes}
        say(f"B11: {len(ways)} ways, {sizes.rounds} rounds of {SECONDS} s with {CONNECTIONS} connections")
        for way in ways.values():
            way.load(CONNECTIONS[-1], SECONDS)
            way.forget()
        for round_ in range(sizes.rounds):
            for way in list(ways.values())[:: -1 if round_ % 2 else 1]:
                for connections in CONNECTIONS:
                    way.load(connections, SECONDS)
    for connections in CONNECTIONS:
        yield from _figures(ways, "ours", connections, MOST)
        for name in THEIRS:
            yield from _figures(ways, name, connections, None)
        yield from _figures(ways, "dialled again", connections, None)
    yield _scaling(ways)


def _figures(ways: Mapping[str, Way], name: str, connections: int, most: float | None) -> Iterator[Figure]:
    """One way against the Envoy that is dialled."""
    load = f"kept {connections}"
    mine, dialled, direct = ways[name], ways["dialled"], ways["direct"]
    what = f"{name}, {connections} connection{'s' if connections > 1 else ''}, against dialling Envoy"

    def pair(measured: str) -> Pair:
        return Pair(mine.all(load, measured), dialled.all(load, measured))

    without = direct.all(load, "cpu_us")
    added = Pair(*([cpu - bare for cpu, bare in zip(samples, without, strict=True)] for samples in pair("cpu_us")))
    bare = f"direct {microseconds(direct.all(load, 'p50_us'))}"
    yield times("B11", f"{what}: median time of a request", pair("p50_us"), most, bare)
    least = None if most is None else LEAST_RATE
    yield rates("B11", "- requests a second", pair("per_s"), least, f"direct {rate(direct.all(load, 'per_s'))}")
    note = f"direct {statistics.median(without):.1f} µs, of client and server"
    yield times("B11", "- CPU a request, more than direct", added, most, note)


def _scaling(ways: Mapping[str, Way]) -> Figure:
    few, many = (f"kept {connections}" for connections in CONNECTIONS)
    mine, theirs = (
        [most / least for most, least in zip(ways[name].all(many, "per_s"), ways[name].all(few, "per_s"), strict=True)]
        for name in ("ours", "dialled")
    )
    turned = Pair(theirs, mine)
    return Figure(
        "B11",
        f"requests a second with {CONNECTIONS[1]} connections against {CONNECTIONS[0]}",
        f"{statistics.median(mine):.2f}",
        f"{statistics.median(theirs):.2f}",
        statistics.median(turned.ratios),
        MOST,
        f"limit: dialling Envoy; ratio: limit to ours, in {turned.interval()}",
    )
