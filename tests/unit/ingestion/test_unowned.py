"""What is left to others, and whether that is said."""

from __future__ import annotations

from tests.unit.ingestion.world import World
from xds_server.ingestion.sources import Settings

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: tidegat
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  defaultBackend: {service: {name: web, port: {number: 80}}}
"""


def remarks(world: World) -> dict[str, str]:
    return {remark.field: remark.message for remark in world.ingested.warnings.values()}


def test_a_class_that_nobody_has_is_said() -> None:
    """With manifests alone there is no other controller: a typo in a class would otherwise vanish."""
    assert {
        "spec.gatewayClassName": "class 'tidegat' is not ours, so nothing is served; ours: tidegate and cilium",
        "spec.ingressClassName": "it names no class, and no default class is ours, so nothing is served; "
        "ours: tidegate and cilium",
    } == remarks(World(GATEWAY, INGRESS))


def test_what_is_ours_is_not_remarked_upon() -> None:
    """The remark goes when the class is right."""
    gateway = GATEWAY.replace("tidegat\n", "tidegate\n")
    ingress = INGRESS.replace("spec:\n", "spec:\n  ingressClassName: cilium\n")

    assert {} == remarks(World(gateway, ingress))


def test_in_a_cluster_others_are_the_rule() -> None:
    """Where classes must be declared, objects of other controllers are none of our business (W6)."""
    assert {} == remarks(World(GATEWAY, INGRESS, settings=Settings()))
