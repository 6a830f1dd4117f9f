"""What the suite printed, test by test; pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_LINE: Final = re.compile(r"^    --- (PASS|FAIL|SKIP): TestConformance/(\w+) \(([\d.]+)s\)$")
_WORDS: Final = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}


class Outcome(NamedTuple):
    """Of one test of the suite; subtests count with it."""

    test: str
    result: str
    seconds: float


class Run(NamedTuple):
    """One run of the suite, and what it was run by."""

    outcomes: tuple[Outcome, ...]
    profiles: tuple[str, ...]
    features: tuple[str, ...]
    channel: str
    stand: tuple[str, ...] = ()
    """What it was run on, and what of the suite's own was replaced by what: sentences for its page."""

    @property
    def failed(self) -> list[str]:
        return [outcome.test for outcome in self.outcomes if outcome.result == "failed"]


def outcomes(log: str) -> tuple[Outcome, ...]:
    """Every test by name, from the output of `go test -v`."""
    found = (_LINE.match(line) for line in log.splitlines())
    return tuple(sorted(Outcome(m[2], _WORDS[m[1]], float(m[3])) for m in found if m))


def counts(found: Iterable[Outcome]) -> str:
    """In words: "101 passed, 0 failed, 68 skipped"."""
    numbers = Counter(outcome.result for outcome in found)
    return ", ".join(f"{numbers[word]} {word}" for word in _WORDS.values())


def page(run: Run) -> str:
    """The page of docs/conformance."""
    return "\n".join([*_head(run), *_table(run.outcomes), ""])


def _head(run: Run) -> Iterator[str]:
    mesh = all(profile.startswith("MESH-") for profile in run.profiles)
    yield f"# Conformance with Gateway API v1.7.0{', as a mesh' if mesh else ''}"
    yield ""
    yield "Written by `make conformance`; change nothing here by hand."
    yield ""
    yield f"The upstream suite, unmodified: {counts(run.outcomes)}."
    yield f"Profiles {', '.join(run.profiles)}; CRDs of the {run.channel} channel."
    yield "Skipped are tests of other profiles, and of features that are not announced."
    yield ""
    yield from run.stand
    yield ""
    yield f"Features announced: {', '.join(f'`{name}`' for name in run.features)}."
    yield ""


def _table(found: Iterable[Outcome]) -> Iterator[str]:
    yield "| test | result |"
    yield "| --- | --- |"
    order = list(_WORDS.values())
    for outcome in sorted(found, key=lambda o: (order.index(o.result), o.test)):
        yield f"| {outcome.test} | {outcome.result} |"
