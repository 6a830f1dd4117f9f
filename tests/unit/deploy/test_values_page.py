"""The table of values in docs/install.md is drawn from the chart's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import CHART

BEGIN, END = "<!-- values: drawn by `make manifests` -->\n", "<!-- end of values -->\n"


def rows(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    for name, child in schema["properties"].items():
        below = f"{path}.{name}".lstrip(".")
        given = values.get(name) if isinstance(values, dict) else None
        if "properties" in child:
            yield f"| **`{below}`** | | {child['description']} |"
            yield from rows(child, given, below)
        elif below != "global":
            default = "" if given is None else f"`{json.dumps(given)}`"
            yield f"| `{below}` | {default} | {child['description']}{allowed(child)} |"


def allowed(child: dict[str, Any]) -> str:
    if "enum" in child:
        return " One of " + ", ".join(f"`{value}`" for value in child["enum"]) + "."
    if "minimum" in child:
        return f" From {child['minimum']} to {child['maximum']}."
    return ""


def table() -> str:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows(schema, values)]) + "\n"


def test_the_documentation_lists_the_values_as_they_are(project: Path, pytestconfig: pytest.Config) -> None:
    """docs/install.md is current."""
    path = project / "docs" / "install.md"
    before, _, rest = path.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if pytestconfig.getoption("--update-docs"):
        path.write_text(before + BEGIN + table() + END + after)
        shown = table()

    assert table() == shown


def test_the_documentation_explains_every_right(project: Path) -> None:
    """docs/install.md has a row for each resource that a role of the chart names."""
    page = (project / "docs" / "install.md").read_text()
    named = re.findall(r"resources: \[(.+)\]", (CHART / "templates/rbac.yaml").read_text())
    resources = {resource.strip() for line in named for resource in line.split(",")}

    assert [] == sorted(resource for resource in resources if f"`{resource}`" not in page)
