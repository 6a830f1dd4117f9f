"""The picture of the whole pipeline in the documentation is what the pipeline draws of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from xds_server.config import Config
from xds_server.embedded import embedded_pipeline
from xds_server.files.directory import Directory
from xds_server.graph.diagram import mermaid

PAGE = """# The graph

Every collection of the control plane, in the order of declaration, which is the order of their dependencies.
Solid arrows are what a collection derives from.
Dotted ones are what its transformation reads while it runs on `examples/bookinfo`.
Drawn by the graph itself: `pytest tests/unit/graph/test_diagram.py --update-docs`.

```mermaid
{}```
"""


def test_the_documentation_shows_the_graph_as_it_is(project: Path, pytestconfig: pytest.Config) -> None:
    """docs/graph.md is current."""
    manifests = (project / "examples" / "bookinfo",)
    pipeline = embedded_pipeline(Config(manifests=manifests))
    pipeline.apply(Directory(manifests).load().changes.items())
    page, path = PAGE.format(mermaid(pipeline.graph)), project / "docs" / "graph.md"
    if pytestconfig.getoption("--update-docs"):
        path.write_text(page)

    assert page == path.read_text()
