"""Precedence: which of several matching routes is tried first."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.unit.ingestion.world import World, service

NAMES = ("a", "b", "c")
SERVICES = tuple(service(name) for name in NAMES)


def gateway(hostname: str = "") -> str:
    host = f", hostname: '{hostname}'" if hostname else ""
    return f"""
kind: Gateway
metadata: {{name: web}}
spec: {{gatewayClassName: tidegate, listeners: [{{name: http, port: 80, protocol: HTTP{host}}}]}}
"""


def route(
    name: str,
    match: str = "{}",
    *,
    hostnames: str = "",
    created: str = "2024",
    namespace: str = "default",
    backend: str = "",
) -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: "{created}"}}
spec:
  parentRefs: [{{name: web, namespace: default}}]
  hostnames: [{hostnames}]
  rules: [{{matches: [{match}], backendRefs: [{{name: {backend or name}, port: 80}}]}}]
"""  # fmt: skip


# Each match before the one that it beats, for a request that both take.
BETTER = [
    ("{path: {type: Exact, value: /x}}", "{path: {value: /x}}"),
    ("{path: {type: Exact, value: /x}}", "{path: {value: /x}, method: GET, headers: [{name: h, value: v}]}"),
    ("{path: {type: Exact, value: /x}}", "{path: {type: RegularExpression, value: '/x|/longer/pattern'}}"),
    ("{path: {value: /x}}", "{path: {type: RegularExpression, value: /.*}}"),
    ("{path: {type: RegularExpression, value: /.*}}", "{path: {value: /}}"),
    ("{path: {type: RegularExpression, value: /x|/xy}}", "{path: {value: /x}}"),
    (
        "{path: {type: RegularExpression, value: /x.*}}",
        "{path: {type: RegularExpression, value: /.*longer-but-vague|/x}}",
    ),
    ("{path: {type: RegularExpression, value: /x|/yy}}", "{path: {type: RegularExpression, value: /.}}"),
    ("{path: {value: /x}}", "{path: {value: /}}"),
    ("{path: {value: /x}}", "{path: {value: /}, method: GET, headers: [{name: h, value: v}]}"),
    ("{path: {value: /x}, method: GET}", "{path: {value: /x}, headers: [{name: h, value: v}]}"),
    ("{method: GET}", "{headers: [{name: h, value: v}], queryParams: [{name: q, value: v}]}"),
    ("{headers: [{name: h, value: v}, {name: i, value: v}]}", "{headers: [{name: h, value: v}]}"),
    ("{headers: [{name: h, value: v}]}", "{queryParams: [{name: q, value: v}, {name: r, value: v}]}"),
    ("{queryParams: [{name: q, value: v}, {name: r, value: v}]}", "{queryParams: [{name: q, value: v}]}"),
    ("{queryParams: [{name: q, value: v}]}", "{}"),
]


@pytest.mark.parametrize(("better", "worse"), BETTER)
def test_the_more_specific_match_wins_whatever_its_age_and_name(better: str, worse: str) -> None:
    """Path before method before headers before query parameters, each by its own measure."""
    found = World(gateway(), *SERVICES, route("b", better, created="2025"), route("a", worse, created="2020"))
    request = {"headers": {"h": "v", "i": "v"}, "query": {"q": "v", "r": "v"}}

    assert "b" == found.answers("x.io", "/x", **request)


def test_a_pattern_of_another_namespace_does_not_take_the_prefixes_of_a_hostname() -> None:
    """S3: a vague pattern comes after the paths that are more specific than what it begins with, whosever they are."""
    pattern = route("evil", "{path: {type: RegularExpression, value: '/.*'}}", backend="b", created="2020")
    found = World(gateway(), *SERVICES, route("victim", "{path: {value: /api}}", backend="a"), pattern)

    assert ["a", "b"] == [found.answers("x.io", path) for path in ("/api/1", "/else")]


def test_of_equal_matches_the_oldest_wins_then_the_first_by_name() -> None:
    """Creation time, then namespace, then name; whatever the order of arrival."""
    routes = [
        route("a", created="2024-03-01T00:00:00Z"),
        route("b", created="2024-01-01T00:00:00Z"),
        route("c", created="2024-01-01T00:00:00Z"),
    ]
    found = {World(gateway(), *SERVICES, *ordered).answers("x.io") for ordered in permutations(routes)}

    assert {"b"} == found


def test_a_route_without_a_time_of_creation_is_the_younger() -> None:
    """In a directory, where no object has one, names decide; beside one that has it, that one is older."""
    found = World(gateway(), *SERVICES, route("a", created=""), route("b", created="2024-01-01T00:00:00Z"))

    assert "b" == found.answers("x.io")


def test_of_equal_matches_in_one_route_the_first_rule_wins_even_without_backends() -> None:
    """HTTPRouteRuleOrder: headers in another order are equal; 500 is the answer, not the second rule."""
    manifest = """
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: web}]
  rules:
  - matches: [{headers: [{name: h, value: "1"}, {name: i, value: "2"}]}]
    backendRefs: [{name: nowhere, port: 80}]
  - matches: [{headers: [{name: i, value: "2"}, {name: h, value: "1"}]}]
    backendRefs: [{name: a, port: 80}]
"""

    assert "500" == World(gateway(), *SERVICES, manifest).answers("x.io", headers={"h": "1", "i": "2"})


@pytest.mark.parametrize(
    ("better", "worse", "listener"),
    [
        ("a.example.com", "'*.example.com'", ""),
        ("a.example.com", "", ""),
        ("'*.example.com'", "'*.com'", ""),
        ("'*.example.com'", "", ""),
        ("a.example.com", "'*.example.com'", "a.example.com"),
        ("'*.example.com'", "'*.com'", "a.example.com"),
        ("'*.com'", "", "a.example.com"),
        ("'*.example.com'", "'*.com'", "*.example.com"),
        ("x.io, a.example.com", "'*.example.com', '*.com'", ""),
    ],
)
def test_the_hostname_that_was_written_counts_before_path_and_age(better: str, worse: str, listener: str) -> None:
    """GatewayRouteHostnameIntersectionPrecedence: exact before wildcard, longer before shorter wildcard."""
    found = World(
        gateway(listener),
        *SERVICES,
        route("b", hostnames=better, created="2025"),
        route("a", "{path: {type: Exact, value: /x}}", hostnames=worse, created="2020"),
    )

    assert "b" == found.answers("a.example.com", "/x")


def test_a_request_that_the_better_hostname_does_not_match_falls_through() -> None:
    """Rules of a wildcard get what the rules of the exact hostname leave, and none of another hostname's."""
    found = World(
        gateway(),
        *SERVICES,
        route("a", "{path: {value: /exact}}", hostnames="a.example.com"),
        route("b", "{path: {value: /wild}}", hostnames="'*.example.com'"),
        route("c", "{path: {value: /any}}"),
    )
    paths = ("/exact", "/wild", "/any", "/none")

    assert ["a", "b", "c", "404"] == [found.answers("a.example.com", path) for path in paths]
    assert ["404", "b", "c", "404"] == [found.answers("x.example.com", path) for path in paths]
    assert ["404", "404", "c", "404"] == [found.answers("other.io", path) for path in paths]


def test_a_route_that_leaves_uncovers_what_was_below() -> None:
    """Fall-through follows edits of any of the hostnames."""
    found = World(gateway(), *SERVICES, route("a", hostnames="a.io"), route("b"))
    seen = [found.answers("a.io")]
    seen.append(found.delete("HTTPRoute", "a").answers("a.io"))
    seen.append(found.apply(route("c", hostnames="'*.io'")).answers("a.io"))

    assert ["a", "b", "c"] == seen


def test_many_hostnames_share_nothing() -> None:
    """Work per change: an edit touches its own virtual host and no other, and none where it leaves the order."""
    found = World(gateway(), *SERVICES, *(route(f"r{n}", hostnames=f"h{n}.io", backend="a") for n in range(20)))
    found.apply(route("r7", "{path: {value: /x}}, {path: {value: /y}}", hostnames="h7.io", backend="a"))

    assert 1 == found.changed["virtual_hosts"]
    assert 2 == found.changed["routes"]
    assert (
        "virtual_hosts"
        not in found.apply(
            route("r7", "{path: {value: /z}}, {path: {value: /w}}", hostnames="h7.io", backend="b")
        ).changed
    )
