from __future__ import annotations

import itertools
import random
from contextlib import suppress
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.model.refs import SHARED_INGRESS, ClusterRef, HostRef, Kept, ObjectRef, PortRef, RouteRef, TableRef
from xds_server.translation import names

PIECES = [
    "a",
    "b",
    "a-b",
    "-",
    "/",
    "%",
    "%2F",
    "vhds",
    "ipv4",
    "80",
    "*",
    "*.a",
    ".",
    "secret",
    "http",
    "",
    "nowhere",
    "0",
]
TEXT = st.sampled_from(PIECES) | st.text(max_size=6)
OBJECTS = st.builds(ObjectRef, st.sampled_from(["Gateway", "Ingress", "SharedIngress"]), TEXT, TEXT)
SOURCES = st.builds(ObjectRef, st.sampled_from(["HTTPRoute", "GRPCRoute", "TLSRoute", "Ingress"]), TEXT, TEXT)
PORTS = st.integers(1, 65535)
KEPT = st.sampled_from(["", "ipv4", "ipv6"])
TABLES = st.builds(TableRef, OBJECTS, PORTS, TEXT, KEPT)
CLUSTERS = st.builds(ClusterRef, TEXT, TEXT, PORTS, st.sampled_from(["http", "h2c", "https", "h2", "tcp"]), KEPT)


def test_names_read_as_the_contract_says() -> None:
    """Operators meet these names in Envoy's admin page."""
    web = ObjectRef("Gateway", "default", "web")
    route = RouteRef(ObjectRef("HTTPRoute", "default", "shop"), 2, 1)

    assert "gateway/default/web/80/192.0.2.1" == names.listener(PortRef(web, 80), "192.0.2.1")
    assert "sharedingress//shared/80/fd00::1" == names.listener(PortRef(SHARED_INGRESS, 80), "fd00::1")
    assert "gateway/default/web/80" == names.route_configuration(TableRef(web, 80, ""))
    assert "gateway/default/web/443/*.a.org" == names.route_configuration(TableRef(web, 443, "*.a.org"))
    assert "gateway/default/web/80/vhds" == names.route_configuration(TableRef(web, 80, ""), vhds=True)
    assert "gateway/default/web/80/vhds/a.org" == names.virtual_host(HostRef(TableRef(web, 80, ""), "a.org"), vhds=True)
    assert "httproute/default/shop/2/1" == names.route(route)
    assert "httproute/default/shop/2/1/0" == names.route(route, 0)
    assert "default/shop/80/h2c" == names.cluster(ClusterRef("default", "shop", 80, "h2c"))
    assert "secret/default/web" == names.secret(ObjectRef("Secret", "default", "web"))


def test_names_say_of_which_family_clients_are_whose_address_is_kept() -> None:
    """Of a route they do not: to people it is the one that was written."""
    shop, route = ObjectRef("Service", "default", "shop"), RouteRef(ObjectRef("HTTPRoute", "default", "shop"), 2, 1)

    assert "service/default/shop/80/ipv6" == names.route_configuration(TableRef(shop, 80, "", "ipv6"))
    assert "default/shop/80/http/ipv4" == names.cluster(ClusterRef("default", "shop", 80, "http", "ipv4"))
    assert names.route(route) == names.route(route._replace(kept="ipv4"))


def test_a_hundred_thousand_pairs_of_things_have_different_names() -> None:
    """S2: different things have different names, also when their own names hold our separators."""
    tables = [
        TableRef(ObjectRef(kind, namespace, name), port, hostname, kept)
        for kind, namespace, name, port, hostname, kept in itertools.product(
            ["Gateway", "Service"], PIECES, PIECES, [80, 8], PIECES, get_args(Kept)
        )
    ]
    chance = random.Random(2)
    hosts = [HostRef(chance.choice(tables), chance.choice(PIECES)) for _ in range(100_000)]

    assert 2 * len(tables) == len(
        {names.route_configuration(table, vhds=vhds) for table in tables for vhds in (False, True)}
    )
    assert len(set(hosts)) == len({names.virtual_host(host, vhds=True) for host in hosts})
    assert len(set(hosts)) == len({names.virtual_host(host, vhds=False) for host in hosts})


def test_a_hundred_thousand_backends_have_different_names() -> None:
    """S2: `team/a-b` and `team-a/b` stay apart."""
    chance = random.Random(3)
    pieces = [*PIECES, "team", "team-a", "b", "team/a"]
    refs = [
        ClusterRef(
            chance.choice(pieces),
            chance.choice(pieces),
            chance.randrange(80, 90),
            "http",
            chance.choice(get_args(Kept)),
        )
        for _ in range(100_000)
    ]

    assert len(set(refs)) == len({names.cluster(ref) for ref in refs})


@given(OBJECTS, PORTS)
def test_a_listener_is_read_back(frontend: ObjectRef, port: int) -> None:
    """What a name was made of is in it."""
    assert PortRef(frontend, port) == names.parse_listener(names.listener(PortRef(frontend, port), "192.0.2.1"))


@given(TABLES, st.booleans())
def test_a_route_configuration_is_read_back(table: TableRef, vhds: bool) -> None:
    """Also where a host is called vhds."""
    assert (table, vhds) == names.parse_route_configuration(names.route_configuration(table, vhds=vhds))


@given(TABLES, TEXT, st.booleans())
def test_a_virtual_host_is_read_back(table: TableRef, hostname: str, vhds: bool) -> None:
    """The hostname is the last part, whatever it is."""
    assert HostRef(table, hostname) == names.parse_virtual_host(names.virtual_host(HostRef(table, hostname), vhds=vhds))


@given(
    st.builds(RouteRef, SOURCES, st.integers(0, 99), st.integers(0, 99), st.just("")), st.none() | st.integers(0, 15)
)
def test_a_route_and_its_share_are_read_back(ref: RouteRef, share: int | None) -> None:
    """A share's route still tells the match that it shares."""
    name = names.route(ref, share)

    assert (ref, share) == (names.parse_route(name), names.parse_share(name))


@given(CLUSTERS, TEXT, TEXT)
def test_clusters_and_secrets_are_read_back(cluster: ClusterRef, namespace: str, name: str) -> None:
    """A cluster is the identity of a backend."""
    secret = ObjectRef("Secret", namespace, name)

    assert cluster == names.parse_cluster(names.cluster(cluster))
    assert secret == names.parse_secret(names.secret(secret))


@given(st.text())
def test_strange_names_are_refused_and_break_nothing(name: str) -> None:
    """Readers of names get a ValueError or what the name says, nothing else."""
    for parse in (
        names.parse_listener,
        names.parse_route_configuration,
        names.parse_virtual_host,
        names.parse_route,
        names.parse_share,
        names.parse_cluster,
        names.parse_secret,
    ):
        with suppress(ValueError):
            parse(name)


@pytest.mark.parametrize("name", sorted(names.OWN_ANSWERS))
def test_answers_of_our_own_are_no_routes_of_objects(name: str) -> None:
    """Their names parse as nothing else."""
    with pytest.raises(ValueError, match="no name of ours"):
        names.parse_route(name)


def test_a_kind_without_names_is_refused() -> None:
    """Two kinds that differ in case only would share their names."""
    with pytest.raises(ValueError, match="have no names in Envoy"):
        names.port(PortRef(ObjectRef("gateway", "default", "web"), 80))


def test_no_cluster_is_called_nowhere() -> None:
    """The cluster that never exists has no name that a real one could have."""
    with pytest.raises(ValueError, match="no name of ours"):
        names.parse_cluster(names.NOWHERE)
