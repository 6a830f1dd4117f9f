"""Which objects are to be looked at, and from when on: a set, so that nothing in it is ever too old or dropped; pure.

Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from heapq import heappop, heappush

from xds_server.model.refs import ObjectRef


class Pending:
    """An object is looked at by one at a time; what is wanted of it meanwhile waits until that one is done."""

    def __init__(self) -> None:
        self._at: dict[ObjectRef, float] = {}
        self._heap: list[tuple[float, ObjectRef]] = []
        self._floor: dict[ObjectRef, float] = {}
        self._busy: set[ObjectRef] = set()

    def __len__(self) -> int:
        return len(self._at) + len(self._busy - self._at.keys())

    @property
    def busy(self) -> int:
        return len(self._busy)

    def want(self, ref: ObjectRef, at: float) -> None:
        """Look at it then, or earlier if that was wanted already; never before its floor."""
        at = max(at, self._floor.get(ref, at))
        if ref in self._at and self._at[ref] <= at:
            return
        self._at[ref] = at
        if ref not in self._busy:
            heappush(self._heap, (at, ref))

    def back_off(self, ref: ObjectRef, until: float) -> None:
        """Look at it then, and not before, whoever wants it."""
        self._floor[ref] = until
        self._at.pop(ref, None)
        self.want(ref, until)

    def forgive(self, ref: ObjectRef) -> None:
        """It may be looked at whenever somebody wants it."""
        self._floor.pop(ref, None)

    def take(self, now: float) -> ObjectRef | None:
        """An object that is due; it is busy until `done`."""
        while self._heap and self._heap[0][0] <= now:
            at, ref = heappop(self._heap)
            if self._at.get(ref) == at and ref not in self._busy:
                del self._at[ref]
                self._busy.add(ref)
                return ref
        return None

    def done(self, ref: ObjectRef) -> None:
        self._busy.discard(ref)
        if ref in self._at:
            heappush(self._heap, (self._at[ref], ref))

    def next_at(self) -> float | None:
        """When the next one is due."""
        while self._heap and (self._at.get(self._heap[0][1]) != self._heap[0][0] or self._heap[0][1] in self._busy):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Forget all but those that are busy."""
        self._at.clear()
        self._heap.clear()
        self._floor.clear()
