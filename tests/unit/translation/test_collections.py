from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.envoy_validate import World, endpoints
from tests.unit.translation.written import GATEWAY, PLAIN, ROUTE, SECURE, cluster, to
from xds_server.model.backend import Certificate
from xds_server.model.listener import Frontend, Listener, TlsTermination
from xds_server.model.refs import HostRef, ListenerRef, ObjectRef, RouteRef, TableRef
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.model.route import DirectResponse, Forward, PathMatch, Redirect, Route, RouteMatch, VirtualHost
from xds_server.translation.settings import TranslationSettings

TABLE = "gateway/default/web/80"
CERTIFICATE = ObjectRef("Secret", "default", "web")


def numbered(number: int, action: Forward | Redirect | DirectResponse | None = None, path: str = "/") -> Route:
    match = RouteMatch(PathMatch("Prefix", path))
    return Route(RouteRef(ROUTE, number, 0), "2026-01-01T00:00:00Z", match, action or to(f"b{number}"))


def world(hosts: int, threshold: int = 500) -> World:
    """A plaintext listener with so many virtual hosts, a route and a backend of its own in each."""
    made = World(TranslationSettings(vhds_threshold=threshold))
    made.put(Frontend(GATEWAY, ("192.0.2.1",)), Listener(ListenerRef(GATEWAY, "http"), GATEWAY, 80, "HTTP", "*"))
    for number in range(hosts):
        route = numbered(number)
        made.put(route, VirtualHost(HostRef(PLAIN, f"h{number}.example"), (route.ref,)))
        made.put(endpoints(cluster(f"b{number}"), ("10.0.0.1", 80)))
    return made.commit()


def changed(made: World) -> set[tuple[str, str]]:
    """Type and name of the resources that a commit changed."""
    changes = made.graph.commit().get("resources", {})
    assert {} == dict(made.graph.faults)
    return {(key.type_url.rpartition(".")[2], key.name) for key in changes}


def names(made: World, type_url: str) -> list[str]:
    return list(made.messages(type_url))


def hosts_of(message: Any) -> list[str]:
    return [domain for host in message.virtual_hosts for domain in host.domains]


def runs(made: World) -> dict[str, int]:
    return {each.name: each.runs for each in made.graph.collections if hasattr(each, "runs")}


def spent(made: World, values: Iterable[Any]) -> dict[str, int]:
    """How often each transformation ran for a change."""
    before = runs(made)
    made.put(*values)
    made.graph.commit()
    return {name: count - before[name] for name, count in runs(made).items() if count != before[name]}


def test_a_world_becomes_its_resources() -> None:
    """Each type, by the names that the types give each other."""
    made = world(2)

    assert ([TABLE], [f"{TABLE}/192.0.2.1"]) == (names(made, ROUTE_CONFIGURATION), names(made, LISTENER))
    assert ["default/b0/80/http", "default/b1/80/http"] == names(made, CLUSTER) == names(made, CLUSTER_LOAD_ASSIGNMENT)
    assert ["h0.example", "h1.example"] == hosts_of(made.message(ROUTE_CONFIGURATION, TABLE))
    assert [] == names(made, VIRTUAL_HOST)


def test_one_route_changes_one_table() -> None:
    """Encode one route, join one virtual host, join one table; clusters, endpoints and the listener stay."""
    made = world(3)
    made.put(numbered(1, to("b2")))

    assert {("RouteConfiguration", TABLE)} == changed(made)
    assert {
        "encoded_routes": 1,
        "route_budgets": 1,
        "encoded_virtual_hosts": 1,
        "vhds_virtual_hosts": 1,
        "route_configurations": 1,
    } == spent(made, [numbered(1, to("b0"))])


def test_one_route_of_a_large_table_changes_one_virtual_host() -> None:
    """With VHDS not even the route configuration is looked at."""
    made = world(3, threshold=2)
    made.put(numbered(1, to("b2")))

    assert {("VirtualHost", f"{TABLE}/vhds/h1.example")} == changed(made)
    assert {
        "encoded_routes": 1,
        "route_budgets": 1,
        "encoded_virtual_hosts": 1,
        "vhds_virtual_hosts": 1,
    } == spent(made, [numbered(1, to("b0"))])


def test_an_endpoint_changes_one_assignment() -> None:
    """The hot path touches neither routes nor clusters."""
    made = world(3)

    assert {"envoy_load_assignments": 1} == spent(made, [endpoints(cluster("b1"), ("10.0.0.2", 80))])


def test_an_equal_value_changes_nothing() -> None:
    """A no-op is zero bytes."""
    made = world(3)
    made.put(numbered(1), endpoints(cluster("b1"), ("10.0.0.1", 80)))

    assert set() == changed(made)


def test_a_table_that_grows_moves_to_vhds_and_back() -> None:
    """The listener follows; what was served in the old way is gone with the same commit."""
    made = world(2, threshold=2)
    route = numbered(2)
    extra = VirtualHost(HostRef(PLAIN, "h2.example"), (route.ref,))
    made.put(route, extra).commit()

    assert [f"{TABLE}/vhds"] == names(made, ROUTE_CONFIGURATION)
    assert 3 == len(names(made, VIRTUAL_HOST))
    assert (f"{TABLE}/vhds",) == tuple(
        key.name for key in made.resources[ResourceKey(LISTENER, f"{TABLE}/192.0.2.1")].references
    )

    made.virtual_hosts.delete(extra.ref)
    made.commit()

    assert ([TABLE], []) == (names(made, ROUTE_CONFIGURATION), names(made, VIRTUAL_HOST))


def test_a_listener_without_virtual_hosts_has_an_empty_table() -> None:
    """It answers 404 rather than wait for a table."""
    assert [TABLE] == names(world(0), ROUTE_CONFIGURATION)


def test_a_redirect_is_made_for_each_table_that_it_stands_in() -> None:
    """One route of an HTTP and an HTTPS listener leads to two ports."""
    made = world(0)
    route = numbered(0, Redirect(302))
    made.put(
        Listener(ListenerRef(GATEWAY, "https"), GATEWAY, 443, "HTTPS", "shop.example", TlsTermination((CERTIFICATE,)))
    )
    made.put(route, VirtualHost(HostRef(PLAIN, "shop.example"), (route.ref,)))
    made.put(VirtualHost(HostRef(SECURE, "shop.example"), (route.ref,))).commit()
    tables = (
        made.message(ROUTE_CONFIGURATION, TABLE),
        made.message(ROUTE_CONFIGURATION, f"{TABLE[:-2]}443/shop.example"),
    )

    assert ["http", "https"] == [
        route.redirect.scheme_redirect
        for table in tables
        for host in table.virtual_hosts
        for route in host.routes
        if route.HasField("redirect")
    ]


def test_a_hostname_that_is_served_is_not_misdirected() -> None:
    """Two virtual hosts of one name would cost Envoy the whole table."""
    made = world(0)
    made.put(
        Listener(
            ListenerRef(GATEWAY, "any"),
            GATEWAY,
            443,
            "HTTPS",
            "*",
            TlsTermination((CERTIFICATE,)),
            ("a.example", "b.example"),
        )
    )
    route = numbered(0)
    made.put(route, VirtualHost(HostRef(TableRef(GATEWAY, 443, "*"), "a.example"), (route.ref,))).commit()
    table = made.message(ROUTE_CONFIGURATION, "gateway/default/web/443/*")

    assert ["b.example", "a.example"] == hosts_of(table)


def test_one_bad_route_answers_500_and_harms_no_other() -> None:
    """S14: the fault is a value of the graph, named after the route; its neighbours are served."""
    made = world(0)
    bad, good = numbered(0, DirectResponse(200, "x" * 5000), "/bad"), numbered(1, path="/good")
    made.put(bad, good, VirtualHost(HostRef(PLAIN, "*"), (bad.ref, good.ref)))
    made.graph.commit()
    [host] = made.message(ROUTE_CONFIGURATION, TABLE).virtual_hosts

    assert [("/bad", 500), ("/good", 0)] == [
        (route.match.path_separated_prefix, route.direct_response.status) for route in host.routes
    ]
    assert [("encoded_routes", bad.ref)] == list(made.graph.faults)


def test_a_route_that_turns_bad_keeps_its_last_good_form() -> None:
    """What worked goes on working until it is mended."""
    made = world(1)
    before = made.resources[ResourceKey(ROUTE_CONFIGURATION, TABLE)]
    made.put(numbered(0, DirectResponse(99)))
    made.graph.commit()

    assert before == made.resources[ResourceKey(ROUTE_CONFIGURATION, TABLE)]
    assert 1 == len(made.graph.faults)


def test_a_match_that_envoy_cannot_be_told_takes_no_request() -> None:
    """A prefix with a query matches no path at all; the other routes of the host stay."""
    made = world(0)
    bad, worse, good = numbered(0, path="/a?b"), numbered(2, Redirect(302), "/a?b"), numbered(1)
    made.put(bad, worse, good, VirtualHost(HostRef(PLAIN, "*"), (bad.ref, worse.ref, good.ref)))
    made.graph.commit()
    [host] = made.message(ROUTE_CONFIGURATION, TABLE).virtual_hosts

    assert ["httproute/default/shop/1/0"] == [route.name for route in host.routes]


def test_a_certificate_is_a_secret() -> None:
    """Rotation changes the secret alone."""
    made = world(1)
    made.put(Certificate(CERTIFICATE, b"chain", b"key")).commit()
    made.put(Certificate(CERTIFICATE, b"chain", b"other"))

    assert {("Secret", "secret/default/web")} == changed(made)
    assert ["secret/default/web"] == names(made, SECRET)


def test_nothing_is_left_of_a_world_that_is_gone() -> None:
    """Every resource goes with what it was made of."""
    made = world(5, threshold=2)
    for source in (made.frontends, made.listeners, made.routes, made.virtual_hosts, made.clusters, made.endpoints):
        for key in list(source):
            source.delete(key)
    made.commit()

    assert {} == dict(made.resources)
    assert 0 == sum(each.leftovers() for each in made.graph.collections if hasattr(each, "leftovers"))
