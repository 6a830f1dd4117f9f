"""tidegate.dev/v1alpha1: LoadBalancerIPPool and GatewayParameters; a pool of cilium.io is read as the same."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from xds_server.objects.meta import LabelSelector, Model, ObjectMeta

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
