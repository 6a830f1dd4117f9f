"""B13: how fast the maps take changes: entries a second, and a service's endpoints all at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from datapath.kernel.layout import Backend, BackendKey, Service, ServiceKey
from tests.bench.datapath import peers
from tests.bench.measures import Figure, milliseconds, ratio, say
from tests.bpf.socket_stand import TCP, UDP, Sockets, network

LEAST_PER_S: Final = 10_000
TIMES: Final = 9


def slots(number: int, generation: int, addresses: Sequence[str]) -> Iterator[tuple[BackendKey, Backend]]:
    for slot, address in enumerate(addresses):
        yield BackendKey(number, generation, slot), Backend(IPv4Address(address), peers.PORT)


def fill(sockets: Sockets, services: int) -> None:
    """So many services of TCP and UDP at one port, with the same backends."""
    sockets.backends.put_all(entry for number in range(services) for entry in slots(number, 1, peers.BACKENDS))
    sockets.services.put_all(
        (_key(number, protocol), Service(0, number, 1, len(peers.BACKENDS)))
        for number in range(services)
        for protocol in (TCP, UDP)
    )


def _key(number: int, protocol: int) -> ServiceKey:
    return ServiceKey(IPv4Address(peers.service(number)), peers.SERVICE_PORT, protocol)


def changes(services: int, updates: int, endpoints: int, directory: Path) -> Iterator[Figure]:
    say(f"B13: {updates} updates, and changes of {endpoints} endpoints, with {services} services")
    with ExitStack() as stack:
        sockets = Sockets(stack, directory)
        fill(sockets, services)
        entries = list(slots(0, 2, [peers.endpoint(number) for number in range(updates)]))
        yield _rate("one by one", [_seconds(partial(_one_by_one, sockets, entries)) for _ in range(TIMES)], updates)
        yield _rate(
            "as many at once as there are",
            [_seconds(partial(_at_once, sockets, entries)) for _ in range(TIMES)],
            updates,
        )
        sockets.backends.delete_all(key for key, _ in entries)
        ours = [_seconds(partial(_change, sockets, number, endpoints)) for number in range(2, 2 + TIMES)]
        for name, peer in peers.PEERS.items():
            netns = stack.enter_context(network())
            peers.run(netns, peer.load, peer.rules(services))
            rules = [peer.change(number, endpoints) for number in range(TIMES)]
            theirs = [_seconds(partial(peers.run, netns, peer.amend, change)) for change in rules]
            yield Figure(
                "B13",
                f"another {endpoints} endpoints for one of {services} services, against {name}",
                milliseconds(ours),
                milliseconds(theirs),
                ratio(ours, theirs),
                None,
                "theirs with the process that is started for it",
            )


def _one_by_one(sockets: Sockets, entries: Sequence[tuple[BackendKey, Backend]]) -> None:
    for key, value in entries:
        sockets.backends.put(key, value)


def _at_once(sockets: Sockets, entries: Sequence[tuple[BackendKey, Backend]]) -> None:
    sockets.backends.put_all(entries)


def _change(sockets: Sockets, generation: int, endpoints: int) -> None:
    """The next slots, then the service, then the last ones are deleted."""
    sockets.backends.put_all(slots(0, generation, [peers.endpoint(number) for number in range(endpoints)]))
    for protocol in (TCP, UDP):
        sockets.services.put(_key(0, protocol), Service(0, 0, generation, endpoints))
    sockets.backends.delete_all(BackendKey(0, generation - 1, slot) for slot in range(endpoints))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rate(how: str, spent: Sequence[float], updates: int) -> Figure:
    rate = updates / statistics.median(spent)
    return Figure(
        "B13",
        f"map updates a second from Python, {how}",
        f"{rate:,.0f}",
        f"{LEAST_PER_S:,}",
        LEAST_PER_S / rate,
        1.0,
        f"{updates} entries, {milliseconds(spent)}; ratio: limit to ours",
    )
