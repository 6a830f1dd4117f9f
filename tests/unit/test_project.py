"""What the project's own files say of each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from xds_server.ingestion import values
from xds_server.proxy.bootstrap import MAX_REGEX_PROGRAM_SIZE
from xds_server.translation import text


def named(requirement: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ <>=\[;]", requirement)[0]).lower()


def test_every_dependency_has_one_version(project: Path) -> None:
    """What pyproject asks for, constraints pin; and they pin by version alone, never by address."""
    pins = [line for line in (project / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    asked = [*metadata["dependencies"], *(r for extra in metadata["optional-dependencies"].values() for r in extra)]

    assert [] == [line for line in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line)]
    assert set() == {named(requirement) for requirement in asked} - {named(line) for line in pins}


def test_the_limits_of_regular_expressions_agree() -> None:
    """S5: what the control plane accepts, Envoy compiles: both read one number, each in its own package."""
    assert {MAX_REGEX_PROGRAM_SIZE} == {text.MAX_REGEX_PROGRAM_SIZE, values.MAX_REGEX_PROGRAM}
