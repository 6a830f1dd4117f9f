"""Figures, and what may be said of them."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Sizes(NamedTuple):
    """How much is measured; `QUICK` shows that everything works, and its figures mean nothing."""

    few: int
    """Routes, or resources, in the smaller world."""
    many: int
    streams: tuple[int, ...]
    rounds: int
    """Of samples in each arm."""
    edits: int
    storms: int
    starts: int
    rest_s: float
    """How long nothing comes when all has come: longer than a file settles and a commit holds off."""


FULL = Sizes(few=1000, many=10_000, streams=(100, 1000), rounds=24, edits=24, storms=3, starts=2, rest_s=0.7)
QUICK = Sizes(few=20, many=600, streams=(3, 10), rounds=2, edits=2, storms=1, starts=1, rest_s=0.1)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured, against which limit, and how close to it we should be."""

    benchmark: str
    what: str
    ours: str
    limit: str = ""
    ratio: float | None = None
    most: float | None = None
    """The target for the ratio; None where there is none."""
    note: str = ""

    @property
    def reached(self) -> str:
        if self.most is None or self.ratio is None:
            return ""
        return "yes" if self.ratio <= self.most else "**no**"

    def row(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        target = "" if self.most is None else f"≤ {self.most:g}"
        cells = (self.benchmark, self.what, self.ours, self.limit, ratio, target, self.reached, self.note)
        return "| " + " | ".join(cells) + " |"


HEAD = "| | what | ours | limit | ratio | target | reached | |\n| --- | --- | ---: | ---: | ---: | ---: | --- | --- |"


def say(text: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def milliseconds(samples: Sequence[float]) -> str:
    """The median, and in brackets where the middle half lies."""
    low, high = middle(samples)
    return f"{statistics.median(samples) * 1000:.1f} ms ({low * 1000:.1f} to {high * 1000:.1f})"


def seconds(samples: Sequence[float]) -> str:
    spread = f" ({min(samples):.2f} to {max(samples):.2f})" if len(samples) > 1 else ""
    return f"{statistics.median(samples):.2f} s{spread}"


def middle(samples: Sequence[float]) -> tuple[float, float]:
    if len(samples) < 2:
        return samples[0], samples[0]
    quarters = statistics.quantiles(samples, n=4, method="inclusive")
    return quarters[0], quarters[2]


def ratio(ours: Sequence[float], limit: Sequence[float]) -> float:
    return statistics.median(ours) / statistics.median(limit)


def interval(ours: Sequence[float], limit: Sequence[float]) -> str:
    """Where 95 of 100 ratios of medians lie, when the samples are drawn again."""
    return drawn_again(
        lambda rng: (
            statistics.median(rng.choices(ours, k=len(ours))) / statistics.median(rng.choices(limit, k=len(limit)))
        )
    )


def drawn_again(draw: Callable[[random.Random], float]) -> str:
    """Where 95 of 100 draws lie; the same for the same samples."""
    rng = random.Random(1)
    found = sorted(draw(rng) for _ in range(400))
    return f"{found[10]:.2f} to {found[389]:.2f}"


def against_itself(samples: Sequence[float]) -> float:
    """The ratio of every second sample to the others: what a difference of nothing looks like."""
    return ratio(samples[::2], samples[1::2] or samples)
