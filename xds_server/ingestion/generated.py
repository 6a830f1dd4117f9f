"""The Services that frontends are exposed by, with their endpoints: the proxies, each at the frontend's own ports.

A Service is where its frontend is, so that Kubernetes itself removes it with its owner; a selector works in its own
namespace only, so that the Service has none, and EndpointSlices of ours instead: those of the Service that selects the
proxies, with other ports. Nodes and readiness are theirs, so that `externalTrafficPolicy: Local` finds its node.
It must not know which of these objects are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from xds_server.graph import Collection, Fetch, Graph
from xds_server.ingestion.addresses import Given, WantedFrontend
from xds_server.ingestion.endpoints import SERVICE_NAME, Slices
from xds_server.ingestion.service_names import GATEWAY_NAME, MANAGED_BY, TIDEGATE, label, service_ref
from xds_server.ingestion.sources import Settings
from xds_server.model.generated import Generated
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.objects.core import EndpointSlice, SliceEndpoint
from xds_server.objects.meta import Labels
from xds_server.objects.tidegate import ExposedService

SLICE_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
MOST_ENDPOINTS: Final = 1000  # of a slice


def declare_generated(
    graph: Graph,
    settings: Settings,
    wanted: Collection[ObjectRef, WantedFrontend],
    given: Collection[ObjectRef, Given],
    by_service: Slices,
) -> Collection[ObjectRef, Generated]:
    """Nothing that serves is removed by a passing mistake: what an undecided frontend has is kept as it is."""

    def generated(fetch: Fetch, ref: ObjectRef, found: Given) -> Iterator[tuple[ObjectRef, Generated]]:
        owner = None if ref == SHARED_INGRESS else ref
        wanted = found.wanted
        service = service_ref(ref, settings)
        if wanted.exposure.type == "Service" and not found.bound:
            yield from kept(fetch, ref)
            return
        if wanted.exposure.type == "Service":
            manifests = [service_manifest(service, found)]
            proxies = fetch.by(by_service, (settings.namespace, settings.proxy_service))
            manifests += slice_manifests(service, found, proxies)
        elif wanted.passed_labels or wanted.passed_annotations:
            manifests = [bare_manifest(service, found)]
        else:
            return
        for manifest in manifests:
            own = ObjectRef(manifest["kind"], service.namespace, manifest["metadata"]["name"])
            yield own, Generated(own, owner, msgspec.json.encode(manifest, order="sorted"))

    def kept(fetch: Fetch, ref: ObjectRef) -> Iterator[tuple[ObjectRef, Generated]]:
        service = service_ref(ref, settings)
        proxies = fetch.by(by_service, (settings.namespace, settings.proxy_service))
        for own in (service, *(slice_ref for slice_ref, _, _ in sliced(service, proxies))):
            yield own, Generated(own, ref, b"")

    def undecided(fetch: Fetch, ref: ObjectRef, frontend: WantedFrontend) -> Iterator[tuple[ObjectRef, Generated]]:
        return kept(fetch, ref) if frontend.undecided else iter(())

    return graph.union(
        "generated",
        graph.derive("generated/given", given, generated),
        graph.derive("generated/undecided", wanted, undecided),
    )


def own_labels(frontend: ObjectRef) -> Labels:
    """What says whose an object is; nobody's labels take their place."""
    gateway = {GATEWAY_NAME: label(frontend.name)} if frontend.kind == "Gateway" else {}
    return {MANAGED_BY: TIDEGATE, **gateway}


def service_manifest(ref: ObjectRef, found: Given) -> dict[str, Any]:
    wanted, asked = found.wanted, found.wanted.exposure.service or ExposedService()
    type_ = asked.type or "LoadBalancer"
    spec: dict[str, Any] = {
        "type": type_,
        "ports": [_port(asked, port, bound) for port, bound in sorted(found.bound.items())],
        "ipFamilies": asked.ip_families,
        "ipFamilyPolicy": asked.ip_family_policy,
    }
    if type_ != "ClusterIP":
        spec["externalTrafficPolicy"] = asked.external_traffic_policy
    if type_ == "LoadBalancer":
        spec |= {
            "loadBalancerClass": asked.load_balancer_class,
            "loadBalancerSourceRanges": asked.load_balancer_source_ranges,
            "allocateLoadBalancerNodePorts": asked.allocate_load_balancer_node_ports,
            "loadBalancerIP": wanted.static[0] if wanted.static else None,
        }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(ref, found, asked.labels or {}, asked.annotations or {}),
        "spec": {name: value for name, value in spec.items() if value is not None and value != ()},
    }


def bare_manifest(ref: ObjectRef, found: Given) -> dict[str, Any]:
    """A Service without endpoints: it carries the labels and annotations of a frontend that needs none."""
    ports = [{"name": f"p{port}", "port": port, "protocol": "TCP"} for port in sorted(found.wanted.ports)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(ref, found, {}, {}),
        "spec": {"type": "ClusterIP", "clusterIP": "None", "ports": ports},
    }


def _metadata(ref: ObjectRef, found: Given, labels: Labels, annotations: Labels) -> dict[str, Any]:
    wanted = found.wanted
    return {
        "name": ref.name,
        "namespace": ref.namespace,
        "labels": {**labels, **wanted.passed_labels, **own_labels(wanted.ref)},
        "annotations": {**annotations, **wanted.passed_annotations},
    }


def _port(asked: ExposedService, port: int, bound: int) -> dict[str, Any]:
    node = {each.port: each.node_port for each in asked.node_ports or ()}.get(port)
    own = {"nodePort": node} if node is not None and asked.type != "ClusterIP" else {}
    return {"name": f"p{port}", "port": port, "protocol": "TCP", "targetPort": bound, **own}


def sliced(
    service: ObjectRef, proxies: Iterable[EndpointSlice]
) -> Iterator[tuple[ObjectRef, str, list[SliceEndpoint]]]:
    """One slice for each family, or several for many proxies: its name, its family, who is in it."""
    by_family: dict[str, list[SliceEndpoint]] = {}
    for each in proxies:
        by_family.setdefault(each.address_type, []).extend(each.endpoints)
    for family, all_endpoints in sorted(by_family.items()):
        ordered = sorted(all_endpoints, key=lambda endpoint: endpoint.addresses)
        for start in range(0, len(ordered), MOST_ENDPOINTS):
            name = f"{service.name}-{family.lower()}-{start // MOST_ENDPOINTS}"
            ref = ObjectRef("EndpointSlice", service.namespace, name)
            yield ref, family, ordered[start : start + MOST_ENDPOINTS]


def slice_manifests(service: ObjectRef, found: Given, proxies: Iterable[EndpointSlice]) -> Iterator[dict[str, Any]]:
    labels = {**own_labels(found.wanted.ref), SERVICE_NAME: service.name, SLICE_MANAGED_BY: "tidegate.dev"}
    ports = [{"name": f"p{port}", "port": bound, "protocol": "TCP"} for port, bound in sorted(found.bound.items())]
    for ref, family, all_endpoints in sliced(service, proxies):
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": labels},
            "addressType": family,
            "endpoints": [_endpoint(endpoint) for endpoint in all_endpoints],
            "ports": ports,
        }


def _endpoint(endpoint: SliceEndpoint) -> dict[str, Any]:
    said = endpoint.conditions
    conditions = {"ready": said.ready, "serving": said.serving, "terminating": said.terminating}
    where = {"nodeName": endpoint.node_name, "zone": endpoint.zone}
    return {
        "addresses": list(endpoint.addresses),
        "conditions": {name: value for name, value in conditions.items() if value is not None},
        **{name: value for name, value in where.items() if value},
    }
