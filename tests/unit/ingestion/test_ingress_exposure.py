"""Addresses and Services of Ingresses: shared and dedicated, and what their annotations ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.unit.ingestion.test_exposure import PROXIES
from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.annotations import CILIUM, NATIVE
from xds_server.model.listener import Frontend
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.objects.tidegate import Exposure

POOL = """
kind: LoadBalancerIPPool
metadata: {name: edge, creationTimestamp: "2020"}
spec: {blocks: [{start: 192.168.10.211, stop: 192.168.10.215}]}
"""


def ingress(name: str, mode: str = "dedicated", ip: str = "", class_name: str = "tidegate", **annotations: str) -> str:
    given = {
        f"{NATIVE}loadbalancer-mode": mode,
        **{f"{NATIVE}{k.replace('_', '-')}": v for k, v in annotations.items()},
    }
    document = {
        "kind": "Ingress",
        "metadata": {"name": name, "creationTimestamp": "2021", "annotations": given},
        "spec": {"ingressClassName": class_name, "rules": [{"host": f"{name}.example.com"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}] if ip else []}},
    }
    return msgspec.json.encode(document).decode()


def frontend(world: World, name: str) -> Frontend | None:
    return world.ingested.frontends.get(ObjectRef("Ingress", "default", name))


def addresses(world: World) -> dict[str, tuple[str, ...]]:
    return {ref.name: found.addresses for ref, found in world.ingested.frontends.items()}


def service(world: World, name: str) -> Any:
    ref = ObjectRef("Service", "default", f"tidegate-ingress-{name}")
    return msgspec.json.decode(world.ingested.generated[ref].manifest)


def test_shared_ingresses_have_one_address_and_dedicated_ones_their_own() -> None:
    """W4, W5."""
    world = World(POOL, ingress("a", "shared"), ingress("b", "shared"), ingress("c"))
    found = addresses(world)

    assert {"shared", "c"} == set(found)
    assert found["shared"] != found["c"]


def test_switching_the_annotation_moves_an_ingress_there_and_back() -> None:
    """W5: what its status shows in between is the shared address, which stays where it is."""
    world = World(POOL, ingress("a", "shared"), ingress("b", "shared"))
    [shared] = addresses(world)["shared"]
    world.apply(ingress("a", "dedicated", shared), ingress("b", "shared", shared))
    apart = addresses(world)
    world.apply(ingress("a", "shared", *apart["a"]))

    assert (shared,) == apart["shared"]
    assert apart["a"] not in {(), (shared,)}
    assert {"shared": (shared,)} == addresses(world)


def test_an_ingress_of_another_class_gets_nothing() -> None:
    """W6."""
    world = World(POOL, ingress("a", class_name="nginx", service_type="LoadBalancer"))

    assert ({}, {}) == (dict(world.ingested.frontends), dict(world.ingested.generated))


@pytest.mark.parametrize("prefix", [NATIVE, CILIUM])
def test_annotations_make_the_service(prefix: str) -> None:
    """Under both prefixes; node ports by what they are for."""
    manifest = ingress(
        "a",
        service_type="LoadBalancer",
        loadbalancer_class="example.com/lb",
        service_external_traffic_policy="Local",
        insecure_node_port="30080",
    )
    made = service(World(manifest.replace(NATIVE, prefix)), "a")

    assert ("LoadBalancer", "example.com/lb", "Local") == tuple(
        made["spec"][field] for field in ("type", "loadBalancerClass", "externalTrafficPolicy")
    )
    assert [(80, 30080)] == [(port["port"], port["nodePort"]) for port in made["spec"]["ports"]]


def test_annotations_for_load_balancers_are_passed_on() -> None:
    """By prefix, those of clouds below theirs too; others stay where they are."""
    names = {"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal", "networking.cloud.google.com/a": "b"}
    document = msgspec.json.decode(ingress("a", service_type="LoadBalancer"))
    document["metadata"]["annotations"] |= {**names, "example.com/secret": "x"}
    made = service(World(msgspec.json.encode(document).decode()), "a")

    assert names == made["metadata"]["annotations"]


def test_the_address_of_the_service_is_the_ingresses() -> None:
    """As its status says."""
    world = World(
        ingress("a", service_type="LoadBalancer"),
        """
kind: Service
metadata:
  name: tidegate-ingress-a
  labels: {app.kubernetes.io/managed-by: tidegate}
  ownerReferences: [{apiVersion: networking.k8s.io/v1, kind: Ingress, name: a, controller: true}]
spec: {type: LoadBalancer}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
""",
    )

    assert {"a": ("203.0.113.9",)} == addresses(world)


def test_a_host_listener_port_is_one_of_the_nodes() -> None:
    """Port 80 of the Ingress is this one on every node."""
    found = frontend(World(ingress("a", host_listener_port="8080"), PROXIES), "a")

    assert found is not None
    assert (("10.0.0.1", "10.0.0.2"), 8080, 8080) == (found.addresses, found.bound_port(80), found.client_port(80))


def test_a_host_listener_port_must_be_given_away() -> None:
    """The author of an Ingress has no port of the nodes by itself."""
    settings = replace(DIRECTORY, host_ports=())
    found = frontend(World(ingress("a", host_listener_port="10256"), PROXIES, settings=settings), "a")

    assert found is not None
    assert ((), True) == (found.bound, "port 10256 of the nodes is not for everybody" in found.unusable)


def test_the_shared_ingresses_have_one_service_in_the_installation() -> None:
    """Where the operator exposes by Services: without an owner, since it is nobody's alone."""
    settings = replace(DIRECTORY, exposure=Exposure(type="Service"))
    world = World(ingress("a", "shared"), ingress("b", "shared"), settings=settings)
    [found] = world.ingested.generated.values()

    assert (ObjectRef("Service", "tidegate-system", "tidegate-ingress"), None) == (found.ref, found.owner)
    assert [SHARED_INGRESS] == list(world.ingested.frontends)


@pytest.mark.parametrize("mode", ["dedicated", "shared"])
def test_an_ingress_without_its_certificate_keeps_its_port_of_the_service(mode: str) -> None:
    """Whoever balances load to it is not to lose the port while a Secret is missing; without TLS there is none."""
    document = msgspec.json.decode(ingress("a", mode))
    settings = replace(DIRECTORY, exposure=Exposure(type="Service"))
    plain = World(msgspec.json.encode(document).decode(), settings=settings)
    document["spec"]["tls"] = [{"hosts": ["a.example.com"], "secretName": "missing"}]
    secured = World(msgspec.json.encode(document).decode(), settings=settings)

    for world, expected in ((plain, [80]), (secured, [80, 443])):
        [made] = [msgspec.json.decode(each.manifest) for each in world.ingested.generated.values()]
        assert expected == [port["port"] for port in made["spec"]["ports"]]
