"""How an Ingress is exposed, and what it asks of its addresses: by its annotations, as far as it is dedicated.

It must not know which addresses there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xds_server.ingestion.address_annotations import requested, sharing
from xds_server.ingestion.addresses import WantedFrontend
from xds_server.ingestion.annotations import Annotations
from xds_server.ingestion.exposure import allowed_host_ports
from xds_server.ingestion.ingress_tls import HTTP_PORT, HTTPS_PORT
from xds_server.ingestion.service_names import selected_by
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.objects.meta import Labels
from xds_server.objects.networking import Ingress
from xds_server.objects.tidegate import ExposedService, Exposure, NodePort

PASSED: Final = (
    "lbipam.cilium.io",
    "nodeipam.cilium.io",
    "service.beta.kubernetes.io",
    "service.kubernetes.io",
    "cloud.google.com",
)
"""Annotations with these prefixes, or below them, are for the Service."""


def ingress_exposure(asked: Annotations, usual: Exposure) -> Exposure:
    """A Service where one is asked for, else the nodes' port where that is, else as usual."""
    if asked.service_type is None and asked.host_listener_port is not None:
        return Exposure(type="HostPort")
    if asked.service_type is None and usual.type != "Service":
        return usual
    ports = ((HTTP_PORT, asked.insecure_node_port), (HTTPS_PORT, asked.secure_node_port))
    before = usual.service or ExposedService()
    return Exposure(
        type="Service",
        service=ExposedService(
            type=asked.service_type or before.type,
            load_balancer_class=asked.loadbalancer_class or before.load_balancer_class,
            external_traffic_policy=asked.external_traffic_policy or before.external_traffic_policy,
            node_ports=tuple(NodePort(port=port, node_port=node) for port, node in ports if node) or before.node_ports,
            ip_families=before.ip_families,
            ip_family_policy=before.ip_family_policy,
        ),
    )


def shared_ingress(ref: ObjectRef, settings: Settings, ports: frozenset[int]) -> WantedFrontend:
    """What all shared Ingresses have in common is the operator's to decide."""
    labels = selected_by(ref, {}, settings)
    allowed = allowed_host_ports(settings.exposure, settings.host_ports)
    return WantedFrontend(ref, "", labels=labels, ports=ports, exposure=settings.exposure, allowed_host_ports=allowed)


def dedicated_ingress(
    ref: ObjectRef, ingress: Ingress, asked: Annotations, settings: Settings, ports: frozenset[int]
) -> WantedFrontend:
    meta = ingress.metadata
    host = {HTTP_PORT: asked.host_listener_port} if asked.host_listener_port is not None else {}
    return WantedFrontend(
        ref,
        meta.creation_timestamp,
        requested(meta.annotations),
        selected_by(ref, meta.labels, settings),
        tuple(each.ip for each in ingress.status.load_balancer.ingress if each.ip),
        ports,
        sharing(meta.annotations),
        ingress_exposure(asked, settings.exposure),
        host,
        allowed_host_ports(settings.exposure, settings.host_ports),
        passed_annotations=passed(meta.annotations),
    )


def passed(annotations: Mapping[str, str]) -> Labels:
    """What an author means for the Service of a dedicated Ingress."""
    prefixes = {name: name.partition("/")[0] for name in annotations if "/" in name}
    return {
        name: annotations[name]
        for name, prefix in prefixes.items()
        if any(prefix == each or prefix.endswith(f".{each}") for each in PASSED)
    }
