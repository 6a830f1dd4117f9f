"""B12: what new connections cost, by the way that they come to Envoy, and what connection tracking keeps of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from datapath.kernel.layout import BACKENDS, SERVICES, Backend, BackendKey, Service, ServiceKey
from datapath.kernel.maps import Map, opened
from tests.bench.datapath import peers
from tests.bench.datapath.bound import DIALLED_PORT
from tests.bench.datapath.compared import Pair, Samples, microseconds, quotients, rate, rates, times
from tests.bench.datapath.ways import ADDRESS, PAIR, RULE, THEIRS, TURN_S, Way, all_of, pair_of, stand, turns
from tests.bench.measures import Figure, say
from tests.bpf.socket_stand import TCP
from tests.netns.stand import Node

COUNTS: Final = (0, 1000, 10_000)
"""Of services in the maps of our node, besides those of the stand."""
FIRST: Final = 4 << 16
"""Their numbers are clear of the stand's own addresses."""
ID: Final = 1 << 30
MOST_GROWTH: Final = 1.1
AT_ONCE: Final = 16
PEER: Final = "iptables TPROXY"
EVERY: Final = "every way"
TRACKED: Final = "tracked"
"""Of the turns in which somebody asks for connection tracking."""
TRACKING: Final = """nft -f - <<'RULES'
table ip tracked {
  chain input { type filter hook input priority filter; ct state new counter; }
}
RULES"""
"""Somebody's rule that asks for connection tracking, as kube-proxy's do."""
READ: Final = "cat /proc/net/nf_conntrack"


class Sizes(NamedTuple):
    stands: int
    turns: int
    """In each stand, of all ways."""
    pair_turns: int
    """In each stand, of the pair for each number of services, with connection tracking, and by rule."""


FULL: Final = Sizes(stands=8, turns=8, pair_turns=20)
QUICK: Final = Sizes(stands=1, turns=2, pair_turns=2)


def measure(quick: bool, directory: Path) -> Iterator[Figure]:
    sizes = QUICK if quick else FULL
    say(
        f"B12: {sizes.stands} stands, {sizes.turns} turns of {TURN_S} s with {AT_ONCE} and 1 at once in each, "
        f"and {sizes.pair_turns} of the pair"
    )
    stands, tracked = [], []
    for number in range(sizes.stands):
        with stand(directory) as built:
            ways = {name: built.way(name) for name in built.nodes}
            _take_turns(ways, EVERY, sizes.turns)
            _measure(pair_of(ways), built.maps, COUNTS[:: -1 if number % 2 else 1], sizes.pair_turns)
            tracked.append({name: _entries(built.nodes[name], way) for name, way in ways.items()})
            _take_tracked_turns(built.nodes, ways, TRACKED, sizes.pair_turns)
            built.give_to_rule()
            _take_turns(pair_of(ways), RULE, sizes.pair_turns)
            _take_tracked_turns(built.nodes, ways, f"{RULE}, {TRACKED}", sizes.pair_turns)
            stands.append(ways)
    for count in COUNTS:
        yield from _at_same_envoy(stands, f"{count} more services", count, RULE, most=1.0)
    # The kernel tracks what comes by the rule, and ours not: no comparison of steering alone.
    yield from _at_same_envoy(stands, "where somebody tracks others", TRACKED, f"{RULE}, {TRACKED}", most=None)
    for count in COUNTS[1:]:
        yield _growth(stands, count)
    for name in ("dialled", *THEIRS):
        yield from _figures(stands, "ours", name)
    yield from _figures(stands, "dialled", PEER)
    yield from _figures(stands, "dialled again", "dialled")
    yield _tracking(tracked)


def _measure(ways: Mapping[str, Way], maps: Path, counts: Iterable[int], count_turns: int) -> None:
    with opened(SERVICES, maps) as services, opened(BACKENDS, maps) as backends:
        backends.put_all(
            (BackendKey(ID, 1, slot), Backend(IPv4Address(each), peers.PORT))
            for slot, each in enumerate(peers.BACKENDS)
        )
        for count in counts:
            _fill(services, count)
            _take_turns(ways, count, count_turns)
        _fill(services, 0)


def _take_turns(ways: Mapping[str, Way], what: object, count: int) -> None:
    for way in ways.values():
        way.ask("closed", AT_ONCE)
    for way in turns(ways, count):
        way.turn(f"many {what}", "closed", AT_ONCE)
        way.turn(f"one {what}", "closed", 1)


def _fill(services: Map[ServiceKey, Service], count: int) -> None:
    """As many as that, and no more."""
    keys = [ServiceKey(IPv4Address(peers.service(FIRST + each)), peers.SERVICE_PORT, TCP) for each in range(COUNTS[-1])]
    services.put_all((key, Service(0, ID, 1, len(peers.BACKENDS))) for key in keys[:count])
    services.delete_all(keys[count:])


@contextmanager
def _tracking_in(nodes: Iterable[Node]) -> Iterator[None]:
    with ExitStack() as stack:
        for node in nodes:
            node.sh(TRACKING)
            stack.callback(node.sh, "nft delete table ip tracked")
        yield


def _take_tracked_turns(nodes: Mapping[str, Node], ways: Mapping[str, Way], what: str, count: int) -> None:
    with _tracking_in(nodes[name] for name in PAIR):
        _take_turns(pair_of(ways), what, count)


def _entries(node: Node, way: Way) -> tuple[int, int, int]:
    """Of connection tracking: all, the clients', and how many connections made them."""
    with _tracking_in([node]):
        before = _tracked(node.sh(READ))
        made = way.ask("closed", 1)["requests"]
        after = _tracked(node.sh(READ))
    return after[0] - before[0], after[1] - before[1], int(made)


def _tracked(entries: str) -> tuple[int, int]:
    """All, and those whose client asked for the service's address, or for the port that is dialled."""
    lines = entries.splitlines()
    return len(lines), sum(f"dst={ADDRESS} " in line or f"dport={DIALLED_PORT} " in line for line in lines)


def _figures(stands: Sequence[Mapping[str, Way]], name: str, other: str) -> Iterator[Figure]:
    """At Envoys of their own."""

    def pair(load: str, measured: str) -> Pair:
        return Pair(*(all_of(stands, each, f"{load} {EVERY}", measured) for each in (name, other)))

    note = f"{AT_ONCE} at once"
    yield rates("B12", f"{name}, against {other}: connections a second", pair("many", "per_s"), None, note)
    yield times("B12", "- CPU a connection", pair("many", "cpu_us"), None, "of client, Envoy and server")
    note = f"until the answer has come {' against '.join(map(microseconds, pair('one', 'whole_p50_us')))}"
    yield times("B12", "- connect(), p50", pair("one", "connect_p50_us"), None, note)


def _in_dialled(stands: Iterable[Mapping[str, Way]], load: str, measured: str) -> Samples:
    """Ours, in what it is for who dials in the same turns: so it may be compared with what was at another time."""
    return [quotients(ways["ours"].all(load, measured), ways["dialled"].all(load, measured)) for ways in stands]


def _at_same_envoy(
    stands: Sequence[Mapping[str, Way]], with_: str, own: object, by_rule: str, *, most: float | None
) -> Iterator[Figure]:
    """By our programs, and after them by a rule: client, Envoy and server are the same processes."""

    def compared(load: str, measured: str) -> Pair:
        return Pair(*(_in_dialled(stands, f"{load} {what}", measured) for what in (own, by_rule)))

    def shown(load: str, measured: str, show: Callable[[Samples], str]) -> tuple[str, str]:
        mine, theirs = (show(all_of(stands, "ours", f"{load} {what}", measured)) for what in (own, by_rule))
        return mine, theirs

    faster = compared("many", "per_s").turned
    what = f"ours, {with_}, against {PEER} to the same Envoy: connections a second"
    note = f"ratio: limit to ours, in {faster.interval()}; both in those of who dials in the same turns"
    yield Figure("B12", what, *shown("many", "per_s", rate), faster.ratio, most, note)
    for name, load, measured, limit in (
        ("- CPU a connection", "many", "cpu_us", None),
        ("- connect(), p50", "one", "connect_p50_us", most),
        ("- until the answer has come, p50", "one", "whole_p50_us", None),
    ):
        pair = compared(load, measured)
        mine, theirs = shown(load, measured, microseconds)
        yield Figure("B12", name, mine, theirs, pair.ratio, limit, f"ratio in {pair.interval()}")


def _growth(stands: Sequence[Mapping[str, Way]], count: int) -> Figure:
    pair = Pair(*(_in_dialled(stands, f"many {number}", "cpu_us") for number in (count, COUNTS[0])))
    few, many = (statistics.median(chain(*each)) for each in (pair.theirs, pair.mine))
    what = f"ours, {count} more services, against {COUNTS[0]}: CPU a connection, in those that are dialled"
    return Figure("B12", what, f"{many:.2f}", f"{few:.2f}", pair.ratio, MOST_GROWTH, f"ratio in {pair.interval()}")


def _tracking(tracked: Sequence[Mapping[str, tuple[int, int, int]]]) -> Figure:
    """Of the stand in which ours made most."""
    worst = max(tracked, key=lambda found: found["ours"][1])
    every, clients, made = worst["ours"]
    others = ", ".join(f"{name} {found[0]} of {found[2]}" for name, found in worst.items() if name != "ours")
    return Figure(
        "B12",
        f"entries of connection tracking that {made} connections make, where it is on",
        str(clients),
        "0",
        float(clients),
        0.0,
        f"of connections to Envoy; with those of Envoy to the server {every}; others: {others}",
    )
