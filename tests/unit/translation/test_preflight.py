from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.translation.written import PLAIN, cluster, route, to
from xds_server.model.refs import HostRef, ObjectRef, RouteRef
from xds_server.model.route import Cors, Filters, PathMatch, Route, RouteMatch, ValueMatch, VirtualHost
from xds_server.translation.envoy import VirtualHost as EnvoyVirtualHost
from xds_server.translation.route import encoded_route
from xds_server.translation.virtual_host import encoded_host

ASKS = "access-control-request-method"
ANYONE = Filters(cors=Cors(("*",)))
HEADER = (ValueMatch("x-1", "Exact", "yes"),)


def owned(by: str, *, path: str = "/shop", created: str = "2026-01-01T00:00:00Z", **match: Any) -> Route:
    """A route of an object of its own, which goes to a backend of the same name."""
    written = replace(route(to(by)), filters=ANYONE, created=created)
    hostnames = match.pop("written_hostnames", ("shop.example",))
    ref = RouteRef(ObjectRef("HTTPRoute", by, "shop"), 0, 0)
    return replace(written, ref=ref, match=RouteMatch(PathMatch("Prefix", path), **match), written_hostnames=hostnames)


def tried(*routes: Route) -> list[str]:
    """Who is asked, in order; a `?` marks an entry for preflights alone."""
    ref = HostRef(PLAIN, "shop.example")
    host = VirtualHost(ref, tuple(each.ref for each in routes))
    made = encoded_host(host, [encoded_route(each) for each in routes]).named(vhds=False)
    return [
        each.route.cluster.split("/")[1] + ("?" if ASKS in {header.name for header in each.match.headers} else "")
        for each in EnvoyVirtualHost.FromString(made).routes
    ]


def test_a_rule_for_a_header_does_not_take_the_preflights_of_one_without() -> None:
    """A preflight has no headers yet: it is for the rule that takes requests without them, whoever is the older."""
    assert ["headed", "plain", "headed?"] == tried(owned("headed", headers=HEADER), owned("plain"))


def test_preflights_are_tried_before_a_shorter_path() -> None:
    """The path is what a preflight has, so it decides as for any request."""
    assert ["headed", "headed?", "root"] == tried(owned("headed", headers=HEADER), owned("root", path="/"))


def test_a_rule_of_this_host_answers_before_one_that_it_falls_through_to() -> None:
    """The better hostname comes first, for preflights too."""
    mine, theirs = owned("mine", headers=HEADER), owned("theirs", written_hostnames=("*.example", "*"))

    assert ["mine", "mine?", "theirs"] == tried(mine, theirs)


def test_of_rules_for_headers_the_broader_and_then_the_older_answers_preflights() -> None:
    """The fewer headers a rule wants, the more of the requests are its own."""
    young = owned("young", created="2026-02-01T00:00:00Z", headers=HEADER)
    younger = owned("younger", created="2026-02-01T00:00:00Z", headers=(*HEADER, ValueMatch("x-2", "Exact", "yes")))

    assert ["younger", "young", "old", "old?", "young?", "younger?"] == tried(
        younger, young, owned("old", headers=HEADER)
    )


def test_a_rule_for_a_method_answers_the_preflights_of_that_method() -> None:
    """All requests with the method are its own, so their preflights are: they name the method."""
    assert ["put?", "put", "plain"] == tried(owned("put", method="PUT"), owned("plain"))


def test_clusters_of_preflights_are_those_of_their_routes() -> None:
    """X40: nothing more is referred to."""
    assert (cluster("headed"),) == encoded_route(owned("headed", headers=HEADER)).clusters
