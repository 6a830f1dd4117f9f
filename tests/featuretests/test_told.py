"""What a replica tells of itself, with a real stream: enough to judge by, and nothing that is anybody's secret."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.featuretests.mesh import mesh
from xds_server.app import ControlPlane
from xds_server.config import Config
from xds_server.ingestion.features import SUPPORTED_FEATURES
from xds_server.model.resource import CLUSTER, LISTENER

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: telltale}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: telltale}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP, hostname: telltale.example.com}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: telltale}
spec: {parentRefs: [{name: telltale}], rules: [{backendRefs: [{name: telltale, port: 80}]}]}
"""


async def test_a_proxy_that_has_everything_is_settled(tmp_path: Path) -> None:
    """By type: how many it wants and refuses, and when it last said yes; of objects, not even a name is told (S17)."""
    async with mesh(tmp_path) as found:
        await found.apply(SHOP)
        await found.until(lambda: all(of.settled for of in found.plane.told.replica().streams[0].types.values()))
        told = found.plane.told.replica()
    [stream] = told.streams

    assert [1, 1] == [stream.types[kind].wanted for kind in (LISTENER, CLUSTER)]
    assert [0, 0] == [stream.types[kind].refused for kind in (LISTENER, CLUSTER)]
    assert stream.types[LISTENER].accepted_s is not None
    assert stream.types[LISTENER].rejected_s is None
    assert SUPPORTED_FEATURES == told.features
    assert b"telltale" not in msgspec.json.encode(told)


async def test_what_a_proxy_refuses_is_counted(tmp_path: Path) -> None:
    """And when it last said no."""
    async with mesh(tmp_path) as found:
        found.proxy.refuses = lambda key: "no such field" if key.type_url == CLUSTER else ""
        await found.apply(SHOP)
        await found.until(lambda: found.plane.told.replica().streams[0].types[CLUSTER].refused == 1)
        of = found.plane.told.replica().streams[0].types[CLUSTER]

    assert of.rejected_s is not None


def test_replicas_of_the_same_objects_have_one_digest(tmp_path: Path) -> None:
    """And another as soon as one of them knows more."""
    digests = []
    for name, text in (("a", SHOP), ("b", SHOP), ("c", SHOP.replace("port: 80, protocol", "port: 81, protocol"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.yaml").write_text(text)
        plane = ControlPlane(Config(manifests=(tmp_path / name,), state=tmp_path, admin=""))
        plane.load()
        digests.append(plane.told.replica().digest)

    assert digests[0] == digests[1] != digests[2]
