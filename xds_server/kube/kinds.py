"""Which kinds are read from the API server, by which versions, and where their objects are."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from xds_server.model.refs import ObjectRef
from xds_server.objects import core, gateway, networking, routes, tidegate
from xds_server.objects.meta import Model

GATEWAY: Final = gateway.GROUP
_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE: Final = re.compile(_LABEL)
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class Kind(NamedTuple):
    """`versions` by preference; the first that the server has is read.

    `writes_status`: by us. `generated`: some are ours to make. `datapath`: read only where nodes have the daemon.
    """

    kind: str
    group: str
    versions: tuple[str, ...]
    plural: str
    struct: type[Model]
    namespaced: bool = True
    writes_status: bool = False
    generated: bool = False
    datapath: bool = False

    def collection_path(self, version: str, namespace: str = "") -> str:
        """Of all objects, or of those of a namespace."""
        root = f"/apis/{self.group}/{version}" if self.group else f"/api/{version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def object_path(self, version: str, ref: ObjectRef) -> str:
        return f"{self.collection_path(version, ref.namespace)}/{ref.name}"


def can_exist(ref: ObjectRef) -> bool:
    """Whether an object can have this name: what a reference holds is anybody's text, and becomes part of a request."""
    return len(ref.name) <= 253 and bool(_NAME.fullmatch(ref.name)) and bool(_NAMESPACE.fullmatch(ref.namespace))


def _gateway(
    kind: str,
    plural: str,
    struct: type[Model],
    *older: str,
    status: bool = True,
    namespaced: bool = True,
    datapath: bool = False,
) -> Kind:
    return Kind(kind, GATEWAY, ("v1", *older), plural, struct, namespaced, status, datapath=datapath)


def _pool(kind: str, plural: str, struct: type[Model], group: str, *versions: str) -> Kind:
    return Kind(kind, group, versions, plural, struct, namespaced=False, writes_status=True)


def _policy(kind: str, plural: str, struct: type[Model], group: str, *versions: str) -> Kind:
    return Kind(kind, group, versions, plural, struct, namespaced=False, datapath=True)


# What must be there first has no order here: nothing is served before all of them are synchronised.
KINDS: Final = (
    Kind("Namespace", "", ("v1",), "namespaces", core.Namespace, namespaced=False),
    Kind("Service", "", ("v1",), "services", core.Service, generated=True),
    Kind("EndpointSlice", "discovery.k8s.io", ("v1",), "endpointslices", core.EndpointSlice, generated=True),
    Kind("Pod", "", ("v1",), "pods", core.Pod, datapath=True),
    Kind("Node", "", ("v1",), "nodes", core.Node, namespaced=False, datapath=True),
    Kind("Ingress", "networking.k8s.io", ("v1",), "ingresses", networking.Ingress, writes_status=True),
    Kind("IngressClass", "networking.k8s.io", ("v1",), "ingressclasses", networking.IngressClass, namespaced=False),
    _gateway("GatewayClass", "gatewayclasses", gateway.GatewayClass, "v1beta1", namespaced=False),
    _gateway("Gateway", "gateways", gateway.Gateway, "v1beta1"),
    _gateway("HTTPRoute", "httproutes", routes.HTTPRoute, "v1beta1"),
    _gateway("GRPCRoute", "grpcroutes", routes.GRPCRoute),
    _gateway("TLSRoute", "tlsroutes", routes.TLSRoute, "v1alpha3", "v1alpha2"),
    _gateway("TCPRoute", "tcproutes", routes.TCPRoute, "v1alpha2", datapath=True),
    _gateway("UDPRoute", "udproutes", routes.UDPRoute, "v1alpha2", datapath=True),
    _gateway("ReferenceGrant", "referencegrants", gateway.ReferenceGrant, "v1beta1", status=False),
    Kind("GatewayParameters", tidegate.GROUP, ("v1alpha1",), "gatewayparameters", tidegate.GatewayParameters),
    _pool("LoadBalancerIPPool", "loadbalancerippools", tidegate.LoadBalancerIPPool, tidegate.GROUP, "v1alpha1"),
    _pool(
        "CiliumLoadBalancerIPPool",
        "ciliumloadbalancerippools",
        tidegate.CiliumLoadBalancerIPPool,
        "cilium.io",
        "v2",
        "v2alpha1",
    ),
    _policy(
        "L2AnnouncementPolicy", "l2announcementpolicies", tidegate.L2AnnouncementPolicy, tidegate.GROUP, "v1alpha1"
    ),
    _policy(
        "CiliumL2AnnouncementPolicy",
        "ciliuml2announcementpolicies",
        tidegate.CiliumL2AnnouncementPolicy,
        "cilium.io",
        "v2alpha1",
    ),
)

OF_CILIUM: Final = frozenset({"CiliumLoadBalancerIPPool", "CiliumL2AnnouncementPolicy"})
"""Where Cilium runs, it gives the same addresses away and announces them: read only by who says that it does not."""


def read_kinds(*, cilium_pools: bool, datapath: bool = False) -> tuple[Kind, ...]:
    """What is listed and watched."""
    kinds = (kind for kind in KINDS if cilium_pools or kind.kind not in OF_CILIUM)
    return tuple(kind for kind in kinds if datapath or not kind.datapath)


# Read one by one, when something of ours refers to them.
REFERENCED: Final = (
    Kind("Secret", "", ("v1",), "secrets", core.Secret),
    Kind("ConfigMap", "", ("v1",), "configmaps", core.ConfigMap),
)

BY_KIND: Final = {kind.kind: kind for kind in (*KINDS, *REFERENCED)}
