"""Gateways behind Services, to a real Envoy: each at ports of its own, though their listeners have one port."""

from __future__ import annotations

import os
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.envoy_validate import running
from tests.unit.ingestion.test_exposure import parameters
from xds_server.files.directory import Directory
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings

# Of this process alone, so that tests that run side by side have other ports.
NAMES = [f"one-{os.getpid()}", f"two-{os.getpid()}"]
GATEWAY = """---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: tidegate
  infrastructure: {{parametersRef: {{group: tidegate.dev, kind: GatewayParameters, name: p}}}}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{name: {name}}}]
  rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{hostname: {name}.example, statusCode: 302}}}}]}}]
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_two_gateways_with_one_listener_port_are_served_at_their_own_ports(
    address: str, envoy: Path, tmp_path: Path
) -> None:
    """Each answers at the port that its Service leads to, of both address families, and no other does."""
    made = "apiVersion: tidegate.dev/v1alpha1" + parameters("{type: Service}")
    (tmp_path / "world.yaml").write_text(made + "".join(GATEWAY.format(name=name) for name in NAMES))
    pipeline = Pipeline.declare(Settings(undeclared_classes=("tidegate",)), TranslationSettings())
    scan = Directory([tmp_path]).load()
    pipeline.apply(scan.changes.items())
    frontends = [pipeline.ingested.frontends[ObjectRef("Gateway", "default", name)] for name in NAMES]

    with running(envoy, pipeline.resources, tmp_path):
        locations = [location(address, frontend.bound_port(80)) for frontend in frontends]

    assert () == scan.problems
    assert [f"http://{name}.example/" for name in NAMES] == locations


def location(address: str, port: int) -> str | None:
    with closing(HTTPConnection(address, port)) as connection:
        connection.request("GET", "/", headers={"host": "example.com"})
        return connection.getresponse().getheader("location")
