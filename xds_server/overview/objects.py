"""The parts of objects that an overview is made of, status included; what is of another form is read as absent."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import field

T = TypeVar("T")


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object."""


class Metadata(Part, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    deletion_timestamp: str = ""


class ConfigMap(Part, frozen=True, kw_only=True):
    data: dict[str, str] = {}


class Condition(Part, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0


class Running(Part, frozen=True, kw_only=True):
    started_at: str = ""


class State(Part, frozen=True, kw_only=True):
    running: Running | None = None
    waiting: Condition | None = None
    terminated: Condition | None = None

    @property
    def trouble(self) -> str:
        """Why the container does not run, in the kubelet's words."""
        found = self.waiting or self.terminated
        return " ".join(filter(None, (found.reason, found.message))) if found else ""


class Container(Part, frozen=True, kw_only=True):
    ready: bool = False
    restart_count: int = 0
    state: State = State()


class Image(Part, frozen=True, kw_only=True):
    image: str = ""


class PodSpec(Part, frozen=True, kw_only=True):
    node_name: str = ""
    containers: tuple[Image, ...] = ()


class PodStatus(Part, frozen=True, kw_only=True):
    phase: str = ""
    container_statuses: tuple[Container, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Pod(Part, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def restarts(self) -> int:
        return sum(container.restart_count for container in self.status.container_statuses)

    @property
    def since(self) -> str:
        """When its first container started; "" while none runs."""
        running = [c.state.running for c in self.status.container_statuses]
        return next((each.started_at for each in running if each), "")

    @property
    def version(self) -> str:
        """The tag or digest of its image."""
        image = self.spec.containers[0].image if self.spec.containers else ""
        name, _, found = image.partition("@")
        return found or (name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else "")


class ReplicaSpec(Part, frozen=True, kw_only=True):
    replicas: int = 1


class DaemonStatus(Part, frozen=True, kw_only=True):
    desired_number_scheduled: int = 0


class Workload(Part, frozen=True, kw_only=True):
    """A Deployment or a DaemonSet."""

    metadata: Metadata = Metadata()
    spec: ReplicaSpec = ReplicaSpec()
    status: DaemonStatus = DaemonStatus()


class LeaseSpec(Part, frozen=True, kw_only=True):
    holder_identity: str = ""
    renew_time: str = ""
    lease_duration_seconds: int = 15


class Lease(Part, frozen=True, kw_only=True):
    spec: LeaseSpec = LeaseSpec()


class ClassSpec(Part, frozen=True, kw_only=True):
    """`controllerName` of a GatewayClass, `controller` of an IngressClass."""

    controller_name: str = ""
    controller: str = ""


class Conditions(Part, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()


class Class(Part, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: ClassSpec = ClassSpec()
    status: Conditions = Conditions()


class Address(Part, frozen=True, kw_only=True):
    value: str = ""


class Listener(Part, frozen=True, kw_only=True):
    name: str = ""
    conditions: tuple[Condition, ...] = ()


class GatewaySpec(Part, frozen=True, kw_only=True):
    gateway_class_name: str = ""


class GatewayStatus(Part, frozen=True, kw_only=True):
    addresses: tuple[Address, ...] = ()
    conditions: tuple[Condition, ...] = ()
    listeners: tuple[Listener, ...] = ()


class Gateway(Part, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class IngressSpec(Part, frozen=True, kw_only=True):
    ingress_class_name: str = ""


class Place(Part, frozen=True, kw_only=True):
    ip: str = ""
    hostname: str = ""


class LoadBalancer(Part, frozen=True, kw_only=True):
    ingress: tuple[Place, ...] = ()


class IngressStatus(Part, frozen=True, kw_only=True):
    load_balancer: LoadBalancer = LoadBalancer()


class Ingress(Part, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(place.ip or place.hostname for place in self.status.load_balancer.ingress)


class ParentRef(Part, frozen=True, kw_only=True):
    kind: str = "Gateway"
    namespace: str = ""
    name: str = ""
    section_name: str = ""


class Parent(Part, frozen=True, kw_only=True):
    parent_ref: ParentRef = ParentRef()
    controller_name: str = ""
    conditions: tuple[Condition, ...] = ()


class RouteSpec(Part, frozen=True, kw_only=True):
    parent_refs: tuple[ParentRef, ...] = ()


class RouteStatus(Part, frozen=True, kw_only=True):
    parents: tuple[Parent, ...] = ()


class Route(Part, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: RouteSpec = RouteSpec()
    status: RouteStatus = RouteStatus()


class PoolSpec(Part, frozen=True, kw_only=True):
    disabled: bool = False


class Pool(Part, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PoolSpec = PoolSpec()
    status: Conditions = Conditions()

    def number(self, name: str) -> int | None:
        """Of a condition whose message is a number: IPsTotal, IPsAvailable, IPsUsed."""
        said = next((c.message for c in self.status.conditions if c.type.removeprefix("cilium.io/") == name), "")
        return int(said) if said.isdecimal() else None


class _List(msgspec.Struct):
    items: list[Any] = field(default_factory=list)


def read(body: bytes, type_: type[T]) -> T:
    """One object; null is as absent, as the API server has it.

    :raises msgspec.DecodeError: it is of another form.
    """
    return msgspec.convert(_without_null(msgspec.json.decode(body)), type=type_)


def read_list(body: bytes, type_: type[T]) -> list[T]:
    """The items that are of the form.

    :raises msgspec.DecodeError: it is no list.
    """
    found = []
    for item in msgspec.json.decode(body, type=_List).items:
        try:
            found.append(msgspec.convert(_without_null(item), type=type_))
        except msgspec.ValidationError:
            continue
    return found


def _without_null(item: Any) -> Any:
    if isinstance(item, dict):
        return {key: _without_null(value) for key, value in item.items() if value is not None}
    return [_without_null(each) for each in item] if isinstance(item, list) else item
