"""S13: what one object can cost is bounded, and its neighbours do not pay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.envoy_validate import World
from tests.unit.translation.written import GATEWAY, PLAIN, route, to
from xds_server.model.listener import Frontend, Listener
from xds_server.model.refs import HostRef, ListenerRef, ObjectRef, RouteRef
from xds_server.model.resource import ROUTE_CONFIGURATION
from xds_server.model.route import Filters, HeaderModifier, PathMatch, Redirect, Route, RouteMatch, VirtualHost
from xds_server.translation.settings import TranslationSettings

FAT, THIN = (ObjectRef("HTTPRoute", namespace, "shop") for namespace in ("fat", "thin"))
BUDGET = 10_000
FILLER = Filters(response_headers=HeaderModifier(set=tuple((f"x-{number}", "y" * 100) for number in range(10))))


def owned(source: ObjectRef, *written: str, rule: int = 0, path: str = "/", **fields: Any) -> Route:
    made = route(fields.pop("action", None) or to(source.namespace), RouteMatch(PathMatch("Prefix", path)), **fields)
    return replace(made, ref=RouteRef(source, rule, 0), written_hostnames=written)


def host(name: str, *routes: Route) -> VirtualHost:
    return VirtualHost(HostRef(PLAIN, name), tuple(each.ref for each in routes))


def world(*values: Any) -> World:
    made = World(TranslationSettings(route_budget_bytes=BUDGET))
    made.put(Frontend(GATEWAY, ("192.0.2.1",)), Listener(ListenerRef(GATEWAY, "http"), GATEWAY, 80, "HTTP", "*"))
    made.put(*values)
    made.graph.commit()
    return made


def answers(made: World) -> dict[str, list[str]]:
    """What the routes of each virtual host do, by the namespace of their object."""
    return {
        each.domains[0]: [
            f"{found.name.split('/')[1]} {found.direct_response.status or 'serves'}" for found in each.routes
        ]
        for each in made.message(ROUTE_CONFIGURATION, "gateway/default/web/80").virtual_hosts
    }


def named(number: int) -> str:
    return f"h{number}.example"


def test_an_object_within_its_budget_stands_in_full_everywhere() -> None:
    """Nothing is said of it."""
    fat = owned(FAT, "*", filters=FILLER)
    made = world(fat, *(host(named(number), fat) for number in range(5)))

    assert {"fat serves"} == {each for found in answers(made).values() for each in found}
    assert {} == dict(made.graph.faults)


def test_the_hosts_of_others_are_spared_the_copies_first() -> None:
    """Its own host is served, its requests to others answer 500, and what comes before it there is as it was."""
    fat, thin = owned(FAT, "*", filters=FILLER), owned(THIN, *map(named, range(20)), path="/thin")
    made = world(fat, thin, host("*", fat), *(host(named(number), thin, fat) for number in range(20)))

    assert {"*": ["fat serves"], **{named(number): ["thin serves", "fat 500"] for number in range(20)}} == answers(made)
    assert [FAT] == list(made.over_budget)


def test_an_object_that_names_too_many_hosts_is_refused_in_all() -> None:
    """The message names the object, both numbers and the way out."""
    fat = owned(FAT, *map(named, range(20)), filters=FILLER)
    made = world(fat, *(host(named(number), fat) for number in range(20)))

    assert {named(number): ["fat 500"] for number in range(20)} == answers(made)
    [message] = made.over_budget.values()
    assert message.startswith("HTTPRoute/fat/shop: its routes take ")
    assert f"in 20 virtual hosts, more than {BUDGET}; it answers 500 for the hostnames that it names" in message
    assert message.endswith("Shorten its matches and filters, or name fewer hostnames and parents")


def test_matches_that_are_too_long_by_themselves_leave_the_hosts_of_others() -> None:
    """What remains in its own host answers 500; where not even that fits, nothing remains."""
    fat = owned(FAT, "*", path="/" + "x" * 1000)
    rules = [owned(FAT, "*", rule=rule, path="/" + "x" * 1000 + str(rule)) for rule in range(20)]
    others = [host(named(number), fat) for number in range(20)]

    assert {"*": ["fat 500"], **{named(number): [] for number in range(20)}} == answers(
        world(fat, host("*", fat), *others)
    )
    assert {"*": []} == answers(world(*rules, host("*", *rules)))


def test_redirects_count_though_each_host_has_its_own() -> None:
    """Bytes are bytes."""
    fat = owned(FAT, *map(named, range(20)), action=Redirect(302), filters=FILLER)

    assert {"fat 500"} == {
        each for found in answers(world(fat, *(host(named(n), fat) for n in range(20)))).values() for each in found
    }


def test_routes_that_stand_in_one_host_each_count_once() -> None:
    """An Ingress of many hosts has other paths in each: it pays for what it is, not for the square of it."""
    routes = [owned(FAT, named(number), rule=number, filters=FILLER) for number in range(7)]
    made = world(*routes, *(host(named(number), routes[number]) for number in range(7)))

    assert {named(number): ["fat serves"] for number in range(7)} == answers(made)


def test_an_object_that_is_mended_is_served_again() -> None:
    """No trace of the fault is left."""
    fat = owned(FAT, *map(named, range(20)), filters=FILLER)
    made = world(fat, *(host(named(number), fat) for number in range(20)))
    made.put(replace(fat, filters=Filters())).commit()

    assert {named(number): ["fat serves"] for number in range(20)} == answers(made)
    assert {} == dict(made.over_budget)
