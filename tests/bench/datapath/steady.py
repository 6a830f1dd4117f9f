"""B11: what requests cost on connections that are kept, by the way that the connections came to Envoy."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.datapath.compared import Pair, Samples, microseconds, quotients, rate, rates, times
from tests.bench.datapath.ways import PAIR, RULE, THEIRS, TURN_S, Way, all_of, pair_of, stand, turns
from tests.bench.measures import Figure, say

MOST: Final = 1.05
"""Of the time and the CPU of who dials Envoy."""
LEAST_RATE: Final = 0.95
CONNECTIONS: Final = (1, 128)


class Sizes(NamedTuple):
    stands: int
    turns: int
    """In each stand, of each way."""


FULL: Final = Sizes(stands=8, turns=18)
QUICK: Final = Sizes(stands=1, turns=3)


def measure(quick: bool, directory: Path) -> Iterator[Figure]:
    sizes = QUICK if quick else FULL
    say(f"B11: {sizes.stands} stands, {sizes.turns} turns of {TURN_S} s with {CONNECTIONS} connections in each")
    stands = [_measured(sizes.turns, directory) for _ in range(sizes.stands)]
    for connections in CONNECTIONS:
        yield from _figures(stands, "ours", connections, MOST)
        for name in THEIRS:
            yield from _figures(stands, name, connections, None)
        yield from _figures(stands, "dialled again", connections, None)
        yield from _by_rule(stands, connections)
    yield _scaling(stands)


def _measured(count: int, directory: Path) -> Mapping[str, Way]:
    with stand(directory) as built:
        ways = {"direct": built.direct()} | {name: built.way(name) for name in built.nodes}
        for connections in CONNECTIONS:
            for way in ways.values():
                way.ask("kept", connections)
            for way in turns(ways, count):
                way.turn(f"kept {connections}", "kept", connections)
        built.give_to_rule()
        pair = pair_of(ways)
        for connections in CONNECTIONS:
            for way in pair.values():
                way.ask("kept", connections)
            for way in turns(pair, count):
                way.turn(f"kept {connections} {RULE}", "kept", connections)
    return ways


def _figures(stands: Sequence[Mapping[str, Way]], name: str, connections: int, most: float | None) -> Iterator[Figure]:
    """One way against the Envoy that is dialled."""
    load = f"kept {connections}"
    what = f"{name}, {_connections(connections)}, against dialling Envoy"

    def pair(measured: str) -> Pair:
        return Pair(all_of(stands, name, load, measured), all_of(stands, "dialled", load, measured))

    def direct(measured: str) -> Samples:
        return all_of(stands, "direct", load, measured)

    without = direct("cpu_us")
    added = Pair(*(_less(samples, without) for samples in pair("cpu_us")))
    bare = f"direct {microseconds(direct('whole_p50_us'))}"
    yield times("B11", f"{what}: median time of a request", pair("whole_p50_us"), most, bare)
    least = None if most is None else LEAST_RATE
    yield rates("B11", "- requests a second", pair("per_s"), least, f"direct {rate(direct('per_s'))}")
    note = f"direct {microseconds(without)}, of client and server"
    yield times("B11", "- CPU a request, more than direct", added, most, note)
    yield times("B11", "- CPU a request", pair("cpu_us"), None, "of client, Envoy and server")


def _by_rule(stands: Sequence[Mapping[str, Way]], connections: int) -> Iterator[Figure]:
    """Our Envoy without our programs, against who dials: what is dearer then, too, is not the steering's."""

    def pair(measured: str) -> Pair:
        return Pair(*(all_of(stands, name, f"kept {connections} {RULE}", measured) for name in PAIR))

    what = f"our Envoy by a rule of iptables TPROXY, {_connections(connections)}, against dialling Envoy"
    note = "both in the same turns"
    yield times("B11", f"{what}: median time of a request", pair("whole_p50_us"), None, note)
    yield rates("B11", "- requests a second", pair("per_s"), None, note)
    yield times("B11", "- CPU a request", pair("cpu_us"), None, "of client, Envoy and server")


def _connections(number: int) -> str:
    return f"{number} connection{'s' if number > 1 else ''}"


def _less(samples: Samples, without: Samples) -> Samples:
    return [
        [cpu - bare for cpu, bare in zip(*of_stand, strict=True)] for of_stand in zip(samples, without, strict=True)
    ]


def _scaling(stands: Sequence[Mapping[str, Way]]) -> Figure:
    few, many = (f"kept {connections}" for connections in CONNECTIONS)

    def scaled(name: str) -> Samples:
        return [quotients(ways[name].all(many, "per_s"), ways[name].all(few, "per_s")) for ways in stands]

    mine, theirs = scaled("ours"), scaled("dialled")
    turned = Pair(theirs, mine)
    return Figure(
        "B11",
        f"requests a second with {CONNECTIONS[1]} connections against {CONNECTIONS[0]}",
        f"{statistics.median(chain(*mine)):.2f}",
        f"{statistics.median(chain(*theirs)):.2f}",
        turned.ratio,
        MOST,
        f"limit: dialling Envoy; ratio: limit to ours, in {turned.interval()}",
    )
