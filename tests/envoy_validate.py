"""The real Envoy as a judge of translated resources.

A translated world is turned into one static bootstrap, so that no control plane takes part: what a listener would ask
for over ADS (routes, certificates, endpoints) is put where the reference stands, byte for byte as it was translated.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster as EnvoyCluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.json_format import ParseDict

from xds_server.graph import Graph
from xds_server.model.backend import Certificate, Cluster, Endpoint, Endpoints
from xds_server.model.interception import Workload
from xds_server.model.listener import Frontend, Listener
from xds_server.model.refs import ClusterRef, HostRef
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    INTERCEPTED,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    WORKLOADS,
    Resource,
    ResourceKey,
)
from xds_server.model.route import Forward, Route, TlsRoute, VirtualHost
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as datapath
from xds_server.translation.collections import translate, translate_backends
from xds_server.translation.settings import TranslationSettings

CLASSES: Final[dict[str, Any]] = {
    LISTENER: EnvoyListener,
    ROUTE_CONFIGURATION: RouteConfiguration,
    VIRTUAL_HOST: EnvoyVirtualHost,
    CLUSTER: EnvoyCluster,
    CLUSTER_LOAD_ASSIGNMENT: ClusterLoadAssignment,
    SECRET: Secret,
    INTERCEPTED: datapath.Service,
    WORKLOADS: datapath.Workloads,
}
MAX_REGEX_PROGRAM: Final = 1000
READY: Final = "starting main dispatch loop"

Resources = Mapping[ResourceKey, Resource]


class World:
    """The collections of the model as sources, and the translation of them."""

    def __init__(self, settings: TranslationSettings | None = None) -> None:
        self.graph = Graph()
        names = ("frontends", "listeners", "routes", "virtual_hosts", "tls_routes", "clusters", "endpoints")
        for name in (*names, "certificates", "workloads", "clients", "kernel_services", "announced"):
            setattr(self, name, self.graph.source(name))
        settings = settings or TranslationSettings()
        backends = translate_backends(self.graph, self.clusters, self.endpoints, settings)
        self.resources, self.over_budget = translate(self.graph, self, backends, settings)

    frontends: Any
    announced: Any
    listeners: Any
    routes: Any
    virtual_hosts: Any
    tls_routes: Any
    clusters: Any
    endpoints: Any
    certificates: Any
    workloads: Any
    clients: Any
    kernel_services: Any

    def put(self, *values: Any) -> World:
        """Put values where they belong; clusters that routes name appear by themselves, without endpoints."""
        for value in values:
            if isinstance(value, Route | TlsRoute):
                self._name_clusters(value)
            self._source(value).put(value.ref, value)
        return self

    def commit(self) -> World:
        self.graph.commit()
        assert {} == dict(self.graph.faults)
        return self

    def message(self, type_url: str, name: str) -> Any:
        return decoded(self.resources[ResourceKey(type_url, name)])

    def messages(self, type_url: str) -> dict[str, Any]:
        return {key.name: decoded(self.resources[key]) for key in sorted(self.resources) if key.type_url == type_url}

    def _name_clusters(self, route: Route | TlsRoute) -> None:
        backends = route.backends if isinstance(route, TlsRoute) else ()
        if isinstance(route, Route) and isinstance(route.action, Forward):
            backends = route.action.backends
        filters = [backend.filters for backend in backends]
        filters += [route.filters] if isinstance(route, Route) else []
        named = [backend.cluster for backend in backends if backend.cluster]
        named += [mirror.cluster for each in filters for mirror in each.mirrors]
        for ref in named:
            if ref not in self.clusters:
                self.clusters.put(ref, Cluster(ref))

    def _source(self, value: Any) -> Any:
        return {
            Frontend: self.frontends,
            Listener: self.listeners,
            Route: self.routes,
            VirtualHost: self.virtual_hosts,
            TlsRoute: self.tls_routes,
            Cluster: self.clusters,
            Endpoints: self.endpoints,
            Certificate: self.certificates,
            Workload: self.workloads,
        }[type(value)]


def decoded(resource: Resource) -> Any:
    return CLASSES[resource.type_url].FromString(resource.body)


def bootstrap(resources: Resources) -> Bootstrap:
    """One static configuration that says what the resources say."""
    message = Bootstrap()
    ParseDict({"re2.max_program_size.error_level": MAX_REGEX_PROGRAM}, _layer(message))
    for key in sorted(resources):
        if key.type_url == CLUSTER:
            message.static_resources.clusters.append(_with_endpoints(decoded(resources[key]), resources))
        if key.type_url == LISTENER:
            message.static_resources.listeners.append(_with_routes(decoded(resources[key]), resources))
    return message


def judgement(envoy: Path, resources: Resources, directory: Path) -> str:
    """Empty when Envoy takes the resources, else what it says against them."""
    config = _written(resources, directory)
    done = subprocess.run(
        [envoy, "--mode", "validate", "--config-path", config, "--log-level", "error", "--disable-hot-restart"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr + done.stdout


@dataclass
class Running:
    """A real Envoy that serves a translated world."""

    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)


@contextmanager
def running(envoy: Path, resources: Resources, directory: Path, admin: Path | None = None) -> Iterator[Running]:
    """Envoy from its log's "starting main dispatch loop" to the end of the block."""
    config = _written(resources, directory, admin)
    log = directory / "envoy.log"
    command = [str(envoy), "--config-path", str(config), "--disable-hot-restart", "--concurrency", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        serving = Running(process)
        try:
            assert process.stderr is not None
            for line in process.stderr:
                serving.log.append(line)
                if READY in line:
                    break
            else:
                raise AssertionError("".join(serving.log))
            yield serving
        finally:
            process.terminate()
            assert process.stderr is not None
            log.write_text("".join(serving.log) + process.stderr.read())
            process.wait()


def endpoints(ref: ClusterRef, *addresses: tuple[str, int]) -> Endpoints:
    return Endpoints(ref, tuple(sorted(Endpoint(address, port) for address, port in addresses)))


def table_message(resources: Resources, name: str) -> Any:
    """A route configuration as Envoy ends up with it, whichever way its virtual hosts come."""
    resource = resources[ResourceKey(ROUTE_CONFIGURATION, name)]
    if resource.stem is None:
        return decoded(resource)
    message = RouteConfiguration.FromString(resource.stem)
    for key in sorted(resources):
        if key.type_url == VIRTUAL_HOST and key.name.startswith(name + "/"):
            message.virtual_hosts.append(decoded(resources[key]))
    return message


def virtual_host_message(resources: Resources, table: str, host: HostRef) -> Any:
    """The virtual host of a hostname in a route configuration."""
    message = table_message(resources, table)
    return next(each for each in message.virtual_hosts if host.hostname in each.domains)


def _layer(message: Bootstrap) -> Any:
    return message.layered_runtime.layers.add(name="tidegate").static_layer


def _written(resources: Resources, directory: Path, admin: Path | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    config, message = directory / "bootstrap.pb", bootstrap(resources)
    if admin is not None:
        message.admin.address.pipe.path = str(admin)
    config.write_bytes(message.SerializeToString(deterministic=True))
    return config


def _with_endpoints(cluster: Any, resources: Resources) -> Any:
    if cluster.type != EnvoyCluster.EDS:
        return cluster
    assignment = resources[ResourceKey(CLUSTER_LOAD_ASSIGNMENT, cluster.eds_cluster_config.service_name)]
    cluster.ClearField("eds_cluster_config")
    cluster.type = EnvoyCluster.STATIC
    cluster.load_assignment.CopyFrom(decoded(assignment))
    return cluster


def _with_routes(listener: Any, resources: Resources) -> Any:
    for chain in listener.filter_chains:
        for each in chain.filters:
            if each.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(each.typed_config.value)
                manager.route_config.CopyFrom(table_message(resources, manager.rds.route_config_name))
                each.typed_config.Pack(manager, deterministic=True)
        if chain.HasField("transport_socket"):
            _with_certificates(chain.transport_socket, resources)
    return listener


def _with_certificates(socket: Any, resources: Resources) -> None:
    context = DownstreamTlsContext.FromString(socket.typed_config.value)
    common = context.common_tls_context
    for config in common.tls_certificate_sds_secret_configs:
        secret = decoded(resources[ResourceKey(SECRET, config.name)])
        common.tls_certificates.append(secret.tls_certificate)
    common.ClearField("tls_certificate_sds_secret_configs")
    socket.typed_config.Pack(context, deterministic=True)
