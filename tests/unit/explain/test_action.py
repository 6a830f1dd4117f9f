"""Redirects, and the filters that answer or are told of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.explain.world import BACKENDS, SHOP_NAME, asked, chain, collected, host, listener, manager, table, to
from xds_server.explain.action import location
from xds_server.explain.request import Head
from xds_server.translation import envoy as e

PREFIX = e.RouteMatch(path_separated_prefix="/old")


def head(authority: str = "shop.test", path: str = "/old/a?b", scheme: str = "http") -> Head:
    return Head("GET", scheme, authority, path)


@pytest.mark.parametrize(
    ("fields", "request_head", "expected"),
    [
        ({}, head(), "http://shop.test/old/a?b"),
        ({"https_redirect": True}, head(), "https://shop.test/old/a?b"),
        ({"scheme_redirect": "https"}, head("shop.test:80"), "https://shop.test/old/a?b"),
        ({"scheme_redirect": "https"}, head("shop.test:8080"), "https://shop.test:8080/old/a?b"),
        ({"scheme_redirect": "http"}, head("shop.test:443", scheme="https"), "http://shop.test/old/a?b"),
        ({}, head("shop.test:80"), "http://shop.test:80/old/a?b"),
        ({"port_redirect": 8443}, head("shop.test:80"), "http://shop.test:8443/old/a?b"),
        ({"port_redirect": 443, "https_redirect": True}, head(), "https://shop.test:443/old/a?b"),
        ({"https_redirect": True}, head("[::1]:80"), "https://[::1]/old/a?b"),
        ({"https_redirect": True}, head("[::1]"), "https://[::1]/old/a?b"),
        ({"host_redirect": "to.test"}, head("shop.test:8080"), "http://to.test/old/a?b"),
        ({"path_redirect": "/new"}, head(), "http://shop.test/new?b"),
        ({"path_redirect": "/new?c"}, head(), "http://shop.test/new?c"),
        ({"path_redirect": "/new?c", "strip_query": True}, head(), "http://shop.test/new?c"),
        ({"path_redirect": "/new", "strip_query": True}, head(), "http://shop.test/new"),
        ({"strip_query": True}, head(), "http://shop.test/old/a"),
        ({"prefix_rewrite": "/new"}, head(), "http://shop.test/new/a?b"),
        ({"prefix_rewrite": "new"}, head(), "http://shop.test/new/a?b"),
        ({"regex_rewrite": {"pattern": {"regex": "^/old/*"}, "substitution": "/"}}, head(), "http://shop.test/a?b"),
    ],
)
def test_location_is_envoys(fields: dict[str, Any], request_head: Head, expected: str) -> None:
    """Scheme, host, port and path change as Envoy changes them, the odd ones too."""
    assert expected == location(e.RedirectAction(**fields), PREFIX, request_head)


def filtered(name: str, base: Any, config: Any, *, route: Any = None) -> Any:
    """A listener with one filter that is off until the route configures it."""
    http_filters = [
        e.HttpFilter(name=name, typed_config=e.any_of(base), disabled=True),
        e.HttpFilter(name="router", typed_config=e.any_of(e.Router())),
    ]
    made = route or to()
    if config is not None:
        made.typed_per_filter_config[name].CopyFrom(e.any_of(config))
    return collected(listener(chain(manager(http_filters=http_filters))), table(host(made)), *BACKENDS)


PREFLIGHT = (("origin", "https://good.test"), ("access-control-request-method", "PUT"))
POLICY = e.CorsPolicy(allow_origin_string_match=[e.StringMatcher(exact="https://good.test")])


def test_preflights_of_allowed_origins_are_answered() -> None:
    """The CORS filter answers 200 before the route does anything."""
    result = asked(filtered("cors", e.Cors(), POLICY), method="OPTIONS", headers=PREFLIGHT)

    assert ("direct_response", 200) == (result.outcome, result.status)
    assert "host *; CORS preflight of an allowed origin: https://good.test" == result.reason


def test_preflights_of_other_origins_go_on() -> None:
    """Unless the policy says otherwise, the backend answers them."""
    headers = (("origin", "https://bad.test"), PREFLIGHT[1])
    strict = e.CorsPolicy(forward_not_matching_preflights={"value": False})
    strict.MergeFrom(POLICY)

    assert "route" == asked(filtered("cors", e.Cors(), POLICY), method="OPTIONS", headers=headers).outcome
    assert 200 == asked(filtered("cors", e.Cors(), strict), method="OPTIONS", headers=headers).status


def test_cors_does_not_work_where_a_route_answers_itself() -> None:
    """Envoy passes the filter over on redirects and direct responses."""
    route = e.Route(match=e.RouteMatch(prefix="/"), direct_response={"status": 204})
    result = asked(filtered("cors", e.Cors(), POLICY, route=route), method="OPTIONS", headers=PREFLIGHT)

    assert (204, ()) == (result.status, result.filters)


def test_a_filter_that_is_off_does_nothing() -> None:
    """What a listener disables, only a route's own configuration switches on."""
    assert () == asked(filtered("cors", e.Cors(), None)).filters


def only(address: str, length: int, *, action: Any = e.RbacRules.ALLOW) -> Any:
    remote = e.Principal(remote_ip=e.CidrRange(address_prefix=address, prefix_len={"value": length}))
    policy = e.Policy(permissions=[e.Permission(any=True)], principals=[remote])
    return e.RbacPerRoute(rbac=e.Rbac(rules=e.RbacRules(action=action, policies={"clients": policy})))


def test_source_ranges_are_told_and_hold_for_a_client_that_is_named() -> None:
    """Without a client, nobody knows whether it may; with one, 403 is an answer."""
    resources = filtered("rbac", e.Rbac(), only("10.0.0.0", 8))
    unknown, inside, outside = (asked(resources, client=client) for client in ("", "10.1.2.3", "192.0.2.1"))

    assert ("RBAC: only clients of 10.0.0.0/8 (403 to others)",) == unknown.filters
    assert ["route", "route", "direct_response"] == [each.outcome for each in (unknown, inside, outside)]
    assert 403 == outside.status


def test_denied_ranges_are_the_reverse() -> None:
    """A policy that denies lets in whom it does not name."""
    resources = filtered("rbac", e.Rbac(), only("10.0.0.0", 8, action=e.RbacRules.DENY))

    assert ("RBAC: 403 to clients of 10.0.0.0/8",) == asked(resources).filters
    assert 403 == asked(resources, client="10.1.2.3").status
    assert None is asked(resources, client="192.0.2.1").status


@pytest.mark.parametrize(
    ("base", "config", "said"),
    [
        (
            e.Buffer(),
            e.BufferPerRoute(buffer=e.Buffer(max_request_bytes={"value": 9})),
            "request body is read whole, up to 9 bytes (413 above)",
        ),
        (
            e.LocalRateLimit(),
            e.LocalRateLimit(
                token_bucket=e.TokenBucket(
                    max_tokens=10, tokens_per_fill={"value": 2}, fill_interval=e.milliseconds(500)
                )
            ),
            "rate limit: 2 requests every 0.5 s, bursts of 10, for all clients together (429 above)",
        ),
        (
            e.StatefulSession(),
            e.StatefulSessionPerRoute(
                stateful_session={
                    "session_state": {
                        "name": "cookie",
                        "typed_config": e.any_of(e.CookieBasedSessionState(cookie=e.Cookie(name="at"))),
                    }
                }
            ),
            "session: cookie at keeps a client at its endpoint",
        ),
    ],
)
def test_other_filters_are_told(base: Any, config: Any, said: str) -> None:
    """What depends on more than one request, or on its body, is described."""
    assert (said,) == asked(filtered("filter", base, config)).filters


def test_everything_a_route_does_to_a_request_is_told() -> None:
    """Headers, mirrors, timeouts and retries are listed in words; escaped percent signs read as one."""
    route = to(
        SHOP_NAME,
        retry_policy=e.RetryPolicy(
            retry_on="connect-failure,retriable-status-codes",
            num_retries={"value": 2},
            retriable_status_codes=[503],
            per_try_timeout=e.milliseconds(1500),
        ),
        request_mirror_policies=[
            e.RouteAction.RequestMirrorPolicy(
                cluster="default/copy/80/http",
                runtime_fraction=e.RuntimeFractionalPercent(default_value=e.FractionalPercent(numerator=5)),
            )
        ],
    )
    route.route.timeout.seconds = 10
    route.request_headers_to_add.add(
        header=e.HeaderValue(key="x-a", value="100%%"), append_action=e.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    )
    route.response_headers_to_remove.append("server")

    assert (
        "request header x-a: set 100%",
        "response header server: remove",
        "mirror 5% to default/copy/80/http",
        "timeout: 10 s for the whole request",
        "timeout: 1.5 s for each try",
        "retry: up to 2 more times on connect-failure, retriable-status-codes (503)",
    ) == asked(collected(listener(), table(host(route)), *BACKENDS)).filters
