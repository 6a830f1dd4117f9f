"""What was found of an installation, before anybody judges it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from xds_server.overview.objects import Class, Gateway, Ingress, Lease, Pod, Pool, Route, Workload
from xds_server.overview.replica import Replica

CONTROLLER = "tidegate.dev/controller"


@dataclass(frozen=True, slots=True)
class KindFact:
    """`reads` are the versions that we can read, `served` those that the server has of the kind."""

    kind: str
    group: str
    plural: str
    reads: tuple[str, ...]
    served: tuple[str, ...]

    @property
    def version(self) -> str:
        return next((version for version in self.reads if version in self.served), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`unread` is what this user may not read or what did not answer, with the reason; nothing is concluded from it.

    `replicas` are the pages of the control plane's pods, by pod; `ends` say until when certificates in Secrets hold.
    """

    server: str
    kubernetes: str
    namespace: str
    now: datetime
    kinds: tuple[KindFact, ...] = ()
    nodes: tuple[str, ...] = ()
    deployment: Workload | None = None
    daemon_set: Workload | None = None
    lease: Lease | None = None
    controllers: tuple[Pod, ...] = ()
    proxies: tuple[Pod, ...] = ()
    replicas: dict[str, Replica] = field(default_factory=dict)
    ends: dict[str, datetime] = field(default_factory=dict)
    gateway_classes: tuple[Class, ...] = ()
    ingress_classes: tuple[Class, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    ingresses: tuple[Ingress, ...] = ()
    routes: dict[str, tuple[Route, ...]] = field(default_factory=dict)
    pools: dict[str, tuple[Pool, ...]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def our_gateway_classes(self) -> frozenset[str]:
        return frozenset(c.metadata.name for c in self.gateway_classes if c.spec.controller_name == CONTROLLER)

    @property
    def our_ingress_classes(self) -> frozenset[str]:
        return frozenset(c.metadata.name for c in self.ingress_classes if c.spec.controller == CONTROLLER)

    @property
    def our_gateways(self) -> list[Gateway]:
        return [g for g in self.gateways if g.spec.gateway_class_name in self.our_gateway_classes]

    @property
    def our_ingresses(self) -> list[Ingress]:
        return [i for i in self.ingresses if i.spec.ingress_class_name in self.our_ingress_classes]

    @property
    def all_replicas_read(self) -> bool:
        running = [pod for pod in self.controllers if pod.ready]
        return bool(running) and all(pod.metadata.name in self.replicas for pod in running)
