"""The core API group and discovery.k8s.io: namespaces, services, endpoint slices, pods, secrets, config maps."""

from __future__ import annotations

from msgspec import field

from xds_server.objects.meta import Labels, Model, ObjectMeta, Port


class Namespace(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta


class ServicePort(Model, frozen=True, kw_only=True):
    port: Port
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""
    node_port: int = 0


class ClientIPConfig(Model, frozen=True, kw_only=True):
    timeout_seconds: int = 10_800


class SessionAffinityConfig(Model, frozen=True, kw_only=True):
    client_ip: ClientIPConfig = field(name="clientIP", default=ClientIPConfig())


class ServiceSpec(Model, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] = field(name="clusterIPs", default=())
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig = SessionAffinityConfig()
    internal_traffic_policy: str = "Cluster"


class LoadBalancerIngress(Model, frozen=True, kw_only=True):
    """Where a load balancer is reached: by one of the two."""

    ip: str = ""
    hostname: str = ""


class LoadBalancerStatus(Model, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class WithLoadBalancer(Model, frozen=True, kw_only=True):
    """The status of a Service or an Ingress, as far as it is read: the addresses that it has."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class OwnerReference(Model, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    controller: bool = False


class ServiceMeta(ObjectMeta, frozen=True, kw_only=True):
    """Of a Service it is read whose it is: some are generated."""

    owner_references: tuple[OwnerReference, ...] = ()


class Service(Model, frozen=True, kw_only=True):
    metadata: ServiceMeta
    spec: ServiceSpec = ServiceSpec()
    status: WithLoadBalancer = WithLoadBalancer()


class EndpointConditions(Model, frozen=True, kw_only=True):
    """Unset `ready` and `serving` mean true, unset `terminating` means false."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Model, frozen=True, kw_only=True):
    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    zone: str = ""
    node_name: str = ""


class EndpointPort(Model, frozen=True, kw_only=True):
    """`port` None means all ports."""

    name: str = ""
    port: Port | None = None
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSlice(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    address_type: str
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


class NodeMeta(Model, frozen=True, kw_only=True):
    """No annotations: nothing reads them, and kubelet changes some all the time."""

    name: str
    namespace: str = ""
    labels: Labels = field(default_factory=dict)


class Node(Model, frozen=True, kw_only=True):
    metadata: NodeMeta


class PodMeta(Model, frozen=True, kw_only=True):
    """Neither labels nor annotations: there are many pods, and nothing reads these."""

    name: str
    namespace: str = ""
    uid: str = ""


class PodSpec(Model, frozen=True, kw_only=True):
    node_name: str = ""
    host_network: bool = False


class PodIP(Model, frozen=True, kw_only=True):
    ip: str = ""


class PodStatus(Model, frozen=True, kw_only=True):
    phase: str = ""
    pod_ips: tuple[PodIP, ...] = field(name="podIPs", default=())


class Pod(Model, frozen=True, kw_only=True):
    metadata: PodMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Secret(Model, frozen=True, kw_only=True):
    """`data` is base64, as the API server gives it; never printed."""

    metadata: ObjectMeta
    type: str = "Opaque"
    data: Labels = field(default_factory=dict)
    string_data: Labels = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, type={self.type}, keys={sorted(self.data)})"


class ConfigMap(Model, frozen=True, kw_only=True):
    metadata: ObjectMeta
    data: Labels = field(default_factory=dict)
