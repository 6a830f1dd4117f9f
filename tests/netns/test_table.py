"""The table of what the mesh promises, each row in both families."""

from __future__ import annotations

import pytest

from tests.netns.stand import FAMILIES, Family
from tests.netns.table import ROWS, Row, World


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row", ROWS, ids=[f"{row.name}: {row.asked}" for row in ROWS])
def test_the_table_holds(world: World, row: Row, family: Family) -> None:
    """Each row sees what it expects."""
    seen = row.seen(world, family)

    assert row.expected == (row.expected if row.agrees(row.expected, seen) else seen)
