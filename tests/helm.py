"""What the chart renders, by the real Helm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent
CHART = PROJECT / "deploy" / "chart"
NAMESPACE = "tidegate-system"
KUBERNETES = "1.37.2"

Object = dict[str, Any]


def helm() -> str:
    """The Helm to run; a machine without one fails the tests that need it, and is told what to do."""
    named = os.environ.get("HELM", str(PROJECT / ".cluster" / "helm"))
    found = shutil.which(named) or shutil.which("helm")
    if found is None:
        pytest.fail(f"no Helm at {named}: run `make cluster-binary`, or name one in HELM")
    return found


def rendered(values: Mapping[str, Any] | None = None, *, crds: bool = False) -> str:
    """The chart's manifests as text, with some values other than the default.

    :raises subprocess.CalledProcessError: Helm refuses; its `stderr` says why.
    """
    command = [helm(), "template", "tidegate", str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES]
    return subprocess.run(
        [*command, "--values", "-", *(["--include-crds"] if crds else [])],
        input=yaml.safe_dump(dict(values or {})),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def refusal(values: Mapping[str, Any]) -> str:
    """Why Helm refuses values."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(values)
    return str(refused.value.stderr)


def objects(text: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(text) if document]


def named(found: list[Object], kind: str, name: str) -> Object:
    """The one object of a kind and name."""
    [one] = [o for o in found if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return one


def pod_specs(found: list[Object]) -> Iterator[tuple[str, Object]]:
    """Each workload's name and the specification of its pods."""
    for o in found:
        if o["kind"] in {"Deployment", "DaemonSet", "Job"}:
            yield f"{o['kind']}/{o['metadata']['name']}", o["spec"]["template"]["spec"]
        elif o["kind"] == "CronJob":
            yield f"CronJob/{o['metadata']['name']}", o["spec"]["jobTemplate"]["spec"]["template"]["spec"]
