"""B12: what new connections cost, by the way that they come to Envoy, and what connection tracking keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, NamedTuple

from datapath.kernel.layout import BACKENDS, SERVICES, Backend, BackendKey, Service, ServiceKey
from datapath.kernel.maps import Map, opened
from tests.bench.datapath import peers
from tests.bench.datapath.bound import DIALLED_PORT
from tests.bench.datapath.compared import Pair, microseconds, rates, times
from tests.bench.datapath.ways import ADDRESS, THEIRS, Stand, Way, stand
from tests.bench.measures import Figure, say
from tests.bpf.socket_stand import TCP

COUNTS: Final = (0, 1000, 10_000)
"""Of services in the maps of our node, besides those of the stand."""
FIRST: Final = 4 << 16
"""Their numbers are clear of the stand's own addresses."""
ID: Final = 1 << 30
MOST_GROWTH: Final = 1.1
AT_ONCE: Final = 16
SECONDS: Final = 1
LOAD: Final = f"close {AT_ONCE}"
PEER: Final = "iptables TPROXY"
TRACKING: Final = """nft -f - <<'RULES'
table ip tracked {
  chain input { type filter hook input priority filter; ct state new counter; }
}
RULES"""
"""Somebody's rule that asks for connection tracking, as kube-proxy's do."""
READ: Final = "cat /proc/net/nf_conntrack"


class Sizes(NamedTuple):
    rounds: int
    connections: int
    """That are opened one after the other, in each round and way."""


FULL: Final = Sizes(rounds=10, connections=400)
QUICK: Final = Sizes(rounds=1, connections=100)


def measure(quick: bool, directory: Path) -> Iterator[Figure]:
    sizes = QUICK if quick else FULL
    with ExitStack() as stack:
        built = stack.enter_context(stand(directory))
        fill = partial(_fill, stack.enter_context(opened(SERVICES, built.maps)))
        with opened(BACKENDS, built.maps) as backends:
            backends.put_all(
                (BackendKey(ID, 1, slot), Backend(IPv4Address(each), peers.PORT))
                for slot, each in enumerate(peers.BACKENDS)
            )
        ways = {
            f"ours, {count} more services": built.way("ours", number=number, before=partial(fill, count))
            for number, count in enumerate(COUNTS)
        } | {name: built.way(name) for name in built.nodes if name != "ours"}
        _rounds(ways, sizes)
        tracked = {name: _entries(built, name, sizes.connections) for name in built.nodes}
    ours = [f"ours, {count} more services" for count in COUNTS]
    for name in ours:
        yield from _figures(ways, name, PEER, 1.0)
    for name in ours[1:]:
        yield _growth(ways, name, ours[0])
    for name in ("dialled", *THEIRS):
        if name != PEER:
            yield from _figures(ways, ours[0], name, None)
    yield from _figures(ways, "dialled again", "dialled", None)
    yield _tracking(tracked, sizes.connections)


def _fill(services: Map[ServiceKey, Service], count: int) -> None:
    """As many as that, and no more."""
    keys = [ServiceKey(IPv4Address(peers.service(FIRST + each)), peers.SERVICE_PORT, TCP) for each in range(COUNTS[-1])]
    services.put_all((key, Service(0, ID, 1, len(peers.BACKENDS))) for key in keys[:count])
    services.delete_all(keys[count:])


def _rounds(ways: Mapping[str, Way], sizes: Sizes) -> None:
    say(f"B12: {len(ways)} ways, {sizes.rounds} rounds of {SECONDS} s, and of {sizes.connections} connections")
    for way in ways.values():
        way.open(sizes.connections)
        way.forget()
    for round_ in range(sizes.rounds):
        for way in list(ways.values())[:: -1 if round_ % 2 else 1]:
            way.load(AT_ONCE, SECONDS, close=True)
            way.open(sizes.connections)


def _entries(built: Stand, name: str, connections: int) -> tuple[int, int]:
    """Of connection tracking, which some rule asks for: made by so many connections, and of these the clients'."""
    node, way = built.nodes[name], built.way(name)
    node.sh(TRACKING)
    before = _tracked(node.sh(READ))
    way.open(connections)
    after = _tracked(node.sh(READ))
    return after[0] - before[0], after[1] - before[1]


def _tracked(entries: str) -> tuple[int, int]:
    """All, and those whose client asked for the service's address, or for the port that is dialled."""
    lines = entries.splitlines()
    return len(lines), sum(f"dst={ADDRESS} " in line or f"dport={DIALLED_PORT} " in line for line in lines)


def _figures(ways: Mapping[str, Way], name: str, other: str, most: float | None) -> Iterator[Figure]:
    mine, theirs = ways[name], ways[other]

    def pair(load: str, measured: str) -> Pair:
        return Pair(mine.all(load, measured), theirs.all(load, measured))

    spent = " against ".join(map(microseconds, pair(LOAD, "cpu_us")))
    note = f"CPU of client, Envoy and server {spent} a connection"
    yield rates("B12", f"{name}, against {other}: connections a second", pair(LOAD, "per_s"), most, note)
    for quantile, gate in (("p50", most), ("p99", None)):
        whole = " against ".join(map(microseconds, pair("open", f"whole_{quantile}_us")))
        note = f"until the answer has come {whole}"
        yield times("B12", f"- connect(), {quantile}", pair("open", f"connect_{quantile}_us"), gate, note)


def _growth(ways: Mapping[str, Way], name: str, least: str) -> Figure:
    connects = " against ".join(microseconds(ways[each].all("open", "connect_p50_us")) for each in (name, least))
    pair = Pair(*(ways[each].all(LOAD, "per_s") for each in (name, least)))
    what, note = f"{name}, against 0: connections a second", f"connect(), p50 {connects}"
    return rates("B12", what, pair, 1 / MOST_GROWTH, note)


def _tracking(tracked: Mapping[str, tuple[int, int]], connections: int) -> Figure:
    every, clients = tracked["ours"]
    others = ", ".join(f"{name} {made[0]}" for name, made in tracked.items() if name != "ours")
    return Figure(
        "B12",
        f"entries of connection tracking that {connections} connections make, where it is on",
        str(clients),
        "0",
        float(clients),
        0.0,
        f"of connections to Envoy; with those of Envoy to the server {every}; others: {others}",
    )
