"""Which metrics the project's dashboards and alerts ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from tests.helm import CHART

DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))


def expressions() -> Iterator[tuple[str, str]]:
    """Each PromQL expression with where it is from; what Grafana fills in has values."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
                yield f"{path.stem}: {panel['title']} {target['refId']}", text
    for group in yaml.safe_load((CHART / "alerts" / "tidegate.rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def metrics(expression: str) -> set[str]:
    """Names of metrics, and not those of labels, which are in braces or after `by`."""
    bare = re.sub(r"\{[^}]*\}|\b(by|without|on)\s*\([^)]*\)", "", expression)
    return set(re.findall(r"\b(?:tidegate|envoy)_\w+", bare))


def asked(prefix: str) -> set[str]:
    return {name for _, text in expressions() for name in metrics(text) if name.startswith(prefix)}


def exposed(exposition: str) -> set[str]:
    """Names of the series that metrics of an exposition have, also of those that have no series yet."""
    names = set()
    for name, kind in re.findall(r"(?m)^# TYPE (\S+) (\S+)$", exposition):
        names |= {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count") if kind == "histogram")}
    return names
