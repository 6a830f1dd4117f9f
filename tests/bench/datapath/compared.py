"""Rows of the table for a time or a rate that was measured of two ways in turns.

Samples of one round are compared with each other, as the machine is not the same in the next: the ratio is the median
of the rounds' ratios, and not that of the medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tests.bench.measures import Figure, drawn_again


class Pair(NamedTuple):
    """Samples of the same rounds."""

    mine: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        return [mine / theirs for mine, theirs in zip(self.mine, self.theirs, strict=True)]

    @property
    def turned(self) -> Pair:
        return Pair(self.theirs, self.mine)

    def interval(self) -> str:
        """Where 95 of 100 medians of the ratios lie, when the rounds are drawn again."""
        ratios = self.ratios
        return drawn_again(lambda rng: statistics.median(rng.choices(ratios, k=len(ratios))))


def times(benchmark: str, what: str, pair: Pair, most: float | None, note: str) -> Figure:
    """Less is better."""
    mine, theirs = map(microseconds, pair)
    if min(*pair.mine, *pair.theirs) <= 0:  # of differences, where noise is larger than they are
        return Figure(benchmark, what, mine, theirs, note=f"no ratio: a sample is below zero; {note}")
    ratio = statistics.median(pair.ratios)
    return Figure(benchmark, what, mine, theirs, ratio, most, f"ratio in {pair.interval()}; {note}")


def rates(benchmark: str, what: str, pair: Pair, least: float | None, note: str) -> Figure:
    """More is better, so that the ratio is the other one's to ours."""
    mine, theirs = map(rate, pair)
    turned, most = pair.turned, None if least is None else round(1 / least, 3)
    note = f"ratio: limit to ours, in {turned.interval()}; {note}"
    return Figure(benchmark, what, mine, theirs, statistics.median(turned.ratios), most, note)


def microseconds(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):.1f} µs ({min(samples):.1f} to {max(samples):.1f})"


def rate(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):,.0f} ({min(samples):,.0f} to {max(samples):,.0f})"
