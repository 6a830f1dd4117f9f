"""Collections, derivations, indexes and unions on numbers and words; real objects have their own histories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.graph import Derived, Fetch, Graph, Group, Index, NotYet, Source, Union


def squares(_: Fetch, key: str, value: int) -> Iterator[tuple[str, int]]:
    yield key, value * value


def test_a_derived_collection_follows_its_source() -> None:
    """What is put, replaced and deleted in a source shows in what derives from it after one commit."""
    graph = Graph()
    numbers = graph.source("numbers")
    derived = graph.derive("squares", numbers, squares)

    numbers.put("a", 3)
    graph.commit()
    numbers.put("a", 4)
    numbers.put("b", 5)
    graph.commit()
    numbers.delete("a")
    graph.commit()

    assert {"b": 25} == dict(derived)


def test_an_equal_value_stops_the_ripple() -> None:
    """A commit reports no change of a collection whose recomputed values are equal."""
    graph = Graph()
    numbers = graph.source("numbers")
    graph.derive("squares", numbers, squares)
    numbers.put("a", 3)
    graph.commit()

    numbers.put("a", -3)

    assert {"numbers": {"a": 3}} == graph.commit()


def test_the_same_object_again_runs_nothing() -> None:
    """Putting an equal value is not a change."""
    graph = Graph()
    numbers = graph.source("numbers")
    derived = graph.derive("squares", numbers, squares)
    numbers.put("a", 1000)
    graph.commit()

    numbers.put("a", int("1000"))

    assert ({}, 1) == (graph.commit(), derived.runs)


def test_what_is_put_between_two_steps_counts_for_the_next_commit() -> None:
    """Every collection sees a source as it was when the commit came to it; what came since is neither lost nor seen."""
    graph = Graph()
    numbers = graph.source("numbers")
    first = graph.derive("first", numbers, squares)
    second = graph.derive("second", numbers, squares)
    numbers.put("a", 2)
    numbers.put("b", 3)

    for collection in graph.steps():
        if collection is first:
            numbers.put("a", 4)
            numbers.delete("b")
            numbers.put("c", 5)
    told = graph.finish()
    seen = dict(first), dict(second)

    assert ({"a": 4, "b": 9}, {"a": 4, "b": 9}) == seen
    assert {"numbers", "first", "second"} == told.keys()
    assert {"a", "b"} == told["numbers"].keys() == told["second"].keys()
    assert {"a", "b", "c"} == graph.commit()["second"].keys()
    assert {"a": 16, "c": 25} == dict(first) == dict(second)


def test_a_source_that_the_commit_has_not_come_to_takes_what_is_put() -> None:
    """What is fed late in the order is as new as can be."""
    graph = Graph()
    early = graph.source("early")
    late = graph.source("late")
    derived = graph.derive("derived", late, squares)

    for collection in graph.steps():
        if collection is early:
            late.put("a", 3)
    graph.finish()

    assert {"a": 9} == dict(derived)


def test_a_fetch_is_a_dependency() -> None:
    """A transformation runs again when a value it read changes, appears or goes, and only then."""
    graph = Graph()
    prices, items = graph.source("prices"), graph.source("items")

    def priced(fetch: Fetch, key: str, item: str) -> Iterator[tuple[str, int]]:
        yield key, fetch.get(prices, item, 0)

    derived = graph.derive("priced", items, priced)
    items.put("one", "apple")
    items.put("two", "pear")
    graph.commit()
    seen = [dict(derived)]
    for price in (5, 6, None):
        prices.delete("apple") if price is None else prices.put("apple", price)
        graph.commit()
        seen.append(dict(derived))

    assert [{"one": p, "two": 0} for p in (0, 5, 6, 0)] == seen
    assert 2 + 3 == derived.runs


def test_groups_are_in_key_order() -> None:
    """A group lists its members by key, whatever the order of their arrival."""
    graph = Graph()
    words = graph.source("words")
    by_length = words.index(lambda word: [len(word)])
    joined = graph.derive("joined", by_length, lambda _, key, group: [(key, "".join(group))])

    for key, word in (("c", "zz"), ("a", "xx"), ("b", "yy"), ("d", "q")):
        words.put(key, word)
        graph.commit()

    assert {2: "xxyyzz", 1: "q"} == dict(joined)


def test_an_empty_group_is_gone() -> None:
    """When the last member leaves a group, what derived from the group goes too."""
    graph = Graph()
    words = graph.source("words")
    joined = graph.derive("joined", words.index(lambda w: [len(w)]), lambda _, key, group: [(key, len(group))])
    words.put("a", "xx")
    graph.commit()

    words.put("a", "xxx")
    graph.commit()

    assert {3: 1} == dict(joined)


def test_a_fault_keeps_the_last_good_output_and_harms_no_other() -> None:
    """A transformation that raises keeps what it last gave for that key; the fault is listed until it heals."""
    graph = Graph()
    numbers = graph.source("numbers")
    halves = graph.derive("inverse", numbers, lambda _, key, value: [(key, 100 // value)])
    numbers.put("bad", 4)
    graph.commit()

    numbers.put("bad", 0)
    numbers.put("good", 5)
    graph.commit()

    assert {"bad": 25, "good": 20} == dict(halves)
    assert [("inverse", "bad")] == list(graph.faults)
    numbers.put("bad", 10)
    graph.commit()
    assert ({"bad": 10, "good": 20}, 0) == (dict(halves), len(graph.faults))


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_an_output_has_one_owner(order: str) -> None:
    """A key that two inputs yield belongs to the first of them, whichever came first; the other has a fault."""
    graph = Graph()
    numbers = graph.source("numbers")
    derived = graph.derive("parity", numbers, lambda _, __, value: [(value % 2, value)])
    for key in order:
        numbers.put(key, {"a": 1, "b": 3}[key])
        graph.commit()

    assert {1: 1} == dict(derived)
    assert [("parity", "b")] == list(graph.faults)


def test_a_contested_output_passes_to_who_lost_it() -> None:
    """When the owner goes, the next input takes the key, and its fault is gone."""
    graph = Graph()
    numbers = graph.source("numbers")
    derived = graph.derive("parity", numbers, lambda _, __, value: [(value % 2, value)])
    for key, value in (("a", 1), ("b", 3), ("c", 5)):
        numbers.put(key, value)
    graph.commit()

    numbers.delete("a")
    graph.commit()

    assert ({1: 3}, [("parity", "c")]) == (dict(derived), list(graph.faults))


def test_an_output_may_move_between_inputs() -> None:
    """A key that one input gives up and another takes in the same commit keeps a value."""
    graph = Graph()
    numbers = graph.source("numbers")
    derived = graph.derive("named", numbers, lambda _, key, value: [(value, key)])
    numbers.put("a", 1)
    numbers.put("b", 2)
    graph.commit()

    numbers.put("a", 2)
    numbers.put("b", 1)
    graph.commit()

    assert ({1: "b", 2: "a"}, {}) == (dict(derived), dict(graph.faults))


def test_reading_what_is_declared_later_is_a_fault() -> None:
    """Declaration order is dependency order."""
    graph = Graph()
    numbers = graph.source("numbers")
    later: list[Source[Any, Any]] = []
    graph.derive("early", numbers, lambda fetch, key, _: [(key, fetch.get(later[0], key))])
    later.append(graph.source("later"))
    numbers.put("a", 1)

    graph.commit()

    assert "reads later, which is declared later" in graph.faults["early", "a"]


def test_names_of_collections_are_unique() -> None:
    """A second collection of the same name is refused."""
    graph = Graph()
    graph.source("numbers")

    with pytest.raises(ValueError, match="two collections are named numbers"):
        graph.source("numbers")


def test_a_union_shows_all_its_parts() -> None:
    """A union holds what its parts hold, also when a key moves from one part to another."""
    graph = Graph()
    left, right = graph.source("left"), graph.source("right")
    both = graph.union("both", left, right)
    left.put("a", 1)
    right.put("b", 2)
    graph.commit()

    left.delete("a")
    right.put("a", 3)
    graph.commit()

    assert {"a": 3, "b": 2} == dict(both)


HISTORIES = st.lists(
    st.tuples(st.sampled_from(("words", "extra")), st.sampled_from("abcdefgh"), st.none() | st.text("xyz", max_size=3)),
    max_size=30,
)


class World:
    """A graph with every kind of collection: groups, fetches by key and by index, a union, and a chain."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.words, self.extra = self.graph.source("words"), self.graph.source("extra")
        by_length: Index[int, str, str] = self.words.index(lambda word: [len(word)])
        by_letter: Index[str, str, str] = self.extra.index(set)

        def group(fetch: Fetch, key: int, group: Group[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
            for word in set(group):
                yield f"{key}/{word}", (*group, fetch.get(self.extra, word[:1]), *fetch.by(by_letter, word[:1]))

        self.groups: Derived[str, Any] = self.graph.derive("groups", by_length, group)
        self.graph.derive("contested", self.words, lambda _, key, word: [(letter, key) for letter in word])
        self.upper: Derived[str, Any] = self.graph.derive("upper", self.extra, lambda _, k, v: [(k.upper(), v)])
        self.all: Union[str, Any] = self.graph.union("all", self.groups, self.upper)
        self.graph.derive("sizes", self.all.index(lambda v: [len(v)]), lambda _, k, g: [(k, tuple(g))])

    def apply(self, source: str, key: str, value: str | None) -> None:
        collection: Source[Any, Any] = getattr(self, source)
        collection.delete(key) if value is None else collection.put(key, value)

    def contents(self) -> dict[str, dict[Any, Any]]:
        return {c.name: dict(c) for c in (self.graph.faults, *self.graph.collections)}


@given(HISTORIES)
def test_commits_equal_a_rebuild(history: list[tuple[str, str, str | None]]) -> None:
    """However a state was reached, every collection is what a rebuild from that state gives."""
    stepwise, rebuilt = World(), World()
    for step in history:
        stepwise.apply(*step)
        stepwise.graph.commit()
    for source, key, value in {(s, k): (s, k, v) for s, k, v in history}.values():
        rebuilt.apply(source, key, value)
    rebuilt.graph.commit()

    assert rebuilt.contents() == stepwise.contents()


@given(HISTORIES)
def test_nothing_leaks(history: list[tuple[str, str, str | None]]) -> None:
    """After everything is deleted, no collection, index or table of readers holds anything."""
    world = World()
    for step in history:
        world.apply(*step)
        world.graph.commit()
    for source, key, _ in history:
        world.apply(source, key, None)
    world.graph.commit()

    assert {name: {} for name in world.contents()} == world.contents()
    assert 0 == sum(c.leftovers() for c in world.graph.collections)


def test_a_transformation_that_waits_keeps_its_outputs_without_a_fault() -> None:
    """It runs again when what it waits for is there; a new input that waits has no outputs yet."""
    graph = Graph()
    words, known = graph.source("words"), graph.source("known")

    def spelled(fetch: Fetch, key: str, word: str) -> Iterator[tuple[str, str]]:
        if fetch.get(known, word) is None:
            raise NotYet
        yield key, word

    derived = graph.derive("spelled", words, spelled)
    known.put("one", True)
    words.put("a", "one")
    graph.commit()
    words.put("a", "two")
    words.put("b", "two")
    graph.commit()

    assert ({"a": "one"}, {}) == (dict(derived), dict(graph.faults))
    known.put("two", True)
    graph.commit()
    assert {"a": "two", "b": "two"} == dict(derived)
    words.delete("a")
    words.delete("b")
    graph.commit()
    assert ({}, 0) == (dict(derived), derived.leftovers())
