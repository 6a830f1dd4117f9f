from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.translation.written import GATEWAY, ROUTE, cluster
from xds_server.model.listener import Frontend, FrontendPort, Listener, ListenerProtocol, TlsTermination
from xds_server.model.refs import HostRef, ListenerRef, ObjectRef, PortRef, RouteRef
from xds_server.model.resource import CLUSTER, ROUTE_CONFIGURATION, SECRET, Resource, ResourceKey
from xds_server.model.route import TlsRoute, WeightedBackend
from xds_server.translation import names
from xds_server.translation.envoy import (
    ADS,
    DownstreamTlsContext,
    HttpConnectionManager,
    HttpProtocolOptions,
    OriginalSrc,
    TcpProxy,
    TlsParameters,
)
from xds_server.translation.envoy import Listener as EnvoyListener
from xds_server.translation.listener import listeners_of
from xds_server.translation.settings import TranslationSettings

FRONTEND = Frontend(GATEWAY, ("192.0.2.1", "2001:db8::1"))
CERTIFICATES = TlsTermination((ObjectRef("Secret", "default", "b"), ObjectRef("Secret", "default", "a")))
PASSED = cluster("tls", "tcp")


def on(port: int, protocol: ListenerProtocol, hostname: str = "*", tls: TlsTermination | None = None) -> Listener:
    return Listener(ListenerRef(GATEWAY, f"{protocol}-{hostname}"), GATEWAY, port, protocol, hostname, tls)


def resources(*members: Listener, tls_routes: tuple[TlsRoute, ...] = (), port_offset: int = 0) -> tuple[Resource, ...]:
    tables = {each.table: names.route_configuration(each.table) for each in members}
    settings = TranslationSettings(port_offset=port_offset)
    return listeners_of(PortRef(GATEWAY, members[0].port), FRONTEND, members, tables, tls_routes, settings)


def resource(*members: Listener, **more: Any) -> Resource:
    """At the first address; the others differ in nothing else."""
    return resources(*members, **more)[0]


def message(*members: Listener, **more: Any) -> Any:
    return EnvoyListener.FromString(resource(*members, **more).body)


def manager(chain: Any) -> Any:
    return HttpConnectionManager.FromString(chain.filters[0].typed_config.value)


def tls_route(listener: Listener, hostname: str, *backends: WeightedBackend) -> TlsRoute:
    return TlsRoute(HostRef(listener.table, hostname), RouteRef(ROUTE, 0, 0), backends)


def test_every_address_of_a_port_has_a_listener() -> None:
    """IPv4 and IPv6 alike, at the port that the offset leads to; the address is part of the name."""
    made = [EnvoyListener.FromString(each.body) for each in resources(on(80, "HTTP"), port_offset=20_000)]

    assert [("192.0.2.1", 20_080), ("2001:db8::1", 20_080)] == [
        (each.address.socket_address.address, each.address.socket_address.port_value) for each in made
    ]
    assert ["gateway/default/web/80/192.0.2.1", "gateway/default/web/80/2001:db8::1"] == [each.name for each in made]


def test_plaintext_listeners_of_a_port_share_a_table() -> None:
    """Listener hostnames are virtual hosts of it, so there is one filter chain and no look at the SNI."""
    made = message(on(80, "HTTP", "a.example"), on(80, "HTTP", "b.example"))
    [chain] = made.filter_chains

    assert "gateway/default/web/80" == manager(chain).rds.route_config_name
    assert [] == list(made.listener_filters)


def test_https_listeners_are_told_apart_by_sni() -> None:
    """Each has its own table and certificates; the one without a hostname takes what is left."""
    members = (on(443, "HTTPS", "*", CERTIFICATES), on(443, "HTTPS", "*.a.example", CERTIFICATES))
    made = message(*members)

    assert [[], ["*.a.example"]] == [list(chain.filter_chain_match.server_names) for chain in made.filter_chains]
    assert ["gateway/default/web/443/*", "gateway/default/web/443/*.a.example"] == [
        manager(chain).rds.route_config_name for chain in made.filter_chains
    ]
    assert ["envoy.filters.listener.tls_inspector"] == [each.name for each in made.listener_filters]
    assert not made.HasField("default_filter_chain")


def test_certificates_come_by_sds_in_the_order_of_preference() -> None:
    """X47: their source is one constant; TLS 1.2 is the least, HTTP/2 the first choice."""
    [chain] = message(on(443, "HTTPS", "*", CERTIFICATES)).filter_chains
    context = DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value).common_tls_context

    assert ["secret/default/b", "secret/default/a"] == [
        each.name for each in context.tls_certificate_sds_secret_configs
    ]
    assert [ADS, ADS] == [each.sds_config for each in context.tls_certificate_sds_secret_configs]
    assert ["h2", "http/1.1"] == list(context.alpn_protocols)
    assert TlsParameters.TLSv1_2 == context.tls_params.tls_minimum_protocol_version


def test_a_listener_names_all_that_it_makes_envoy_look_up() -> None:
    """X40: the stream gates on these."""
    web, tls = on(443, "HTTPS", "a.example", CERTIFICATES), on(443, "TLS", "b.example")
    made = resource(web, tls, tls_routes=(tls_route(tls, "b.example", WeightedBackend(PASSED)),))

    assert [
        ResourceKey(CLUSTER, "default/tls/80/tcp"),
        ResourceKey(ROUTE_CONFIGURATION, "gateway/default/web/443/a.example"),
        ResourceKey(SECRET, "secret/default/a"),
        ResourceKey(SECRET, "secret/default/b"),
    ] == list(made.references)


def test_tls_passes_through_by_sni() -> None:
    """A share without a cluster goes to one that never exists; no share with one closes the connection."""
    tls = on(443, "TLS", "*.example")
    one = tls_route(tls, "one.example", WeightedBackend(PASSED))
    half = tls_route(
        tls, "half.example", WeightedBackend(PASSED, 3), WeightedBackend(None, 1), WeightedBackend(PASSED, 0)
    )
    none = tls_route(tls, "none.example", WeightedBackend(None))
    made = message(tls, tls_routes=(one, half, none))
    chains = {chain.name: chain for chain in made.filter_chains}
    proxies = {
        name: TcpProxy.FromString(chain.filters[0].typed_config.value)
        for name, chain in chains.items()
        if chain.filters
    }

    assert ["*.example", "half.example", "none.example", "one.example"] == list(chains)
    assert "default/tls/80/tcp" == proxies["one.example"].cluster
    assert [("default/tls/80/tcp", 3), ("nowhere", 1)] == [
        (each.name, each.weight) for each in proxies["half.example"].weighted_clusters.clusters
    ]
    assert {"one.example", "half.example"} == set(proxies)


def test_a_frontend_without_addresses_has_no_listener() -> None:
    """It waits; its condition says for what."""
    served = on(80, "HTTP")

    assert () == listeners_of(PortRef(GATEWAY, 80), Frontend(GATEWAY, ()), [served], {served.table: "any"})


def test_the_edge_trusts_nobody() -> None:
    """S6, S7, S13: the defaults of every HTTP listener."""
    [chain] = message(on(80, "HTTP")).filter_chains
    made = manager(chain)
    http2 = made.http2_protocol_options

    assert made.use_remote_address.value
    assert 0 == made.xff_num_trusted_hops
    assert ["255.255.255.255"] == [each.address_prefix for each in made.internal_address_config.cidr_ranges]
    assert HttpConnectionManager.SANITIZE == made.forward_client_cert_details
    assert HttpConnectionManager.REJECT_REQUEST == made.path_with_escaped_slashes_action
    assert made.normalize_path.value
    assert made.merge_slashes
    assert made.strip_trailing_host_dot
    assert HttpProtocolOptions.REJECT_REQUEST == made.common_http_protocol_options.headers_with_underscores_action
    assert (100, 65_536, 1_048_576) == tuple(
        each.value
        for each in (
            http2.max_concurrent_streams,
            http2.initial_stream_window_size,
            http2.initial_connection_window_size,
        )
    )
    assert (300, 60) == (made.stream_idle_timeout.seconds, made.request_headers_timeout.seconds)
    assert [True, True, True, True, True, False] == [each.disabled for each in made.http_filters]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ((on(80, "HTTP"), on(80, "TLS", "a.example")), "HTTP and TLS cannot share a port"),
        ((on(443, "HTTPS", "a.example"),), "HTTPS without a certificate"),
        ((on(443, "HTTPS", "a.example", CERTIFICATES), on(443, "TLS", "a.example")), "two listeners serve the SNI"),
        ((on(65_000, "HTTP"),), "choose a smaller port offset"),
    ],
)
def test_what_envoy_would_refuse_is_named(members: tuple[Listener, ...], said: str) -> None:
    """X54: the port, and what is wrong with it."""
    with pytest.raises(ValueError, match=said):
        resource(*members, port_offset=1000)


def test_the_order_of_listeners_changes_nothing() -> None:
    """Envoy would take other bytes for another listener, and drain its connections."""
    members = [on(443, "HTTPS", name, CERTIFICATES) for name in ("*", "a.example", "b.example")]

    assert resource(*members) == resource(*reversed(members))


def test_an_address_of_its_own_is_bound_before_the_node_has_it() -> None:
    """Freebind: an address may come to a node later; a wildcard needs nothing of the kind."""
    served = Listener(ListenerRef(GATEWAY, "http"), GATEWAY, 80, "HTTP", "*")
    moved = Frontend(GATEWAY, ("203.0.113.7",), bind=("0.0.0.0", "::"), ports=(FrontendPort(80, 20123, 80),))
    own = [
        EnvoyListener.FromString(each.body)
        for each in listeners_of(PortRef(GATEWAY, 80), FRONTEND, [served], {served.table: "any"})
    ]
    behind = [
        EnvoyListener.FromString(each.body)
        for each in listeners_of(PortRef(GATEWAY, 80), moved, [served], {served.table: "any"})
    ]

    assert {True} == {listener.freebind.value for listener in own}
    assert [("0.0.0.0", 20123), ("::", 20123)] == [
        (each.address.socket_address.address, each.address.socket_address.port_value) for each in behind
    ]
    assert {False} == {listener.HasField("freebind") for listener in behind}


def test_where_a_daemon_leads_connections_no_address_is_bound() -> None:
    """Not even freely; the socket options are those of the capture listener, and all else is as without a daemon."""
    served = on(80, "HTTP")
    bound = message(served)
    settings = TranslationSettings(datapath=True)
    [led, _] = (
        EnvoyListener.FromString(each.body)
        for each in listeners_of(PortRef(GATEWAY, 80), FRONTEND, [served], {served.table: "any"}, (), settings)
    )

    assert (False, False, []) == (led.bind_to_port.value, led.HasField("freebind"), list(led.socket_options))
    assert bound.address == led.address
    assert bound.listener_filters == led.listener_filters


def test_a_port_of_the_nodes_is_one_more_address_where_daemons_are() -> None:
    """Elsewhere kube-proxy has it, and leads it to the port that is bound."""
    served = on(80, "HTTP")
    behind = Frontend(GATEWAY, ("203.0.113.7",), bind=("0.0.0.0",), ports=(FrontendPort(80, 20123, 80, 31000),))
    made = (
        EnvoyListener.FromString(each.body)
        for datapath in (False, True)
        for each in listeners_of(
            PortRef(GATEWAY, 80), behind, [served], {served.table: "any"}, (), TranslationSettings(datapath=datapath)
        )
    )

    assert [(20123, []), (20123, [31000])] == [
        (
            each.address.socket_address.port_value,
            [more.address.socket_address.port_value for more in each.additional_addresses],
        )
        for each in made
    ]


def test_a_family_whose_addresses_are_kept_has_listeners_of_its_own() -> None:
    """At the addresses of the family, with a table of its own; upstream from the client's address, and not its port."""
    members = (on(80, "HTTP"), replace(on(80, "HTTP"), kept="ipv6"))
    four, six = (EnvoyListener.FromString(each.body) for each in resources(*members))

    assert ("192.0.2.1", "2001:db8::1") == tuple(each.address.socket_address.address for each in (four, six))
    assert ([], ["envoy.filters.listener.original_src"]) == tuple(
        [each.name for each in made.listener_filters] for made in (four, six)
    )
    assert ("gateway/default/web/80", "gateway/default/web/80/ipv6") == tuple(
        manager(made.filter_chains[0]).rds.route_config_name for made in (four, six)
    )
    assert OriginalSrc() == OriginalSrc.FromString(six.listener_filters[0].typed_config.value)
