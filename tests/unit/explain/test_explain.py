"""From the address to the answer."""

from __future__ import annotations

import json

import pytest

from tests.unit.explain.world import (
    ADDRESS,
    BACKENDS,
    CART_NAME,
    EMPTY_NAME,
    SHOP_NAME,
    answer,
    asked,
    chain,
    collected,
    discovered,
    host,
    listener,
    manager,
    redirect,
    served,
    table,
    to,
)
from xds_server.explain.explain import explain
from xds_server.explain.request import Request
from xds_server.explain.result import CONSIDERED_LIMIT, document
from xds_server.model.refs import ObjectRef, RouteRef
from xds_server.model.resource import Resource, ResourceKey
from xds_server.translation import envoy as e

TCP = e.TcpProxy(stat_prefix="tcp", cluster=SHOP_NAME)


def part(below: int, **fields: object) -> e.RouteMatch:
    percent = e.FractionalPercent(numerator=below, denominator=e.FractionalPercent.MILLION)
    return e.RouteMatch(prefix="/", runtime_fraction=e.RuntimeFractionalPercent(default_value=percent), **fields)


def test_a_route_names_its_object_cluster_service_and_endpoints() -> None:
    """What a reader needs to find the rule and the pods is in the result."""
    result = asked(served(to(rule=3)))

    assert ("route", None, "Gateway/default/web", ADDRESS) == (
        result.outcome,
        result.status,
        result.parent,
        result.address,
    )
    assert RouteRef(ObjectRef("HTTPRoute", "default", "web"), 3, 0) == result.route
    assert SHOP_NAME == result.cluster
    assert [("default/shop", 80, 1)] == [(each.service, each.port, each.weight) for each in result.backends]
    assert ("10.0.0.1:8080", "10.0.0.2:8080") == result.endpoints


def test_the_json_form_has_every_key_of_the_contract() -> None:
    """Scripts find each key whether or not it applies."""
    passed = document(asked(served()))
    routed = document(asked(served(to())))
    keys = {
        *("parent", "address", "outcome", "status", "listener", "route", "rule", "match", "cluster", "backends"),
        *("endpoints", "location", "filters", "reason"),
    }

    assert keys <= passed.keys() == routed.keys()
    assert {"kind": "HTTPRoute", "namespace": "default", "name": "web"} == routed["route"]
    assert (None, None, None) == (passed["route"], passed["rule"], passed["location"])
    assert routed == json.loads(json.dumps(routed))


def test_each_address_of_each_listener_on_the_port_has_a_result() -> None:
    """Without a parent or an address, all who listen are asked."""
    other = "gateway/default/other/80"
    resources = collected(
        listener(addresses=(ADDRESS, "::1")),
        listener(name=other, addresses=("127.80.0.2",)),
        listener(name="gateway/default/other/81", port=81, addresses=("127.80.0.2",)),
        table(host(answer(200))),
        table(host(answer(201)), name=other),
    )
    results = explain(resources, Request("GET", "http://shop.test/"))

    assert [
        ("Gateway/default/other", "127.80.0.2", 201),
        ("Gateway/default/web", ADDRESS, 200),
        ("Gateway/default/web", "::1", 200),
    ] == [(each.parent, each.address, each.status) for each in results]


def test_a_parent_or_an_address_chooses_among_them() -> None:
    """The parent may be an Ingress that a shared frontend serves; an address may be written in any way."""
    shared = "sharedingress//shared/80"
    resources = collected(
        listener(), listener(name=shared, addresses=("::1",)), table(host(answer(200)), name=shared), table(host())
    )
    frontends = {"Ingress/default/shop": "SharedIngress/shared"}
    by_parent = asked(resources, parent="Ingress/default/shop", frontends=frontends)
    by_address = asked(resources, address="0:0:0:0:0:0:0:1")

    assert ("Ingress/default/shop", 200) == (by_parent.parent, by_parent.status)
    assert f"{shared}/::1" == by_parent.listener == by_address.listener


def test_nobody_listening_is_said_with_the_ports_that_there_are() -> None:
    """A result without a listener tells where one is."""
    result = asked(served(), "http://shop.test:81/", parent="Gateway/default/web")

    assert "no_route" == result.outcome
    assert "nothing listens on port 81 of Gateway/default/web; ports that are listened on: 80" == result.reason


def test_the_port_of_the_url_is_the_objects_port() -> None:
    """With a port offset a URL may name the declared port, and the bound one as well."""
    resources = collected(listener(port=10080), table(host(answer(200))))

    assert 200 == asked(resources, port_offset=10000).status
    assert 200 == asked(resources, "http://shop.test:10080/", port_offset=10000).status


@pytest.mark.parametrize(
    ("name", "cluster"),
    [("a.test", "exact"), ("A.TEST.", "exact"), ("x.a.test", "near"), ("x.y.test", "far"), ("other", "any")],
)
def test_the_most_specific_server_name_wins(name: str, cluster: str) -> None:
    """Exact, then the longest wildcard, then the chain that asks for no name."""
    chains = [
        chain(e.TcpProxy(stat_prefix="tcp", cluster=each), *names)
        for each, names in {"any": (), "far": ("*.test",), "near": ("*.a.test",), "exact": ("a.test",)}.items()
    ]

    result = asked(collected(listener(*chains, port=443)), f"https://{name}/")

    assert (cluster,) == tuple(each.cluster for each in result.backends)


def test_tls_without_a_matching_chain_is_closed() -> None:
    """A connection that nobody serves has no status; the names that are served are told."""
    result = asked(collected(listener(chain(TCP, "a.test"), port=443)), "https://b.test/")

    assert ("no_route", None) == (result.outcome, result.status)
    assert "no filter chain for server name b.test: Envoy closes the connection; there are: a.test" == result.reason


def test_tls_that_is_passed_on_names_its_backend() -> None:
    """Nothing of the request is read, so there is no route."""
    result = asked(collected(listener(chain(TCP, "a.test"), port=443), *BACKENDS), "https://a.test/")

    assert ("passthrough", SHOP_NAME, None) == (result.outcome, result.cluster, result.route)
    assert ("10.0.0.1:8080", "10.0.0.2:8080") == result.endpoints


def test_plaintext_and_tls_do_not_understand_each_other() -> None:
    """The wrong scheme is said to be that."""
    plain = collected(listener(chain(manager())))
    secure = collected(listener(chain(manager(), tls=True), port=443))

    assert "the listener speaks plain HTTP: a TLS handshake fails" == asked(plain, "https://shop.test:80/").reason
    assert "the listener speaks TLS: plain HTTP is not understood" == asked(secure, "http://shop.test:443/").reason


def test_virtual_hosts_of_vhds_are_found_by_their_names() -> None:
    """A table may be served host by host; those of other tables are not its own."""
    name = "gateway/default/web/80/vhds"
    resources = collected(
        listener(chain(manager(name))),
        table(name=name, vhds=e.Vhds(config_source=e.ADS)),
        discovered(f"{name}/shop.test", host(answer(200), domains=("shop.test",))),
        discovered("gateway/default/web/81/vhds/shop.test", host(answer(201), domains=("shop.test",))),
    )

    assert 200 == asked(resources).status


def test_what_was_passed_over_is_told_up_to_a_bound() -> None:
    """The reasons of a few routes help; those of thousands would not."""
    routes = [to(rule=rule, match=e.RouteMatch(path="/other")) for rule in range(CONSIDERED_LIMIT + 5)]
    result = asked(served(*routes))

    assert ("no_route", 404) == (result.outcome, result.status)
    assert "host *; none of its routes takes the request" == result.reason
    assert "route httproute/default/web/0/0: not: path is /other" == result.considered[0]
    assert (CONSIDERED_LIMIT + 1, "and 5 more") == (len(result.considered), result.considered[-1])


def test_weights_are_listed_and_not_drawn() -> None:
    """Every backend that can get the request is there with its weight; those of weight 0 are not."""
    clusters = [
        e.WeightedCluster.ClusterWeight(name=name, weight={"value": weight})
        for name, weight in ((SHOP_NAME, 3), (CART_NAME, 1), (EMPTY_NAME, 0))
    ]
    route = e.Route(match=e.RouteMatch(prefix="/"), route={"weighted_clusters": {"clusters": clusters}})
    result = asked(served(route))

    assert [("default/shop", 3), ("default/cart", 1)] == [(each.service, each.weight) for each in result.backends]
    assert ("route", "", ()) == (result.outcome, result.cluster, result.alternatives)


def test_growing_fractions_divide_the_requests() -> None:
    """Envoy holds one random number against all of them, so each takes what the one before it left."""
    routes = (to(SHOP_NAME, match=part(250_000)), to(CART_NAME, match=part(750_000)), answer(500))
    result = asked(served(*routes))

    assert [(0.25, "route"), (0.5, "route"), (0.25, "direct_response")] == [
        (each.share, each.outcome) for each in result.alternatives
    ]
    assert [(SHOP_NAME, 1), (CART_NAME, 2)] == [(each.cluster, each.weight) for each in result.backends]
    assert (CART_NAME, 1.0) == (next(each.cluster for each in result.backends if each.weight == 2), result.share)


def test_a_fraction_of_nothing_takes_nothing() -> None:
    """A route with 0 of a million is passed over, and one with all of them ends the search."""
    result = asked(served(answer(500, match=part(0)), answer(200, match=part(1_000_000)), answer(201)))

    assert (200, ()) == (result.status, result.alternatives)


def test_no_endpoints_answer_503() -> None:
    """The route is found, and Envoy answers in the place of its backend."""
    result = asked(served(to(EMPTY_NAME)))

    assert ("route", 503) == (result.outcome, result.status)
    assert f"host *; {EMPTY_NAME} has no endpoints" == result.reason


@pytest.mark.parametrize(("code", "status"), [(0, 503), (1, 404), (2, 500)])
def test_a_cluster_that_does_not_exist_answers_as_the_route_says(code: int, status: int) -> None:
    """`cluster_not_found_response_code` is a code of its own."""
    assert status == asked(served(to("default/gone/80/http", cluster_not_found_response_code=code))).status


def test_a_share_without_endpoints_is_an_alternative() -> None:
    """Some requests succeed and some fail: both are told with their shares."""
    clusters = [
        e.WeightedCluster.ClusterWeight(name=name, weight={"value": weight})
        for name, weight in ((SHOP_NAME, 3), (EMPTY_NAME, 1))
    ]
    result = asked(served(e.Route(match=e.RouteMatch(prefix="/"), route={"weighted_clusters": {"clusters": clusters}})))

    assert [(0.75, None), (0.25, 503)] == [(each.share, each.status) for each in result.alternatives]
    assert (None, [3, 1]) == (result.status, [each.weight for each in result.backends])


def test_grpc_clients_get_answers_in_their_own_way() -> None:
    """Envoy answers gRPC 200 with the status in a header."""
    result = asked(served(answer(503)), headers=(("content-type", "application/grpc"),))

    assert (503, 14) == (result.status, result.grpc_status)


def test_plaintext_is_sent_to_https_where_a_host_wants_it() -> None:
    """`require_tls` comes before all routes."""
    resources = collected(listener(), table(host(to(), require_tls=e.VirtualHost.ALL)), *BACKENDS)
    result = asked(resources, "http://shop.test/a?b")

    assert ("redirect", 301, "https://shop.test/a?b") == (result.outcome, result.status, result.location)


def test_upgrades_need_leave() -> None:
    """A WebSocket is refused unless the listener or the route allows it."""
    headers = (("connection", "Upgrade"), ("upgrade", "WebSocket"))
    allowed = {"upgrade_configs": [e.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")]}

    assert 403 == asked(served(to()), headers=headers).status
    assert None is asked(served(to(), **allowed), headers=headers).status
    assert None is asked(served(to(upgrade_configs=[{"upgrade_type": "websocket"}])), headers=headers).status


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("shop.test/a", "write it as http://HOST"),
        ("ftp://shop.test/", "write it as http://HOST"),
        ("http://shop.test:99999/", "the port is not a number"),
    ],
)
def test_a_url_that_is_none_is_refused_with_the_way_out(url: str, problem: str) -> None:
    """Errors say what to write instead."""
    with pytest.raises(ValueError, match=problem):
        asked(served(), url)


def test_a_header_that_http_cannot_carry_is_refused() -> None:
    """A line break in a value would be another header."""
    with pytest.raises(ValueError, match="not a header that HTTP can carry"):
        asked(served(), headers=(("a", "b\r\nc: d"),))


def test_a_route_knows_the_listener_that_redirects() -> None:
    """A redirect is an outcome of its own, with its Location."""
    result = asked(served(redirect(https_redirect=True, response_code=e.RedirectAction.PERMANENT_REDIRECT)))

    assert ("redirect", 308, "https://shop.test/") == (result.outcome, result.status, result.location)


@pytest.mark.parametrize(
    "resources",
    [
        served(to(match=e.RouteMatch(prefix="/", tls_context={}))),
        served(e.Route(match=e.RouteMatch(prefix="/"), route={"cluster_header": "x"})),
        served(to(), http_filters=[e.HttpFilter(name="lua", typed_config=e.any_of(e.Duration()))]),
        served(to(), early_header_mutation_extensions=[{"name": "odd", "typed_config": e.any_of(e.Duration())}]),
        served(e.Route(match=e.RouteMatch(prefix="/"), non_forwarding_action={})),
        collected(listener(chain(e.Duration()))),
        served(to(match=e.RouteMatch(prefix="/", headers=[{"name": "x-request-id", "present_match": True}]))),
    ],
)
def test_what_is_not_modelled_is_said(resources: dict[ResourceKey, Resource]) -> None:
    """Explain never leaves out in silence what might change its answer."""
    assert "explain cannot tell: " in asked(resources).reason
