"""The shipped programs, loaded and driven on kernels of four generations and on this machine's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.kernels import page
from tests.kernels.inside.cases import CASES
from tests.kernels.page import capabilities, instructions, replaced, section, sentences
from tests.kernels.trial import KERNELS, OWN, Told


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_datapath_on_a_kernel(trial: Callable[[str], Told], kernel: str, case: str) -> None:
    """What the case's own sentence says holds on this kernel."""
    if failed := trial(kernel).verdict(case):
        pytest.fail(failed, pytrace=False)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_lives_to_the_end(trial: Callable[[str], Told], kernel: str) -> None:
    """All cases have run, everything is detached, and the kernel has neither warned nor died."""
    told = trial(kernel)

    assert told.ended, told.console
    assert [*CASES] == [*told.failed]
    assert [] == [line for line in told.console.splitlines() if "WARNING:" in line or "BUG:" in line or "Oops" in line]


def test_the_page_is_of_what_runs(trials: dict[str, Future[Told]], project: Path, pytestconfig: pytest.Config) -> None:
    """docs/kernels.md has every case, program and step; what kernels said of them may differ by a build of Debian's."""
    told = {kernel: run.result() for kernel, run in trials.items() if kernel != OWN}
    path = project / "docs" / "kernels.md"
    if pytestconfig.getoption("--update-docs"):
        drawn = replaced(path.read_text(), "cases", sentences(CASES))
        drawn = replaced(drawn, "instructions", page.drawn("program", instructions(told)))
        path.write_text(replaced(drawn, "capabilities", page.drawn("step", capabilities(told))))
    shown = path.read_text()

    assert sentences(CASES) == section(shown, "cases")
    assert [*capabilities(told)] == [*page.read(section(shown, "capabilities"))]
    assert [*instructions(told)] == [*page.read(section(shown, "instructions"))]
