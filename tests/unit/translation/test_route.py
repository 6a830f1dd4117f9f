from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.translation.written import PLAIN, PREFIX, cluster, route, routes, share, single, to
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Filters,
    Forward,
    HeaderModifier,
    Mirror,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
    Route,
    RouteMatch,
    SourceRanges,
    WeightedBackend,
)
from xds_server.translation import http_filter
from xds_server.translation.envoy import BufferPerRoute, CorsPolicy, HeaderValueOption, LocalRateLimit, RbacPerRoute
from xds_server.translation.redirect import Place
from xds_server.translation.route import encoded_route, refused

HERE = Place(PLAIN, "*")
UNRESOLVED = WeightedBackend(None)


def test_one_backend_is_a_cluster() -> None:
    """The common case is the small message."""
    made = single(route(to("one")))

    assert ("httproute/default/shop/0/0", "default/one/80/http") == (made.name, made.route.cluster)


def test_backends_share_by_weight_and_zero_is_left_out() -> None:
    """Weights are the object's own numbers."""
    clusters = single(route(to(share("one", 90), share("two", 0), share("three", 10)))).route.weighted_clusters

    assert [("default/one/80/http", 90), ("default/three/80/http", 10)] == [
        (each.name, each.weight.value) for each in clusters.clusters
    ]


@pytest.mark.parametrize("action", [to(), to(share("one", 0)), Forward((UNRESOLVED,)), Forward((UNRESOLVED,) * 2)])
def test_no_usable_backend_answers_500(action: Forward) -> None:
    """S16: a rule that cannot work fails closed."""
    assert 500 == single(route(action)).direct_response.status


def test_no_usable_backend_is_unavailable_to_grpc() -> None:
    """GRPCRoute: "MUST receive an UNAVAILABLE status", which Envoy makes of 503."""
    made = single(route(Forward((UNRESOLVED,)), RouteMatch(PREFIX.path, grpc=True)))

    assert 503 == made.direct_response.status


def test_an_unresolved_share_is_a_route_of_its_own() -> None:
    """Growing fractions of a million, the last without one: together they are all requests."""
    made = routes(route(to(share("one", 30), WeightedBackend(None, 20), share("two", 50))))

    assert [300_000, 500_000, 0] == [each.match.runtime_fraction.default_value.numerator for each in made]
    assert ["default/one/80/http", "", "default/two/80/http"] == [each.route.cluster for each in made]
    assert [f"httproute/default/shop/0/0/{share}" for share in range(3)] == [each.name for each in made]
    assert 500 == made[1].direct_response.status
    assert not made[2].match.HasField("runtime_fraction")


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=16))
def test_fractions_follow_the_weights(weights: list[int]) -> None:
    """Each share's width is its weight to one in a million, whatever the weights are."""
    rewritten = Filters(rewrite=Rewrite(path=PathModifier("full", "/")))
    made = routes(route(Forward(tuple(WeightedBackend(cluster("one"), weight, rewritten) for weight in weights))))
    upper = [
        each.match.runtime_fraction.default_value.numerator if each.match.HasField("runtime_fraction") else 1_000_000
        for each in made
    ]
    shares = [weight for weight in weights if weight]

    for width, weight in zip((b - a for a, b in zip([0, *upper], upper, strict=False)), shares, strict=False):
        assert abs(width - weight * 1_000_000 / sum(shares)) <= 1


def test_headers_of_a_share_stay_in_the_weighted_clusters() -> None:
    """A rule's changes come first in each, so that the share has the last word."""
    backends = to(
        share("one", request_headers=HeaderModifier(set=(("a", "share"),), remove=("b",))),
        share("two", rewrite=Rewrite(hostname="two.example")),
    )
    rule = Filters(request_headers=HeaderModifier(set=(("a", "rule"), ("b", "rule")), add=(("c", "rule"),)))
    made = single(route(backends, filters=rule))
    one, two = made.route.weighted_clusters.clusters

    assert [("c", "rule"), ("a", "share")] == sorted(
        ((each.header.key, each.header.value) for each in one.request_headers_to_add), reverse=True
    )
    assert ["b"] == list(one.request_headers_to_remove)
    assert ["a", "b", "c"] == [each.header.key for each in two.request_headers_to_add]
    assert ("", "two.example") == (one.host_rewrite_literal, two.host_rewrite_literal)
    assert [] == list(made.request_headers_to_add)


def test_set_overwrites_and_add_appends() -> None:
    """Names as they come, `%` doubled: Envoy would read it (S4)."""
    modifier = HeaderModifier(set=(("a", "50%"),), add=(("b", ""),), remove=("c",))
    made = single(route(filters=Filters(request_headers=modifier, response_headers=modifier)))

    for added, removed in (
        (made.request_headers_to_add, made.request_headers_to_remove),
        (made.response_headers_to_add, made.response_headers_to_remove),
    ):
        assert [
            ("a", "50%%", HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD, False),
            ("b", "", HeaderValueOption.APPEND_IF_EXISTS_OR_ADD, True),
        ] == [(each.header.key, each.header.value, each.append_action, each.keep_empty_value) for each in added]
        assert ["c"] == list(removed)


def test_setting_the_host_header_rewrites_it() -> None:
    """Envoy refuses a whole table that sets `host` as a header."""
    made = single(route(filters=Filters(request_headers=HeaderModifier(set=(("host", "a.example"), ("b", "c"))))))

    assert "a.example" == made.route.host_rewrite_literal
    assert ["b"] == [each.header.key for each in made.request_headers_to_add]


@pytest.mark.parametrize(
    ("modifier", "rewritten"),
    [
        (PathModifier("prefix", "/xyz"), {"prefix_rewrite": "/xyz"}),
        (PathModifier("prefix", "/xyz/"), {"prefix_rewrite": "/xyz"}),
        (PathModifier("prefix", "xyz"), {"prefix_rewrite": "/xyz"}),
        (PathModifier("prefix", "/"), {"regex_rewrite": ("^/shop/*", "/")}),
        (PathModifier("prefix", ""), {"regex_rewrite": ("^/shop/*", "/")}),
        (PathModifier("prefix", "/shop/"), {}),
        (PathModifier("full", "/a\\1"), {"regex_rewrite": ("^.*$", "/a\\\\1")}),
        (PathModifier("full", ""), {"regex_rewrite": ("^.*$", "/")}),
        (PathModifier("regex", r"/\1", "^/shop/(.*)$"), {"regex_rewrite": ("^/shop/(.*)$", r"/\1")}),
    ],
)
def test_paths_are_rewritten(modifier: PathModifier, rewritten: dict[str, object]) -> None:
    """A prefix that gives way to "/" takes the slashes after it along."""
    action = single(route(filters=Filters(rewrite=Rewrite(path=modifier)))).route
    found = {
        "prefix_rewrite": action.prefix_rewrite,
        "regex_rewrite": (action.regex_rewrite.pattern.regex, action.regex_rewrite.substitution),
    }

    assert rewritten == {key: value for key, value in found.items() if value and value != ("", "")}


def test_time_limits_are_what_the_author_wrote() -> None:
    """No total unless asked for; 0 lifts every limit; a long one lifts the idle limit as far."""
    unset = single(route()).route
    short = single(route(request_timeout_ms=1500)).route
    long = single(route(request_timeout_ms=600_000)).route
    none = single(route(request_timeout_ms=0)).route

    assert unset.HasField("timeout")
    assert (0, 1_500, 600_000, 0) == tuple(each.timeout.ToMilliseconds() for each in (unset, short, long, none))
    assert (False, False, True, True) == tuple(each.HasField("idle_timeout") for each in (unset, short, long, none))
    assert (600_000, 0) == (long.idle_timeout.ToMilliseconds(), none.idle_timeout.ToMilliseconds())
    assert 7_000 == single(route(idle_timeout_ms=7_000)).route.idle_timeout.ToMilliseconds()


def test_a_retry_is_for_failures_that_did_no_harm() -> None:
    """v1.7: connection failures, refused streams, and the codes that the author lists; on another endpoint."""
    policy = single(route(retry=Retry(3, (500, 503), 100), backend_timeout_ms=250)).route.retry_policy

    assert "connect-failure,refused-stream,retriable-status-codes" == policy.retry_on
    assert (3, 250, [500, 503]) == (
        policy.num_retries.value,
        policy.per_try_timeout.ToMilliseconds(),
        list(policy.retriable_status_codes),
    )
    assert (100, 1000) == tuple(
        each.ToMilliseconds() for each in (policy.retry_back_off.base_interval, policy.retry_back_off.max_interval)
    )
    assert ["envoy.retry_host_predicates.previous_hosts"] == [each.name for each in policy.retry_host_predicate]


def test_retries_are_ten_at_most() -> None:
    """An author's hundred would make an outage a hundredfold; ten find an endpoint that works."""
    assert 10 == single(route(retry=Retry(100))).route.retry_policy.num_retries.value


def test_a_grpc_retry_includes_unavailable() -> None:
    """UNAVAILABLE is gRPC's own word for a connection that failed."""
    policy = single(route(retry=Retry(1, grpc=True))).route.retry_policy

    assert "connect-failure,refused-stream,unavailable" == policy.retry_on


def test_zero_attempts_disable_retries() -> None:
    """There is no policy then, unless one attempt has a time limit, which lives there."""
    limited = single(route(retry=Retry(0, (500,)), backend_timeout_ms=250)).route

    assert not single(route(retry=Retry(0, (500,)))).route.HasField("retry_policy")
    assert not single(route(backend_timeout_ms=0)).route.HasField("retry_policy")
    assert ("", 0) == (limited.retry_policy.retry_on, limited.retry_policy.num_retries.value)
    assert limited.retry_policy.HasField("num_retries")


def test_mirrors_keep_the_host_and_their_fraction() -> None:
    """Fractions are of a million; a fraction of nothing is no mirror."""
    mirrors = (Mirror(cluster("all")), Mirror(cluster("third"), (1, 3)), Mirror(cluster("none"), (0, 5)))
    policies = single(route(filters=Filters(mirrors=mirrors))).route.request_mirror_policies

    assert ["default/all/80/http", "default/third/80/http"] == [each.cluster for each in policies]
    assert not policies[0].HasField("runtime_fraction")
    assert 333_333 == policies[1].runtime_fraction.default_value.numerator
    assert all(each.disable_shadow_host_suffix_append for each in policies)


def test_cors_is_a_filter_and_a_guard() -> None:
    """A star of an origin is a pattern of labels, all else of it is literal."""
    cors = Cors(("https://a.example", "https://*.b.example"), ("GET",), ("x-1",), ("x-2",), 60, allow_credentials=True)
    guard, made = routes(route(filters=Filters(cors=cors)))
    policy = CorsPolicy.FromString(made.typed_per_filter_config[http_filter.CORS].value)

    assert ["https://a.example", ""] == [each.exact for each in policy.allow_origin_string_match]
    assert r"https://[^/:]+\.b\.example" == policy.allow_origin_string_match[1].safe_regex.regex
    assert ("GET", "x-1", "x-2", "60", True) == (
        policy.allow_methods,
        policy.allow_headers,
        policy.expose_headers,
        policy.max_age,
        policy.allow_credentials.value,
    )
    assert 204 == guard.direct_response.status
    assert [False, False, False, True, True] == [each.invert_match for each in guard.match.headers]


def test_a_star_of_exposed_headers_is_not_sent_with_credentials() -> None:
    """Fetch: it would be the name of a header then; names beside it stay."""
    written = Cors(("https://a.example",), expose_headers=("*", "x-1"))
    credentialed = replace(written, allow_credentials=True)
    made = [routes(route(filters=Filters(cors=each)))[1] for each in (written, credentialed)]

    assert ["*, x-1", "x-1"] == [
        CorsPolicy.FromString(each.typed_per_filter_config[http_filter.CORS].value).expose_headers for each in made
    ]


def test_a_preflight_needs_neither_the_method_nor_the_headers_of_its_rule() -> None:
    """Browsers ask with OPTIONS and name the method that they mean."""
    written = route(filters=Filters(cors=Cors(("*",))))
    plain = routes(written)
    preflight, _ = routes(replace(written, match=RouteMatch(PREFIX.path, "PUT")))

    assert 1 == len(plain)
    assert [":method", "origin", "access-control-request-method"] == [each.name for each in preflight.match.headers]
    assert "PUT" == preflight.match.headers[2].string_match.exact
    assert "default/one/80/http" == preflight.route.cluster


def test_source_ranges_allow_first_and_deny_in_any_case() -> None:
    """One policy: inside the allowed ranges and outside the denied ones."""
    made = single(route(source_ranges=SourceRanges(("10.0.0.0/8", "fd00::/8"), ("10.1.2.3/32",))))
    rules = RbacPerRoute.FromString(made.typed_per_filter_config[http_filter.RBAC].value).rbac.rules
    allowed, denied = rules.policies["source-ranges"].principals[0].and_ids.ids

    assert [("10.0.0.0", 8), ("fd00::", 8)] == [
        (each.remote_ip.address_prefix, each.remote_ip.prefix_len.value) for each in allowed.or_ids.ids
    ]
    assert ["10.1.2.3"] == [each.remote_ip.address_prefix for each in denied.not_id.or_ids.ids]


def test_limits_of_a_route_are_filters_of_that_route() -> None:
    """Size, rate and affinity cost other routes nothing."""
    made = single(route(max_request_bytes=1024, rate_limit_rps=10, affinity=CookieAffinity("server", ttl_s=60)))
    config = made.typed_per_filter_config
    limit = LocalRateLimit.FromString(config[http_filter.LOCAL_RATE_LIMIT].value)

    assert {http_filter.BUFFER, http_filter.LOCAL_RATE_LIMIT, http_filter.STATEFUL_SESSION} == set(config)
    assert 1024 == BufferPerRoute.FromString(config[http_filter.BUFFER].value).buffer.max_request_bytes.value
    assert (50, 10) == (limit.token_bucket.max_tokens, limit.token_bucket.tokens_per_fill.value)


def test_clusters_of_a_route_are_those_that_its_bytes_name() -> None:
    """X40: mirrors are among them; a backend that gets nothing is not."""
    backends = to(share("one"), share("two", 0), WeightedBackend(cluster("three"), redirect=Redirect(302)))
    made = encoded_route(route(backends, filters=Filters(mirrors=(Mirror(cluster("four")),))), HERE)

    assert (cluster("four"), cluster("one")) == made.clusters
    assert () == encoded_route(route(Redirect(302)), HERE).clusters


def test_equal_routes_have_equal_bytes() -> None:
    """Maps are written in key order, so versions are hashes of what matters."""
    written = route(
        max_request_bytes=1, rate_limit_rps=1, affinity=CookieAffinity("a"), source_ranges=SourceRanges(("::/0",))
    )

    assert {encoded_route(written).body} == {encoded_route(written).body for _ in range(10)}


def test_a_refused_route_keeps_its_match() -> None:
    """Its requests answer 500; they do not fall to the next rule."""
    [made] = routes(Route(route().ref, "", route().match, DirectResponse(500)))

    answer = refused(route(DirectResponse(99)))

    assert answer is not None
    assert answer.body.endswith(made.SerializeToString(deterministic=True))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (route(DirectResponse(99)), "status 99"),
        (route(DirectResponse(200, "x" * 4097)), "longer than 4096"),
        (route(filters=Filters(request_headers=HeaderModifier(add=(("host", "a"),)))), "cannot be added"),
        (route(filters=Filters(request_headers=HeaderModifier(remove=("host",)))), "cannot be added"),
        (route(filters=Filters(response_headers=HeaderModifier(set=(("host", "a"),)))), "cannot be added"),
        (route(filters=Filters(request_headers=HeaderModifier(set=((":path", "/"),)))), "no header name"),
        (route(filters=Filters(request_headers=HeaderModifier(set=(("a", "b\r\nc: d"),)))), "control character"),
        (route(filters=Filters(rewrite=Rewrite(path=PathModifier("regex", r"\2", "(a)")))), "has 1"),
        (route(filters=Filters(rewrite=Rewrite(path=PathModifier("regex", "\\x", "(a)")))), "a backslash refers"),
        (route(filters=Filters(mirrors=(Mirror(cluster("a"), (2, 1)),))), "no share of the requests"),
        (route(to(share("a", -1))), "is negative"),
        (route(to(share("a", 2**32 - 1), share("b", 1))), "add up to more than"),
        (route(max_request_bytes=0), "is not between 1"),
        (route(rate_limit_rps=0), "is not between 1"),
        (route(Redirect(302)), "depends on where it stands"),
        (route(affinity=CookieAffinity("a b")), "no header name"),
        (route(source_ranges=SourceRanges(("nonsense",))), "does not appear to be"),
    ],
)
def test_what_envoy_would_refuse_is_named(bad: Route, said: str) -> None:
    """X54: the error names the object, its rule and what is wrong; nothing is cut to fit."""
    with pytest.raises(ValueError, match="HTTPRoute/default/shop rule 0 match 0: ") as raised:
        encoded_route(bad)

    assert said in str(raised.value)
