"""Clusters: one port of a Service, spoken to in one way."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from xds_server.model.backend import Cluster
from xds_server.model.refs import ClusterRef, Protocol
from xds_server.model.resource import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, Resource, ResourceKey, resource
from xds_server.translation import envoy, names
from xds_server.translation.socket_options import FROM_PROXY, FROM_PROXY_AS

_NAME, _EDS_CLUSTER_CONFIG, _SERVICE_NAME = 1, 3, 2  # of a Cluster, and of its EdsClusterConfig
_EDS: Final = envoy.serialised(envoy.Cluster.EdsClusterConfig(eds_config=envoy.ADS))
_BUFFER_BYTES: Final = 32 * 1024
_UPSTREAM_IDLE_MS: Final = 60_000
_UNLIMITED: Final = {"value": 2**32 - 1}
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2: Final = frozenset({"h2c", "h2"})
_TLS: Final = frozenset({"https", "h2"})

# Envoy's own 1,024 is a wall that many WebSockets reach at once. What a proxy can bear is told by its memory and its
# connection limit, which is no matter of one Service. Retries are: where all requests fail, retries add a fifth, not
# many times as many; and a quiet Service may always have a few.
_CIRCUIT_BREAKERS: Final = envoy.CircuitBreakers(
    thresholds=[
        {
            "max_connections": _UNLIMITED,
            "max_pending_requests": _UNLIMITED,
            "max_requests": _UNLIMITED,
            "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": {"value": 10}},
        }
    ]
)
_KEEPALIVE: Final = envoy.UpstreamConnectionOptions(
    tcp_keepalive=envoy.TcpKeepalive(
        keepalive_probes={"value": 3}, keepalive_time={"value": 30}, keepalive_interval={"value": 5}
    )
)


def cluster(cluster: Cluster, *, datapath: bool = False) -> Resource:
    """Round robin: a backend that refuses at once looks idle, and by least requests would draw all requests to itself.

    Nothing is ejected: which endpoints are fit to serve is what Kubernetes' readiness says.
    """
    name = names.cluster(cluster.ref)
    if cluster.connect_timeout_ms <= 0:
        raise ValueError(f"{name}: a connect timeout of {cluster.connect_timeout_ms} ms is not positive")
    encoded = name.encode()
    source = _EDS + envoy.framed(_SERVICE_NAME, encoded)
    common = _common(
        cluster.ref._replace(namespace="", service="", port=0), cluster.connect_timeout_ms, datapath=datapath
    )
    body = envoy.framed(_NAME, encoded) + envoy.framed(_EDS_CLUSTER_CONFIG, source) + common
    return resource(CLUSTER, name, body, (ResourceKey(CLUSTER_LOAD_ASSIGNMENT, name),))


@lru_cache(maxsize=1024)  # protocols are few, and so are the timeouts that their authors think of
def _common(unnamed: ClusterRef, connect_timeout_ms: int, *, datapath: bool) -> bytes:
    """All but the names, for fields may come in any order.

    A mark of the cluster's counts after one of the connection's: hence it is here, and not with the client's address.
    """
    protocol = unnamed.protocol
    message = envoy.Cluster(
        type=envoy.Cluster.EDS,
        connect_timeout=envoy.milliseconds(connect_timeout_ms),
        lb_policy=envoy.Cluster.ROUND_ROBIN,
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        circuit_breakers=_CIRCUIT_BREAKERS,
        upstream_connection_options=_KEEPALIVE,
    )
    if datapath:
        message.upstream_bind_config.socket_options.extend(FROM_PROXY_AS if unnamed.kept else [FROM_PROXY])
    if protocol != "tcp":
        message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(_http_options(protocol))
    if protocol in _TLS:
        message.transport_socket.CopyFrom(_tls(protocol))
    return envoy.serialised(message)


def _http_options(protocol: Protocol) -> envoy.Any:
    explicit = envoy.ClusterHttpProtocolOptions.ExplicitHttpConfig()
    if protocol in _HTTP2:
        explicit.http2_protocol_options.SetInParent()
    else:
        explicit.http_protocol_options.SetInParent()
    options = envoy.ClusterHttpProtocolOptions(
        explicit_http_config=explicit,
        common_http_protocol_options=envoy.HttpProtocolOptions(idle_timeout=envoy.milliseconds(_UPSTREAM_IDLE_MS)),
    )
    if protocol in _TLS:
        options.upstream_http_protocol_options.CopyFrom(envoy.UpstreamHttpProtocolOptions(auto_sni=True))
    return envoy.any_of(options)


def _tls(protocol: Protocol) -> envoy.TransportSocket:
    """TLS that encrypts and does not verify, which is what ingress-nginx's `backend-protocol: HTTPS` means.

    Only that annotation, or a Service's own `appProtocol`, leads here; what verifies says whom it trusts (S8).
    """
    context = envoy.UpstreamTlsContext(
        common_tls_context=envoy.CommonTlsContext(
            tls_params=envoy.TlsParameters(
                tls_minimum_protocol_version=envoy.TlsParameters.TLSv1_2,
                tls_maximum_protocol_version=envoy.TlsParameters.TLSv1_3,
            ),
            alpn_protocols=["h2" if protocol in _HTTP2 else "http/1.1"],
        )
    )
    return envoy.TransportSocket(name="envoy.transport_sockets.tls", typed_config=envoy.any_of(context))
