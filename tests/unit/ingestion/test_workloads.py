from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import msgspec
import pytest
import yaml

from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import WORKLOADS, ResourceKey
from xds_server.objects.core import Pod
from xds_server.pipeline import Pipeline
from xds_server.proto.tidegate.datapath.v1.datapath_pb2 import Workloads
from xds_server.translation.settings import TranslationSettings

DATAPATH = replace(DIRECTORY, datapath=True)


def pod(name: str, *addresses: str, node: str = "a", phase: str = "Running", more: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, uid: uid-{name}, labels: {{app: x}}}}
spec: {{nodeName: "{node}", serviceAccountName: default, containers: [{{name: c}}]{more}}}
status: {{phase: {phase}, podIPs: [{", ".join(f"{{ip: '{address}'}}" for address in addresses)}]}}
"""


def addresses(world: World) -> dict[str, tuple[str, ...]]:
    return {ref.name: found.addresses for ref, found in world.ingested.workloads.items()}


def test_a_pod_is_known_by_all_its_addresses() -> None:
    """In their one form, and sorted."""
    world = World(pod("web", "2001:db8:0::1", "10.0.0.1"), settings=DATAPATH)

    assert {"web": ("10.0.0.1", "2001:db8::1")} == addresses(world)


@pytest.mark.parametrize(
    "unknown",
    [
        pod("web", "10.0.0.1", more=", hostNetwork: true"),
        pod("web", "10.0.0.1", node=""),
        pod("web"),
        pod("web", "10.0.0.1", phase="Succeeded"),
        pod("web", "10.0.0.1", phase="Failed"),
        pod("web", "fe80::1%eth0"),
    ],
    ids=["of the node's network", "nowhere yet", "without an address", "done", "failed", "of an interface"],
)
def test_who_has_no_address_of_its_own_is_not_told(unknown: str) -> None:
    """Its address is the node's, or another's by now."""
    assert {} == addresses(World(unknown, settings=DATAPATH))


def test_without_daemons_no_pod_is_looked_at() -> None:
    """What they are for is not there."""
    world = World(pod("web", "10.0.0.1"), settings=DIRECTORY)

    assert {} == addresses(world)
    assert {"pods": 1} == world.changed


def test_a_node_is_told_of_its_own_pods() -> None:
    """One resource a node, which a pod elsewhere leaves as it is; it goes with the last pod."""
    pipeline = Pipeline.declare(Settings(datapath=True), TranslationSettings(datapath=True))
    key = ResourceKey(WORKLOADS, "a")
    pods = {
        ObjectRef("Pod", "default", name): msgspec.convert(yaml.safe_load(pod(name, f"10.0.0.{n}", node=node)), Pod)
        for n, (name, node) in enumerate([("z", "a"), ("b", "a"), ("c", "b")], 1)
    }
    pipeline.apply(pods.items())
    found = Workloads.FromString(pipeline.resources[key].body)

    assert [("b", "uid-b", "10.0.0.2"), ("z", "uid-z", "10.0.0.1")] == [
        (each.name, each.uid, str(ip_address(each.addresses[0]))) for each in found.workloads
    ]

    changes = pipeline.apply([(ObjectRef("Pod", "default", "c"), None)])

    assert {ResourceKey(WORKLOADS, "b"): None} == pipeline.published(changes)

    pipeline.apply((ref, None) for ref in pods)

    assert key not in pipeline.resources
