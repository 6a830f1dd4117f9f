"""The whole pipeline over random histories of real objects: what the graph promises holds for what we declare on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.worlds.reading import from_file, from_server, objects
from tests.worlds.world import Step, history, text, world
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings

SEEDS: Final = st.integers(0, 2**32)
STEPS: Final = 8
READERS: Final = {"files": from_file, "server": from_server}
"""Objects checked by all rules of their kinds, or by the few of an old API server."""

from_each_reader = pytest.mark.parametrize("reader", READERS)
# A seed has no smaller form: the first that fails is the one to tell.
PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate)


def pipeline() -> Pipeline:
    return Pipeline.declare(Settings(undeclared_classes=("tidegate", "cilium")), TranslationSettings(vhds_threshold=3))


def content(found: Pipeline) -> dict[str, dict[Any, Any]]:
    return {collection.name: dict(collection) for collection in found.graph.collections if len(collection)}


def difference(expected: dict[str, dict[Any, Any]], actual: dict[str, dict[Any, Any]]) -> list[str]:
    """One line for each entry in which the two differ."""
    return [
        f"{name} {key}: {expected.get(name, {}).get(key, 'absent')!r} is {actual.get(name, {}).get(key, 'absent')!r}"
        for name in (*expected, *(actual.keys() - expected.keys()))
        for key in expected.get(name, {}).keys() | actual.get(name, {}).keys()
        if expected.get(name, {}).get(key) != actual.get(name, {}).get(key)
    ]


def read(steps: Iterable[Step], reader: str) -> list[tuple[ObjectRef, Any | None]]:
    convert: Callable[[Any], Any] = READERS[reader]
    return [(ref, manifest and convert(manifest)) for ref, manifest in steps]


@from_each_reader
@given(seed=SEEDS)
@settings(max_examples=40, phases=PHASES)
def test_every_commit_equals_a_rebuild(reader: str, seed: int) -> None:
    """After each commit all collections, resource bytes and statuses too, are those of a pipeline that begins there."""
    incremental, now = pipeline(), dict[ObjectRef, Any]()
    for number, steps in enumerate(history(seed, STEPS, loose=reader == "server")):
        batch = read(steps, reader)
        incremental.apply(batch)
        now |= batch
        rebuilt = pipeline()
        rebuilt.apply(now.items())

        assert [] == difference(content(rebuilt), content(incremental)), f"commit {number}"


@from_each_reader
@given(seed=SEEDS)
@settings(max_examples=40, phases=PHASES)
def test_the_order_of_arrival_does_not_matter(reader: str, seed: int) -> None:
    """Objects in any order, and in any number of commits, lead to the same collections."""
    items = read(world(seed, loose=reader == "server").items(), reader)
    at_once, one_by_one = pipeline(), pipeline()
    at_once.apply(items)
    Random(seed).shuffle(items)
    for item in items:
        one_by_one.apply([item])

    assert [] == difference(content(at_once), content(one_by_one))


@from_each_reader
@given(seed=SEEDS)
@settings(max_examples=40, phases=PHASES)
def test_nothing_is_left_of_deleted_objects(reader: str, seed: int) -> None:
    """When all objects are gone, so is every value and all book-keeping, whatever happened before."""
    found, now = pipeline(), set[ObjectRef]()
    for steps in history(seed, STEPS, loose=reader == "server"):
        found.apply(read(steps, reader))
        now |= {ref for ref, _ in steps}
    found.apply((ref, None) for ref in now)

    assert {} == content(found)
    assert {} == {c.name: c.leftovers() for c in found.graph.collections if c.leftovers()}


@from_each_reader
@given(seed=SEEDS)
@settings(max_examples=80, phases=PHASES)
def test_no_transformation_raises(reader: str, seed: int) -> None:
    """S14: whatever an API server lets through is served or has a condition; an exception would be ours to mend."""
    found, last = pipeline(), dict[ObjectRef, Any]()
    for steps in history(seed, STEPS, loose=reader == "server"):
        found.apply(read(steps, reader))
        last |= steps

        assert {} == dict(found.graph.faults), text({ref: m for ref, m in last.items() if m is not None})


@given(seed=SEEDS)
@settings(max_examples=60, phases=PHASES)
def test_generated_objects_are_such_as_files_may_hold(seed: int) -> None:
    """The generator's objects, if not loose, pass every check of the directory source."""
    made = world(seed)

    assert sorted(made) == sorted(objects(made))
