"""Collections of immutable values, and how one derives from others.

A transformation is a pure function of its input and of what it reads through `Fetch`.
This module knows nothing of Kubernetes, Envoy or asyncio.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Final, Generic, TypeVar, cast, overload

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
G = TypeVar("G", bound=Hashable)
OK = TypeVar("OK", bound=Hashable)
OV = TypeVar("OV")
D = TypeVar("D")

MISSING: Final[Any] = object()
"""What a key had before it was put, or has after it was deleted."""


class NotYet(Exception):  # an outcome, not an error
    """Raised by a transformation that waits for something it has read: its last outputs stay, and that is no fault."""


Transform = Callable[["Fetch", K, V], Iterable[tuple[OK, OV]]]


class Collection(Mapping[K, V]):
    """Immutable values by key, and what the commit under way has changed.

    `changed` maps each changed key to the value it had before; `touched` lists the changed keys of each index.
    """

    def __init__(self, name: str, order: int) -> None:
        self.name, self.order = name, order
        self._values: dict[K, V] = {}
        self._indexes: list[Index[Any, K, V]] = []
        self.changed: dict[K, Any] = {}
        self.touched: dict[Index[Any, K, V], set[Any]] = {}

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self)}>"

    def __getitem__(self, key: K) -> V:
        return self._values[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        return self._values.get(key, default)

    def value(self, key: K) -> Any:
        """The value of a key, or `MISSING`."""
        return self._values.get(key, MISSING)

    def index(self, extract: Callable[[V], Iterable[G]]) -> Index[G, K, V]:
        """A second way into this collection, by keys taken from each value."""
        index = Index(self, extract)
        for key, value in self._values.items():
            index.move(key, MISSING, value)
        self._indexes.append(index)
        return index

    def refresh(self) -> None:
        """Bring this collection up to date."""

    def leftovers(self) -> int:
        """Entries of the book-keeping; zero once every value is gone."""
        return sum(index.leftovers() for index in self._indexes)

    def settle(self) -> None:
        """Forget what the commit changed."""
        if self.changed:
            self.changed, self.touched = {}, {}

    def _set(self, key: K, new: Any) -> None:
        old = self._values.get(key, MISSING)
        if old is new or (old is not MISSING and new is not MISSING and old == new):
            return  # equal values stop the ripple here
        self.changed.setdefault(key, old)
        for index in self._indexes:
            touched = self.touched.get(index)
            if touched is None:
                touched = self.touched[index] = set()
            touched.update(index.move(key, old, new))
        if new is MISSING:
            del self._values[key]
        else:
            self._values[key] = new


class Index(Generic[G, K, V]):
    """The members of a collection by keys taken from their values; also groups to derive from."""

    def __init__(self, of: Collection[K, V], extract: Callable[[V], Iterable[G]]) -> None:
        self.of, self._extract = of, extract
        self._members: dict[G, set[K]] = {}
        self._sorted: dict[G, list[Any]] = {}  # of comparable keys, as those of one collection are

    @property
    def changed(self) -> Iterable[G]:
        return self.of.touched.get(self, ())

    def leftovers(self) -> int:
        return len(self._members) + len(self._sorted)

    def count(self, key: G) -> int:
        return len(self._members.get(key, ()))

    def keys(self, key: G) -> Sequence[K]:
        """The members' keys in order, so that results never depend on the order of arrival."""
        ordered = self._sorted.get(key)
        if ordered is None:
            members = self._members.get(key)
            if members is None:
                return ()
            ordered = self._sorted[key] = sorted(cast("set[Any]", members))
        return ordered

    def value(self, key: G) -> Any:
        """The group of a key, or `MISSING` when it has no member."""
        return Group(self, key) if key in self._members else MISSING

    def move(self, key: K, old: Any, new: Any) -> set[G]:
        before: set[G] = set() if old is MISSING else set(self._extract(old))
        after: set[G] = set() if new is MISSING else set(self._extract(new))
        if not before:
            self._add(after, key)
            return after
        for group in before - after:
            self._remove(group, key)
        self._add(after - before, key)
        return before | after

    def _add(self, groups: set[G], key: K) -> None:
        for group in groups:
            members = self._members.get(group)
            if members is None:
                self._members[group] = {key}
                continue
            members.add(key)
            if group in self._sorted:
                insort(self._sorted[group], key)

    def _remove(self, group: G, key: K) -> None:
        members = self._members[group]
        members.discard(key)
        if not members:
            del self._members[group]
            self._sorted.pop(group, None)
        elif group in self._sorted:
            ordered = self._sorted[group]
            del ordered[bisect_left(ordered, cast("Any", key))]


class Group(Sequence[V]):
    """The members of one index key, in key order; valid during the call that received it."""

    __slots__ = ("_index", "_key")

    def __init__(self, index: Index[Any, Any, V], key: Any) -> None:
        self._index, self._key = index, key

    def __len__(self) -> int:
        return self._index.count(self._key)

    def __iter__(self) -> Iterator[V]:
        of = self._index.of
        return (of[key] for key in self._index.keys(self._key))

    @overload
    def __getitem__(self, position: int) -> V: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[V]: ...
    def __getitem__(self, position: int | slice) -> V | Sequence[V]:
        keys = self._index.keys(self._key)[position]
        if isinstance(position, slice):
            return [self._index.of[key] for key in keys]
        return self._index.of[keys]


class Source(Collection[K, V]):
    """A collection fed from outside the graph; what is put while a commit is under way counts for the next one."""

    def __init__(self, name: str, order: int) -> None:
        super().__init__(name, order)
        self._later: dict[K, Any] | None = None
        """What was put since the commit under way has read this."""

    def put(self, key: K, value: V) -> None:
        self._take(key, value)

    def delete(self, key: K) -> None:
        self._take(key, MISSING)

    def refresh(self) -> None:
        if self._later is None:
            self._later = {}

    def settle(self) -> None:
        super().settle()
        later, self._later = self._later, None
        for key, value in later.items() if later else ():
            self._set(key, value)

    def _take(self, key: K, value: Any) -> None:
        if self._later is None:
            self._set(key, value)
        else:
            self._later[key] = value


class Union(Collection[K, V]):
    """Several collections with disjoint keys, seen as one."""

    def __init__(self, name: str, order: int, parts: Sequence[Collection[K, V]]) -> None:
        super().__init__(name, order)
        self.parts = parts

    def refresh(self) -> None:
        for part in self.parts:
            for key in part.changed:
                value = part.value(key)
                if value is not MISSING or not any(key in other for other in self.parts):
                    self._set(key, value)


Read = tuple[Collection[Any, Any] | Index[Any, Any, Any], Any]
_NOTHING: Final[Any] = frozenset()


class Fetch:
    """How a transformation reads other collections; each read is a dependency."""

    __slots__ = ("_order", "_reader", "reads")

    def __init__(self, order: int, reader: str) -> None:
        self.reads: set[Read] = set()
        self._order, self._reader = order, reader

    @overload
    def get(self, of: Collection[K, V], key: K) -> V | None: ...
    @overload
    def get(self, of: Collection[K, V], key: K, default: D) -> V | D: ...
    def get(self, of: Collection[Any, Any], key: Any, default: Any = None) -> Any:
        if of.order >= self._order:
            raise self._too_late(of)
        self.reads.add((of, key))
        return of.get(key, default)

    def by(self, index: Index[G, K, V], key: G) -> Group[V]:
        """The members of an index key; an empty group where there are none."""
        if index.of.order >= self._order:
            raise self._too_late(index.of)
        self.reads.add((index, key))
        return Group(index, key)

    def _too_late(self, of: Collection[Any, Any]) -> RuntimeError:
        return RuntimeError(f"{self._reader} reads {of.name}, which is declared later")


class Derived(Collection[OK, OV]):
    """One call of `transform` for each key of its parent; its outputs belong to that key.

    Where several inputs yield one output key, the first of them in key order owns it, and the others have a fault.
    """

    def __init__(
        self,
        name: str,
        order: int,
        parent: Collection[Any, Any] | Index[Any, Any, Any],
        transform: Transform[Any, Any, OK, OV],
        faults: Source[tuple[str, Any], str],
    ) -> None:
        super().__init__(name, order)
        self.parent, self._transform, self._faults = parent, transform, faults
        self._outputs: dict[Any, tuple[OK, ...]] = {}
        self._owners: dict[OK, Any] = {}
        self._losers: dict[OK, set[Any]] = {}
        self._lost: dict[Any, set[OK]] = {}
        self._reads: dict[Any, set[Read]] = {}
        self._readers: dict[Read, set[Any]] = {}
        self._inputs: dict[Collection[Any, Any], int] = {}
        self.runs = 0

    @property
    def inputs(self) -> Iterable[Collection[Any, Any]]:
        """The collections that the last transformations have read."""
        return self._inputs.keys()

    def refresh(self) -> None:
        dirty = self._dirty()
        if self._faults:
            self._forgive(dirty)
        results = {key: self._run(key) for key in dirty}
        if self._outputs:
            self._drop(results)  # first: an output may move from one input to another
        for key in results if self._lost else ():
            for output in self._lost.pop(key, ()):
                self._no_longer_lost(output, key)
        for key, (outputs, reads) in results.items():
            self._remember(key, tuple([o for o, value in outputs.items() if self._own(key, o, value)]), reads)

    def leftovers(self) -> int:
        tables: tuple[Sized, ...] = (self._outputs, self._owners, self._losers, self._lost)
        return super().leftovers() + sum(map(len, (*tables, self._reads, self._readers, self._inputs)))

    def _drop(self, results: dict[Any, tuple[dict[OK, OV], set[Read]]]) -> None:
        """Delete what inputs do not yield any more; others that would have, do so now."""
        again: set[Any] = set()
        for key, (outputs, _) in results.items():
            for gone in self._outputs.get(key, ()):
                if gone not in outputs:
                    self._set(gone, MISSING)
                    del self._owners[gone]
                    again |= self._losers.get(gone, set())
        again -= results.keys()
        self._forgive(again)
        for key in sorted(again):
            results[key] = self._run(key)

    def _forgive(self, keys: Iterable[Any]) -> None:
        """Forget the faults of inputs that are about to be transformed again."""
        for key in keys:
            self._faults.delete((self.name, key))

    def _own(self, key: Any, output: OK, value: OV) -> bool:
        owner = self._owners.setdefault(output, key)
        if owner is not key and owner < key:
            self._lose(key, output)
            return False
        if owner is not key and owner != key:
            self._owners[output] = key
            self._outputs[owner] = tuple(other for other in self._outputs.get(owner, ()) if other != output)
            self._lose(owner, output)
        self._set(output, value)
        return True

    def _lose(self, key: Any, output: OK) -> None:
        self._losers.setdefault(output, set()).add(key)
        lost = self._lost.setdefault(key, set())
        lost.add(output)
        first = min(cast("set[Any]", lost))
        self._fault(key, f"{first} belongs to an input that comes before this one; {len(lost)} in all")

    def _no_longer_lost(self, output: OK, key: Any) -> None:
        losers = self._losers[output]
        losers.discard(key)
        if not losers:
            del self._losers[output]

    def _remember(self, key: Any, outputs: tuple[OK, ...], reads: set[Read]) -> None:
        before = self._reads.pop(key, _NOTHING)
        if reads != before:
            self._reread(key, before, reads)
        if outputs:
            self._outputs[key] = outputs
        else:
            self._outputs.pop(key, None)
        if reads:
            self._reads[key] = reads

    def _reread(self, key: Any, before: set[Read], reads: set[Read]) -> None:
        for read in before - reads if before else ():
            readers = self._readers[read]
            readers.discard(key)
            if not readers:
                del self._readers[read]
                self._count(read, -1)
        for read in reads - before if before else reads:
            others = self._readers.get(read)
            if others is None:
                self._readers[read] = {key}
                self._count(read, +1)
            else:
                others.add(key)

    def _count(self, read: Read, step: int) -> None:
        of = read[0].of if isinstance(read[0], Index) else read[0]
        count = self._inputs.get(of, 0) + step
        if count:
            self._inputs[of] = count
        else:
            del self._inputs[of]

    def _dirty(self) -> Iterable[Any]:
        dirty = dict.fromkeys(self.parent.changed)
        for source in self._inputs:
            for key in source.changed:
                dirty.update(dict.fromkeys(self._readers.get((source, key), ())))
            for index, keys in source.touched.items():
                for key in keys:
                    dirty.update(dict.fromkeys(self._readers.get((index, key), ())))
        return dirty

    def _run(self, key: Any) -> tuple[dict[OK, OV], set[Read]]:
        value, fetch = self.parent.value(key), Fetch(self.order, self.name)
        if value is MISSING:
            return {}, fetch.reads
        self.runs += 1
        try:
            return dict(self._transform(fetch, key, value)), fetch.reads
        except NotYet:
            return {output: self._values[output] for output in self._outputs.get(key, ())}, fetch.reads
        except Exception as fault:  # noqa: BLE001  # one bad object keeps its last good outputs and harms no other
            self._fault(key, f"{type(fault).__name__}: {fault}")
            return {output: self._values[output] for output in self._outputs.get(key, ())}, fetch.reads

    def _fault(self, key: Any, text: str) -> None:
        self._faults.put((self.name, key), text)
