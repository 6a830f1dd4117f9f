"""The walk-through as a user starts it."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.parametrize("ports", [[], ["--port-offset", "12000"]], ids=["low ports if they may be bound", "offset"])
def test_the_demo_sees_what_it_expects(ports: list[str]) -> None:
    """`tidegate demo` serves the example, asks every row of its table, and answers 0."""
    ran = subprocess.run(["tidegate", "demo", *ports], capture_output=True, text=True, check=False)

    assert (0, ", 0 different") == (ran.returncode, ran.stdout.strip()[-13:]), ran.stdout + ran.stderr
