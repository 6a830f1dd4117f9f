"""Which kinds are served, as which Struct, and which are known but not read."""

from __future__ import annotations

from typing import Final, NamedTuple

from xds_server.objects import core, gateway, networking, routes, tidegate
from xds_server.objects.meta import Model


class Kind(NamedTuple):
    """`definition` names the fields in definitions.py; `label` says that names have no dots."""

    struct: type[Model]
    definition: str
    namespaced: bool = True
    label: bool = False


GATEWAY: Final = "gateway.networking.k8s.io"

SERVED: Final[dict[tuple[str, str], Kind]] = {
    ("v1", "Namespace"): Kind(core.Namespace, "Namespace", namespaced=False, label=True),
    ("v1", "Service"): Kind(core.Service, "Service", label=True),
    ("v1", "Pod"): Kind(core.Pod, "Pod"),
    ("v1", "Node"): Kind(core.Node, "Node", namespaced=False),
    ("v1", "Secret"): Kind(core.Secret, "Secret"),
    ("v1", "ConfigMap"): Kind(core.ConfigMap, "ConfigMap"),
    ("discovery.k8s.io/v1", "EndpointSlice"): Kind(core.EndpointSlice, "EndpointSlice"),
    ("networking.k8s.io/v1", "Ingress"): Kind(networking.Ingress, "Ingress"),
    ("networking.k8s.io/v1", "IngressClass"): Kind(networking.IngressClass, "IngressClass", namespaced=False),
    (f"{GATEWAY}/v1", "GatewayClass"): Kind(gateway.GatewayClass, "GatewayClass", namespaced=False),
    (f"{GATEWAY}/v1beta1", "GatewayClass"): Kind(gateway.GatewayClass, "GatewayClass", namespaced=False),
    (f"{GATEWAY}/v1", "Gateway"): Kind(gateway.Gateway, "Gateway"),
    (f"{GATEWAY}/v1beta1", "Gateway"): Kind(gateway.Gateway, "Gateway"),
    (f"{GATEWAY}/v1", "ReferenceGrant"): Kind(gateway.ReferenceGrant, "ReferenceGrant"),
    (f"{GATEWAY}/v1beta1", "ReferenceGrant"): Kind(gateway.ReferenceGrant, "ReferenceGrant"),
    (f"{GATEWAY}/v1", "HTTPRoute"): Kind(routes.HTTPRoute, "HTTPRoute"),
    (f"{GATEWAY}/v1beta1", "HTTPRoute"): Kind(routes.HTTPRoute, "HTTPRoute"),
    (f"{GATEWAY}/v1", "GRPCRoute"): Kind(routes.GRPCRoute, "GRPCRoute"),
    (f"{GATEWAY}/v1", "TLSRoute"): Kind(routes.TLSRoute, "TLSRoute"),
    (f"{GATEWAY}/v1alpha3", "TLSRoute"): Kind(routes.TLSRoute, "TLSRoute"),
    (f"{GATEWAY}/v1alpha2", "TLSRoute"): Kind(routes.TLSRoute, "TLSRoute.v1alpha2"),
    (f"{GATEWAY}/v1", "TCPRoute"): Kind(routes.TCPRoute, "TCPRoute"),
    (f"{GATEWAY}/v1alpha2", "TCPRoute"): Kind(routes.TCPRoute, "TCPRoute.v1alpha2"),
    (f"{GATEWAY}/v1", "UDPRoute"): Kind(routes.UDPRoute, "UDPRoute"),
    (f"{GATEWAY}/v1alpha2", "UDPRoute"): Kind(routes.UDPRoute, "UDPRoute.v1alpha2"),
    ("tidegate.dev/v1alpha1", "GatewayParameters"): Kind(tidegate.GatewayParameters, "GatewayParameters"),
    ("tidegate.dev/v1alpha1", "LoadBalancerIPPool"): Kind(
        tidegate.LoadBalancerIPPool, "LoadBalancerIPPool", namespaced=False
    ),
    ("cilium.io/v2", "CiliumLoadBalancerIPPool"): Kind(
        tidegate.CiliumLoadBalancerIPPool, "LoadBalancerIPPool", namespaced=False
    ),
    ("cilium.io/v2alpha1", "CiliumLoadBalancerIPPool"): Kind(
        tidegate.CiliumLoadBalancerIPPool, "LoadBalancerIPPool", namespaced=False
    ),
    ("tidegate.dev/v1alpha1", "L2AnnouncementPolicy"): Kind(
        tidegate.L2AnnouncementPolicy, "L2AnnouncementPolicy", namespaced=False
    ),
    ("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy"): Kind(
        tidegate.CiliumL2AnnouncementPolicy, "L2AnnouncementPolicy", namespaced=False
    ),
}

VERSIONS: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(version for version, other in SERVED if other == kind) for _, kind in SERVED
}

# Group -> its kinds that exist and are not read here; None: whatever the kind, the group is somebody else's.
NOTED: Final[dict[str, frozenset[str] | None]] = {
    "": frozenset(
        {
            "PodTemplate",
            "ServiceAccount",
            "ReplicationController",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Endpoints",
            "Event",
            "LimitRange",
            "ResourceQuota",
            "Binding",
        }
    ),
    "apps": frozenset({"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ControllerRevision"}),
    "batch": frozenset({"Job", "CronJob"}),
    "networking.k8s.io": frozenset({"NetworkPolicy", "IPAddress", "ServiceCIDR"}),
    GATEWAY: frozenset({"BackendTLSPolicy", "ListenerSet", "BackendLBPolicy"}),
    "gateway.networking.x-k8s.io": None,
    "policy.networking.k8s.io": None,
    "admissionregistration.k8s.io": None,
    "apiextensions.k8s.io": None,
    "apiregistration.k8s.io": None,
    "autoscaling": None,
    "certificates.k8s.io": None,
    "coordination.k8s.io": None,
    "events.k8s.io": None,
    "flowcontrol.apiserver.k8s.io": None,
    "metrics.k8s.io": None,
    "node.k8s.io": None,
    "policy": None,
    "rbac.authorization.k8s.io": None,
    "resource.k8s.io": None,
    "scheduling.k8s.io": None,
    "storage.k8s.io": None,
    "snapshot.storage.k8s.io": None,
    "kustomize.config.k8s.io": None,
    "cilium.io": None,
    "isovalent.com": None,
    "cert-manager.io": None,
    "acme.cert-manager.io": None,
    "monitoring.coreos.com": None,
    "multicluster.x-k8s.io": None,
    "inference.networking.k8s.io": None,
    "inference.networking.x-k8s.io": None,
}


def group(api_version: str) -> str:
    """The group of `group/version`; the core group is empty."""
    return api_version.rpartition("/")[0]


def noted(api_version: str, kind: str) -> bool:
    kinds = NOTED.get(group(api_version), frozenset())
    return kinds is None or kind in kinds
