"""Replicas of the control plane say the same, whatever the order in which they have heard of things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kubernetes.cluster import Cluster, ClusterError, started
from tests.kubernetes.fresh import same_as_fresh
from tests.kubernetes.stand import prepare, replica
from tests.simulation import edits
from tests.worlds.world import world

WORLDS = 3
ROUTES = 40
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def rich(cluster_binary: Path) -> Iterator[Cluster]:
    """A cluster with something of every kind, and with whatever the API server takes of some random worlds."""
    with started() as running:
        prepare(running)
        taken = 0
        for seed in range(WORLDS):
            found = world(seed)
            for name in sorted({ref.namespace for ref in found} - {"", "default"}):
                running.apply(edits.namespace(name).manifest)
            for manifest in found.values():
                try:
                    running.apply(manifest)
                except ClusterError:
                    continue
                taken += 1
        assert taken > 10 * WORLDS
        more = [
            each for n in range(ROUTES) for each in (edits.service(f"s{n}"), edits.route(f"r{n}", f"s{n}", f"/{n}"))
        ]
        running.apply("\n---\n".join(json.dumps(each.manifest) for each in (*edits.world(), *more)))
        yield running


async def test_hash_seeds_change_no_version(rich: Cluster, tmp_path: Path) -> None:
    """Two processes with seeds of their own, and a third one: the same names and versions of all types."""
    sockets = {name: tmp_path / f"{name}.sock" for name in NAMES}
    with ExitStack() as stack:
        for name, socket in sockets.items():
            process = replica(rich, tmp_path, name, f"unix:{socket}")
            process.start()
            stack.callback(process.end)
        for socket in sockets.values():
            rich.wait(socket.exists, f"{socket}")
        assert ROUTES < await same_as_fresh(rich, sockets, tmp_path)
