"""Dashboards ask for metrics that exist, in PromQL that Prometheus takes."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client import generate_latest

from datapath.metrics import registry
from tests.helm import objects, rendered
from tests.promql import DASHBOARDS, asked, exposed, expressions, metrics
from xds_server.kube.stats import SourceStats
from xds_server.kube.status_stats import StatusStats
from xds_server.metrics import (
    Metrics,
    collection_sizes,
    generated_counters,
    handshake_counter,
    relay_counters,
    source_counters,
    status_counters,
    stream_counters,
)
from xds_server.xds.streams import Streams


class Nothing:
    """Of a relay that has told nothing."""

    told = envoys = 0


# A daemon that has done nothing yet, as far as its metrics ask.
NOBODY: Any = SimpleNamespace(
    view=SimpleNamespace(sizes={}, attached={}, missing={}, failed_services=0, reattached=0),
    discovery=SimpleNamespace(refused={}),
    envoy=SimpleNamespace(state=SimpleNamespace(starts=0, hung=0)),
    reach=SimpleNamespace(serves=False),
    ageing=SimpleNamespace(states=Counter(), aged=Counter(), translations=0, lone=0),
    errors=0,
    repairs=0,
)


def test_names_of_metrics_are_told_from_labels() -> None:
    """What is in braces, or grouped by, is no metric."""
    text = 'sum by (envoy_a) (rate(envoy_b_total{envoy_c="envoy_d"}[5m])) / on (envoy_e) tidegate_f'

    assert {"envoy_b_total", "tidegate_f"} == metrics(text)


def test_the_control_plane_has_what_is_asked_of_it() -> None:
    """Every tidegate_ metric of dashboards and alerts is in the registry, but those of the daemons."""
    found = Metrics()
    found.watch(collection_sizes(dict))
    found.watch(stream_counters(Streams()))
    found.watch(handshake_counter(int))
    found.watch(source_counters(SourceStats(), dict, dict, dict))
    found.watch(status_counters(StatusStats(), bool, int))
    found.watch(generated_counters(tuple, int))
    found.watch(relay_counters(Nothing(), Nothing()))

    of_nodes = {name for name in asked("tidegate_") if name.startswith("tidegate_datapath_")}

    assert set() == asked("tidegate_") - of_nodes - exposed(found.exposition().decode())


def test_the_daemon_has_what_is_asked_of_it() -> None:
    """Every tidegate_datapath_ metric of dashboards and alerts is in the daemon's registry."""
    found = generate_latest(registry(NOBODY, cast("Any", SimpleNamespace(connected=False)), dict, {}))

    assert set() == asked("tidegate_datapath_") - exposed(found.decode())


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    """`promtool check rules` parses the dashboards' expressions as rules."""
    rules = [{"record": f"x:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], check=False, capture_output=True, text=True
    )

    assert 0 == done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_complete(path: Path) -> None:
    """Each has an identity of its own, no panel over another, and panels that name the chosen data source."""
    dashboard = json.loads(path.read_text())
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert f"tidegate-{path.stem}" == dashboard["uid"]
    assert len(set(cells)) == len(cells)
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in dashboard["panels"]}
    assert {"datasource", "instance"} == {variable["name"] for variable in dashboard["templating"]["list"]}


def test_the_chart_carries_the_dashboards() -> None:
    """Each ConfigMap holds one dashboard, byte for byte, under the label that Grafana's sidecar looks for."""
    found = objects(rendered({"monitoring": {"dashboards": {"enabled": True}}}))
    maps = [o for o in found if o["kind"] == "ConfigMap" and "grafana_dashboard" in o["metadata"]["labels"]]

    assert {path.name: path.read_text() for path in DASHBOARDS} == {k: v for o in maps for k, v in o["data"].items()}
