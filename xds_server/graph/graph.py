"""The graph: collections in declaration order, which is also the order of their dependencies."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeVar, overload

from xds_server.graph.collection import Collection, Derived, Group, Index, Source, Transform, Union

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
G = TypeVar("G", bound=Hashable)
OK = TypeVar("OK", bound=Hashable)
OV = TypeVar("OV")
C = TypeVar("C", bound=Collection[Any, Any])

Changes = Mapping[str, Mapping[Any, Any]]
"""By collection, each changed key and the value it had before (`MISSING` when it is new)."""


class Graph:
    """A pipeline of collections.

    `faults` holds the text of each transformation that raised, by collection and input key;
    a collection may read the faults of those declared before it.
    """

    def __init__(self) -> None:
        self.faults: Source[tuple[str, Any], str] = Source("faults", -1)
        self.collections: list[Collection[Any, Any]] = []

    def source(self, name: str) -> Source[Any, Any]:
        return self._add(Source(name, len(self.collections)))

    def union(self, name: str, *parts: Collection[K, V]) -> Union[K, V]:
        """Several collections with disjoint keys, seen as one."""
        return self._add(Union(name, len(self.collections), parts))

    @overload
    def derive(
        self, name: str, parent: Index[G, Any, V], transform: Transform[G, Group[V], OK, OV]
    ) -> Derived[OK, OV]: ...
    @overload
    def derive(self, name: str, parent: Collection[K, V], transform: Transform[K, V, OK, OV]) -> Derived[OK, OV]: ...
    def derive(self, name: str, parent: Any, transform: Transform[Any, Any, OK, OV]) -> Derived[OK, OV]:
        """Call `transform` once for each value of a collection, or once for each group of an index."""
        return self._add(Derived(name, len(self.collections), parent, transform, self.faults))

    def commit(self) -> Changes:
        """Recompute what changed since the last commit, and say what that was.

        A key appears when its value was replaced in this commit, even if a later step restored an equal one.
        """
        for _ in self.steps():
            pass
        return self.finish()

    def steps(self) -> Iterator[Collection[Any, Any]]:
        """The same, one collection at a time, each given when it is up to date; `finish` ends it.

        Between two steps the caller may let others have their turn: what they put counts for the next commit.
        """
        for collection in self.collections:
            collection.refresh()
            yield collection

    def finish(self) -> Changes:
        """After the last step: what the commit has changed."""
        changes = {c.name: c.changed for c in (self.faults, *self.collections) if c.changed}
        for collection in (self.faults, *self.collections):
            collection.settle()
        return changes

    def _add(self, collection: C) -> C:
        if any(collection.name == other.name for other in self.collections):
            raise ValueError(f"two collections are named {collection.name}")
        self.collections.append(collection)
        return collection
