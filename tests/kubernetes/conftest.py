"""Clusters for tests: one per module, or of their own where a test breaks something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.cluster import BUILT, Cluster, started


@pytest.fixture(scope="session")
def cluster_binary() -> Path:
    """The program; a machine without it fails the tests that need it, and is told what to do."""
    program = BUILT / "testcluster"
    if not program.is_file():
        pytest.fail(f"no test cluster at {program}: run `make cluster-binary`")
    return program


@pytest.fixture(scope="module")
def cluster(cluster_binary: Path) -> Iterator[Cluster]:
    """A cluster of one node, for the tests of a module."""
    with started() as running:
        yield running


@pytest.fixture(scope="module")
def two_nodes(cluster_binary: Path) -> Iterator[Cluster]:
    """A cluster of two nodes, for the tests of a module."""
    with started(nodes=2) as running:
        yield running
