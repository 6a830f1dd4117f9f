"""A cluster with applications, control planes on it, and what they write to its API server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.bench import world
from tests.bench.client import Swarm
from tests.bench.kubernetes.applications import FOUNDATION, GATEWAY, Writer, backends, route
from tests.bench.kubernetes.network import ENDPOINTS
from tests.bench.measures import say
from tests.bench.stand import Plane, backend
from tests.kubernetes.cluster import BUILT, Cluster, started

NUMBER = 1
"""Of the address that the Gateway has; a replay has the next."""

_UNHURRIED = {"GOGC": "400", "GOMEMLIMIT": "10GiB"}
"""The API server's garbage is collected rarely: on two cores everybody waits for that, now and then."""
_CHANGES = frozenset({"create", "update", "patch", "delete"})
_QUIET_S = 2.0
_LONGEST_S = 600.0
T = TypeVar("T")


class Sizes(NamedTuple):
    few: int
    many: int
    most: int
    """Routes for one more cold start, or 0 for none."""
    starts: int
    burst: int
    edits: int
    rate: int
    churn_s: float
    rest_s: float
    """In which nothing may be written."""


class Stand:
    """A cluster with `count` applications behind one Gateway, and the backends of `backed`."""

    def __init__(self, stack: ExitStack) -> None:
        self.cluster: Cluster = stack.enter_context(started(environment=_UNHURRIED))
        self.writer = Writer(self.cluster.directory / "api.sock")
        self.port = backend(stack, *ENDPOINTS)
        self.count = self.backed = 0
        self.cluster.apply(BUILT / "crds/standard", FOUNDATION)
        self.cluster.apply(world.GATEWAY.format(address=world.address(NUMBER)))

    def grow(self, count: int) -> None:
        """Create applications until there are so many."""
        began, numbers = time.monotonic(), range(self.count, count)
        self.back(count)
        self.writer.each(route(number) for number in numbers)
        self.count = count
        say(f"{len(numbers)} applications created in {time.monotonic() - began:.0f} s")

    def back(self, count: int) -> None:
        """Create what routes lead to, until there is enough for so many."""
        numbers = range(self.backed, count)
        self.writer.each(call for number in numbers for call in backends(number, self.port))
        self.backed = max(self.backed, count)

    def attached(self) -> int:
        """How many routes the Gateway says it has."""
        listeners = self.cluster.get(GATEWAY).get("status", {}).get("listeners", [])
        return sum(listener["attachedRoutes"] for listener in listeners)

    def writes(self) -> dict[str, int]:
        """What was written through the counting proxy since it was reset, but for the leader's Lease."""
        found: dict[str, int] = {}
        for row in self.cluster.counted():
            if row["verb"] in _CHANGES and row["resource"] != "leases":
                what = "/".join(filter(None, (row["resource"], row["subresource"])))
                found[what] = found.get(what, 0) + row["count"]
        return found

    @contextmanager
    def plane(self, directory: Path, *, counted: bool = False) -> Iterator[Plane]:
        """A control plane on all that there is, with one client."""
        kubeconfig = self.cluster.kubeconfig_proxy_outside if counted else self.cluster.kubeconfig_outside
        with ExitStack() as stack:
            yield Plane(stack, directory, kubeconfig, self.count, NUMBER, _QUIET_S, "cluster")


def settle(plane: Plane) -> dict[str, int]:
    """Wait until the plane leads and has written all statuses; returns its writes by kind and result."""
    ends, before = time.monotonic() + _LONGEST_S, None
    while True:
        # Who commits 50,000 routes answers late, and takes a client that does not answer its pings for gone.
        found = turning(plane.swarm, lambda: plane.process.ask("writes"))
        if found["leads"] and not found["pending"] and found == before:
            results: dict[str, int] = found["results"]
            return results
        if time.monotonic() > ends:
            raise TimeoutError(f"statuses are not written: {found}")
        before = found
        turn_for(plane.swarm, _QUIET_S)


def turn_for(swarm: Swarm, duration_s: float) -> None:
    """Serve the clients for so long."""
    ends = time.monotonic() + duration_s
    while (left := ends - time.monotonic()) > 0:
        swarm.turn(left)


def turning(swarm: Swarm, work: Callable[[], T]) -> T:
    """Do something that takes its time, and serve the clients meanwhile."""
    with ThreadPoolExecutor(1) as executor:
        done = executor.submit(work)
        while not done.done():
            swarm.turn(0.05)
        return done.result()
