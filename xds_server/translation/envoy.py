"""Where Envoy's protobuf classes live, and how their messages become bytes.

No other module of the translation imports `envoy.*`: when the bindings move, this file moves with them.
It must not know the model.
"""

from __future__ import annotations

from typing import Any as AnyMessage
from typing import Final

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.core.v3.address_pb2 import Address, BindConfig, CidrRange, SocketAddress, TcpKeepalive
from envoy.config.core.v3.base_pb2 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    Locality,
    RuntimeFractionalPercent,
    TrafficDirection,
    TransportSocket,
)
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    UpstreamHttpProtocolOptions,
)
from envoy.config.core.v3.socket_option_pb2 import SocketOption
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.config.rbac.v3.rbac_pb2 import RBAC as RbacRules  # noqa: N811  # a class, named as an abbreviation
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    HeaderMatcher,
    QueryParameterMatcher,
    RateLimit,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration, Vhds
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import LocalRateLimitDescriptor, RateLimitDescriptor
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer, BufferPerRoute
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as Rbac  # noqa: N811  # as above
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute as RbacPerRoute
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsCertificate, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig, Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import (
    HttpProtocolOptions as ClusterHttpProtocolOptions,
)
from envoy.type.http.v3.cookie_pb2 import Cookie
from envoy.type.matcher.v3.address_pb2 import AddressMatcher
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent
from envoy.type.v3.range_pb2 import Int64Range
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from xds.core.v3.cidr_pb2 import CidrRange as AddressRange

__all__ = [
    "ADS",
    "AdditionalAddress",
    "Address",
    "AddressMatcher",
    "AddressRange",
    "Any",
    "BindConfig",
    "Buffer",
    "BufferPerRoute",
    "CidrRange",
    "CircuitBreakers",
    "Cluster",
    "ClusterHttpProtocolOptions",
    "ClusterLoadAssignment",
    "CommonTlsContext",
    "Cookie",
    "CookieBasedSessionState",
    "Cors",
    "CorsPolicy",
    "DataSource",
    "DirectResponseAction",
    "DownstreamTlsContext",
    "Duration",
    "EarlyHeaderMutation",
    "Endpoint",
    "Filter",
    "FilterChain",
    "FilterChainMatch",
    "FilterStateMatcher",
    "FilterStateValue",
    "FractionalPercent",
    "HeaderMatcher",
    "HeaderValue",
    "HeaderValueOption",
    "Http1ProtocolOptions",
    "Http2ProtocolOptions",
    "HttpConnectionManager",
    "HttpFilter",
    "HttpInspector",
    "HttpProtocolOptions",
    "Int64Range",
    "LbEndpoint",
    "Listener",
    "ListenerFilter",
    "LocalRateLimit",
    "LocalRateLimitDescriptor",
    "Locality",
    "LocalityLbEndpoints",
    "OriginalDst",
    "OriginalSrc",
    "Permission",
    "Policy",
    "PreviousHostsPredicate",
    "Principal",
    "QueryParameterMatcher",
    "RateLimit",
    "RateLimitDescriptor",
    "Rbac",
    "RbacPerRoute",
    "RbacRules",
    "Rds",
    "RedirectAction",
    "RegexMatchAndSubstitute",
    "RegexMatcher",
    "RetryPolicy",
    "Route",
    "RouteAction",
    "RouteConfiguration",
    "RouteMatch",
    "Router",
    "RuntimeFractionalPercent",
    "SdsSecretConfig",
    "Secret",
    "SetFilterState",
    "SocketAddress",
    "SocketOption",
    "StatefulSession",
    "StatefulSessionPerRoute",
    "StringMatcher",
    "TcpKeepalive",
    "TcpProxy",
    "TlsCertificate",
    "TlsInspector",
    "TlsParameters",
    "TokenBucket",
    "TrafficDirection",
    "TransportSocket",
    "TypedExtensionConfig",
    "UpstreamConnectionOptions",
    "UpstreamHttpProtocolOptions",
    "UpstreamTlsContext",
    "Vhds",
    "VirtualHost",
    "WeightedCluster",
    "any_of",
    "framed",
    "milliseconds",
    "serialised",
]

# X47: one constant for every reference; an Envoy that sees other bytes here subscribes anew, and may serve without.
ADS: Final = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)

_LENGTH_DELIMITED: Final = 2


def serialised(message: AnyMessage) -> bytes:
    """The one serialisation of a message: maps in key order, so that equal messages have equal bytes."""
    body: bytes = message.SerializeToString(deterministic=True)
    return body


def any_of(message: AnyMessage) -> Any:
    return Any(type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}", value=serialised(message))


def milliseconds(amount: int) -> Duration:
    return Duration(seconds=amount // 1000, nanos=amount % 1000 * 1_000_000)


def framed(field: int, body: bytes) -> bytes:
    """A serialised message as a field of another: repeated fields are joined by joining their bytes."""
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
