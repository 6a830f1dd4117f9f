"""Stands for tests: one per module, and what to do where one cannot be had."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import cgroup2
from tests.netns.stand import Stand, stand
from tests.netns.table import World, populated

_LOG = 4000
STAND: pytest.StashKey[Stand] = pytest.StashKey()


@pytest.fixture(scope="session", autouse=True)
def able() -> None:
    """A machine that has what the tests need, or none of them runs; in CI that is a failure."""
    tools = [tool for tool in ("ip", "nft", "nsenter", "setpriv") if shutil.which(tool) is None]
    wants = "root" if os.geteuid() else f"{' and '.join(tools)} on PATH: run `make network-tools`" if tools else ""
    if wants and os.environ.get("CI"):
        pytest.fail(f"the tests of the datapath need {wants}")
    if wants:
        pytest.skip(f"THE DATAPATH IS NOT TESTED: it needs {wants}")
    cgroup2()


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """Two nodes without a mesh."""
    with stand() as built:
        request.node.stash[STAND] = built
        yield built


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure says how to look at what has failed."""
    report = yield
    module = item.getparent(pytest.Module)
    if report.failed and module is not None and (built := module.stash.get(STAND, None)):
        report.sections.append(("namespaces", built.how_to_enter()))
        for log in sorted(built.run.directory.rglob("*.log")):
            report.sections.append((str(log), log.read_text(errors="replace")[-_LOG:]))
    return report


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, envoy: Path) -> Iterator[World]:
    """The mesh with its pods."""
    with populated(envoy) as made:
        request.node.stash[STAND] = made.mesh.stand
        yield made
