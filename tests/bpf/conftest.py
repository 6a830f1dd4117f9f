"""These tests load programs: they need root, and a kernel that has what the datapath needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bpf.stand import BUILD

NEEDS = "the tests of BPF programs need root: run `make test` as root"


def missing() -> str:
    if os.geteuid() != 0:
        return NEEDS
    if not (BUILD / "manifest.json").exists():
        return "the BPF programs are not built: run `make bpf`"
    return ""


@pytest.fixture(autouse=True, scope="session")
def _able() -> None:
    """Skipped aloud on a developer's machine, where root is not a given; never where CI says that all is tested."""
    if problem := missing():
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)


@pytest.fixture(scope="session")
def build() -> Path:
    return BUILD
