"""One Envoy listener for each address and port of a frontend; what differs by SNI is a filter chain.

An address is part of a listener's identity: one that moves between frontends is then a removal and an addition,
while Envoy would refuse a change to an address that another listener still has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from xds_server.model.listener import Frontend, Listener, TlsTermination
from xds_server.model.refs import UNSAID, Kept, PortRef, TableRef, family
from xds_server.model.resource import CLUSTER, LISTENER, ROUTE_CONFIGURATION, SECRET, Resource, ResourceKey, resource
from xds_server.model.route import TlsRoute
from xds_server.translation import envoy, names
from xds_server.translation.clients import NOTED
from xds_server.translation.http_connection_manager import http_connection_manager
from xds_server.translation.settings import TranslationSettings
from xds_server.translation.socket_options import KEEPALIVE

_BUFFER_BYTES: Final = 32 * 1024
_BACKLOG: Final = 4096
_LAST_PORT: Final = 65_535
_TLS_INSPECTOR: Final = envoy.ListenerFilter(
    name="envoy.filters.listener.tls_inspector", typed_config=envoy.any_of(envoy.TlsInspector())
)
_HTTP_INSPECTOR: Final = envoy.ListenerFilter(
    name="envoy.filters.listener.http_inspector", typed_config=envoy.any_of(envoy.HttpInspector())
)
_ORIGINAL_SRC: Final = envoy.ListenerFilter(
    name="envoy.filters.listener.original_src", typed_config=envoy.any_of(envoy.OriginalSrc())
)
"""Connections to backends come from the client's address; their port is the kernel's choice, for two may be one's."""
_HTTP: Final = ("http/1.0", "http/1.1", "h2c")
_SILENCE_MS: Final = 1000
"""Whose server speaks first is not HTTP; so long nobody else waits either."""
_TLS: Final = "envoy.transport_sockets.tls"


def listeners_of(
    port: PortRef,
    frontend: Frontend,
    listeners: Sequence[Listener],
    tables: Mapping[TableRef, str],
    tls_routes: Sequence[TlsRoute] = (),
    settings: TranslationSettings | None = None,
) -> tuple[Resource, ...]:
    """`tables` names the route configuration of each table; none while the frontend has nowhere to be bound.

    There is no default filter chain: a connection whose SNI nobody serves is closed.
    """
    addresses: dict[Kept, list[str]] = {each.kept: [] for each in listeners}
    for address in frontend.bound:
        own = family(address)
        addresses[own if own in addresses else ""].append(address)
    return tuple(
        made
        for kept, at in addresses.items()
        for made in _at_addresses(
            at,
            port,
            frontend,
            [each for each in listeners if each.kept == kept],
            tables,
            [route for route in tls_routes if route.ref.table.kept == kept],
            settings or TranslationSettings(),
        )
    )


def _at_addresses(
    addresses: Iterable[str],
    port: PortRef,
    frontend: Frontend,
    listeners: Sequence[Listener],
    tables: Mapping[TableRef, str],
    tls_routes: Iterable[TlsRoute],
    settings: TranslationSettings,
) -> Iterator[Resource]:
    """Listeners that differ in nothing but their address; those of one whose client's address is kept are all so."""
    chains: dict[str, envoy.FilterChain] = {}
    references: set[ResourceKey] = set()
    by_table, kept = _by_table(tls_routes), listeners[0].kept
    for each in sorted(listeners, key=lambda each: (each.hostname, each.ref)):
        for hostname, chain, named in _chains(each, tables, by_table.get(each.table, ())):
            if hostname in chains and each.protocol != "HTTP":
                raise ValueError(f"{port.frontend} port {port.port}: two listeners serve the SNI {hostname!r}")
            chains.setdefault(hostname, chain)
            references |= named
    protocols = {"HTTP" if each.protocol == "HTTP" else "TLS" for each in listeners}
    if len(protocols) > 1:
        raise ValueError(f"{port.frontend} port {port.port}: HTTP and TLS cannot share a port")
    number = frontend.bound_port(port.port, settings.port_offset)
    if not 0 < number <= _LAST_PORT:
        raise ValueError(f"{port.frontend} port {port.port}: {number} is no port; choose a smaller port offset")
    message = envoy.Listener(
        stat_prefix=names.port(port),
        filter_chains=[chains[hostname] for hostname in sorted(chains)],
        listener_filters=[] if protocols == {"HTTP"} else [_TLS_INSPECTOR],
        per_connection_buffer_limit_bytes={"value": _BUFFER_BYTES},
        traffic_direction=envoy.TrafficDirection.INBOUND,
        enable_reuse_port={"value": True},
        tcp_backlog_size={"value": _BACKLOG},
    )
    for route in by_table.get(TableRef(*port, UNSAID, kept), ()):
        references |= _told_apart(message, listeners, route)
    if kept:
        message.listener_filters.append(_ORIGINAL_SRC)
    if settings.datapath:
        message.bind_to_port.value = False  # connections come by the capture listener, whose socket options they have
    else:
        message.socket_options.extend(KEEPALIVE)
        if not frontend.bind:
            message.freebind.value = True  # an address of its own may come to the node later, or leave it for a while
    numbers = (number, *others) if settings.datapath and (others := node_ports(port, frontend)) else (number,)
    return (_bound(message, port, address, numbers, tuple(sorted(references))) for address in addresses)


def _by_table(tls_routes: Iterable[TlsRoute]) -> dict[TableRef, list[TlsRoute]]:
    found: dict[TableRef, list[TlsRoute]] = {}
    for route in tls_routes:
        found.setdefault(route.ref.table, []).append(route)
    return found


def node_ports(port: PortRef, frontend: Frontend) -> tuple[int, ...]:
    """Where all nodes are reached besides: only a daemon leads these ports to Envoy, others are kube-proxy's."""
    node = frontend.node_port(port.port)
    return (node,) if node else ()


def _bound(
    message: envoy.Listener, port: PortRef, address: str, numbers: Sequence[int], references: tuple[ResourceKey, ...]
) -> Resource:
    """At the first of the ports, and besides at the others."""
    message.name = names.listener(port, address)
    message.address.CopyFrom(_address(address, numbers[0]))
    del message.additional_addresses[:]
    message.additional_addresses.extend(
        envoy.AdditionalAddress(address=_address(address, number)) for number in numbers[1:]
    )
    return resource(LISTENER, message.name, envoy.serialised(message), references)


Chain = tuple[str, envoy.FilterChain, set[ResourceKey]]


def _chains(each: Listener, tables: Mapping[TableRef, str], tls_routes: Iterable[TlsRoute]) -> Iterable[Chain]:
    if each.protocol == "TLS":
        yield from _tls(each, {route.ref.hostname: route for route in tls_routes})
        return
    table = tables[each.table]
    manager = http_connection_manager(table, each.frontend.kind.lower())
    chain = envoy.FilterChain(filters=[NOTED, manager] if each.frontend.kind == "Service" else [manager])
    named = {ResourceKey(ROUTE_CONFIGURATION, table)}
    if each.protocol == "HTTP":
        yield "", chain, named  # the listeners of a plaintext port share one table
        return
    if each.tls is None or not each.tls.certificates:
        raise ValueError(f"{each.ref.parent} listener {each.ref.section!r}: HTTPS without a certificate")
    yield each.hostname, *_terminated(each.hostname, chain, each.tls, named, ("h2", "http/1.1"))


def _tls(each: Listener, routes: Mapping[str, TlsRoute]) -> Iterable[Chain]:
    """A listener's own hostname has a chain in any case, so that its connections do not fall to a wider one."""
    for hostname in sorted({each.hostname, *routes}):
        chain, named = _tcp(each, routes.get(hostname))
        if each.tls:
            yield hostname, *_terminated(hostname, chain, each.tls, named, ())
        else:
            yield hostname, *_matched(hostname, chain), named


def _tcp(each: Listener, route: TlsRoute | None) -> tuple[envoy.FilterChain, set[ResourceKey]]:
    """A chain without filters closes the connection; so does a share without a cluster.

    The filter is named after the route, for who reads the configuration: Envoy goes by the type of its message.
    """
    shares = [backend for backend in route.backends if backend.weight] if route else []
    clusters = [backend.cluster for backend in shares if backend.cluster]
    if route is None or not clusters:
        return envoy.FilterChain(), set()
    named = {ResourceKey(CLUSTER, names.cluster(ref)) for ref in clusters}
    proxy = envoy.TcpProxy(stat_prefix=each.frontend.kind.lower())
    if len(shares) == 1:
        proxy.cluster = names.cluster(clusters[0])
    for backend in shares if len(shares) > 1 else ():
        proxy.weighted_clusters.clusters.add(
            name=names.cluster(backend.cluster) if backend.cluster else names.NOWHERE, weight=backend.weight
        )
    tcp_proxy = envoy.Filter(name=names.route(route.source), typed_config=envoy.any_of(proxy))
    return envoy.FilterChain(filters=[tcp_proxy]), named


def _told_apart(message: envoy.Listener, members: Sequence[Listener], route: TlsRoute) -> set[ResourceKey]:
    """What begins as HTTP is taken as that; all else goes on as bytes, as it would without any route."""
    for chain in message.filter_chains:
        chain.filter_chain_match.application_protocols.extend(_HTTP)
    message.listener_filters.append(_HTTP_INSPECTOR)
    message.listener_filters_timeout.CopyFrom(envoy.milliseconds(_SILENCE_MS))
    message.continue_on_listener_filters_timeout = True
    chain, named = _tcp(members[0], route)
    message.default_filter_chain.CopyFrom(chain)
    return named


def _terminated(
    hostname: str,
    chain: envoy.FilterChain,
    tls: TlsTermination,
    named: set[ResourceKey],
    protocols: Sequence[str],
) -> tuple[envoy.FilterChain, set[ResourceKey]]:
    (chain,) = _matched(hostname, chain)
    context = envoy.DownstreamTlsContext(
        common_tls_context=envoy.CommonTlsContext(
            tls_params=envoy.TlsParameters(tls_minimum_protocol_version=envoy.TlsParameters.TLSv1_2),
            alpn_protocols=protocols,
            tls_certificate_sds_secret_configs=[
                envoy.SdsSecretConfig(name=names.secret(ref), sds_config=envoy.ADS) for ref in tls.certificates
            ],
        )
    )
    chain.transport_socket.CopyFrom(envoy.TransportSocket(name=_TLS, typed_config=envoy.any_of(context)))
    return chain, named | {ResourceKey(SECRET, names.secret(ref)) for ref in tls.certificates}


def _matched(hostname: str, chain: envoy.FilterChain) -> tuple[envoy.FilterChain]:
    """Named after its SNI, so that an update leaves the chains of other hostnames, and their connections, alone."""
    chain.name = hostname
    if hostname != "*":
        chain.filter_chain_match.server_names.append(hostname)
    return (chain,)


def _address(address: str, port: int) -> envoy.Address:
    return envoy.Address(socket_address=envoy.SocketAddress(address=address, port_value=port))
