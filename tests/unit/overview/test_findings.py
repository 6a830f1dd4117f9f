"""Each thing that can be wrong with an installation is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.overview.installation_world import (
    ACCEPTED,
    NOW,
    gateway,
    ingress,
    pod,
    pool,
    replica,
    route,
    stream,
    well,
)
from xds_server.kube.kinds import KINDS
from xds_server.overview.facts import KindFact
from xds_server.overview.findings import findings
from xds_server.overview.objects import (
    Class,
    Condition,
    Lease,
    LeaseSpec,
    Listener,
    Metadata,
    PodStatus,
    PoolSpec,
    State,
)

HOME = "tidegate-system"
REFUSED = Condition(
    type="Programmed", status="False", reason="Invalid", message="Envoy node1 refused", observed_generation=2
)
PENDING = Condition(type="Programmed", status="False", reason="Pending", message="not yet", observed_generation=2)
UNRESOLVED = Condition(
    type="ResolvedRefs", status="False", reason="BackendNotFound", message="no Service b", observed_generation=2
)
CONFLICT = Condition(
    type="PoolConflict", status="True", reason="BlocksOverlap", message="overlaps", observed_generation=2
)


def kinds(name: str, *served: str) -> tuple[KindFact, ...]:
    """All as they should be, but one."""
    return tuple(
        KindFact(kind.kind, kind.group, kind.plural, kind.versions, served if kind.kind == name else kind.versions)
        for kind in KINDS
    )


def lease(holder: str, renewed: str = "2025-12-31T23:59:55Z") -> Lease:
    return Lease(spec=LeaseSpec(holder_identity=holder, renew_time=renewed))


def told(**of: Any) -> dict[str, Any]:
    return {"replicas": {"c1": replica(stream("node1"), stream("node2"), **of)}}


def test_of_an_installation_that_is_well_nothing_is_found() -> None:
    """No finding is made up."""
    assert [] == findings(well())


@pytest.mark.parametrize(
    ("change", "severity", "about", "message"),
    [
        ({"deployment": None, "controllers": (), "replicas": {}}, "error",
         f"Deployment/{HOME}/tidegate-controller", "is not there"),
        ({"kinds": kinds("LoadBalancerIPPool")}, "error",
         "CustomResourceDefinition/loadbalancerippools.tidegate.dev", "is not installed"),
        ({"kinds": kinds("GRPCRoute")}, "warning",
         "CustomResourceDefinition/grpcroutes.gateway.networking.k8s.io", "no GRPCRoute is served"),
        ({"kinds": kinds("TLSRoute", "v2")}, "error",
         "CustomResourceDefinition/tlsroutes.gateway.networking.k8s.io", "has versions v2, and Tidegate reads v1, "),
        ({"controllers": (pod("c1", "node1", ready=False),), "replicas": {}}, "error",
         f"Deployment/{HOME}/tidegate-controller", "0 of 1 replicas"),
        ({"proxies": (pod("p1", "node1"), pod("p2", "node2", ready=False))}, "error",
         f"Pod/{HOME}/p2", "is not ready on node2"),
        (told(awaited="waiting for the API server: Gateway"), "error",
         f"Pod/{HOME}/c1", "serves nothing yet: waiting for the API server: Gateway"),
        ({"nodes": ("node1", "node2", "node3")}, "warning", "Node/node3", "runs no proxy"),
        ({"lease": None}, "error", f"Lease/{HOME}/tidegate-controller", "nobody leads"),
        ({"lease": lease("laptop_1")}, "warning", f"Lease/{HOME}/tidegate-controller", "laptop_1 leads"),
        ({"lease": lease("c1", "2025-12-31T23:59:00Z")}, "error",
         f"Lease/{HOME}/tidegate-controller", "has not renewed it since 2025-12-31T23:59:00Z"),
        ({"replicas": {"c1": replica(stream("node1"))}}, "error", f"Pod/{HOME}/p2", "connected to no replica"),
        ({"replicas": {"c1": replica(stream("node1", refused=1), stream("node2"))}}, "error",
         "Node/node1", "refuses 1 of 3 of type Cluster"),
        ({"replicas": {"c1": replica(stream("node1", settled=False), stream("node2"))}}, "warning",
         "Node/node1", "has not answered what it was sent of type Cluster"),
        ({"replicas": {"c1": replica(stream("node1"), stream("node2")), "c2": replica(digest="other")}}, "error",
         f"Deployment/{HOME}/tidegate-controller", "serve different resources: c1 d, c2 other"),
        ({"replicas": {"c1": replica(stream("node1"), stream("node2")), "c2": replica(tidegate="0.0.9")}}, "warning",
         f"Deployment/{HOME}/tidegate-controller", "are of versions 0.0.9, 0.1.0"),
        (told(certificates={"server": NOW + timedelta(days=2)}), "warning",
         f"Secret/{HOME}/tidegate-xds-server", "expires at 2026-01-03T00:00Z"),
        (told(certificates={"authority": NOW - timedelta(days=2)}), "error",
         f"Secret/{HOME}/tidegate-ca", "expired at 2025-12-30T00:00Z"),
        (told(ages={"Gateway": 3.0, "Service": 301.0}), "error", f"Pod/{HOME}/c1", "not heard of Service for 301 s"),
        (told(undecodable={"HTTPRoute": 2}), "warning", f"Pod/{HOME}/c1", "cannot read 2 objects of kind HTTPRoute"),
        (told(leads=True, waiting_statuses=2000), "warning", f"Pod/{HOME}/c1", "2000 statuses wait"),
        ({"gateway_classes": (), "ingress_classes": (), "gateways": ()}, "error", "GatewayClass", "nothing is served"),
        ({"gateway_classes": (Class(metadata=Metadata(name="other")),), "routes": {}}, "warning",
         "Gateway/default/web", "there is no GatewayClass tidegate"),
        ({"pools": {"LoadBalancerIPPool": ()}, "ingresses": (ingress(),)}, "error",
         "LoadBalancerIPPool", "no pool gives addresses, and 1 want one: Ingress/default/shop"),
        ({"pools": {"LoadBalancerIPPool": (pool(CONFLICT),)}}, "error",
         "LoadBalancerIPPool/edge", "PoolConflict is True"),
        ({"ingresses": (ingress(),)}, "error", "Ingress/default/shop", "has no address"),
        ({"gateways": (gateway(ACCEPTED, REFUSED),)}, "error",
         "Gateway/default/web", "Programmed is False (Invalid): Envoy node1 refused"),
        ({"gateways": (gateway(ACCEPTED, PENDING),)}, "warning",
         "Gateway/default/web", "Programmed is False (Pending): not yet"),
        ({"gateways": (gateway(Condition(type="Accepted", status="True", observed_generation=1)),)}, "warning",
         "Gateway/default/web", "nothing is written of its newest generation"),
        ({"routes": {"HTTPRoute": (route(UNRESOLVED),)}}, "error",
         "HTTPRoute/default/a", "ResolvedRefs is False (BackendNotFound): no Service b"),
        ({"routes": {"TLSRoute": (route(controller="example.com/other"),)}}, "warning",
         "TLSRoute/default/a", "nothing is written of its newest generation"),
        ({"unread": {"Pod": "403 Forbidden: may not list pods"}}, "unknown", "Pod", "cannot be read: 403 Forbidden"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(change: dict[str, Any], severity: str, about: str, message: str) -> None:
    """The finding names the object, says what is wrong with it, and has a way out."""
    found = findings(replace(well(), **change))

    named = [finding for finding in found if (finding.severity, finding.object) == (severity, about)]
    assert [True] == [message in finding.message for finding in named], found
    assert all(finding.way_out for finding in found)


def test_a_finding_has_its_way_out() -> None:
    """Where the reason says what to do, that is said; else the page that has it."""
    [finding] = findings(replace(well(), routes={"HTTPRoute": (route(UNRESOLVED),)}))

    assert "make the Service, or name another" == finding.way_out


def test_errors_come_first() -> None:
    """Whoever reads the first lines reads what matters."""
    found = findings(replace(well(), nodes=("node1", "node2", "node3"), ingresses=(ingress(),), unread={"Node2": "no"}))

    assert ["error", "warning", "unknown"] == [finding.severity for finding in found]


def test_what_a_container_says_is_told() -> None:
    """A pod that does not run says why, as kubelet has it."""
    waiting = State(waiting=Condition(reason="ErrImagePull", message="not in the table"))
    found = findings(replace(well(), proxies=(pod("p1", "node1"), pod("p2", "node2", ready=False, state=waiting))))

    assert ["is not ready on node2: ErrImagePull not in the table"] == [finding.message for finding in found]


def test_nothing_is_concluded_from_replicas_that_did_not_answer() -> None:
    """A proxy may be connected to the one that could not be asked."""
    found = findings(replace(well(), replicas={}, unread={f"Pod/{HOME}/c1:15081": "403 Forbidden: no"}))

    assert ["unknown"] == [finding.severity for finding in found]


def test_a_listener_says_what_the_gateway_does_not() -> None:
    """What both say is one finding."""
    status = gateway().status
    own = Condition(type="ResolvedRefs", status="False", reason="InvalidCertificateRef", message="no Secret s")
    both = Listener(name="https", conditions=(own, REFUSED))
    web = type(gateway())(
        metadata=gateway().metadata,
        spec=gateway().spec,
        status=type(status)(addresses=status.addresses, conditions=(ACCEPTED, REFUSED), listeners=(both,)),
    )

    found = findings(replace(well(), gateways=(web,)))

    assert ["status.conditions", "spec.listeners[https]"] == [finding.field for finding in found]
    assert "make the Secret, of type kubernetes.io/tls" == found[1].way_out


def test_a_disabled_pool_gives_nothing() -> None:
    """It is there, and yet nobody gets an address."""
    off = type(pool())(metadata=pool().metadata, spec=PoolSpec(disabled=True), status=pool().status)
    found = findings(replace(well(), pools={"LoadBalancerIPPool": (off,)}, gateways=(gateway(ACCEPTED, addresses=()),)))

    assert ["no pool gives addresses, and 1 want one: Gateway/default/web"] == [finding.message for finding in found]


def test_a_pod_that_ends_is_no_finding() -> None:
    """A rollout is no fault."""
    ending = pod("p3", "node2", ready=False)
    gone = type(ending)(
        metadata=Metadata(name="p3", deletion_timestamp="2026-01-01T00:00:00Z"), spec=ending.spec, status=PodStatus()
    )

    assert [] == findings(replace(well(), proxies=(*well().proxies, gone)))


def test_certificates_of_people_run_out_too() -> None:
    """As their Secrets have them, by what the Job wrote of these; the server's are told by who uses them."""
    ends = {
        "tidegate-operator-admin": NOW + timedelta(days=3),
        "tidegate-operator-ci": NOW + timedelta(days=80),
        "tidegate-operator-old": NOW - timedelta(days=1),
        "tidegate-xds-server": NOW,
    }
    found = findings(replace(well(), ends=ends))

    assert [
        ("warning", f"Secret/{HOME}/tidegate-operator-admin", "expires at 2026-01-04T00:00Z"),
        ("warning", f"Secret/{HOME}/tidegate-operator-old", "expired at 2025-12-31T00:00Z"),
    ] == [(finding.severity, finding.object, finding.message) for finding in found]
