"""`make bench` at small sizes: its figures mean nothing, and that there are some means that it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = {"b2": 10, "b4": 4, "b6": 8, "b8": 12, "start": 3, "memory": 3}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.usefixtures("envoy")
def test_a_benchmark_measures_all_that_it_promises(name: str, project: Path) -> None:
    """Each benchmark prints all of its rows, each with what was measured and a figure."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", name], cwd=project, capture_output=True, text=True, check=False
    )
    assert (0, "") == (run.returncode, "" if run.returncode == 0 else run.stderr[-2000:])
    rows = [line.split(" | ") for line in run.stdout.splitlines() if line.startswith(("| B", "| start", "| memory"))]
    assert ROWS[name] == len(rows)
    assert all(any(c.isdigit() for c in row[2]) for row in rows)
