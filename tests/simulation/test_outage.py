"""How soon everything is as it should be once the API server is back, by a clock that no machine makes slower."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.simulation.edits import Delete, Put, endpoints, route
from tests.simulation.replica import edited, end_state, replica, served
from tests.simulation.virtual_time import simulated
from tests.soak import SOAK

CHANGES = 1_000
CONVERGED_S = 10.0
SEEDS = range(100 if SOAK else 2)


async def _outage(seed: int, away_s: float) -> tuple[float, bool]:
    """Seconds from the return until the proxies have it all, and whether that is what a new replica says."""
    draw, loop = Random(seed), asyncio.get_running_loop()
    async with served() as kube, replica(kube, f"replica-{seed}") as (plane, _):
        for number in range(100):
            kube.apply(route(f"old-{number}", "a", f"/old-{number}").manifest)
        await asyncio.sleep(10 + draw.random() * 300)
        await kube.stop()
        for number in range(100):
            edited(kube, Delete(route(f"old-{number}", "a").ref))
        for number in range(CHANGES - 100):
            edited(kube, _change(draw, number))
        await asyncio.sleep(away_s)
        before = end_state(kube, plane)["resources"]
        await kube.start()
        back = loop.time()
        async with replica(kube, "fresh") as (fresh, _):
            expected = end_state(kube, fresh)["resources"]
            assert before != expected
            while end_state(kube, plane)["resources"] != expected and loop.time() < back + 600:
                await asyncio.sleep(0.5)
            took = loop.time() - back
            await asyncio.sleep(60)
            return took, end_state(kube, plane)["resources"] == expected


def _change(draw: Random, number: int) -> Put:
    if number % 3 == 0:
        return endpoints("a", *(f"10.1.{number % 200}.{n}" for n in range(1, draw.randint(2, 9))))
    return route(f"new-{draw.randint(0, 200)}", draw.choice("ab"), f"/new-{number}")


@pytest.mark.parametrize("away_s", [1, 20, 60, 300] if SOAK else [60])
def test_an_outage_is_caught_up_with(away_s: float) -> None:
    """R4: a thousand changes behind an outage, deletes among them, are served 10 s after the end of it."""
    found = [simulated(_outage(seed, away_s)) for seed in SEEDS]

    assert [True] * len(found) == [same for _, same in found]
    assert max(took for took, _ in found) <= CONVERGED_S, [round(took, 1) for took, _ in found]
