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


GATEWAY_CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: %s}
spec: {controllerName: %s}
"""
INGRESS_CLASS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: %s}
spec: {controller: %s}
"""
OURS, THEIRS = "tidegate.dev/controller", "example.com/gateway"


def remarks(world: World) -> dict[str, str]:
    return {remark.field: remark.message for remark in world.ingested.warnings.values()}


def unresolved(world: World) -> list[str]:
    return [remark.object.kind for remark in world.ingested.warnings.values() if remark.unresolved]


def test_a_class_that_nobody_has_is_said() -> None:
    """A typo in a class would otherwise vanish; the class that is meant is named where one is close."""
    ingress = INGRESS.replace("spec:\n", "spec:\n  ingressClassName: nginx\n")
    world = World(GATEWAY, ingress)

    assert {
        "spec.gatewayClassName": "there is no GatewayClass 'tidegat', so nothing is served; did you mean tidegate?",
        "spec.ingressClassName": "there is no IngressClass 'nginx', so nothing is served; ours: tidegate, cilium",
    } == remarks(world)
    assert ["Gateway", "Ingress"] == sorted(unresolved(world))


def test_an_ingress_without_a_class_is_told_which_there_are() -> None:
    """It leads nowhere, and names nothing that is missing."""
    world = World(INGRESS, INGRESS_CLASS % ("edge", OURS))

    assert {
        "spec.ingressClassName": "it names no class, and no default class is ours, so nothing is served; "
        "name one of ours: tidegate or cilium or edge"
    } == remarks(world)
    assert [] == unresolved(world)


def test_a_class_of_another_controller_is_no_fault() -> None:
    """Also where it has a name that would be ours: the object decides, and the remark says so."""
    gateway = GATEWAY.replace("tidegat\n", "tidegate\n")
    ingress = INGRESS.replace("spec:\n", "spec:\n  ingressClassName: tidegate\n")
    world = World(gateway, ingress, GATEWAY_CLASS % ("tidegate", THEIRS), INGRESS_CLASS % ("tidegate", THEIRS))

    assert {
        "spec.gatewayClassName": "GatewayClass tidegate names the controller 'example.com/gateway', "
        "so this is left to that; ours name 'tidegate.dev/controller'",
        "spec.ingressClassName": "IngressClass tidegate names the controller 'example.com/gateway', "
        "so this is left to that; ours name 'tidegate.dev/controller'",
    } == remarks(world)
    assert [] == unresolved(world)


def test_what_is_ours_is_not_remarked_upon() -> None:
    """The remark goes when the class is right."""
    gateway = GATEWAY.replace("tidegat\n", "tidegate\n")
    ingress = INGRESS.replace("spec:\n", "spec:\n  ingressClassName: cilium\n")

    assert {} == remarks(World(gateway, ingress))


def test_in_a_cluster_others_are_the_rule() -> None:
    """Objects of other controllers are none of our business there (W6), nor those of the older annotation."""
    annotated = INGRESS.replace("{name: shop}", "{name: shop, annotations: {kubernetes.io/ingress.class: nginx}}")
    named = INGRESS.replace("{name: shop}", "{name: other}").replace("spec:\n", "spec:\n  ingressClassName: theirs\n")
    classes = GATEWAY_CLASS % ("tidegat", THEIRS), INGRESS_CLASS % ("theirs", THEIRS)

    assert {} == remarks(World(GATEWAY, INGRESS, annotated, named, *classes, settings=Settings()))


def test_in_a_cluster_a_class_that_nobody_has_is_said_too() -> None:
    """With the class of ours that is meant, by the objects that say so."""
    world = World(GATEWAY, GATEWAY_CLASS % ("tidegate", OURS), settings=Settings())

    assert {
        "spec.gatewayClassName": "there is no GatewayClass 'tidegat', so nothing is served; did you mean tidegate?"
    } == remarks(world)
    assert ["Gateway"] == unresolved(world)


PARAMETERS = """
apiVersion: tidegate.dev/v1alpha1
kind: GatewayParameters
metadata: {name: edge, namespace: %s}
spec: {exposure: {type: HostPort}}
"""


def test_parameters_that_nobody_names_are_said() -> None:
    """Those of a class or of a Gateway of their namespace are used; one of the same name elsewhere is not."""
    named = "{group: tidegate.dev, kind: GatewayParameters, name: edge"
    gateway_class = (GATEWAY_CLASS % ("tidegate", OURS)).replace(
        OURS, f"{OURS}, parametersRef: {named}, namespace: infra}}"
    )
    gateway = GATEWAY.replace("tidegat\n", f"tidegate\n  infrastructure: {{parametersRef: {named}}}}}\n")
    world = World(gateway_class, gateway, *(PARAMETERS % namespace for namespace in ("infra", "default", "other")))

    assert ["other"] == [remark.object.namespace for remark in world.ingested.warnings.values()]
    assert {""} == set(remarks(world))
    assert [] == unresolved(world)
