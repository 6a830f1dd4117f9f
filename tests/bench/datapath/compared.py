"""Rows of the table for a time or a rate that was measured of two ways in turns.

Samples of one turn are compared with each other, as the machine is not the same in the next; and so are the processes
of one stand, as another Envoy of the same has its memory elsewhere, which makes it quicker or slower by some percent.
The ratio is the mean of the stands', and a stand's the median of its turns'.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from tests.bench.measures import Figure, drawn_again, middle

LEAST_STANDS: Final = 4
Samples = Sequence[Sequence[float]]
"""By stand, and of each by turn."""


class Pair(NamedTuple):
    """Samples of the same stands and turns."""

    mine: Samples
    theirs: Samples

    @property
    def ratios(self) -> list[float]:
        """Of each stand."""
        return [statistics.median(quotients(*stand)) for stand in zip(self.mine, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.mean(self.ratios)

    @property
    def turned(self) -> Pair:
        return Pair(self.theirs, self.mine)

    def interval(self) -> str:
        """Where 95 of 100 means lie, when the stands are drawn again; of few stands nobody knows."""
        ratios = self.ratios
        if len(ratios) < LEAST_STANDS:
            return "?"
        return drawn_again(lambda rng: statistics.mean(rng.choices(ratios, k=len(ratios))))


def quotients(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [own / other for own, other in zip(mine, theirs, strict=True)]


def times(benchmark: str, what: str, pair: Pair, most: float | None, note: str) -> Figure:
    """Less is better."""
    mine, theirs = map(microseconds, pair)
    if min(map(statistics.median, (*pair.mine, *pair.theirs))) <= 0:  # of differences that are smaller than noise
        return Figure(benchmark, what, mine, theirs, note=f"no ratio: a sample is below zero; {note}")
    return Figure(benchmark, what, mine, theirs, pair.ratio, most, f"ratio in {pair.interval()}; {note}")


def rates(benchmark: str, what: str, pair: Pair, least: float | None, note: str) -> Figure:
    """More is better, so that the ratio is the other one's to ours."""
    mine, theirs = map(rate, pair)
    turned, most = pair.turned, None if least is None else round(1 / least, 3)
    note = f"ratio: limit to ours, in {turned.interval()}; {note}"
    return Figure(benchmark, what, mine, theirs, turned.ratio, most, note)


def microseconds(samples: Samples) -> str:
    return _shown(samples, ".1f", " µs")


def rate(samples: Samples) -> str:
    return _shown(samples, ",.0f")


def _shown(samples: Samples, form: str, unit: str = "") -> str:
    """The median, and where the middle half lies."""
    every = list(chain(*samples))
    low, high = middle(every)
    return f"{statistics.median(every):{form}}{unit} ({low:{form}} to {high:{form}})"
