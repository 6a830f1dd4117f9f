"""The two listeners that Envoy binds where a daemon leads connections to it, one for each family.

They serve nothing themselves: a connection goes on to the listener of its original destination, which is not bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xds_server.model.resource import CLUSTER, LISTENER, Resource, ResourceKey, resource
from xds_server.translation import envoy, names
from xds_server.translation.socket_options import FROM_PROXY, KEEPALIVE

PORT: Final = 15001
_LOOPBACK: Final = {names.CAPTURE_IPV4: "127.0.0.1", names.CAPTURE_IPV6: "::1"}
_BACKLOG: Final = 4096
_BUFFER_BYTES: Final = 32 * 1024
_CONNECT_MS: Final = 5000

_ORIGINAL_DST: Final = envoy.ListenerFilter(
    name="envoy.filters.listener.original_dst", typed_config=envoy.any_of(envoy.OriginalDst())
)


def capture() -> Iterator[Resource]:
    yield _original_destination()
    for name, address in _LOOPBACK.items():
        yield resource(
            LISTENER,
            name,
            envoy.serialised(_listener(name, address)),
            (ResourceKey(CLUSTER, names.CAPTURE_CLUSTER),),
        )


def _listener(name: str, address: str) -> envoy.Listener:
    """Sockets that it accepts have its socket options: what is answered is marked as from Envoy, and not led back."""
    return envoy.Listener(
        name=name,
        address=envoy.Address(socket_address=envoy.SocketAddress(address=address, port_value=PORT)),
        stat_prefix=name,
        transparent={"value": True},
        use_original_dst={"value": True},
        listener_filters=[_ORIGINAL_DST],
        filter_chains=[_refused()],
        default_filter_chain=_passed(name),
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        traffic_direction=envoy.TrafficDirection.OUTBOUND,
        enable_reuse_port={"value": True},
        tcp_backlog_size={"value": _BACKLOG},
        socket_options=[FROM_PROXY, *KEEPALIVE],
    )


def _refused() -> envoy.FilterChain:
    """A chain without filters closes the connection.

    Who calls the port itself comes from loopback, for it is nowhere else.
    An address that calls itself is Envoy's own connection come back to it, or would become one.
    """
    match = envoy.FilterChainMatch(source_type=envoy.FilterChainMatch.SAME_IP_OR_LOOPBACK)
    return envoy.FilterChain(name="refused", filter_chain_match=match)


def _passed(name: str) -> envoy.FilterChain:
    """Where no listener has the original destination, its connection goes on to it as bytes."""
    proxy = envoy.TcpProxy(stat_prefix=name, cluster=names.CAPTURE_CLUSTER)
    return envoy.FilterChain(
        name="passed", filters=[envoy.Filter(name="envoy.filters.network.tcp_proxy", typed_config=envoy.any_of(proxy))]
    )


def _original_destination() -> Resource:
    message = envoy.Cluster(
        name=names.CAPTURE_CLUSTER,
        type=envoy.Cluster.ORIGINAL_DST,
        lb_policy=envoy.Cluster.CLUSTER_PROVIDED,
        connect_timeout=envoy.milliseconds(_CONNECT_MS),
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        upstream_bind_config=envoy.BindConfig(socket_options=[FROM_PROXY]),
    )
    return resource(CLUSTER, names.CAPTURE_CLUSTER, envoy.serialised(message))
