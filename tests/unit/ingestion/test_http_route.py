"""HTTPRoute: every field of a rule into the model, and what is said of those that cannot be done."""

# ruff: noqa: E501  # a manifest on one line reads better than one broken by Python

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.ingestion.world import World, service
from xds_server.model.refs import ClusterRef, ObjectRef, RouteRef
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Filters,
    Forward,
    HeaderModifier,
    Mirror,
    PathMatch,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
    Route,
    RouteMatch,
    ValueMatch,
    WeightedBackend,
)

GATEWAY = """
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
REF = ObjectRef("HTTPRoute", "default", "r")
APP = ClusterRef("default", "app", 80, "http")
BACKEND = "backendRefs: [{name: app, port: 80}]"


def route(*rules: str, hostnames: str = "") -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: r, creationTimestamp: "2024-01-01T00:00:00Z"}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{hostnames}]
  rules: [{", ".join("{" + rule + "}" for rule in rules)}]
"""


def world(*rules: str) -> World:
    return World(GATEWAY, route(*rules), *(service(name) for name in ("app", "other", "mirror")))


def only(*rules: str) -> Route:
    """The one route that a valid rule comes to."""
    found = world(*rules)
    assert "True/Accepted" == found.reason("Accepted", "HTTPRoute", "r"), found.condition("Accepted", "HTTPRoute", "r")
    assert "" == found.reason("PartiallyInvalid", "HTTPRoute", "r")
    [made] = found.ingested.routes.values()
    return made


def match(text: str) -> RouteMatch:
    return only(f"matches: [{text}], {BACKEND}").match


def filters(text: str, extra: str = BACKEND, matches: str = "{path: {value: /a}}") -> Route:
    return only(f"matches: [{matches}], filters: [{text}], {extra}")


def modified(kind: str, body: str) -> HeaderModifier:
    found = filters(f"{{type: {kind}HeaderModifier, {kind.lower()}HeaderModifier: {body}}}").filters
    return found.request_headers if kind == "Request" else found.response_headers


# --- matches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", PathMatch("Prefix", "/")),
        ("{path: {value: /a}}", PathMatch("Prefix", "/a")),
        ("{path: {type: PathPrefix, value: /a/}}", PathMatch("Prefix", "/a")),
        ("{path: {type: PathPrefix, value: /}}", PathMatch("Prefix", "/")),
        ("{path: {type: Exact, value: /a}}", PathMatch("Exact", "/a")),
        ("{path: {type: Exact, value: /a/}}", PathMatch("Exact", "/a/")),
        ("{path: {type: Exact, value: '/a%20b'}}", PathMatch("Exact", "/a%20b")),
        ("{path: {type: RegularExpression, value: '/a/[0-9]+'}}", PathMatch("Regex", "/a/[0-9]+")),
    ],
)
def test_paths_match_as_written(written: str, expected: PathMatch) -> None:
    """Exact paths keep their final slash, prefixes lose it, patterns stand for whole paths."""
    assert expected == match(written).path


def test_a_rule_without_matches_matches_everything() -> None:
    """ "If no matches are specified, the default is a prefix path match on "/"." """
    assert RouteMatch(PathMatch("Prefix", "/")) == only(BACKEND).match == only(f"matches: [], {BACKEND}").match


def test_header_and_query_matches_keep_the_first_of_a_name() -> None:
    """Header names are compared without case; "subsequent entries with an equivalent header name MUST be ignored"."""
    found = match(
        "{method: POST, headers: [{name: X-A, value: '1'}, {name: x-a, value: '2'}, {name: b, type: RegularExpression,"
        " value: v.*}], queryParams: [{name: Q, value: '1'}, {name: q, value: '2'}, {name: Q, value: '3'}]}"
    )

    assert "POST" == found.method
    assert (ValueMatch("x-a", "Exact", "1"), ValueMatch("b", "Regex", "v.*")) == found.headers
    assert (ValueMatch("Q", "Exact", "1"), ValueMatch("q", "Exact", "2")) == found.query_params


def test_every_match_of_every_rule_is_a_route_with_its_place() -> None:
    """Routes are named by rule and match, carry the rule's name, the object's age and its own hostnames."""
    rules = f"name: first, matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}}}], {BACKEND}", BACKEND
    found = World(GATEWAY, route(*rules, hostnames="a.io, '*.b.io'"), service("app")).ingested.routes

    assert [RouteRef(REF, 0, 0), RouteRef(REF, 0, 1), RouteRef(REF, 1, 0)] == sorted(found)
    assert ["first", "first", ""] == [found[ref].rule_name for ref in sorted(found)]
    assert {("2024-01-01T00:00:00Z", ("a.io", "*.b.io"))} == {(r.created, r.written_hostnames) for r in found.values()}


# --- backends ---------------------------------------------------------------------------------------------------------


def action(text: str) -> Any:
    return only(f"backendRefs: [{text}]").action


def test_backends_share_by_weight_and_those_of_weight_zero_get_nothing() -> None:
    """Weights are kept as they are; 0 leaves a backend out."""
    found = action("{name: app, port: 80, weight: 3}, {name: other, port: 80}, {name: mirror, port: 80, weight: 0}")

    assert Forward((WeightedBackend(APP, 3), WeightedBackend(ClusterRef("default", "other", 80, "http"), 1))) == found


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("{name: missing, port: 80}", "BackendNotFound"),
        ("{name: app, port: 81}", "BackendNotFound"),
        ("{name: app}", "BackendNotFound"),
        ("{name: app, port: 80, kind: Bucket}", "InvalidKind"),
        ("{name: app, port: 80, group: example.com}", "InvalidKind"),
        ("{name: app, port: 80, namespace: elsewhere}", "RefNotPermitted"),
        ("{name: missing, port: 80, namespace: elsewhere}", "RefNotPermitted"),
        ("{name: external, port: 80}", "BackendNotFound"),
        ("{name: udp, port: 80}", "UnsupportedProtocol"),
        ("{name: odd, port: 80}", "UnsupportedProtocol"),
    ],
)
def test_a_backend_that_does_not_resolve_answers_500_for_its_share(backend: str, reason: str) -> None:
    """ResolvedRefs says why; the share of the others is served."""
    services = """
kind: Service
metadata: {name: external}
spec: {type: ExternalName, externalName: localhost, ports: [{port: 80}]}
---
kind: Service
metadata: {name: udp}
spec: {ports: [{port: 80, protocol: UDP}]}
---
kind: Service
metadata: {name: odd}
spec: {ports: [{port: 80, appProtocol: example.com/own}]}
"""
    rule = f"backendRefs: [{{name: app, port: 80}}, {backend}]"
    found = World(GATEWAY, route(rule), service("app"), services)

    assert f"False/{reason}" == found.reason("ResolvedRefs", "HTTPRoute", "r")
    assert "True/Accepted" == found.reason("Accepted", "HTTPRoute", "r")
    assert "app,500" == found.answers("a.io")


def test_a_rule_without_backends_answers_500() -> None:
    """ "All traffic which matches this rule MUST receive a 500 status code." """
    assert Forward(()) == only("name: none").action
    assert Forward(()) == action("{name: app, port: 80, weight: 0}")


@pytest.mark.parametrize(
    ("app_protocol", "expected"),
    [
        ("", "http"),
        ("http", "http"),
        ("kubernetes.io/h2c", "h2c"),
        ("kubernetes.io/ws", "http"),
        ("kubernetes.io/wss", "https"),
        ("HTTPS", "https"),
        ("grpc", "h2c"),
    ],
)
def test_a_port_says_what_it_speaks(app_protocol: str, expected: str) -> None:
    """AppProtocol of the Service's port decides how Envoy speaks to it."""
    found = World(GATEWAY, route(BACKEND), service("app", app_protocol=app_protocol))

    assert [expected] == [ref.protocol for ref in found.ingested.clusters]


def test_a_backend_that_appears_or_goes_is_followed() -> None:
    """The route, its cluster and its condition follow the Service."""
    found = World(GATEWAY, route(BACKEND))
    seen = []
    for edit in (found.commit, lambda: found.apply(service("app")), lambda: found.delete("Service", "app")):
        edit()
        seen.append((found.answers("a"), len(found.ingested.clusters), found.reason("ResolvedRefs", "HTTPRoute", "r")))

    absent = ("500", 0, "False/BackendNotFound")
    assert [absent, ("app", 1, "True/ResolvedRefs"), absent] == seen


def test_a_backend_has_filters_of_its_own() -> None:
    """Header changes, rewrites and redirects of a backendRef belong to its share alone."""
    found = action(
        "{name: app, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}},"
        " {type: URLRewrite, urlRewrite: {hostname: b.io, path: {type: ReplaceFullPath, replaceFullPath: /x}}}]},"
        " {name: other, port: 80, filters: [{type: RequestRedirect, requestRedirect: {hostname: c.io}}]}"
    )
    rewritten = Filters(HeaderModifier((("a", "b"),)), rewrite=Rewrite("b.io", PathModifier("full", "/x")))

    assert WeightedBackend(APP, 1, rewritten) == found.backends[0]
    assert Redirect(302, hostname="c.io") == found.backends[1].redirect


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Request", "Response"])
def test_header_modifiers_set_add_and_remove(kind: str) -> None:
    """Names in lower case, the first of a name counts, order is kept."""
    body = "{set: [{name: A, value: '1'}, {name: a, value: '2'}], add: [{name: b, value: '%x'}], remove: [C, c]}"

    assert HeaderModifier((("a", "1"),), (("b", "%x"),), ("c",)) == modified(kind, body)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", Redirect()),
        ("{hostname: b.io, statusCode: 301}", Redirect(301, hostname="b.io")),
        ("{scheme: https, port: 8443, statusCode: 308}", Redirect(308, "https", port=8443)),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /x}}", Redirect(path=PathModifier("full", "/x"))),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}", Redirect(path=PathModifier("prefix", "/x"))),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}", Redirect(path=PathModifier("prefix", ""))),
    ],
)
def test_redirects(written: str, expected: Redirect) -> None:
    """Each field of a redirect, alone or together."""
    assert expected == filters(f"{{type: RequestRedirect, requestRedirect: {written}}}", "name: x").action


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{hostname: b.io}", Rewrite("b.io")),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /x}}", Rewrite(path=PathModifier("full", "/x"))),
        ("{path: {type: ReplaceFullPath, replaceFullPath: ''}}", Rewrite(path=PathModifier("full", "/"))),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /x/}}", Rewrite(path=PathModifier("prefix", "/x/"))),
    ],
)
def test_rewrites(written: str, expected: Rewrite) -> None:
    """The host and the path, whole or by prefix."""
    assert expected == filters(f"{{type: URLRewrite, urlRewrite: {written}}}").filters.rewrite


@pytest.mark.parametrize(
    ("share", "fraction"),
    [("", None), (", percent: 25", (25, 100)), (", percent: 0", (0, 100)), (", fraction: {numerator: 1, denominator: 3}", (1, 3))],
)  # fmt: skip
def test_mirrors(share: str, fraction: tuple[int, int] | None) -> None:
    """Several mirrors, each with its share; their clusters exist."""
    one = f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: mirror, port: 80}}{share}}}}}"
    two = "{type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}"
    found = world(f"filters: [{one}, {two}], {BACKEND}")
    [made] = found.ingested.routes.values()

    assert (Mirror(ClusterRef("default", "mirror", 80, "http"), fraction), None) == (
        made.filters.mirrors[0],
        made.filters.mirrors[1].fraction,
    )
    assert {"app", "mirror", "other"} == {ref.service for ref in found.ingested.clusters}


def test_a_mirror_that_does_not_resolve_is_dropped_and_told() -> None:
    """ "This BackendRef is invalid and must be dropped", and ResolvedRefs is False; requests are served."""
    found = world(
        f"filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: nowhere, port: 80}}}}}}], {BACKEND}"
    )

    assert ("False/BackendNotFound", "app") == (found.reason("ResolvedRefs", "HTTPRoute", "r"), found.answers("a"))


def test_cors() -> None:
    """Every field of CORS; maxAge is 5 seconds where none is given."""
    found = filters(
        "{type: CORS, cors: {allowOrigins: ['https://*.a.io', 'http://b.io:81'], allowMethods: [GET, PUT],"
        " allowHeaders: [X-A], exposeHeaders: ['*'], allowCredentials: true}}"
    )

    assert Cors(("https://*.a.io", "http://b.io:81"), ("GET", "PUT"), ("x-a",), ("*",), 5, True) == found.filters.cors


# --- timeouts, retries, sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", (None, None)),
        ("{request: 500ms}", (500, None)),
        ("{request: 1h2m3s4ms, backendRequest: 1s}", (3_723_004, 1000)),
        ("{request: 0s, backendRequest: 10s}", (0, 10_000)),
        ("{backendRequest: 0s}", (None, 0)),
    ],
)
def test_timeouts(written: str, expected: tuple[int | None, int | None]) -> None:
    """Durations of the Gateway API in milliseconds; 0 disables."""
    found = only(f"timeouts: {written}, {BACKEND}")

    assert expected == (found.request_timeout_ms, found.backend_timeout_ms)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{}", Retry(1)),
        ("{attempts: 0}", Retry(0)),
        ("{codes: [503, 500], attempts: 3, backoff: 100ms}", Retry(3, (500, 503), 100)),
    ],
)
def test_retries(written: str, expected: Retry) -> None:
    """Attempts after the first try, one by default, none for 0; codes and the base interval."""
    assert expected == only(f"retry: {written}, {BACKEND}").retry


@pytest.mark.parametrize("attempts", [11, 2**31 - 1])
def test_retries_are_bounded_and_their_author_is_told(attempts: int) -> None:
    """S13: ten at most: one author's number does not multiply what a struggling backend gets."""
    found = World(GATEWAY, route(f"retry: {{attempts: {attempts}}}, {BACKEND}"), service("app"))
    [made] = found.ingested.routes.values()
    [warning] = found.ingested.warnings.values()

    assert Retry(10) == made.retry
    assert ("spec.rules[0].retry.attempts", "taken as 10, which is the most that is done here") == (
        warning.field,
        warning.message,
    )


@pytest.mark.parametrize(("app_protocol", "told"), [("https", True), ("kubernetes.io/wss", True), ("http", False)])
def test_tls_to_backends_that_nobody_verifies_is_told(app_protocol: str, told: bool) -> None:
    """A port that asks for TLS gets it, and the route's author learns that no certificate is verified."""
    found = World(GATEWAY, route(BACKEND), service("app", app_protocol=app_protocol))
    messages = [warning.message for warning in found.ingested.warnings.values()]
    message = "appProtocol has TLS spoken to default/app:80, and no certificate is verified"

    assert ([message] if told else []) == messages


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{cookie: {name: sid}}", CookieAffinity("sid")),
        ("{type: Cookie, cookie: {name: sid, path: /x}}", CookieAffinity("sid", "/x")),
        ("{absoluteTimeout: 1h, cookie: {name: s, lifetimeType: Permanent}}", CookieAffinity("s", "/", 3600)),
    ],
)
def test_session_persistence_by_cookie(written: str, expected: CookieAffinity) -> None:
    """A session cookie, or one with an end."""
    assert expected == only(f"sessionPersistence: {written}, {BACKEND}").affinity


def test_rules_without_a_cookie_name_have_cookies_of_their_own() -> None:
    """Two rules never read each other's cookie."""
    found = world(*(f"matches: [{{path: {{value: /{p}}}}}], sessionPersistence: {{}}, {BACKEND}" for p in "ab"))

    assert 2 == len({made.affinity.name for made in found.ingested.routes.values() if made.affinity})


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED = [
    ("matches: [{path: {type: RegularExpression, value: '/a('}}]", "matches[0].path"),
    ("matches: [{path: {type: RegularExpression, value: '(a*){1000}{1000}'}}]", "matches[0].path"),
    ("matches: [{path: {type: RegularExpression, value: '/[a-z]{500}{3}'}}]", "matches[0].path"),
    ("matches: [{path: {type: RegularExpression, value: '(?=look)'}}]", "matches[0].path"),
    ("matches: [{path: {type: RegularExpression, value: ''}}]", "matches[0].path"),
    ("matches: [{path: {type: RegularExpression, value: '(a)\\1'}}]", "matches[0].path"),
    ("matches: [{headers: [{name: a, type: RegularExpression, value: '['}]}]", "matches[0].headers a"),
    ("matches: [{queryParams: [{name: a, type: RegularExpression, value: '*'}]}]", "matches[0].queryParams"),
    ("matches: [{path: {value: a}}]", "matches[0].path"),
    ("matches: [{path: {value: ''}}]", "matches[0].path"),
    ("matches: [{path: {value: /a//b}}]", "matches[0].path"),
    ("matches: [{path: {value: /a/../b}}]", "matches[0].path"),
    ("matches: [{path: {value: /a/..}}]", "matches[0].path"),
    ("matches: [{path: {value: /./a}}]", "matches[0].path"),
    ("matches: [{path: {value: '/a%2Fb'}}]", "matches[0].path"),
    ("matches: [{path: {value: '/a%5cb'}}]", "matches[0].path"),
    ("matches: [{path: {value: '/a#b'}}]", "matches[0].path"),
    ("matches: [{path: {value: '/a?b=c'}}]", "matches[0].path"),
    ("matches: [{path: {value: '/a b'}}]", "matches[0].path"),
    ('matches: [{path: {value: "/a\\nb"}}]', "matches[0].path"),
    ('matches: [{path: {value: "/a\\0"}}]', "matches[0].path"),
    ("matches: [{path: {value: '/a%zz'}}]", "matches[0].path"),
    ("matches: [{headers: [{name: ':path', value: /}]}]", "matches[0].headers"),
    ("matches: [{headers: [{name: 'a b', value: c}]}]", "matches[0].headers"),
    ('matches: [{headers: [{name: a, value: "b\\r\\nc: d"}]}]', "matches[0].headers a"),
    ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: 'a:b', value: c}]}}]", "requestHeaderModifier.set"),
    ('filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: "b\\r\\nc: d"}]}}]', "requestHeaderModifier.set"),
    ('filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: "\\0"}]}}]', "responseHeaderModifier.add"),
    ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: evil.io}]}}]", "urlRewrite.hostname"),
    ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [host]}}]", "urlRewrite.hostname"),
    ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [':authority']}}]", "requestHeaderModifier.remove"),
    ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Content-Length, value: '0'}]}}]", "content-length"),
    ("filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [transfer-encoding]}}]", "transfer-encoding"),
    ("filters: [{type: URLRewrite, urlRewrite: {hostname: 'a.io:80'}}]", "urlRewrite.hostname"),
    ("filters: [{type: URLRewrite, urlRewrite: {hostname: '*.a.io'}}]", "urlRewrite.hostname"),
    ('filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: "/a\\r\\nb"}}}]', "replaceFullPath"),
    ("filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}]", "replaceFullPath"),
    ("matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]", "ReplacePrefixMatch"),
    ("filters: [{type: CORS, cors: {allowOrigins: ['null']}}]", "allowOrigins"),
    ("filters: [{type: CORS, cors: {allowOrigins: ['https://a.io/path']}}]", "allowOrigins"),
    ("filters: [{type: CORS, cors: {allowOrigins: ['https://a.*.io']}}]", "allowOrigins"),
    ("filters: [{type: CORS, cors: {allowMethods: ['G T']}}]", "allowMethods"),
    ("filters: [{type: RequestMirror, requestMirror: {backendRef: {name: app, port: 80}, percent: 1, fraction: {numerator: 1}}}]", "percent"),
    ("filters: [{type: RequestMirror, requestMirror: {backendRef: {name: app, port: 80}, fraction: {numerator: 3, denominator: 2}}}]", "fraction"),
    ("filters: [{type: URLRewrite}]", "urlRewrite"),
    ("filters: [{type: CORS, cors: {}, urlRewrite: {hostname: a.io}}]", "cors"),
    ("filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: app, port: 80}}}]", "external authorization"),
    ("timeouts: {request: 10}", "timeouts.request"),
    ("timeouts: {request: 1.5s}", "timeouts.request"),
    ("timeouts: {backendRequest: -1s}", "timeouts.backendRequest"),
    ("timeouts: {request: 1s, backendRequest: 2s}", "backendRequest 2s is longer"),
    ("retry: {backoff: soon}", "retry.backoff"),
    ("retry: {backoff: 0s}", "retry.backoff"),
    ("sessionPersistence: {type: Header, header: {name: x-session}}", "sessionPersistence.type"),
    ("sessionPersistence: {cookie: {name: 'a;b'}}", "cookie.name"),
    ("sessionPersistence: {cookie: {name: a, path: '/; Domain=evil.io'}}", "cookie.path"),
    ("sessionPersistence: {cookie: {name: a, lifetimeType: Permanent}}", "absoluteTimeout"),
    ("sessionPersistence: {absoluteTimeout: 1h}", "absoluteTimeout"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "named"), REFUSED)
def test_a_rule_that_cannot_work_answers_500_and_its_neighbour_lives(rule: str, named: str) -> None:
    """S4, S5: PartiallyInvalid names the field; the rule's requests get 500 and never another rule's backend."""
    rule = rule.replace("request: 10}", "request: '10'}")
    found = world(f"{rule}, {BACKEND}", "matches: [{path: {value: /fine}}], backendRefs: [{name: other, port: 80}]")
    partly = found.condition("PartiallyInvalid", "HTTPRoute", "r")

    assert partly is not None
    assert ("True", "UnsupportedValue") == (partly.status, partly.reason)
    assert partly.message.startswith("Dropped Rule")
    assert "rules[0]" in partly.message
    assert named in partly.message
    assert "True/Accepted" == found.reason("Accepted", "HTTPRoute", "r")
    assert {DirectResponse(500)} >= {r.action for r in found.ingested.routes.values() if r.ref.rule == 0}
    assert "other" == found.answers("a.io", "/fine")


@pytest.mark.parametrize("rule", [rule for rule, _ in REFUSED])
def test_a_route_of_nothing_but_such_rules_is_not_accepted(rule: str) -> None:
    """Accepted is False, the route does not count, and its requests still never reach a backend."""
    rule = rule.replace("request: 10}", "request: '10'}")
    found = world(f"{rule}, {BACKEND}")

    assert "False/UnsupportedValue" == found.reason("Accepted", "HTTPRoute", "r")
    assert 0 == found.verdict("Gateway", "web", "http").attached_routes
    assert {DirectResponse(500)} >= {made.action for made in found.ingested.routes.values()}


@pytest.mark.parametrize(
    "rule",
    [
        "filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {hostname: a.io}}]",
        "filters: [{type: URLRewrite, urlRewrite: {hostname: a.io}}, {type: URLRewrite, urlRewrite: {hostname: b.io}}]",
        "filters: [{type: CORS, cors: {}}, {type: CORS, cors: {}}]",
        "filters: [{type: RequestRedirect, requestRedirect: {}}]",
        "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [A]}}]",
    ],
)
def test_filters_that_exclude_each_other_are_told(rule: str) -> None:
    """IncompatibleFilters, and 500."""
    found = world(f"{rule}, {BACKEND}")

    assert ("False/IncompatibleFilters", "500") == (found.reason("Accepted", "HTTPRoute", "r"), found.answers("a.io"))


def test_a_filter_that_nobody_knows_is_not_skipped() -> None:
    """ "The filter MUST NOT be skipped": ResolvedRefs is False and requests get an error, on rules and on backends."""
    unknown = "{type: ExtensionRef, extensionRef: {group: example.com, kind: Auth, name: x}}"
    rule, share = (
        world(f"filters: [{unknown}], {BACKEND}"),
        world(f"backendRefs: [{{name: app, port: 80, filters: [{unknown}]}}]"),
    )

    assert ["False/InvalidKind"] * 2 == [found.reason("ResolvedRefs", "HTTPRoute", "r") for found in (rule, share)]
    assert ["500", "500"] == [rule.answers("a.io"), share.answers("a.io")]


def test_a_match_that_cannot_be_told_takes_nobody_elses_requests() -> None:
    """S5: the valid matches of a refused rule answer 500, the bad one matches nothing at all."""
    matches = "{path: {value: /mine}}, {path: {type: RegularExpression, value: '['}}"
    found = world(f"matches: [{matches}], {BACKEND}", "backendRefs: [{name: other, port: 80}]")

    assert ("500", "other") == (found.answers("a.io", "/mine"), found.answers("a.io", "/else"))


def test_messages_show_hostile_values_escaped_and_short() -> None:
    """A condition is read in terminals: no control character, no novel."""
    found = world(f'matches: [{{path: {{value: "/\\x1b[31m{"x" * 5000}"}}}}], {BACKEND}')
    accepted = found.condition("Accepted", "HTTPRoute", "r")

    assert accepted is not None
    assert accepted.message.isprintable()
    assert len(accepted.message) < 300


def test_the_fixture_writes_what_it_means() -> None:
    """The manifests of these tests are YAML."""
    assert "HTTPRoute" == yaml.safe_load(route(BACKEND))["kind"]


def test_a_backend_that_does_not_resolve_is_found_by_its_place() -> None:
    """Each place of each backend, the same reason once for all places; of a filter, its own place."""
    absent = "{name: absent, port: 80}"
    mirror = f"{{type: RequestMirror, requestMirror: {{backendRef: {absent}}}}}"
    found = world(
        f"backendRefs: [{{name: app, port: 80}}, {absent}], filters: [{mirror}]",
        f"backendRefs: [{absent}]",
        "backendRefs: [{name: app, port: 81}]",
    )
    condition = found.condition("ResolvedRefs", "HTTPRoute", "r")

    assert condition is not None
    assert (
        "rules[0].backendRefs[1], rules[0].filters[0].requestMirror.backendRef, rules[1].backendRefs[0]: "
        "Service/default/absent does not exist; "
        "rules[2].backendRefs[0]: Service/default/app has no port 81; it has: 80"
    ) == condition.message
