"""The HTTP connection manager: the same edge defaults for every listener.

No client is trusted: Envoy uses the connection's own address, and takes no `x-envoy-*` header, no client certificate
header and no hop of `x-forwarded-for` for granted (S7). Paths are normalised before anything looks at them (S6).
"""

from __future__ import annotations

from typing import Final

from xds_server.translation import envoy
from xds_server.translation.http_filter import http_filters
from xds_server.translation.route_action import STREAM_IDLE_MS

NAME: Final = "envoy.filters.network.http_connection_manager"

_Hcm: Final = envoy.HttpConnectionManager
_CONCURRENT_STREAMS: Final = 100
_STREAM_WINDOW: Final = 64 * 1024
_CONNECTION_WINDOW: Final = 1024 * 1024
_HEADERS_MS: Final = 60_000
_HEADERS_KIB: Final = 60

# An empty list would mean the private networks; no connection ever comes from this address.
_NOBODY: Final = _Hcm.InternalAddressConfig(
    cidr_ranges=[envoy.CidrRange(address_prefix="255.255.255.255", prefix_len={"value": 32})]
)

# What only a proxy may say of a request. Envoy writes x-forwarded-proto and x-forwarded-for itself, and removes what
# steers its own router; backends believe the others, so none of them is a client's to send.
_PROXY_HEADERS: Final = (
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "x-scheme",
    "true-client-ip",
)
_WITHOUT_PROXY_HEADERS: Final = envoy.TypedExtensionConfig(
    name="envoy.http.early_header_mutation.header_mutation",
    typed_config=envoy.any_of(
        envoy.EarlyHeaderMutation(
            mutations=[
                {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                *({"remove": name} for name in _PROXY_HEADERS),
            ]
        )
    ),
)

_DEFAULTS: Final = _Hcm(
    codec_type=_Hcm.AUTO,
    http_filters=http_filters(),
    common_http_protocol_options=envoy.HttpProtocolOptions(
        # "a_b" and "a-b" are the same to many applications: a client could speak in the name of a trusted header.
        headers_with_underscores_action=envoy.HttpProtocolOptions.REJECT_REQUEST,
    ),
    http2_protocol_options=envoy.Http2ProtocolOptions(
        max_concurrent_streams={"value": _CONCURRENT_STREAMS},
        initial_stream_window_size={"value": _STREAM_WINDOW},
        initial_connection_window_size={"value": _CONNECTION_WINDOW},
    ),
    max_request_headers_kb={"value": _HEADERS_KIB},
    stream_idle_timeout=envoy.milliseconds(STREAM_IDLE_MS),
    request_headers_timeout=envoy.milliseconds(_HEADERS_MS),
    use_remote_address={"value": True},
    xff_num_trusted_hops=0,
    skip_xff_append=True,  # the route configuration writes it, for clients on loopback too
    internal_address_config=_NOBODY,
    early_header_mutation_extensions=[_WITHOUT_PROXY_HEADERS],
    generate_request_id={"value": True},
    forward_client_cert_details=_Hcm.SANITIZE,
    upgrade_configs=[_Hcm.UpgradeConfig(upgrade_type="websocket", filters=http_filters(upgrade=True))],
    normalize_path={"value": True},
    merge_slashes=True,
    # "%2F" is one path to a router and another to an application. Neither guess is safe, so neither is made: 400.
    path_with_escaped_slashes_action=_Hcm.REJECT_REQUEST,
    strip_trailing_host_dot=True,
    server_header_transformation=_Hcm.OVERWRITE,
)


def http_connection_manager(route_configuration: str, stat_prefix: str) -> envoy.Filter:
    manager = _Hcm(
        stat_prefix=stat_prefix, rds=envoy.Rds(config_source=envoy.ADS, route_config_name=route_configuration)
    )
    manager.MergeFrom(_DEFAULTS)
    return envoy.Filter(name=NAME, typed_config=envoy.any_of(manager))
