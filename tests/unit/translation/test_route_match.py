from __future__ import annotations

import pytest

from tests.unit.translation.written import matched, route, routes
from xds_server.model.route import PathMatch, RouteMatch, ValueMatch
from xds_server.translation.text import MAX_REGEX_PROGRAM_SIZE


@pytest.mark.parametrize(("path", "prefix"), [("/a", "/a"), ("/a/", "/a"), ("/a/b", "/a/b")])
def test_a_prefix_is_matched_by_segment(path: str, prefix: str) -> None:
    """A trailing slash of a prefix is ignored."""
    assert prefix == matched(PathMatch("Prefix", path)).path_separated_prefix


@pytest.mark.parametrize("path", ["/", "//"])
def test_the_root_is_every_path(path: str) -> None:
    """Envoy's segment prefix cannot be empty, its plain prefix can be "/"."""
    assert "/" == matched(PathMatch("Prefix", path)).prefix


def test_exact_and_regular_paths_are_their_own_fields() -> None:
    """A literal path never becomes a pattern (S4); a pattern must match the whole path."""
    assert "/a.b" == matched(PathMatch("Exact", "/a.b")).path
    assert "/a.+" == matched(PathMatch("Regex", "/a.+")).safe_regex.regex


def test_headers_and_parameters_match_exactly_or_by_pattern() -> None:
    """Each kind of value is matched in its own field."""
    match = matched(
        method="GET",
        headers=(ValueMatch("magic", "Exact", "foo,bar"), ValueMatch("x", "Regex", "a+")),
        query_params=(ValueMatch("great", "Exact", "example"), ValueMatch("q", "Regex", "[0-9]+")),
    )

    assert [(":method", "GET", ""), ("magic", "foo,bar", ""), ("x", "", "a+")] == [
        (each.name, each.string_match.exact, each.string_match.safe_regex.regex) for each in match.headers
    ]
    assert [("great", "example", ""), ("q", "", "[0-9]+")] == [
        (each.name, each.string_match.exact, each.string_match.safe_regex.regex) for each in match.query_parameters
    ]


def test_grpc_routes_take_grpc_requests_only() -> None:
    """Envoy tells gRPC by its content type."""
    assert matched(grpc=True).HasField("grpc")
    assert not matched().HasField("grpc")


def test_one_label_is_matched_by_the_host() -> None:
    """Dots of the domain are literal; a port, a final dot and capitals do not matter."""
    [only] = routes(route(), one_label_of="a.example")

    assert r"(?i)[^.:]+\.a\.example\.?(:[0-9]+)?" == only.match.headers[0].string_match.safe_regex.regex


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (RouteMatch(PathMatch("Regex", "(?=a)")), "no RE2 expression"),
        (RouteMatch(PathMatch("Regex", "")), "regular expression is empty"),
        (RouteMatch(PathMatch("Regex", "[a-z]{500}{2}")), "no RE2 expression"),
        (RouteMatch(PathMatch("Regex", "[à-üa-z]{900}")), f"Envoy takes {MAX_REGEX_PROGRAM_SIZE}"),
        (RouteMatch(PathMatch("Prefix", "a")), "does not begin with a slash"),
        (RouteMatch(PathMatch("Prefix", "/a?b")), "has a query"),
        (RouteMatch(PathMatch("Prefix", "/a#b")), "has a query or a fragment"),
        (RouteMatch(PathMatch("Exact", "/a\r\nb")), "control character"),
        (RouteMatch(PathMatch("Prefix", "/"), headers=(ValueMatch("a b", "Exact", "c"),)), "no header name"),
        (RouteMatch(PathMatch("Prefix", "/"), headers=(ValueMatch("a", "Exact", "\0"),)), "control character"),
        (RouteMatch(PathMatch("Prefix", "/"), query_params=(ValueMatch("", "Exact", "c"),)), "has no name"),
    ],
)
def test_what_envoy_would_refuse_is_named(match: RouteMatch, said: str) -> None:
    """X54: the error names the object, its rule and what is wrong; nothing of it reaches Envoy."""
    with pytest.raises(ValueError, match="HTTPRoute/default/shop rule 0 match 0: ") as raised:
        routes(route(match=match))

    assert said in str(raised.value)
