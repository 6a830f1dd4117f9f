"""Reads what an installation is like from an API server, once; what is refused is noted, and the rest is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from xds_server.kube.client import Api, ApiError
from xds_server.kube.kinds import KINDS, Kind
from xds_server.kube.reflector import printable
from xds_server.overview import objects
from xds_server.overview.facts import Facts, KindFact
from xds_server.overview.replica import Replica

METRICS_PORT: Final = 15081
ROUTES: Final = ("HTTPRoute", "GRPCRoute", "TLSRoute")
POOL: Final = "LoadBalancerIPPool"
POOLS: Final = (POOL, "CiliumLoadBalancerIPPool")
TRUST: Final = "tidegate-ca"
"""The ConfigMap in which the certificates' Job says until when they hold."""

_AGREE_ATTEMPTS: Final = 5
_AGREE_EVERY_S: Final = 0.5
_LONGEST: Final = 300

T = TypeVar("T")
_Unread = dict[str, str]


class _Version(msgspec.Struct):
    version: str = ""


class _Group(msgspec.Struct):
    versions: list[_Version] = msgspec.field(default_factory=list)


class _Resource(msgspec.Struct):
    name: str = ""


class _Resources(msgspec.Struct):
    resources: list[_Resource] = msgspec.field(default_factory=list)


class _Server(msgspec.Struct, rename="camel"):
    git_version: str = ""


async def inspected(api: Api, namespace: str) -> Facts:
    """Everything that `Facts` has.

    :raises ApiError: the server cannot be reached, or does not know this user at all.
    """
    server = objects.read(await api.request("GET", "/version"), _Server)
    kinds = await _kinds(api)
    reading = _Reading(api, namespace, {kind.kind: kind for kind in kinds})
    controllers = await reading.pods("controller")
    replicas = await reading.replicas(controllers)
    read = {kind for replica in replicas.values() for kind in replica.ages} | {POOL}
    return Facts(
        server=api.host,
        kubernetes=printable(server.git_version),
        namespace=namespace,
        kinds=tuple(kinds),
        nodes=tuple(node.metadata.name for node in await reading.all("Node", "/api/v1/nodes", objects.Workload)),
        deployment=await reading.one("Deployment", "apps/v1", "deployments", "tidegate-controller", objects.Workload),
        daemon_set=await reading.daemon_set(),
        lease=await reading.one("Lease", "coordination.k8s.io/v1", "leases", "tidegate-controller", objects.Lease),
        controllers=controllers,
        proxies=(*await reading.pods("proxy"), *await reading.pods("node")),
        gateway_classes=await reading.kind("GatewayClass", objects.Class),
        ingress_classes=await reading.kind("IngressClass", objects.Class),
        gateways=await reading.kind("Gateway", objects.Gateway),
        ingresses=await reading.kind("Ingress", objects.Ingress),
        routes={kind: await reading.kind(kind, objects.Route) for kind in ROUTES if reading.has(kind)},
        # Those of Cilium are pools here only where the control plane was told to read them.
        pools={kind: await reading.kind(kind, objects.Pool) for kind in POOLS if kind in read and reading.has(kind)},
        replicas=replicas,
        ends=await reading.ends(),
        unread=reading.unread,
        now=datetime.now(UTC),
    )


class _Reading:
    """`unread` fills while it reads."""

    def __init__(self, api: Api, namespace: str, kinds: dict[str, KindFact]) -> None:
        self._api, self._namespace, self._kinds = api, namespace, kinds
        self.unread: _Unread = {}

    def has(self, kind: str) -> bool:
        return bool(self._kinds[kind].version)

    async def pods(self, component: str) -> tuple[objects.Pod, ...]:
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        selector = {"labelSelector": f"app.kubernetes.io/name=tidegate,app.kubernetes.io/component={component}"}
        return await self.all("Pod", path, objects.Pod, selector)

    async def daemon_set(self) -> objects.Workload | None:
        """What runs the Envoy of each node: `tidegate proxy`, or the daemon."""
        for name in ("tidegate-proxy", "tidegate-node"):
            if found := await self.one("DaemonSet", "apps/v1", "daemonsets", name, objects.Workload):
                return found
        return None

    async def kind(self, kind: str, type_: type[T]) -> tuple[T, ...]:
        fact = self._kinds[kind]
        if not fact.version:
            return ()
        return await self.all(kind, f"/apis/{fact.group}/{fact.version}/{fact.plural}", type_)

    async def all(self, what: str, path: str, type_: type[T], params: dict[str, str] | None = None) -> tuple[T, ...]:
        async def ask() -> tuple[T, ...]:
            return tuple(objects.read_list(await self._api.request("GET", path, params=params), type_))

        return await self._noted(what, ask) or ()

    async def one(self, kind: str, group: str, plural: str, name: str, type_: type[T]) -> T | None:
        path = f"/apis/{group}/namespaces/{self._namespace}/{plural}/{name}"

        async def ask() -> T | None:
            try:
                return objects.read(await self._api.request("GET", path), type_)
            except ApiError as error:
                if error.status == 404:
                    return None
                raise

        return await self._noted(kind, ask)

    async def ends(self) -> dict[str, datetime]:
        path = f"/api/v1/namespaces/{self._namespace}/configmaps/{TRUST}"

        async def ask() -> dict[str, datetime]:
            try:
                found = objects.read(await self._api.request("GET", path), objects.ConfigMap)
            except ApiError as error:
                if error.status == 404:
                    return {}
                raise
            return msgspec.json.decode(found.data.get("ends.json", "{}"), type=dict[str, datetime])

        return await self._noted(f"ConfigMap/{self._namespace}/{TRUST}", ask) or {}

    async def replicas(self, pods: tuple[objects.Pod, ...]) -> dict[str, Replica]:
        """Replicas hear of a change one after the other: those that differ are asked again, for a while."""
        found: dict[str, Replica] = {}
        for attempt in range(_AGREE_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_AGREE_EVERY_S)
            found = {name: page for pod in pods if (page := await self._replica(name := pod.metadata.name))}
            if len({page.digest for page in found.values()}) <= 1:
                break
        return found

    async def _replica(self, pod: str) -> Replica | None:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{pod}:{METRICS_PORT}/proxy/status"

        async def ask() -> Replica:
            return objects.read(await self._api.request("GET", path, timeout_s=5.0), Replica)

        return await self._noted(f"Pod/{self._namespace}/{pod}:{METRICS_PORT}", ask)

    async def _noted(self, what: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await ask()
        except ApiError as error:
            self.unread[what] = printable(str(error))[:_LONGEST]
        except msgspec.DecodeError:
            self.unread[what] = "the answer is of another form; is it of another version of Tidegate?"
        return None


async def _kinds(api: Api) -> list[KindFact]:
    """Of all kinds that Tidegate reads on every cluster, by which versions the server has them."""
    kinds = [kind for kind in KINDS if not kind.datapath]
    served: dict[str, dict[str, list[str]]] = {}
    for group in dict.fromkeys(kind.group for kind in kinds):
        served[group] = await _served(api, group)
    return [_fact(kind, served[kind.group]) for kind in kinds]


def _fact(kind: Kind, served: dict[str, list[str]]) -> KindFact:
    versions = tuple(version for version, plurals in served.items() if kind.plural in plurals)
    return KindFact(kind.kind, kind.group, kind.plural, kind.versions, versions)


async def _served(api: Api, group: str) -> dict[str, list[str]]:
    """By version, the plurals of its kinds."""
    if not group:
        return {"v1": ["namespaces", "services"]}
    found = {}
    for version in (await _asked(api, f"/apis/{group}", _Group)).versions:
        resources = await _asked(api, f"/apis/{group}/{version.version}", _Resources)
        found[version.version] = [resource.name for resource in resources.resources]
    return found


async def _asked(api: Api, path: str, type_: type[T]) -> T:
    try:
        return objects.read(await api.request("GET", path), type_)
    except ApiError as error:
        if error.status == 404:
            return type_()
        raise
