"""These tests load programs: they need root, and a kernel that has what the datapath needs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.bpf.daemon import Node, node
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


@pytest_asyncio.fixture(loop_scope="module")
async def daemon(tmp_path: Path, envoy: Path) -> AsyncIterator[Node]:
    """It runs, and has asked for what it wants; a test may end it."""
    async with node(tmp_path, envoy) as made:
        made.start()
        await made.connected(1)
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, envoy: Path) -> AsyncIterator[Node]:
    """One for all tests that only say something to it."""
    async with node(tmp_path_factory.mktemp("shared"), envoy) as made:
        made.start()
        await made.connected(1)
        yield made
