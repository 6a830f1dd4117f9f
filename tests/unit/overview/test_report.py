"""The JSON form of an overview is what docs/cli.md says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tests.unit.overview.installation_world import replica, stream, well
from xds_server.cli.status import show
from xds_server.overview.findings import findings
from xds_server.overview.replica import Replica, digest
from xds_server.overview.report import report


def shape(value: Any) -> Any:
    """Names and nesting, without values; of a list, its first member's."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(each) for each in value[:1]] if isinstance(value, list) else None


def test_the_form_is_the_one_of_the_page(project: Path) -> None:
    """Every field of the page is there, and no other."""
    page = (project / "docs/cli.md").read_text()
    section = page[page.index("## `tidegate status") :]
    promised = json.loads(re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0])
    facts = replace(well(), nodes=("node1", "node2", "node3"))
    content = json.loads(json.dumps(report(facts, findings(facts))))

    assert shape(promised) == shape(content)


def test_a_proxy_has_the_streams_of_its_node() -> None:
    """Whichever replica it is connected to."""
    facts = replace(well(), replicas={"c1": replica(stream("node1")), "c2": replica(stream("node2", refused=1))})
    content = report(facts, [])

    assert [["c1"], ["c2"]] == [[s["replica"] for s in proxy["streams"]] for proxy in content["proxies"]]
    assert [0, 1] == [proxy["streams"][0]["types"]["Cluster"]["refused"] for proxy in content["proxies"]]


def test_people_read_the_same(capsys: Any) -> None:
    """Pods, frontends, pools and findings are in the text; markup in a name is text."""
    facts = replace(well(), nodes=("node1", "node2", "[red]node3"))
    show(report(facts, findings(facts)))
    text = capsys.readouterr().out

    for word in (
        "c1",
        "p2",
        "Gateway default/web",
        "192.0.2.1",
        "LoadBalancerIPPool edge",
        "Node/[red]node3",
        "1 warning",
    ):
        assert word in text


def test_a_replica_reads_as_it_was_written() -> None:
    """The page and its reader are of one form; what is new there is skipped by an older reader."""
    told = replica(stream("node1"), leads=True)
    body = msgspec.json.encode(told)

    assert told == msgspec.json.decode(body, type=Replica)
    assert told == msgspec.json.decode(body[:-1] + b', "later": 1}', type=Replica)


def test_equal_resources_have_one_digest() -> None:
    """In whatever order they were put; and another version is another digest."""
    a, b = ("t", "a", "1"), ("t", "b", "1")

    assert digest([a, b]) == digest([b, a])
    assert digest([a, b]) != digest([a, ("t", "b", "2")])
