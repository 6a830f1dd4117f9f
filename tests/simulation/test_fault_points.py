"""R6: whatever one request or event meets at the API server, the end is that of a run in which nothing went wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.edits import stories
from tests.simulation.fault_points import (
    DISCOVERY,
    EVENTS,
    LIKE_ANOTHER,
    WRITES,
    Point,
    Run,
    discovery_points,
    event_points,
    random_points,
    run,
    run_with_a_kill,
    run_with_a_partition,
    undisturbed,
    write_points,
)
from tests.soak import SOAK

FEWEST = 500
SEEDS = range(200 if SOAK else 2)
# The others in `make soak`.
EVENTS_HERE = sorted(EVENTS) if SOAK else [name for name in sorted(EVENTS) if name not in LIKE_ANOTHER]
WRITES_HERE = sorted(WRITES) if SOAK else ["409", "lose"]


def difference(story: str, seen: Run) -> dict[str, list[str]]:
    """What ended otherwise than in the undisturbed run, by part."""
    expected = undisturbed(story).end
    return {part: _different(expected[part], seen.end[part]) for part in expected if expected[part] != seen.end[part]}


def _different(expected: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {expected.get(name)} != {seen.get(name)}"
        for name in sorted(expected.keys() | seen.keys())
        if expected.get(name) != seen.get(name)
    ]


def disturbed(points: list[Point]) -> dict[Point, tuple[int, dict[str, list[str]]]]:
    """The points after which something differs, or whose faults did not happen."""
    runs = {point: run(point.story, point) for point in points}
    found = {point: (seen.left, difference(point.story, seen)) for point, seen in runs.items()}
    return {point: each for point, each in found.items() if each != (0, {})}


@pytest.mark.parametrize("story", stories())
def test_a_story_ends_as_it_ended_before(story: str) -> None:
    """Without faults two runs come to the same, and no object's transformation fails."""
    assert {} == difference(story, run(story))
    assert {} == undisturbed(story).end["faults"]


@pytest.mark.parametrize("fault", EVENTS_HERE)
@pytest.mark.parametrize("story", stories())
def test_a_fault_of_an_event_changes_no_end(story: str, fault: str) -> None:
    """At each event of each story in turn."""
    assert {} == disturbed(event_points(story, fault))


@pytest.mark.parametrize("fault", DISCOVERY)
def test_a_fault_of_discovery_changes_no_end(fault: str) -> None:
    """At each change of a definition in turn."""
    assert {} == disturbed(discovery_points(fault))


@pytest.mark.parametrize("fault", WRITES_HERE)
@pytest.mark.parametrize("story", stories())
def test_a_fault_of_a_write_changes_no_end(story: str, fault: str) -> None:
    """At each write of a status, a generated object or the Lease in turn; a write whose answer is lost is one too."""
    assert {} == disturbed(write_points(story, fault))


@pytest.mark.parametrize("story", stories())
def test_a_kill_changes_no_end(story: str) -> None:
    """At each event in turn the replica dies, in the middle of what it was about to write; another takes over."""
    runs = {at: run_with_a_kill(story, at) for at in range(len(stories()[story]))}
    found = {at: difference(story, seen) for at, seen in runs.items()}
    assert {} == {at: each for at, each in found.items() if each}


@pytest.mark.parametrize("story", stories())
def test_a_leader_that_is_cut_off_changes_no_end(story: str) -> None:
    """Another leads meanwhile, and the one that comes back undoes nothing; both serve the same then."""
    runs = {at: run_with_a_partition(story, at) for at in range(0, len(stories()[story]), 1 if SOAK else 4)}
    found = {at: [difference(story, seen) for seen in both] for at, both in runs.items()}
    assert {} == {at: each for at, each in found.items() if any(each)}


@pytest.mark.parametrize("story", stories())
def test_faults_together_change_no_end(story: str) -> None:
    """Half a dozen at random events."""
    found = {seed: difference(story, run(story, *random_points(story, seed))) for seed in SEEDS}
    assert {} == {random_points(story, seed): each for seed, each in found.items() if each}


def test_there_are_many_points() -> None:
    """So many, not counting faults of writes, kills and those together."""
    assert FEWEST <= sum(len(event_points(story, fault)) for story in stories() for fault in EVENTS_HERE)
