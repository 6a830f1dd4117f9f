"""GRPCRoute: services and methods into paths, their own precedence, and HTTP/2 towards the backends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ingestion.world import World, service
from xds_server.model.route import PathMatch, ValueMatch

GATEWAY = """
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def route(*rules: str, name: str = "r", created: str = "2024") -> str:
    return f"""
kind: GRPCRoute
metadata: {{name: {name}, creationTimestamp: "{created}"}}
spec:
  parentRefs: [{{name: web}}]
  rules: [{", ".join("{" + rule + "}" for rule in rules)}]
"""


def rule(match: str, backend: str = "app") -> str:
    return f"matches: [{match}], backendRefs: [{{name: {backend}, port: 80}}]"


def only(match: str) -> Any:
    [made] = World(GATEWAY, route(rule(match)), service("app")).ingested.routes.values()
    return made


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("{service: a.B, method: C}", PathMatch("Exact", "/a.B/C")),
        ("{service: a.B}", PathMatch("Prefix", "/a.B")),
        ("{method: C}", PathMatch("Regex", "/[^/]+/C")),
        ("{type: RegularExpression, service: 'a|b', method: 'c|d'}", PathMatch("Regex", "/(?:a|b)/(?:c|d)")),
        ("{type: RegularExpression, service: a.*}", PathMatch("Regex", "/(?:a.*)/(?:[^/]+)")),
    ],
)
def test_services_and_methods_are_paths(method: str, expected: PathMatch) -> None:
    """Only gRPC requests match; an alternative in one part of a pattern does not reach into the other."""
    found = only(f"{{method: {method}}}").match

    assert (expected, True) == (found.path, found.grpc)


def test_a_rule_without_matches_takes_every_call() -> None:
    """And no request that is not gRPC."""
    found = World(GATEWAY, route("backendRefs: [{name: app, port: 80}]"), service("app"))

    assert ["app", "404"] == [
        found.answers("a", "/s/m", headers={"content-type": "application/grpc"}),
        found.answers("a"),
    ]


def test_headers_match() -> None:
    """As for HTTPRoute."""
    assert (ValueMatch("a", "Exact", "b"),) == only("{headers: [{name: A, value: b}]}").match.headers


@pytest.mark.parametrize(
    ("app_protocol", "expected"), [("", "h2c"), ("http", "h2c"), ("kubernetes.io/h2c", "h2c"), ("https", "h2")]
)
def test_backends_speak_http_2(app_protocol: str, expected: str) -> None:
    """GRPC is HTTP/2, whatever the port says or does not say."""
    found = World(GATEWAY, route(rule("{}")), service("app", app_protocol=app_protocol))

    assert [expected] == [ref.protocol for ref in found.ingested.clusters]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("{service: a.B, method: C}", "{service: a.B}"),
        ("{service: a.B}", "{method: C}"),
        ("{method: C}", "{}"),
        ("{service: a.B}", "{}"),
    ],
)
def test_the_longer_service_wins_then_the_longer_method(better: str, worse: str) -> None:
    """ "The largest number of characters in a matching service", then in a matching method, before age."""
    routes = (
        route(rule(f"{{method: {better}}}" if better != "{}" else better, "good"), name="b", created="2025"),
        route(rule(f"{{method: {worse}}}" if worse != "{}" else worse, "bad"), name="a", created="2020"),
    )
    found = World(GATEWAY, *routes, service("good"), service("bad"))

    assert "good" == found.answers("x", "/a.B/C", headers={"content-type": "application/grpc"})


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("matches: [{method: {}}]", "neither service nor method"),
        ("matches: [{method: {service: 'a/b'}}]", "method.service"),
        ("matches: [{method: {method: 'a b'}}]", "method.method"),
        ("matches: [{method: {type: RegularExpression, service: '('}}]", "method.service"),
        ("matches: [{method: {type: RegularExpression, service: 'a)|(b'}}]", "method.service"),
        ("filters: [{type: URLRewrite, urlRewrite: {hostname: a.io}}]", "URLRewrite"),
        ("filters: [{type: RequestRedirect, requestRedirect: {}}]", "RequestRedirect"),
    ],
)
def test_what_a_grpc_rule_cannot_do_is_told(bad: str, named: str) -> None:
    """UnsupportedValue with the field; the rule answers 500."""
    found = World(GATEWAY, route(f"{bad}, backendRefs: [{{name: app, port: 80}}]"), service("app"))
    accepted = found.condition("Accepted", "GRPCRoute", "r")

    assert accepted is not None
    assert ("False", "UnsupportedValue") == (accepted.status, accepted.reason)
    assert named in accepted.message
    assert {} == dict(found.ingested.clusters)
