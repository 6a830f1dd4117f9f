"""Clusters as routes ask for them."""

from __future__ import annotations

from tests.unit.ingestion.world import World
from xds_server.model.refs import ClusterRef

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {{nginx.ingress.kubernetes.io/proxy-connect-timeout: "{seconds}"}}}}
spec:
  ingressClassName: tidegate
  defaultBackend: {{service: {{name: web, port: {{number: 80}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{ports: [{{port: 80}}]}}
"""
WEB = ClusterRef("default", "web", 80, "http")


def test_the_most_patient_route_decides_how_long_a_connection_may_take() -> None:
    """A cluster is shared by its routes, so the longest connect time-out that one of them asks for is the cluster's."""
    world = World(INGRESS.format(name="a", seconds=3), INGRESS.format(name="b", seconds=9))
    before = world.ingested.clusters[WEB].connect_timeout_ms
    world.delete("Ingress", "b")

    assert (9000, 3000) == (before, world.ingested.clusters[WEB].connect_timeout_ms)
