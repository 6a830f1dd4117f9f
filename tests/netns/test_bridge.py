"""The table where the node's pods are at a bridge, as another kind of network plugin has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import STAND
from tests.netns.stand import FAMILIES, Family
from tests.netns.table import ROWS, Row, World, populated

NAMES = ("GAMMA", "L4", "direct", "outside", "host", "hairpin", "own backend", "consumer")


@pytest.fixture(scope="module")
def bridged(request: pytest.FixtureRequest, envoy: Path) -> Iterator[World]:
    with populated(envoy, bridge="cni0") as made:
        request.node.stash[STAND] = made.mesh.stand
        yield made


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row", [row for row in ROWS if row.name in NAMES], ids=lambda row: row.asked)
def test_the_table_holds_at_a_bridge(bridged: World, row: Row, family: Family) -> None:
    """Each row sees what it expects."""
    seen = row.seen(bridged, family)

    assert row.expected == (row.expected if row.agrees(row.expected, seen) else seen)
