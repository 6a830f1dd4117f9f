"""The collections that objects are put into, and the few settings that ingestion depends on.

It must not know where objects come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from xds_server.graph import Graph, Source
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import ConfigMap, EndpointSlice, Namespace, Node, Pod, Secret, Service
from xds_server.objects.gateway import Gateway, GatewayClass, ReferenceGrant
from xds_server.objects.networking import Ingress, IngressClass
from xds_server.objects.routes import GRPCRoute, HTTPRoute, TCPRoute, TLSRoute, UDPRoute
from xds_server.objects.tidegate import Exposure, GatewayParameters, L2AnnouncementPolicy, LoadBalancerIPPool

SOURCE_BY_KIND: Final = {
    "GatewayClass": "gateway_classes",
    "Gateway": "gateways",
    "HTTPRoute": "http_routes",
    "GRPCRoute": "grpc_routes",
    "TLSRoute": "tls_routes",
    "TCPRoute": "tcp_routes",
    "UDPRoute": "udp_routes",
    "ReferenceGrant": "reference_grants",
    "Ingress": "ingresses",
    "IngressClass": "ingress_classes",
    "Service": "services",
    "EndpointSlice": "endpoint_slices",
    "Pod": "pods",
    "Node": "cluster_nodes",
    "Secret": "secrets",
    "ConfigMap": "config_maps",
    "Namespace": "namespaces",
    "GatewayParameters": "parameters",
    "LoadBalancerIPPool": "address_pools",
    "CiliumLoadBalancerIPPool": "address_pools",
    "L2AnnouncementPolicy": "announcement_policies",
    "CiliumL2AnnouncementPolicy": "announcement_policies",
}


class Sources(NamedTuple):
    """One source a kind, or for kinds that are read as one; each object's key is its `ObjectRef`."""

    gateway_classes: Source[ObjectRef, GatewayClass]
    gateways: Source[ObjectRef, Gateway]
    http_routes: Source[ObjectRef, HTTPRoute]
    grpc_routes: Source[ObjectRef, GRPCRoute]
    tls_routes: Source[ObjectRef, TLSRoute]
    reference_grants: Source[ObjectRef, ReferenceGrant]
    ingresses: Source[ObjectRef, Ingress]
    ingress_classes: Source[ObjectRef, IngressClass]
    services: Source[ObjectRef, Service]
    endpoint_slices: Source[ObjectRef, EndpointSlice]
    secrets: Source[ObjectRef, Secret]
    config_maps: Source[ObjectRef, ConfigMap]
    namespaces: Source[ObjectRef, Namespace]
    parameters: Source[ObjectRef, GatewayParameters]
    address_pools: Source[ObjectRef, LoadBalancerIPPool]
    tcp_routes: Source[ObjectRef, TCPRoute]
    udp_routes: Source[ObjectRef, UDPRoute]
    pods: Source[ObjectRef, Pod]
    cluster_nodes: Source[ObjectRef, Node]
    announcement_policies: Source[ObjectRef, L2AnnouncementPolicy]
    holders: Source[str, str]
    """Address -> the node that announces it, as it was decided outside of the graph."""
    absent: Source[ObjectRef, str]
    """Secrets and ConfigMaps that were asked for and are not to be had, and why; see `Settings.reads_on_demand`."""
    refused: Source[ObjectRef, str]
    """Generated objects that are not as they should be, and why; whoever does not write them knows of none."""

    @classmethod
    def declare(cls, graph: Graph) -> Sources:
        return cls(*(graph.source(name) for name in cls._fields))

    def of(self, kind: str) -> Source[ObjectRef, Any]:
        """The source of a kind; `KeyError` for a kind that is not read."""
        source: Source[ObjectRef, Any] = getattr(self, SOURCE_BY_KIND[kind])
        return source


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decides.

    `undeclared_classes` are names of GatewayClasses and IngressClasses that are ours without an object that says so.
    `pool` are the networks from each of which every frontend gets an address, as long as there is no pool object.
    `namespace` is where the installation itself is: `proxy_service` is the Service there that selects the proxies, and
    `ingress_service` the one that all shared Ingresses have; `node_addresses` are the nodes' where there is no such.
    `exposure` is how Gateways are exposed whose parameters say nothing, and all Ingresses without an annotation.
    `host_ports` are the nodes' ports that everybody may be exposed by; where the operator exposes by them, by a class
    or by `exposure`, the usual ones of HTTP and HTTPS may be used too.
    `highest_port` is the last one that a listener may name: a port offset leaves fewer.
    `reads_on_demand` says that Secrets and ConfigMaps are read once something refers to them (`wanted_objects`), so
    that one is not known to be missing before it is in `absent`.
    `datapath`: a daemon on every node leads connections, so that Services can be parents of routes.
    `allow_local_endpoints` lets backends be on loopback, link-local and metadata addresses (S11).
    """

    controller_name: str = "tidegate.dev/controller"
    undeclared_classes: tuple[str, ...] = ()
    pool: tuple[str, ...] = ("127.64.0.0/12",)
    highest_port: int = 65535
    reads_on_demand: bool = False
    datapath: bool = False
    allow_local_endpoints: bool = False
    loadbalancer_mode: Literal["dedicated", "shared"] = "dedicated"
    enforce_https: bool = True
    default_tls_secret: ObjectRef | None = None
    namespace: str = "tidegate-system"
    ingress_service: str = "tidegate-ingress"
    proxy_service: str = "tidegate-proxy"
    node_addresses: tuple[str, ...] = ()
    exposure: Exposure = field(default_factory=Exposure)
    host_ports: tuple[range, ...] = ()
