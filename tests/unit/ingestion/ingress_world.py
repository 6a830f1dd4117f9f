"""A world of manifests in which Ingresses are ingested, and a reader that says where a request would go."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec
import yaml

from xds_server.graph import Graph
from xds_server.ingestion.frontend_ports import ALL
from xds_server.ingestion.ingress import ingest_ingresses
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.refs import HostRef, ObjectRef, TableRef
from xds_server.model.route import DirectResponse, Forward, Redirect, Route, RouteMatch, VirtualHost
from xds_server.model.verdict import Condition, VerdictRef
from xds_server.objects import core, networking

STRUCTS = {
    "Ingress": networking.Ingress,
    "IngressClass": networking.IngressClass,
    "Service": core.Service,
    "Secret": core.Secret,
    "ConfigMap": core.ConfigMap,
}
SHOP = ObjectRef("Ingress", "default", "shop")
DIRECTORY = Settings(undeclared_classes=("tidegate", "cilium"), host_ports=ALL)


class World:
    """`apply` and `delete` return when everything has settled."""

    def __init__(self, settings: Settings = DIRECTORY) -> None:
        self.graph = Graph()
        self.sources = Sources.declare(self.graph)
        self.parts = ingest_ingresses(self.graph, self.sources, settings)

    def apply(self, *manifests: str) -> World:
        for manifest in manifests:
            for document in filter(None, yaml.safe_load_all(manifest)):
                value = msgspec.convert(document, STRUCTS[document["kind"]])
                self.sources.of(document["kind"]).put(self._ref(document), value)
        self.graph.commit()
        assert {} == dict(self.graph.faults)
        return self

    def delete(self, kind: str, name: str, namespace: str = "default") -> World:
        self.sources.of(kind).delete(ObjectRef(kind, "" if kind == "IngressClass" else namespace, name))
        self.graph.commit()
        assert {} == dict(self.graph.faults)
        return self

    @staticmethod
    def _ref(document: dict[str, dict[str, str]]) -> ObjectRef:
        kind, meta = str(document["kind"]), document["metadata"]
        namespace = "" if kind == "IngressClass" else meta.setdefault("namespace", "default")
        return ObjectRef(kind, namespace, meta["name"])

    def ask(self, url: str, frontend: ObjectRef, **headers: str) -> Route | int | str:
        """The route that takes a request, or the status that is answered without one, or "refused" without TLS."""
        parts = urlsplit(url)
        host, path, secure = parts.hostname or "", parts.path or "/", parts.scheme == "https"
        table = TableRef(frontend, 443 if secure else 80, self._sni(frontend, host) if secure else "")
        if secure and not table.hostname:
            return "refused"
        found = self._virtual_host(table, host)
        if found is None:
            return 404
        if found.force_https:
            return 308
        for ref in found.routes:
            route = self.parts.routes[ref]
            if matches(route.match, path, headers):
                return route
        return 404

    def served(self, url: str, frontend: ObjectRef = SHOP, **headers: str) -> str:
        """What answers, in words: backends, a redirect, or a status."""
        found = self.ask(url, frontend, **headers)
        return told(found) if isinstance(found, Route) else str(found)

    def _sni(self, frontend: ObjectRef, host: str) -> str:
        names = {
            each.hostname: each
            for each in self.parts.listeners.values()
            if each.frontend == frontend and each.protocol == "HTTPS"
        }
        for name in (host, *wildcards(host), "*"):
            if name in names:
                return "" if host in names[name].misdirected else name
        return ""

    def _virtual_host(self, table: TableRef, host: str) -> VirtualHost | None:
        for name in (host, *wildcards(host), "*"):
            found = self.parts.virtual_hosts.get(HostRef(table, name))
            if found is not None:
                if found.one_label and host.partition(".")[2] != name.removeprefix("*."):
                    return None
                return found
        return None

    def condition(self, name: str, type_: str, namespace: str = "default") -> Condition | None:
        found = self.parts.verdicts[VerdictRef(ObjectRef("Ingress", namespace, name))]
        return next((each for each in found.conditions if each.type == type_), None)

    def warnings(self, name: str, namespace: str = "default") -> dict[str, str]:
        ref = ObjectRef("Ingress", namespace, name)
        return {field: each.message for (owner, field), each in self.parts.warnings.items() if owner == ref}


def wildcards(host: str) -> list[str]:
    labels = host.split(".")
    return ["*." + ".".join(labels[start:]) for start in range(1, len(labels))]


def matches(match: RouteMatch, path: str, headers: dict[str, str]) -> bool:
    kind, value = match.path.kind, match.path.value
    if kind == "Exact" and path != value:
        return False
    if kind == "Regex" and not re.fullmatch(value, path):
        return False
    if kind == "Prefix" and value not in {"/", path} and not path.startswith(value + "/"):
        return False
    for wanted in match.headers:
        given = headers.get(wanted.name.replace("-", "_"))
        if given is None or (wanted.kind == "Exact" and given != wanted.value):
            return False
        if wanted.kind == "Regex" and not re.fullmatch(wanted.value, given):
            return False
    return True


def told(route: Route) -> str:
    match route.action:
        case Forward(backends):
            shares = [f"{b.cluster.service}:{b.cluster.port}" if b.cluster else "500" for b in backends]
            weights = [f" {b.weight}" if len(backends) > 1 else "" for b in backends]
            return ", ".join(share + weight for share, weight in zip(shares, weights, strict=True))
        case Redirect(status=status, location=location):
            return f"{status} {location}".strip()
        case DirectResponse(status=status):
            return str(status)


def service(name: str, port: int = 80, namespace: str = "default", port_name: str = "http") -> str:
    return f"""
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{port: {port}, name: {port_name}}}]}}
"""


def path_to(name: str, path: str = "/", type_: str = "Prefix", port: int = 80) -> str:
    backend = f"{{service: {{name: {name}, port: {{number: {port}}}}}}}"
    return f"{{path: {msgspec.json.encode(path).decode()}, pathType: {type_}, backend: {backend}}}"


def ingress(
    *rules: tuple[str, str] | str,
    name: str = "shop",
    namespace: str = "default",
    created: str = "",
    annotations: dict[str, str] | None = None,
    spec: str = "",
    class_name: str = "cilium",
) -> str:
    """An Ingress; each rule is a host and its paths, joined by commas."""
    pairs = [rule if isinstance(rule, tuple) else ("", rule) for rule in rules]
    written = ", ".join(f"{{host: {host!r}, http: {{paths: [{paths}]}}}}" for host, paths in pairs)
    return f"""
kind: Ingress
metadata:
  name: {name}
  namespace: {namespace}
  creationTimestamp: {created!r}
  annotations: {msgspec.json.encode(annotations or {}).decode()}
spec:
  ingressClassName: {class_name!r}
  rules: [{written}]
  {spec}
"""
