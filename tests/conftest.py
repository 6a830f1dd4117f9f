"""What every test may rely on: the programs that `make` installed, and reproducible random examples."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parent.parent

# Machines differ in speed, so no example has a deadline; CI draws the same examples each time.
settings.register_profile("developer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("developer"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")

# This environment's tidegate and grpcurl first; last prometheus and promtool, where make puts them.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), str(PROJECT / ".prometheus/usr/bin")],
)


@pytest.fixture(scope="session")
def envoy() -> Path:
    """The real Envoy; a machine without it fails the tests that need it, and is told what to do."""
    named = os.environ.get("TIDEGATE_ENVOY")
    found = Path(named) if named else PROJECT / ".envoy/envoy/_bin/envoy"
    if not found.is_file() or shutil.which(found) is None:
        pytest.fail(f"no Envoy at {found}: run `make envoy`, or name one in TIDEGATE_ENVOY")
    return found


@pytest.fixture(scope="session")
def project() -> Path:
    return PROJECT


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command that a test runs in its own process sets logs up, for a stream that ends with the test."""
    before = structlog.get_config()
    yield
    if structlog.get_config() != before:
        structlog.configure(**before)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-docs", action="store_true", help="write the generated pages of docs/ anew")
