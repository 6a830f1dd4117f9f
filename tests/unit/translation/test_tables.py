from __future__ import annotations

from typing import Any

import pytest

from tests.unit.translation.written import GATEWAY, PLAIN, SECURE, route, share, to
from xds_server.model.refs import HostRef, TableRef
from xds_server.model.resource import CLUSTER, ResourceKey
from xds_server.model.route import DirectResponse, Redirect, VirtualHost
from xds_server.translation.envoy import RouteConfiguration
from xds_server.translation.envoy import VirtualHost as EnvoyVirtualHost
from xds_server.translation.route import encoded_route
from xds_server.translation.route_configuration import (
    misdirected_hosts,
    route_configuration,
    vhds_route_configuration,
    virtual_host,
)
from xds_server.translation.virtual_host import EncodedHost, depends_on_host, encoded_host, misdirected, placed_route

WRITTEN = route(to("one"))
REF = HostRef(PLAIN, "shop.example")


def host(ref: HostRef = REF, **fields: Any) -> VirtualHost:
    return VirtualHost(ref, (WRITTEN.ref,), **fields)


def message(made: EncodedHost) -> Any:
    return EnvoyVirtualHost.FromString(made.named(vhds=False))


def test_a_virtual_host_is_its_routes_joined() -> None:
    """A repeated field on the wire is its entries one after another; nothing is parsed again."""
    routes = [encoded_route(WRITTEN), encoded_route(route(to("two")))]
    made = encoded_host(host(), routes)

    assert ["shop.example"] == list(message(made).domains)
    assert "gateway/default/web/80/shop.example" == message(made).name
    assert ["default/one/80/http", "default/two/80/http"] == [each.route.cluster for each in message(made).routes]
    assert ["default/one/80/http", "default/two/80/http"] == [key.name for key in made.references]
    assert message(made).SerializeToString(deterministic=True) == made.named(vhds=False)


def test_a_fallback_answers_what_no_route_takes() -> None:
    """It comes last and takes everything."""
    made = message(encoded_host(host(fallback=DirectResponse(404, "no")), [encoded_route(WRITTEN)]))

    assert ("fallback", "/", 404) == (
        made.routes[1].name,
        made.routes[1].match.prefix,
        made.routes[1].direct_response.status,
    )


def test_forced_https_leaves_one_redirect() -> None:
    """308 keeps the method; no route of the host is left to answer in plaintext, and none of its clusters is used."""
    made = encoded_host(host(force_https=True), [encoded_route(WRITTEN)])
    [only] = message(made).routes

    assert ("force-https", "https", "shop.example", 4) == (
        only.name,
        only.redirect.scheme_redirect,
        only.redirect.host_redirect,
        only.redirect.response_code,
    )
    assert () == made.references


def test_one_label_narrows_the_routes_that_were_written_for_the_wildcard() -> None:
    """A route for every host stands in the same virtual host and keeps the deeper hosts."""
    wildcard = host(HostRef(PLAIN, "*.example"), one_label=True)
    narrow, wide = route(written_hostnames=("*.example",)), route(written_hostnames=("*",))

    assert (True, False) == (depends_on_host(narrow, wildcard), depends_on_host(wide, wildcard))
    placed = placed_route(narrow, wildcard)
    assert placed is not None
    assert b"(?i)[^.:]+" in placed.body


def test_a_redirect_that_cannot_be_made_answers_500() -> None:
    """S14: its fault is reported by its own transformation; the rest of the host is served."""
    answer = placed_route(route(Redirect(200)), host())
    assert answer is not None
    made = EnvoyVirtualHost.FromString(answer.body)

    assert 500 == made.routes[0].direct_response.status


def test_a_table_holds_its_hosts_in_order_and_names_its_clusters_once() -> None:
    """Envoy compares tables bytewise, so the order is that of the names."""
    hosts = [
        encoded_host(host(HostRef(PLAIN, name)), [encoded_route(route(to("two", share("one"))))])
        for name in ("a.b", "c.d")
    ]
    table = route_configuration(PLAIN, hosts)
    made = RouteConfiguration.FromString(table.body)

    assert ["gateway/default/web/80/a.b", "gateway/default/web/80/c.d"] == [each.name for each in made.virtual_hosts]
    assert "gateway/default/web/80" == made.name == table.name
    assert (
        ResourceKey(CLUSTER, "default/one/80/http"),
        ResourceKey(CLUSTER, "default/two/80/http"),
    ) == table.references
    assert made.ignore_port_in_host_matching


def test_a_large_table_names_no_host_of_its_own() -> None:
    """Its stem and its virtual hosts joined are what a client without VHDS gets."""
    one = encoded_host(host(), [encoded_route(WRITTEN)])
    table, resource = vhds_route_configuration(PLAIN, ()), virtual_host(one)
    body, stem = RouteConfiguration.FromString(table.body), RouteConfiguration.FromString(table.stem or b"")
    made = EnvoyVirtualHost.FromString(resource.body)

    assert body.vhds.config_source.HasField("ads")
    assert not stem.HasField("vhds")
    assert "gateway/default/web/80/vhds" == body.name == stem.name == table.name
    assert "gateway/default/web/80/vhds/shop.example" == made.name == resource.name
    assert (ResourceKey(CLUSTER, "default/one/80/http"),) == resource.references
    assert 0 == len(body.virtual_hosts)


@pytest.mark.parametrize(
    ("hostname", "others", "answering"),
    [
        ("*", ("a.example", "*.example"), ["*.example", "a.example"]),
        ("a.example", ("*", "*.example"), ["*"]),
        ("*.example", ("*", "a.example", "b.other", "*.sub.example"), ["*", "*.sub.example", "a.example"]),
        ("*.example", ("*.example", "example"), ["*"]),
        ("", ("a.example",), []),
    ],
)
def test_hosts_of_other_listeners_are_misdirected(hostname: str, others: tuple[str, ...], answering: list[str]) -> None:
    """A plaintext port has no SNI to contradict; elsewhere what a listener's hostname does not cover is 421."""
    made = misdirected_hosts(TableRef(GATEWAY, 443, hostname), others)

    assert answering == [each.ref.hostname for each in made]
    assert {421} >= {message(each).routes[0].direct_response.status for each in made}


def test_a_misdirected_host_has_a_name_of_ours() -> None:
    """Explain tells it from routes of objects."""
    assert "misdirected" == message(misdirected(HostRef(SECURE, "*"))).routes[0].name
