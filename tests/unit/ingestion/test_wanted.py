"""Which Secrets and ConfigMaps are to be read, and what becomes of those who wait for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.ingestion.ingress_world import DIRECTORY, SHOP, ingress, path_to, service
from tests.unit.ingestion.tls import secret
from tests.unit.ingestion.world import World
from xds_server.model.refs import ListenerRef, ObjectRef

ON_DEMAND = replace(DIRECTORY, reads_on_demand=True, default_tls_secret=ObjectRef("Secret", "system", "fallback"))
WEB = ObjectRef("Gateway", "default", "web")


def gateway(*secrets: str, class_name: str = "tidegate") -> str:
    listeners = ", ".join(
        f"{{name: l{n}, port: {440 + n}, protocol: HTTPS, tls: {{certificateRefs: [{name}]}}}}"
        for n, name in enumerate(secrets)
    )
    return f"""
kind: Gateway
metadata: {{name: web}}
spec: {{gatewayClassName: {class_name}, listeners: [{listeners}]}}
"""


GRANT = """
kind: ReferenceGrant
metadata: {name: grant, namespace: other}
spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}], to: [{group: "", kind: Secret}]}
"""


@pytest.fixture
def world() -> World:
    return World(settings=ON_DEMAND)


def wanted(world: World) -> set[str]:
    return {f"{ref.kind}/{ref.namespace}/{ref.name}" for ref in world.ingested.wanted_objects}


def presented(world: World, listener: str = "l0") -> list[str]:
    tls = world.ingested.listeners[ListenerRef(WEB, listener)].tls
    return [ref.name for ref in tls.certificates] if tls else []


def test_what_a_gateway_may_use_is_wanted(world: World) -> None:
    """Of Gateways of ours alone, and of another namespace only with a grant, for as long as there is one."""
    world.apply(gateway("{name: own}", "{name: far, namespace: other}"))
    assert {"Secret/default/own"} == wanted(world)
    world.apply(GRANT)
    assert {"Secret/default/own", "Secret/other/far"} == wanted(world)
    world.delete("ReferenceGrant", "grant", "other")
    assert {"Secret/default/own"} == wanted(world)
    world.apply(gateway("{name: own}", class_name="somebody"))
    assert set() == wanted(world)


def test_what_an_ingress_refers_to_is_wanted(world: World) -> None:
    """Its own Secrets, the default certificate where it names none, and a ConfigMap of its own namespace."""
    tls = "tls: [{hosts: [a.example], secretName: cert}, {hosts: [b.example]}]"
    headers = {"nginx.ingress.kubernetes.io/custom-headers": "default/headers"}
    world.apply(service("a"), ingress(("a.example", path_to("a")), spec=tls, annotations=headers))
    assert {"Secret/default/cert", "Secret/system/fallback", "ConfigMap/default/headers"} == wanted(world)

    stolen = {"nginx.ingress.kubernetes.io/custom-headers": "victim/headers"}
    world.apply(ingress(("a.example", path_to("a")), annotations=stolen))
    assert set() == wanted(world)


def test_a_gateway_waits_for_a_secret_with_what_it_had(world: World) -> None:
    """The listener stays with the certificate before, which stays wanted; then it has the new one, and only that."""
    world.apply(secret("one"), gateway("{name: one}"))
    assert ["one"] == presented(world)
    world.apply(gateway("{name: two}"))
    assert (["one"], {"Secret/default/one", "Secret/default/two"}) == (presented(world), wanted(world))
    world.apply(secret("two"))
    assert (["two"], {"Secret/default/two"}) == (presented(world), wanted(world))


def test_a_secret_that_is_not_to_be_had_is_said_to_be_so(world: World) -> None:
    """In the words of who looked for it."""
    world.apply(gateway("{name: one}"))
    assert [] == list(world.ingested.verdicts)
    world.sources.absent.put(ObjectRef("Secret", "default", "one"), "may not be read: bind a role")
    world.commit()
    condition = world.condition("ResolvedRefs", "Gateway", "web", "l0")

    assert condition is not None
    assert ("False", "InvalidCertificateRef") == (condition.status, condition.reason)
    assert "Secret/default/one: may not be read: bind a role" in condition.message


def test_an_ingress_waits_too(world: World) -> None:
    """For its Secrets with the TLS that it had, and for its ConfigMap with its routes."""
    world.apply(service("a"), service("b"), secret("cert"))
    tls = "tls: [{hosts: [a.example], secretName: %s}]"
    world.apply(ingress(("a.example", path_to("a")), spec=tls % "cert"))
    headers = {"nginx.ingress.kubernetes.io/custom-headers": "default/headers"}
    world.apply(ingress(("a.example", path_to("b")), spec=tls % "next", annotations=headers))
    listener = world.ingested.listeners[ListenerRef(SHOP, "https/a.example")]
    backends = {ref.service for ref in world.ingested.clusters}
    assert listener.tls is not None
    assert (["cert"], {"a"}) == ([ref.name for ref in listener.tls.certificates], backends)

    world.apply(secret("next"), "kind: ConfigMap\nmetadata: {name: headers}\ndata: {x-a: b}")
    listener = world.ingested.listeners[ListenerRef(SHOP, "https/a.example")]
    backends = {ref.service for ref in world.ingested.clusters}
    assert listener.tls is not None
    assert (["next"], {"b"}) == ([ref.name for ref in listener.tls.certificates], backends)
