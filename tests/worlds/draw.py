"""Random choices of a seeded source, in the words that generators of objects use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draw:
    """`loose` also draws text that only older definitions let through, such as CR, LF and NUL in values."""

    random: Random
    loose: bool = False

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def one(self, choices: Sequence[T]) -> T:
        return self.random.choice(choices)

    def some(self, choices: Sequence[T], fewest: int, most: int) -> list[T]:
        """Distinct choices, in random order."""
        return self.random.sample(choices, min(len(choices), self.random.randint(fewest, most)))

    def many(self, fewest: int, most: int, make: Callable[[], T]) -> list[T]:
        return [make() for _ in range(self.random.randint(fewest, most))]

    def fields(self, **makers: tuple[float, Callable[[], Any]]) -> Manifest:
        """Each field with its own chance to be there."""
        return {name: make() for name, (share, make) in makers.items() if self.chance(share)}

    def usual(self, usual: Sequence[T], odd: Sequence[T], share_of_odd: float = 0.15) -> T:
        return self.one(odd if self.chance(share_of_odd) else usual)
