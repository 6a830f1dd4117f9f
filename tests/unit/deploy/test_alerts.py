"""Alerts are valid, fire when they should and not otherwise, and each has a page that says what to do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import CHART, named, objects, rendered

RULES = CHART / "alerts" / "tidegate.rules.yaml"
PLAYED = Path(__file__).with_name("alerts.test.yaml")
PARTS = ("Meaning", "How to look", "What to do")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)


def test_promtool_takes_the_rules() -> None:
    """`promtool check rules` has nothing to say."""
    promtool("check", "rules", "--lint-fatal", str(RULES))


def test_alerts_fire_when_they_should() -> None:
    """`promtool test rules` plays what makes each alert fire, and a day on which nothing is wrong."""
    promtool("test", "rules", str(PLAYED))


def test_every_alert_is_played() -> None:
    """No alert is without a scene in which it fires."""
    played = PLAYED.read_text()

    assert [] == [rule["alert"] for rule in alerts() if f'alertname="{rule["alert"]}"' not in played
                  and f"alertname: {rule['alert']}" not in played]  # fmt: skip


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(project: Path) -> None:
    """docs/runbooks.md has a section for each alert, in the order of the rules, with its three parts."""
    _, *sections = re.split(r"(?m)^## ", (project / "docs" / "runbooks.md").read_text())
    found = {section.partition("\n")[0]: re.findall(r"(?m)^\*\*(.+?)\*\*", section) for section in sections}

    assert [rule["alert"] for rule in alerts()] == list(found)
    assert {} == {name: parts for name, parts in found.items() if list(PARTS) != parts}


def test_alerts_say_how_bad_what_and_where_to_read() -> None:
    """Each has a severity, a summary, a description, and the anchor of its runbook."""
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description", "runbook"} == set(rule["annotations"])
        assert f"docs/runbooks.md#{rule['alert'].lower()}" == rule["annotations"]["runbook"]


def test_the_operator_gets_the_same_rules() -> None:
    """The PrometheusRule of the chart is the rules file."""
    found = objects(rendered({"monitoring": {"prometheusRule": {"enabled": True}}}))

    assert yaml.safe_load(RULES.read_text()) == named(found, "PrometheusRule", "tidegate")["spec"]
