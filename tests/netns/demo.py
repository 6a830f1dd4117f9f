"""`make demo-mesh`: the table of the mesh, asked, expected, seen; answers 1 on a difference."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.netns.announced import taken_over
from tests.netns.stand import FAMILIES
from tests.netns.table import ROWS, World, populated
from tests.netns.table import Row as Asked
from xds_server.demo.comparison import Row, compare

LAST = Asked(
    "announced",
    "the same, after the daemon and the Envoy of the node that had it were killed",
    "200 one by envoy, route announced, for outside, by the other node",
    taken_over,
)


async def rows(world: World) -> AsyncIterator[Row]:
    for row in (*ROWS, LAST):
        for family in FAMILIES:
            seen = row.seen(world, family)
            yield Row(row.name, row.asked, family, row.expected, seen, row.agrees(row.expected, seen))


def main(envoy: Path) -> int:
    with populated(envoy) as world:
        return 1 if asyncio.run(compare(rows(world))) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
