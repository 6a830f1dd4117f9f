"""B8: the bytes of one change, counted at the socket of a client that has everything.

The limit is the changed resource by itself: its message with its name, version and type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import world
from tests.bench.measures import Figure, Sizes, say
from tests.bench.stand import Plane
from tests.e2e.pki import Authority
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
)

BACKEND = 9090  # nobody asks it anything
EDITED = 3
ENDPOINTS = 20


class Counted:
    """One world, and what a change in it costs."""

    def __init__(self, stack: ExitStack, directory: Path, count: int, number: int, rest_s: float) -> None:
        self.count = count
        self.authority = Authority(directory / f"ca-{number}.pem")
        self.manifests = world.write(directory / f"counted-{number}", count, BACKEND, number)
        world.write_tls(self.manifests, *self.authority.issue("secure.bench.example"))
        self.plane = Plane(stack, directory, self.manifests, count, number, rest_s)

    def cost(self, change: Callable[[], object]) -> tuple[int, dict[str, int]]:
        """All bytes that the change made the server send, and those of responses by type."""
        self.plane.rest()
        client = self.plane.client
        received, messages = client.received, len(client.messages)
        change()
        self.plane.swarm.until(lambda: "scan ends" in self.plane.process.ask("marks"), "an edit")
        self.plane.rest()
        by_type: dict[str, int] = {}
        for message in client.messages[messages:]:
            by_type[message.type_url] = by_type.get(message.type_url, 0) + len(message.payload)
        return client.received - received, by_type

    def edit(self, number: int = EDITED, revision: str = "0000", endpoints: int = 2) -> None:
        text = world.application(number, BACKEND, revision=revision, endpoints=endpoints)
        world.edit(world.path(self.manifests, number), text)

    def renew(self) -> None:
        world.write_secret(self.manifests, *self.authority.issue("secure.bench.example"))

    def size(self, type_url: str, name: str) -> int:
        answer: int = self.plane.process.ask("body", key=[type_url, name])["resource"]
        return answer

    def figure(
        self, what: str, found: tuple[int, dict[str, int]], type_url: str, name: str, most: float | None, note: str = ""
    ) -> Figure:
        total, by_type = found
        size = self.size(type_url, name)
        others = ", ".join(f"{_short(url)} {count}" for url, count in by_type.items() if url != type_url)
        # HTTP/2 and gRPC add as much to each response, whatever its size.
        framing = (total - sum(by_type.values())) // len(by_type)
        of_it = by_type[type_url] + framing
        own = f"response {by_type[type_url]} B, HTTP/2 and gRPC {framing} B"
        notes = "; ".join(part for part in (note, own, f"beside it: {others}" if others else "") if part)
        return Figure("B8", f"{what}, {self.count} routes", f"{of_it} B", f"{size} B", of_it / size, most, notes)


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    for at, count in enumerate((sizes.few, sizes.many)):
        say(f"B8: {count} routes")
        with ExitStack() as stack:
            yield from _figures(Counted(stack, directory, count, 2 * at + 1, sizes.rest_s))
    say("B8: 100 routes, without VHDS")
    with ExitStack() as stack:
        counted = Counted(stack, directory, 100, 5, sizes.rest_s)
        found = counted.cost(lambda: counted.edit(revision="0001"))
        table = f"{world.CONTROL}/80"
        yield counted.figure(
            "one route, without VHDS", found, ROUTE_CONFIGURATION, table, None, "limit: the whole route configuration"
        )


def _figures(counted: Counted) -> Iterator[Figure]:
    total, _ = counted.cost(counted.edit)
    yield Figure(
        "B8", f"a file written anew, unchanged, {counted.count} routes", f"{total} B", "0 B", float(total), 0.0
    )
    found = counted.cost(lambda: counted.edit(endpoints=3))
    cluster = world.cluster(EDITED)
    yield counted.figure("an endpoint, of 3", found, CLUSTER_LOAD_ASSIGNMENT, cluster, 1.3)
    found = counted.cost(lambda: counted.edit(endpoints=ENDPOINTS))
    yield counted.figure(f"an endpoint, of {ENDPOINTS}", found, CLUSTER_LOAD_ASSIGNMENT, cluster, 1.3)
    vhds = counted.count > 500
    found = counted.cost(lambda: counted.edit(endpoints=ENDPOINTS, revision="0001"))
    if vhds:
        host = f"{world.CONTROL}/80/vhds/{world.hostname(EDITED)}"
        yield counted.figure("one route, by VHDS", found, VIRTUAL_HOST, host, 2.0)
    fresh = counted.count
    found = counted.cost(lambda: counted.edit(number=fresh))
    yield counted.figure("one cluster more", found, CLUSTER, world.cluster(fresh), 1.3)
    found = counted.cost(counted.renew)
    yield counted.figure("one certificate", found, SECRET, f"secret/{world.NAMESPACE}/secure", 1.3)


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
