"""The bootstrap in envoy-data-plane's classes: what an Envoy knows before it has spoken to the control plane.

Importing this module takes half a second; `bootstrap` does so when asked for a text.
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any as Json

from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDeferredStatOptions,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    BackoffStrategy,
    ConfigSource,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    KeepaliveSettings,
    Locality,
    Node,
    PathConfigSource,
    Pipe,
    RetryPolicy,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HttpProtocolOptions as CoreHttpProtocolOptions,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.metrics.v3 import StatsConfig, StatsMatcher
from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct, Value

from xds_server.proxy.bootstrap import (
    AUTHORITY_SOURCE,
    CERTIFICATE_SOURCE,
    BootstrapOptions,
    ClientTls,
    XdsHost,
    is_address,
    source,
)

ADMIN_CLUSTER = "tidegate/admin"
XDS_CLUSTER = "tidegate/xds"
METRICS_LISTENER = "tidegate/metrics"

# Statistics that no dashboard, alert or condition of ours reads are never made: a cluster has hundreds otherwise.
KEPT_STATS = (
    StringMatcher(prefix="cluster_manager."),
    StringMatcher(prefix="control_plane."),
    StringMatcher(prefix="http."),
    StringMatcher(prefix="listener."),
    StringMatcher(prefix="listener_manager."),
    StringMatcher(prefix="main_thread."),
    StringMatcher(prefix="overload."),
    StringMatcher(prefix="sds."),
    StringMatcher(prefix="server."),
    StringMatcher(prefix="tcp."),
    StringMatcher(contains=".circuit_breakers.default."),
    StringMatcher(contains=".membership_"),
    StringMatcher(contains=".outlier_detection.ejections_active"),
    StringMatcher(contains=".ssl."),
    StringMatcher(contains=".update_rejected"),
    StringMatcher(contains=".upstream_cx_active"),
    StringMatcher(contains=".upstream_cx_connect_fail"),
    StringMatcher(contains=".upstream_cx_connect_timeout"),
    StringMatcher(contains=".upstream_cx_overflow"),
    StringMatcher(contains=".upstream_cx_rx_bytes_total"),
    StringMatcher(contains=".upstream_cx_total"),
    StringMatcher(contains=".upstream_cx_tx_bytes_total"),
    StringMatcher(contains=".upstream_rq_"),
)

# What is given up as the heap fills, in this order: cached memory, idle clients, new requests, new connections.
HEAP_ACTIONS = (
    ("envoy.overload_actions.shrink_heap", 0.90),
    ("envoy.overload_actions.disable_http_keepalive", 0.92),
    ("envoy.overload_actions.stop_accepting_requests", 0.95),
    ("envoy.overload_actions.stop_accepting_connections", 0.98),
)
HEAP_MONITOR = "envoy.resource_monitors.fixed_heap"
CONNECTION_MONITOR = "envoy.resource_monitors.global_downstream_max_connections"

# Of a client, Envoy's own maximum is 1.2: with the minimum alone no version is left.
TLS_PARAMETERS = TlsParameters(
    tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
    tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
)

UNDERSCORES_REFUSED = HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST

METRICS_PATHS = ("/stats/prometheus", "/ready")


def document(options: BootstrapOptions) -> dict[str, Json]:
    return message(options).to_dict(casing=Casing.SNAKE)


def message(options: BootstrapOptions) -> Bootstrap:
    return Bootstrap(
        node=Node(
            id=options.node_id,
            cluster=options.node_cluster,
            locality=Locality(zone=options.zone) if options.zone else None,
        ),
        admin=Admin(
            address=Address(pipe=Pipe(path=str(options.admin.absolute()), mode=0o600)),
            # Who looks for the reason must get in when nobody else does.
            ignore_global_conn_limit=True,
        ),
        dynamic_resources=BootstrapDynamicResources(
            ads_config=ads(),
            cds_config=from_ads(),
            lds_config=from_ads(),
        ),
        static_resources=BootstrapStaticResources(
            clusters=[xds_cluster(options), *([admin_cluster(options)] if options.metrics else [])],
            listeners=[metrics_listener(*options.metrics)] if options.metrics else [],
        ),
        # Reading all statistics of 10,000 clusters takes the main thread, which applies updates too, a tenth of a
        # second: it is done when somebody asks for them, and not every five seconds besides.
        stats_flush_on_admin=True,
        # A cluster's statistics are made at its first request: clusters without traffic cost no memory for them.
        deferred_stat_options=BootstrapDeferredStatOptions(enable_deferred_creation_stats=True),
        stats_config=StatsConfig(stats_matcher=StatsMatcher(inclusion_list=ListStringMatcher(patterns=[*KEPT_STATS]))),
        overload_manager=overload_manager(options),
        layered_runtime=LayeredRuntime(layers=[RuntimeLayer(name="tidegate", static_layer=runtime(options))]),
    )


def ads() -> ApiConfigSource:
    return ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC,
        transport_api_version=ApiVersion.V3,
        grpc_services=[
            GrpcService(
                envoy_grpc=GrpcServiceEnvoyGrpc(
                    cluster_name=XDS_CLUSTER,
                    # Only the back-off is read of this policy: a stream is opened again for ever.
                    retry_policy=RetryPolicy(
                        retry_back_off=BackoffStrategy(
                            base_interval=timedelta(milliseconds=200),
                            max_interval=timedelta(seconds=5),
                        ),
                    ),
                ),
            ),
        ],
        set_node_on_first_message_only=True,
    )


def from_ads() -> ConfigSource:
    """Waits without limit: an Envoy that has no configuration yet must not say that it is ready."""
    return ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=timedelta(0),
    )


def xds_cluster(options: BootstrapOptions) -> Cluster:
    xds = options.xds
    return Cluster(
        name=XDS_CLUSTER,
        type=discovery_type(xds.host) if isinstance(xds, XdsHost) else ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=2),
        load_assignment=load_assignment(
            XDS_CLUSTER,
            tcp(xds.host, xds.port) if isinstance(xds, XdsHost) else pipe(xds.path),
        ),
        # The stream is idle for hours between changes: without pings a control plane that vanished would go unnoticed.
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(
                HttpProtocolOptions(
                    explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
                        http2_protocol_options=Http2ProtocolOptions(
                            connection_keepalive=KeepaliveSettings(
                                interval=timedelta(seconds=30),
                                timeout=timedelta(seconds=5),
                            ),
                        ),
                    ),
                ),
            ),
        },
        transport_socket=client_tls(xds.tls) if isinstance(xds, XdsHost) and xds.tls else None,
    )


def client_tls(tls: ClientTls) -> TransportSocket:
    return TransportSocket(
        name="envoy.transport_sockets.tls",
        typed_config=Any.pack(
            UpstreamTlsContext(
                sni="" if is_address(tls.server_name) else tls.server_name,  # RFC 6066: no address is a server name
                common_tls_context=rotating(tls.sources) if tls.sources else fixed(tls),
            ),
        ),
    )


def fixed(tls: ClientTls) -> CommonTlsContext:
    """Files that are read when Envoy starts, and then no more."""
    return CommonTlsContext(
        alpn_protocols=["h2"],
        tls_params=TLS_PARAMETERS,
        tls_certificates=[
            TlsCertificate(certificate_chain=file(tls.certificate), private_key=file(tls.private_key)),
        ],
        validation_context=CertificateValidationContext(
            trusted_ca=file(tls.trusted_ca),
            match_typed_subject_alt_names=[
                SubjectAltNameMatcher(
                    san_type=(
                        SubjectAltNameMatcherSanType.IP_ADDRESS
                        if is_address(tls.server_name)
                        else SubjectAltNameMatcherSanType.DNS
                    ),
                    matcher=StringMatcher(exact=tls.server_name),
                ),
            ],
        ),
    )


def rotating(sources: Path) -> CommonTlsContext:
    """Files that Envoy reads again when they are replaced: a new connection uses the new, and none is closed for it."""
    return CommonTlsContext(
        alpn_protocols=["h2"],
        tls_params=TLS_PARAMETERS,
        tls_certificate_sds_secret_configs=[from_file(sources, CERTIFICATE_SOURCE)],
        validation_context_sds_secret_config=from_file(sources, AUTHORITY_SOURCE),
    )


def from_file(sources: Path, name: str) -> SdsSecretConfig:
    path = PathConfigSource(path=str(source(sources, name).absolute()))
    return SdsSecretConfig(
        name=name, sds_config=ConfigSource(path_config_source=path, resource_api_version=ApiVersion.V3)
    )


def admin_cluster(options: BootstrapOptions) -> Cluster:
    return Cluster(
        name=ADMIN_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        load_assignment=load_assignment(ADMIN_CLUSTER, pipe(options.admin)),
    )


def metrics_listener(host: str, port: int) -> Listener:
    """The one door to the admin interface that needs no file permission: two paths, one method, no writes (S11)."""
    return Listener(
        name=METRICS_LISTENER,
        stat_prefix="metrics",
        address=tcp(host, port),
        # As for the admin interface.
        ignore_global_conn_limit=True,
        bypass_overload_manager=True,
        filter_chains=[
            FilterChain(
                filters=[
                    Filter(
                        name="envoy.filters.network.http_connection_manager",
                        typed_config=Any.pack(
                            HttpConnectionManager(
                                stat_prefix="metrics",
                                normalize_path=True,
                                # Who may dial it is not known: who says nothing does not stay.
                                request_headers_timeout=timedelta(seconds=5),
                                request_timeout=timedelta(seconds=10),
                                stream_idle_timeout=timedelta(seconds=30),
                                common_http_protocol_options=CoreHttpProtocolOptions(
                                    idle_timeout=timedelta(minutes=2),
                                    headers_with_underscores_action=UNDERSCORES_REFUSED,
                                ),
                                route_config=RouteConfiguration(
                                    name=METRICS_LISTENER,
                                    virtual_hosts=[
                                        VirtualHost(
                                            name=METRICS_LISTENER,
                                            domains=["*"],
                                            routes=[metrics_route(path) for path in METRICS_PATHS],
                                        ),
                                    ],
                                ),
                                http_filters=[
                                    HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router())),
                                ],
                            ),
                        ),
                    ),
                ],
            ),
        ],
    )


def metrics_route(path: str) -> Route:
    return Route(
        match=RouteMatch(
            path=path,
            headers=[HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))],
        ),
        route=RouteAction(cluster=ADMIN_CLUSTER),
    )


def overload_manager(options: BootstrapOptions) -> OverloadManager:
    return OverloadManager(
        refresh_interval=timedelta(milliseconds=250),
        resource_monitors=[
            ResourceMonitor(
                name=HEAP_MONITOR,
                typed_config=Any.pack(FixedHeapConfig(max_heap_size_bytes=options.max_heap_bytes)),
            ),
            ResourceMonitor(
                name=CONNECTION_MONITOR,
                typed_config=Any.pack(
                    DownstreamConnectionsConfig(max_active_downstream_connections=options.max_connections),
                ),
            ),
        ],
        actions=[
            OverloadAction(
                name=action,
                triggers=[Trigger(name=HEAP_MONITOR, threshold=ThresholdTrigger(value=threshold))],
            )
            for action, threshold in HEAP_ACTIONS
        ],
    )


def runtime(options: BootstrapOptions) -> Struct:
    """Only this layer exists, so nobody changes a running Envoy's features through its admin interface."""
    return Struct(
        fields={
            # Beside the limit on connections, which does not count those of who watches.
            f"envoy.resource_limits.listener.{METRICS_LISTENER}.connection_limit": Value(number_value=100),
            "re2.max_program_size.error_level": Value(number_value=options.max_regex_program_size),
            "re2.max_program_size.warn_level": Value(number_value=options.max_regex_program_size),
        },
    )


def discovery_type(host: str) -> ClusterDiscoveryType:
    try:
        ip_address(host)
    except ValueError:
        return ClusterDiscoveryType.STRICT_DNS
    return ClusterDiscoveryType.STATIC


def load_assignment(cluster: str, address: Address) -> ClusterLoadAssignment:
    endpoint = LbEndpoint(endpoint=Endpoint(address=address))
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])])


def tcp(host: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def pipe(path: Path) -> Address:
    return Address(pipe=Pipe(path=str(path.absolute())))


def file(path: Path) -> DataSource:
    return DataSource(filename=str(path.absolute()))


__all__ = ["document", "message"]
