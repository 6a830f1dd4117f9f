"""The tables of docs/kernels.md, drawn from what kernels told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from tests.kernels.trial import Told

Table = dict[str, dict[str, str]]
"""Row -> kernel -> what is there."""


def begin(name: str) -> str:
    return f"<!-- {name}: drawn by `make test-kernels` with UPDATE=--update-docs -->\n"


def end(name: str) -> str:
    return f"<!-- end of {name} -->\n"


def instructions(trials: Mapping[str, Told]) -> Table:
    """How many the verifier has looked at, by program."""
    return table(trials, lambda told: {f"`{name}`": f"{n:,}" for name, n in told.found["instructions"].items()})


def capabilities(trials: Mapping[str, Told]) -> Table:
    """The fewest that a step is done with."""
    return table(trials, lambda told: {step: needs or "none" for step, needs in told.found["capabilities"].items()})


def sentences(cases: Mapping[str, Callable[..., None]]) -> str:
    """What is tried, a line for each case."""
    return "".join(f"- *{name.replace('_', ' ')}*: {inspect.getdoc(case)}\n" for name, case in cases.items())


def table(trials: Mapping[str, Told], column: Callable[[Told], Mapping[str, str]]) -> Table:
    rows: Table = {}
    for kernel, told in trials.items():
        for row, cell in column(told).items():
            rows.setdefault(row, {})[kernel] = cell
    return rows


def drawn(head: str, rows: Table) -> str:
    kernels = list(dict.fromkeys(kernel for cells in rows.values() for kernel in cells))
    lines = [f"| {head} | {' | '.join(kernels)} |", f"| --- |{' ---: |' * len(kernels)}"]
    lines += [f"| {row} | {' | '.join(cells.get(kernel, '') for kernel in kernels)} |" for row, cells in rows.items()]
    return "\n".join(lines) + "\n"


def read(drawing: str) -> Table:
    """What `drawn` has drawn."""
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in drawing.splitlines()]
    (_, *kernels), _, *rows = lines
    return {row: dict(zip(kernels, cells, strict=True)) for row, *cells in rows}


def section(page: str, name: str) -> str:
    return page.partition(begin(name))[2].partition(end(name))[0]


def replaced(page: str, name: str, drawing: str) -> str:
    before, _, rest = page.partition(begin(name))
    return before + begin(name) + drawing + end(name) + rest.partition(end(name))[2]
