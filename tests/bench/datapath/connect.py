"""B13: what it costs to connect to a service: by the socket programs, by kube-proxy's rules, and to the backend itself.

Every way has a process of its own in a network namespace, all are there at once, and they take turns, there and back.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from tests.bench.datapath import peers
from tests.bench.datapath.updates import changes, fill
from tests.bench.measures import Figure, interval, ratio, say
from tests.bpf.socket_stand import Actor, Sockets, cgroup, network

MOST_ADDED_US: Final = 3.0
MOST_GROWTH: Final = 1.1
ROUTES: Final = ("route add 10.96.0.0/12 dev lo src 10.9.0.200",)
"""The address of a service leads somewhere, which the rules of NAT need."""
DIALLED: Final = 100
"""Services that are connected to in turn, whatever the number that there are."""
Protocol = Literal["tcp", "udp"]


class Sizes(NamedTuple):
    services: tuple[int, ...]
    rounds: int
    connects: int
    """In each round and way."""
    updates: int
    """Map entries that are written to see how fast that is."""
    endpoints: int
    sockets: int
    """That are counted to see how they are spread."""


FULL: Final = Sizes(
    (100, 1000, 10_000, 50_000), rounds=12, connects=400, updates=20_000, endpoints=1000, sockets=20_000
)
QUICK: Final = Sizes((100, 1000), rounds=2, connects=100, updates=1000, endpoints=100, sockets=1000)


@dataclass(slots=True)
class Way:
    """One way to connect, and what was measured of it, a sample a round."""

    caller: Actor
    addresses: list[str]
    port: int
    samples: dict[Protocol, list[dict[str, Any]]] = field(default_factory=lambda: {"tcp": [], "udp": []})

    def turn(self, protocol: Protocol, count: int) -> None:
        self.samples[protocol].append(self.caller.ask(protocol, self.addresses, self.port, count))

    def all(self, protocol: Protocol, what: str) -> list[float]:
        return [sample[what] for sample in self.samples[protocol]]


def measure(quick: bool, directory: Path) -> Iterator[Figure]:
    sizes = QUICK if quick else FULL
    with ExitStack() as stack:
        folder = directory / "updates"
        folder.mkdir()
        yield from changes(sizes.services[-1], sizes.updates, sizes.endpoints, folder)
        ways = _ways(stack, sizes, directory)
        _rounds(ways, "tcp", sizes)
        _rounds({name: way for name, way in ways.items() if not name.startswith("iptables")}, "udp", sizes)
        for services in sizes.services:
            yield from _figures(ways, services, "tcp", "connect() of TCP")
        yield _growth(ways, sizes.services)
        for services in (sizes.services[0], sizes.services[-1]):
            yield from _figures(ways, services, "udp", "a datagram of a new UDP socket and its answer")
        yield _bystanders(ways)
        yield _noise(ways)
        yield _spread(ways[f"ours {sizes.services[-1]}"], sizes.sockets)


def _ways(stack: ExitStack, sizes: Sizes, directory: Path) -> dict[str, Way]:
    say(f"B13: services {', '.join(map(str, sizes.services))}, in the maps and as rules of nftables and iptables")
    plain, own = stack.enter_context(cgroup()), stack.enter_context(network(*ROUTES))
    backends = list(peers.BACKENDS)

    def way(netns: Path, group: Path, addresses: list[str], port: int) -> Way:
        caller = Actor(group, netns, "tests.bench.datapath.caller")
        stack.callback(caller.close)
        return Way(caller, addresses, port)

    ways = {"direct": way(own, plain, backends, peers.PORT)}
    ways["direct again"] = way(stack.enter_context(network(*ROUTES)), plain, backends, peers.PORT)
    for services in sizes.services:
        dialled = [peers.service(number) for number in range(0, services, max(services // DIALLED, 1))][:DIALLED]
        folder = directory / str(services)
        folder.mkdir()
        sockets = Sockets(stack, folder)
        fill(sockets, services)
        sockets.attach()
        group = stack.enter_context(network(*ROUTES))
        ways[f"ours {services}"] = way(group, sockets.cgroup, dialled, peers.SERVICE_PORT)
        if services == sizes.services[-1]:
            other = stack.enter_context(network(*ROUTES))
            ways["no service"] = way(other, sockets.cgroup, backends, peers.PORT)
        for name, peer in peers.PEERS.items():
            netns = stack.enter_context(network(*ROUTES))
            peers.run(netns, peer.load, peer.rules(services))
            ways[f"{name} {services}"] = way(netns, plain, dialled, peers.SERVICE_PORT)
    return ways


def _rounds(ways: Mapping[str, Way], protocol: Protocol, sizes: Sizes) -> None:
    say(f"B13: {protocol}, {len(ways)} ways, {sizes.rounds} rounds of {sizes.connects}")
    for way in ways.values():
        way.caller.ask(protocol, way.addresses, way.port, max(sizes.connects // 4, DIALLED))
    for round_ in range(sizes.rounds):
        order = list(ways.values())
        for way in order if round_ % 2 else reversed(order):
            way.turn(protocol, sizes.connects)


def _added(ways: Mapping[str, Way], name: str, protocol: Protocol) -> list[float]:
    """Each round's median, less the median of the direct one in the same round."""
    mine, direct = ways[name].all(protocol, "median_us"), ways["direct"].all(protocol, "median_us")
    return [own - base for own, base in zip(mine, direct, strict=True)]


def _microseconds(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):.2f} µs ({min(samples):.2f} to {max(samples):.2f})"


def _figures(ways: Mapping[str, Way], services: int, protocol: Protocol, what: str) -> Iterator[Figure]:
    ours = _added(ways, f"ours {services}", protocol)
    mine, direct = ways[f"ours {services}"], ways["direct"]
    yield Figure(
        "B13",
        f"{what}, {services} services: added to the backend's own address",
        _microseconds(ours),
        f"{MOST_ADDED_US:g} µs",
        statistics.median(ours) / MOST_ADDED_US,
        1.0,
        f"direct {_microseconds(direct.all(protocol, 'median_us'))}; {_loop(mine, direct, protocol)}",
    )
    for name in peers.PEERS:
        if not ways[f"{name} {services}"].samples[protocol]:
            continue
        peer = ways[f"{name} {services}"]
        theirs = _added(ways, f"{name} {services}", protocol)
        yield Figure(
            "B13",
            f"- against {name}",
            _microseconds(ours),
            _microseconds(theirs),
            ratio(ours, theirs),
            0.5 if name == "nftables" else None,
            f"ratio in {interval(ours, theirs)}; {_loop(mine, peer, protocol)}",
        )


def _loop(mine: Way, other: Way, protocol: Protocol) -> str:
    def both(what: str, form: str) -> str:
        medians = (statistics.median(way.all(protocol, what)) for way in (mine, other))
        return " against ".join(format(median, form) for median in medians)

    return f"connection, request, answer and close: {both('per_s', ',.0f')} a second, CPU {both('cpu_us', '.1f')} µs"


def _growth(ways: Mapping[str, Way], services: Sequence[int]) -> Figure:
    few, many = services[0], services[-1]
    least, most = (ways[f"ours {number}"].all("tcp", "median_us") for number in (few, many))
    added = [statistics.median(_added(ways, f"ours {number}", "tcp")) for number in (few, many)]
    return Figure(
        "B13",
        f"connect() of TCP with {many} services against {few}",
        _microseconds(most),
        _microseconds(least),
        ratio(most, least),
        MOST_GROWTH,
        f"ratio in {interval(most, least)}; of what is added alone {added[1] / added[0]:.2f}",
    )


def _bystanders(ways: Mapping[str, Way]) -> Figure:
    return Figure(
        "B13",
        "connect() of TCP to an address that is no service: added by the programs",
        _microseconds(_added(ways, "no service", "tcp")),
    )


def _noise(ways: Mapping[str, Way]) -> Figure:
    again, first = (ways[name].all("tcp", "median_us") for name in ("direct again", "direct"))
    return Figure(
        "B13",
        "the same against itself: direct connect() in another namespace",
        _microseconds(again),
        _microseconds(first),
        ratio(again, first),
        None,
        f"ratio in {interval(again, first)}",
    )


def _spread(way: Way, sockets: int) -> Figure:
    found = way.caller.ask("backends", way.addresses[0], way.port, sockets)
    mean = sockets / len(peers.BACKENDS)
    # Of independent choices: the standard deviation of one backend's share.
    chance = (mean * (1 - 1 / len(peers.BACKENDS))) ** 0.5
    deviation = (sum((count - mean) ** 2 for count in found.values()) / len(peers.BACKENDS)) ** 0.5
    return Figure(
        "B13",
        f"{sockets} sockets over {len(peers.BACKENDS)} backends: standard deviation of a backend's share",
        f"{deviation:.0f}",
        f"{chance:.0f}",
        deviation / chance,
        None,
        f"{min(found.values())} to {max(found.values())}; limit: that of independent choices",
    )
