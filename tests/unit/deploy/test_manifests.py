"""deploy/manifests is what the chart renders, for those who do not use Helm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm import CHART, NAMESPACE, objects, rendered

HEADER = "# Rendered from deploy/chart by `make manifests`; change it there.\n"
# hostNetwork is what the proxies are for: the namespace must admit it.
HOME = f"""---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    app.kubernetes.io/name: tidegate
    pod-security.kubernetes.io/enforce: privileged
    pod-security.kubernetes.io/warn: privileged
"""


def manifests() -> dict[str, str]:
    """By file; `kubectl apply` takes them in the order of their names."""
    crds = (path.read_text() for path in sorted((CHART / "crds").glob("*.yaml")))
    return {
        "00-namespace.yaml": HEADER + HOME,
        "10-crds.yaml": HEADER + "".join(f"---\n{text}" for text in crds),
        "20-tidegate.yaml": HEADER + rendered(),
    }


def test_the_manifests_are_current(project: Path, pytestconfig: pytest.Config) -> None:
    """deploy/manifests has what the chart renders today, and nothing else."""
    folder = project / "deploy" / "manifests"
    if pytestconfig.getoption("--update-docs"):
        for path in folder.glob("*"):
            path.unlink()
        for name, text in manifests().items():
            (folder / name).write_text(text)

    assert manifests() == {path.name: path.read_text() for path in folder.iterdir()}


def test_what_others_need_comes_first() -> None:
    """The namespace is before what is in it, and CRDs before their objects."""
    kinds = [[o["kind"] for o in objects(text)] for text in manifests().values()]

    assert ["Namespace"] == kinds[0]
    assert {"CustomResourceDefinition"} == set(kinds[1])
    assert not {"Namespace", "CustomResourceDefinition"} & set(kinds[2])
