"""An installation that is well, to be made ill in one thing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from xds_server.kube.kinds import KINDS
from xds_server.model.resource import CLUSTER
from xds_server.overview.facts import CONTROLLER, Facts, KindFact
from xds_server.overview.objects import (
    Address,
    Class,
    ClassSpec,
    Condition,
    Conditions,
    Container,
    Gateway,
    GatewaySpec,
    GatewayStatus,
    Image,
    Ingress,
    IngressSpec,
    IngressStatus,
    Lease,
    LeaseSpec,
    LoadBalancer,
    Metadata,
    Parent,
    ParentRef,
    Place,
    Pod,
    PodSpec,
    PodStatus,
    Pool,
    Route,
    RouteSpec,
    RouteStatus,
    Running,
    State,
    Workload,
)
from xds_server.overview.replica import Replica, Stream, Type

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCEPTED = Condition(type="Accepted", status="True", reason="Accepted", observed_generation=2)
PROGRAMMED = Condition(type="Programmed", status="True", reason="Programmed", observed_generation=2)


def metadata(name: str, namespace: str = "default") -> Metadata:
    return Metadata(name=name, namespace=namespace, generation=2)


def pod(name: str, node: str, *, ready: bool = True, state: State | None = None) -> Pod:
    running = State(running=Running(started_at="2025-12-31T00:00:00Z"))
    status = PodStatus(
        conditions=(Condition(type="Ready", status=str(ready)),),
        container_statuses=(Container(ready=ready, state=state or running),),
    )
    spec = PodSpec(node_name=node, containers=(Image(image="registry:5000/tidegate:0.1.0"),))
    return Pod(metadata=metadata(name, "tidegate-system"), spec=spec, status=status)


def gateway(*conditions: Condition, addresses: tuple[str, ...] = ("192.0.2.1",)) -> Gateway:
    found = tuple(Address(value=address) for address in addresses)
    status = GatewayStatus(addresses=found, conditions=conditions or (ACCEPTED, PROGRAMMED))
    return Gateway(metadata=metadata("web"), spec=GatewaySpec(gateway_class_name="tidegate"), status=status)


def ingress(*addresses: str) -> Ingress:
    status = IngressStatus(load_balancer=LoadBalancer(ingress=tuple(Place(ip=address) for address in addresses)))
    return Ingress(metadata=metadata("shop"), spec=IngressSpec(ingress_class_name="tidegate"), status=status)


def route(*conditions: Condition, controller: str = CONTROLLER) -> Route:
    ref = ParentRef(name="web")
    parents = (Parent(parent_ref=ref, controller_name=controller, conditions=conditions or (ACCEPTED,)),)
    return Route(metadata=metadata("a"), spec=RouteSpec(parent_refs=(ref,)), status=RouteStatus(parents=parents))


def pool(*conditions: Condition) -> Pool:
    free = Condition(type="IPsAvailable", status="Unknown", message="4", observed_generation=2)
    return Pool(metadata=metadata("edge", ""), status=Conditions(conditions=(*(conditions or (ACCEPTED,)), free)))


def stream(node: str, **of: object) -> Stream:
    return Stream(node=node, envoy="1.36.2", connected_s=90.0, types={CLUSTER: Type(wanted=3, accepted_s=80.0, **of)})  # type: ignore[arg-type]


def replica(*streams: Stream, **of: object) -> Replica:
    told = {
        "tidegate": "0.1.0",
        "digest": "d",
        "features": ("Gateway",),
        "certificates": {"server": NOW + timedelta(days=60)},
        **of,
    }
    return Replica(streams=streams, **told)  # type: ignore[arg-type]


def well() -> Facts:
    classes = Class(
        metadata=metadata("tidegate", ""),
        spec=ClassSpec(controller_name=CONTROLLER, controller=CONTROLLER),
        status=Conditions(conditions=(ACCEPTED,)),
    )
    kinds = (KindFact(kind.kind, kind.group, kind.plural, kind.versions, kind.versions) for kind in KINDS)
    return Facts(
        server="https://192.0.2.9",
        kubernetes="v1.37.2",
        namespace="tidegate-system",
        now=NOW,
        kinds=tuple(kinds),
        nodes=("node1", "node2"),
        deployment=Workload(),
        daemon_set=Workload(),
        lease=Lease(spec=LeaseSpec(holder_identity="c1", renew_time="2025-12-31T23:59:55.000000Z")),
        controllers=(pod("c1", "node1"),),
        proxies=(pod("p1", "node1"), pod("p2", "node2")),
        replicas={"c1": replica(stream("node1"), stream("node2"), leads=True)},
        gateway_classes=(classes,),
        ingress_classes=(classes,),
        gateways=(gateway(),),
        ingresses=(ingress("192.0.2.1"),),
        routes={"HTTPRoute": (route(),)},
        pools={"LoadBalancerIPPool": (pool(),)},
        ends={"tidegate-operator-admin": NOW + timedelta(days=60)},
    )
