"""tidegate.dev/v1alpha1: LoadBalancerIPPool and GatewayParameters; a pool of cilium.io is read as the same."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from xds_server.objects.meta import Labels, LabelSelector, Model, ObjectMeta, Port

GROUP = "tidegate.dev"


class AddressBlock(Model, frozen=True, kw_only=True):
    """A network, or a range; a range without `stop` is `start` alone."""

    cidr: str = ""
    start: str = ""
    stop: str = ""


class LoadBalancerIPPoolSpec(Model, frozen=True, kw_only=True):
    blocks: tuple[AddressBlock, ...] = ()
    service_selector: LabelSelector | None = None
    disabled: bool = False
    allow_first_last_ips: Literal["Yes", "No"] = field(name="allowFirstLastIPs", default="Yes")


class LoadBalancerIPPool(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: LoadBalancerIPPoolSpec = LoadBalancerIPPoolSpec()


class CiliumLoadBalancerIPPool(LoadBalancerIPPool, frozen=True, kw_only=True):
    """The same, under the name that a mesh of Cilium has for it."""


class L2AnnouncementPolicySpec(Model, frozen=True, kw_only=True):
    """A selector that is not set selects everything; without `interfaces`, regular expressions, all links are meant."""

    service_selector: LabelSelector | None = None
    node_selector: LabelSelector | None = None
    interfaces: tuple[str, ...] = ()
    external_ips: bool = field(name="externalIPs", default=False)
    load_balancer_ips: bool = field(name="loadBalancerIPs", default=False)


class L2AnnouncementPolicy(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: L2AnnouncementPolicySpec = L2AnnouncementPolicySpec()


class CiliumL2AnnouncementPolicy(L2AnnouncementPolicy, frozen=True, kw_only=True):
    """The same, under the name that a mesh of Cilium has for it."""


class NodePort(Model, frozen=True, kw_only=True):
    """The port on each node for a listener's port."""

    port: Port
    node_port: Port


class ExposedService(Model, frozen=True, kw_only=True):
    """The Service of a frontend; a field that is not set is the cluster's to decide, or inherited."""

    type: Literal["LoadBalancer", "NodePort", "ClusterIP"] | None = None
    load_balancer_class: str | None = None
    external_traffic_policy: Literal["Cluster", "Local"] | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    annotations: Labels | None = None
    labels: Labels | None = None
    ip_families: tuple[Literal["IPv4", "IPv6"], ...] | None = None
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    allocate_load_balancer_node_ports: bool | None = None
    node_ports: tuple[NodePort, ...] | None = None


ExposureType = Literal["Address", "Service", "HostPort"]


class Exposure(Model, frozen=True, kw_only=True):
    """How clients reach a frontend: at an address that Envoy binds, through a Service, or at the nodes' own ports."""

    type: ExposureType = "Address"
    service: ExposedService | None = None


class GatewayParametersSpec(Model, frozen=True, kw_only=True):
    exposure: Exposure | None = None


class GatewayParameters(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    spec: GatewayParametersSpec = GatewayParametersSpec()
