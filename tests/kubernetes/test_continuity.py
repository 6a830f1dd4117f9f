"""Not one request is lost whatever becomes of the control plane and the API server: real Envoy, real API server."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster import Cluster, started
from tests.kubernetes.fresh import same_as_fresh
from tests.kubernetes.stand import ROUTES, UPDATES, Stand, endpoints, route, standing
from tests.soak import SOAK

REQUESTS = 300_000 if SOAK else 30_000
KILLS = 100 if SOAK else 20
MOVES = 1_000 if SOAK else 100
CHANGES = 1_000
AWAY_S = 300 if SOAK else 60

Recorder = Callable[[str, object], None]


@pytest.fixture(scope="module")
def own(cluster_binary: Path) -> Iterator[Cluster]:
    """A cluster that these tests alone break."""
    with started() as running:
        yield running


@pytest.fixture
def stand(own: Cluster, tmp_path: Path, envoy: Path) -> Iterator[Stand]:
    with standing(own, tmp_path, envoy) as running:
        yield running


def finish(stand: Stand) -> None:
    stand.until_total(REQUESTS)

    assert {} == stand.traffic.failed
    assert stand.traffic.total >= REQUESTS


def test_replicas_are_killed(stand: Stand) -> None:
    """R1, R2: either replica dies by kill -9, the leader at every other time, while routes change and arrive."""
    for kill in range(KILLS):
        leader = stand.leader()
        victim = leader if kill % 2 and leader in {"one", "two"} else ("one", "two")[kill // 2 % 2]
        stand.replicas[victim].end(signal.SIGKILL)
        backend = "abc"[(kill + 1) % 3]
        stand.put(route("web", backend, mark=str(kill)))
        stand.until_at(backend)
        stand.start(victim)
    finish(stand)


def test_an_envoy_that_changes_replicas_is_sent_nothing(stand: Stand) -> None:
    """X56: processes with different hash seeds have the same versions: Envoy takes no update from a hundred moves."""
    stand.until_taken("one", "two")
    before = stand.stats(UPDATES)
    for move in range(MOVES):
        name = ("one", "two")[move % 2]
        stand.traffic.ask("use", [name])
        stand.until_taken(name)
    assert before == stand.stats(UPDATES)
    stand.put(route("web", "b"))
    stand.until_at("b")
    finish(stand)


def test_the_api_server_is_away(own: Cluster, tmp_path: Path, envoy: Path, record_property: Recorder) -> None:
    """R4, R5, R15: a minute without API server, a thousand changes behind it, the certificates of xDS new meanwhile.

    A replica that starts in that minute is not ready and answers no stream: an Envoy that asks it serves what it has.
    """
    with standing(own, tmp_path, envoy, secure=True) as stand:
        old = [f"old-{number}" for number in range(CHANGES // 5)]
        for name in old:
            stand.put(route(name, "b", f"/{name}"))
        own.wait(lambda: stand.backend(f"/{old[-1]}") == "b", "the routes of before")

        own.fault("down")
        end = time.monotonic() + AWAY_S
        stand.replicas["spare"].start()
        own.wait(lambda: stand.ready("spare")[0] == 503, "a replica that knows nothing")
        stand.traffic.ask("use", ["spare"])
        stand.until_taken("spare")
        before = stand.stats(UPDATES)
        for name in old:
            own.delete(f"{ROUTES}/{name}")
        new = [f"new-{number}" for number in range(CHANGES // 5)]
        for mark in ("", "1", "2"):
            for name in new:
                stand.put(route(name, "b", f"/{name}", mark))
        for number in range(CHANGES - 4 * len(new) - 1):
            stand.put(endpoints("a", *(("a", "c") if number % 2 else ("a",))))
        stand.put(route("web", "c"))
        stand.rotate()
        own.wait(lambda: time.monotonic() >= end, "the end of the outage", timeout_s=2 * AWAY_S)

        assert ("a", "b", before) == (stand.backend("/"), stand.backend(f"/{old[0]}"), stand.stats(UPDATES))
        assert 503 == stand.ready("spare")[0]
        assert "waiting for the API server" in stand.ready("spare")[1]
        stand.traffic.ask("use", ["one", "two"])
        stand.until_taken("one", "two")
        own.clear_faults()
        back = time.monotonic()
        own.wait(lambda: [stand.backend(f"/{name}") for name in ("", new[-1], old[-1])] == ["c", "b", "c"], "the news")
        record_property("converged_s", round(time.monotonic() - back, 2))
        own.wait(lambda: stand.ready("spare")[0] == 200, "the replica that waited")
        assert {"c"} == {stand.backend(f"/{name}") for name in old}
        finish(stand)


FAULTS: tuple[dict[str, Any], ...] = (
    {"action": "expire"},
    {"action": "cut", "verb": "watch", "times": 8},
    {"action": "status", "code": 410, "verb": "watch", "times": 8},
    {"action": "status", "code": 429, "retry_after_s": 1, "verb": "list|watch", "times": 8},
    {"action": "status", "code": 500, "times": 20},
    {"action": "duplicate", "verb": "watch"},
    {"action": "reorder", "verb": "watch", "path": "httproutes", "times": 2},
    {"action": "lose", "verb": "update|create|patch", "times": 4},
    {"action": "stale", "verb": "list", "times": 2},
    {"action": "cut", "times": 20},
)


def test_requests_to_the_api_server_go_wrong(stand: Stand, own: Cluster) -> None:
    """R6: edits arrive through each fault, and at the end both replicas have what one has that never met a fault."""
    for number, fault in enumerate(FAULTS):
        own.fault(**fault)
        if number % 2:
            own.fault("expire", times=4)  # what is to hit a list needs one
        backend = "bca"[number % 3]
        stand.put(route("web", backend, mark=f"{number}a"))
        stand.put(endpoints("a", *(("a", "b") if number % 2 else ("a",))))
        stand.put(route("web", backend, mark=f"{number}b"))
        stand.until_at(backend)
        own.clear_faults()
    asyncio.run(same_as_fresh(own, {name: stand.socket(name) for name in ("one", "two")}, stand.directory))
    finish(stand)
