"""A world of manifests in which everything is ingested, and a reader that says which route a request would take."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from xds_server.files.kinds import SERVED
from xds_server.graph import Graph
from xds_server.ingestion.collections import ingest, ingest_routes
from xds_server.ingestion.frontend_ports import ALL
from xds_server.ingestion.hostnames import covers, specificity
from xds_server.ingestion.sources import SOURCE_BY_KIND, Settings, Sources
from xds_server.model.refs import HostRef, ObjectRef, TableRef
from xds_server.model.route import Route, RouteMatch
from xds_server.model.verdict import Condition, Verdict
from xds_server.objects import core, gateway, networking, routes, tidegate

STRUCTS: dict[str, Any] = {
    kind: getattr(module, kind)
    for module in (core, gateway, networking, routes, tidegate)
    for kind in SOURCE_BY_KIND
    if hasattr(module, kind)
}
CLUSTER_SCOPED = frozenset(kind for (_, kind), served in SERVED.items() if not served.namespaced)
DIRECTORY = Settings(undeclared_classes=("tidegate", "cilium"), allow_local_endpoints=True, host_ports=ALL)


class World:
    """`apply` and `delete` return when everything has settled; the last manifest of a name counts."""

    changed: dict[str, int]

    def __init__(self, *manifests: str, settings: Settings = DIRECTORY) -> None:
        self.graph = Graph()
        self.sources = Sources.declare(self.graph)
        self.ingested = ingest(self.graph, self.sources, settings, ingest_routes(self.graph, self.sources, settings))
        self.apply(*manifests)

    def apply(self, *manifests: str) -> World:
        for manifest in manifests:
            for document in filter(None, yaml.safe_load_all(manifest)):
                kind, metadata = document["kind"], document["metadata"]
                if kind not in CLUSTER_SCOPED:
                    metadata.setdefault("namespace", "default")
                ref = ObjectRef(kind, metadata.get("namespace", ""), metadata["name"])
                self.sources.of(kind).put(ref, msgspec.convert(document, STRUCTS[kind]))
        self.commit()
        return self

    def delete(self, kind: str, name: str, namespace: str = "default") -> World:
        self.sources.of(kind).delete(ObjectRef(kind, "" if kind in CLUSTER_SCOPED else namespace, name))
        self.commit()
        return self

    def commit(self) -> None:
        """`changed` then tells the collections that the commit changed, and in how many keys."""
        self.changed = {name: len(keys) for name, keys in self.graph.commit().items()}
        assert {} == dict(self.graph.faults)

    # --- what was found -----------------------------------------------------------------------------------------------

    def verdict(self, kind: str, name: str, section: str | None = None, namespace: str = "default") -> Verdict:
        """The one verdict on an object, or on its listener or parent of that section."""
        ref = ObjectRef(kind, namespace, name)
        found = [
            verdict
            for key, verdict in self.ingested.verdicts.items()
            if key.object == ref and (key.section == section if section is not None else not key.section)
        ]
        assert 1 == len(found), [*self.ingested.verdicts]
        return found[0]

    def condition(
        self, type_: str, kind: str, name: str, section: str | None = None, namespace: str = "default"
    ) -> Condition | None:
        conditions = self.verdict(kind, name, section, namespace).conditions
        return next((condition for condition in conditions if condition.type == type_), None)

    def reason(self, type_: str, kind: str, name: str, section: str | None = None, namespace: str = "default") -> str:
        """STATUS/REASON of a condition; "" where there is none."""
        found = self.condition(type_, kind, name, section, namespace)
        return f"{found.status}/{found.reason}" if found else ""

    # --- what is served -----------------------------------------------------------------------------------------------

    def ask(
        self,
        host: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        gateway: str = "web",
        port: int = 80,
        sni: str = "",
    ) -> Route | None:
        """The route that a request takes, by the most specific host and the first match, as Envoy does."""
        table = TableRef(ObjectRef("Gateway", "default", gateway), port, sni)
        hosts = [ref for ref in self.ingested.virtual_hosts if ref.table == table and covers(ref.hostname, host)]
        if not hosts:
            return None
        found = self.ingested.virtual_hosts[min(hosts, key=lambda ref: specificity(ref.hostname))]
        for ref in found.routes:
            route = self.ingested.routes[ref]
            if matches(route.match, path, method, headers or {}, query or {}):
                return route
        return None

    def answers(self, host: str, path: str = "/", **request: Any) -> str:
        """The Service that a request goes to, or the kind of answer, or "404"."""
        route = self.ask(host, path, **request)
        if route is None:
            return "404"
        backends = getattr(route.action, "backends", None)
        if backends is None:
            return str(getattr(route.action, "status", ""))
        names = [backend.cluster.service if backend.cluster else "500" for backend in backends]
        return ",".join(names) or "500"

    def hosts(self, gateway: str = "web", port: int = 80, table: str = "") -> list[str]:
        """The hostnames of the virtual hosts of one table."""
        ref = TableRef(ObjectRef("Gateway", "default", gateway), port, table)
        return sorted(host.hostname for host in self.ingested.virtual_hosts if host.table == ref)

    def host(self, hostname: str, gateway: str = "web", port: int = 80, table: str = "") -> HostRef:
        return HostRef(TableRef(ObjectRef("Gateway", "default", gateway), port, table), hostname)


def matches(match: RouteMatch, path: str, method: str, headers: dict[str, str], query: dict[str, str]) -> bool:
    if match.method and match.method != method:
        return False
    if match.grpc and headers.get("content-type") != "application/grpc":
        return False
    values = [(match.headers, headers), (match.query_params, query)]
    if not all(value_matches(one.kind, one.value, given.get(one.name)) for ones, given in values for one in ones):
        return False
    if match.path.kind == "Exact":
        return path == match.path.value
    if match.path.kind == "Regex":
        return bool(re.fullmatch(match.path.value, path))
    prefix = match.path.value.rstrip("/")
    return path == prefix or path.startswith(prefix + "/")


def value_matches(kind: str, wanted: str, given: str | None) -> bool:
    if given is None:
        return False
    return given == wanted if kind == "Exact" else bool(re.fullmatch(wanted, given))


def service(name: str, port: int = 80, namespace: str = "default", app_protocol: str = "") -> str:
    """A Service with one endpoint."""
    return f"""
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{port: {port}, name: web, appProtocol: "{app_protocol}"}}]}}
---
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080, name: web}}]
endpoints: [{{addresses: [10.0.0.1]}}]
"""
