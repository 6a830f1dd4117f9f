"""Rows of the table for a time or a rate that was measured of two ways in turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tests.bench.measures import Figure, interval, ratio


class Pair(NamedTuple):
    mine: Sequence[float]
    theirs: Sequence[float]


def times(benchmark: str, what: str, pair: Pair, most: float | None, note: str) -> Figure:
    """Less is better."""
    mine, theirs = map(microseconds, pair)
    return Figure(benchmark, what, mine, theirs, ratio(*pair), most, f"ratio in {interval(*pair)}; {note}")


def rates(benchmark: str, what: str, pair: Pair, least: float | None, note: str) -> Figure:
    """More is better, so that the ratio is the other one's to ours."""
    mine, theirs = map(rate, pair)
    turned, most = (pair.theirs, pair.mine), None if least is None else round(1 / least, 3)
    note = f"ratio: limit to ours, in {interval(*turned)}; {note}"
    return Figure(benchmark, what, mine, theirs, ratio(*turned), most, note)


def microseconds(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):.1f} µs ({min(samples):.1f} to {max(samples):.1f})"


def rate(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):,.0f} ({min(samples):,.0f} to {max(samples):,.0f})"
