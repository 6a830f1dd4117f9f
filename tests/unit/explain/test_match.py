"""Matchers, one kind at a time."""

from __future__ import annotations

from typing import Any

import pytest

from xds_server.explain.match import mismatch, words
from xds_server.explain.request import Head
from xds_server.explain.virtual_host import virtual_host
from xds_server.translation import envoy as e


def head(path: str = "/", *headers: tuple[str, str], method: str = "GET", authority: str = "shop.test") -> Head:
    return Head(method, "http", authority, path, headers)


def takes(match: Any, request: Head, **options: Any) -> bool:
    return mismatch(match, request, **options) is None


@pytest.mark.parametrize(
    ("fields", "path", "expected"),
    [
        ({"prefix": "/a"}, "/ab", True),
        ({"prefix": "/a"}, "/b", False),
        ({"path": "/a"}, "/a?b", True),
        ({"path": "/a"}, "/a/", False),
        ({"path_separated_prefix": "/a"}, "/a", True),
        ({"path_separated_prefix": "/a"}, "/a/b", True),
        ({"path_separated_prefix": "/a"}, "/a?b", True),
        ({"path_separated_prefix": "/a"}, "/ab", False),
        ({"safe_regex": {"regex": "/a+"}}, "/aa?b", True),
        ({"safe_regex": {"regex": "/a+"}}, "/aab", False),
        ({"prefix": "/A"}, "/a", False),
        ({"prefix": "/A", "case_sensitive": {"value": False}}, "/ab", True),
        ({"path": "/A", "case_sensitive": {"value": False}}, "/a", True),
        ({"path_separated_prefix": "/A", "case_sensitive": {"value": False}}, "/a/B", True),
        ({"connect_matcher": {}}, "/", False),
    ],
)
def test_paths(fields: dict[str, Any], path: str, expected: bool) -> None:
    """Paths match without their query; regular expressions match whole paths."""
    assert expected == takes(e.RouteMatch(**fields), head(path))


def test_parameters_of_segments_are_ignored_where_asked() -> None:
    """Each segment may have its own."""
    match = e.RouteMatch(path="/a/b")

    assert takes(match, head("/a;x=1/b;y"), ignores_parameters=True)
    assert not takes(match, head("/a;x=1/b"))


A = {"exact": "a"}


@pytest.mark.parametrize(
    ("matcher", "values", "expected"),
    [
        ({"string_match": A}, ["a"], True),
        ({"string_match": A}, ["A"], False),
        ({"string_match": {"exact": "A", "ignore_case": True}}, ["a"], True),
        ({"string_match": {"prefix": "a"}}, ["ab"], True),
        ({"string_match": {"suffix": "b"}}, ["ab"], True),
        ({"string_match": {"contains": "b"}}, ["abc"], True),
        ({"string_match": {"safe_regex": {"regex": "a|b"}}}, ["b"], True),
        ({"string_match": {"safe_regex": {"regex": "a|b"}}}, ["ab"], False),
        ({"string_match": A}, [], False),
        ({"string_match": A, "invert_match": True}, [], False),
        ({"string_match": A, "invert_match": True, "treat_missing_header_as_empty": True}, [], True),
        ({"string_match": A, "invert_match": True}, ["b"], True),
        ({"string_match": A}, ["b", "a"], True),
        ({"string_match": A, "invert_match": True}, ["b", "a"], False),
        ({"string_match": {"exact": "a,b"}}, ["a", "b"], False),
        ({"string_match": {"exact": "a,b"}}, ["a,b"], True),
        ({"present_match": True}, [""], True),
        ({"present_match": False}, [], True),
        ({"present_match": True, "invert_match": True}, ["a"], False),
        ({}, ["a"], True),
        ({"range_match": {"start": -5, "end": 10}}, ["-5"], True),
        ({"range_match": {"start": -5, "end": 10}}, ["10"], False),
        ({"range_match": {"start": -5, "end": 10}}, ["nine"], False),
        ({"exact_match": "a"}, ["a"], True),
        ({"prefix_match": "a"}, ["ab"], True),
        ({"suffix_match": "b"}, ["ab"], True),
        ({"contains_match": "b"}, ["abc"], True),
        ({"safe_regex_match": {"regex": "a+"}}, ["aa"], True),
    ],
)
def test_headers(matcher: dict[str, Any], values: list[str], expected: bool) -> None:
    """Envoy holds each line of a header against the matcher; one that fits is enough."""
    match = e.RouteMatch(prefix="/", headers=[{"name": "X-A", **matcher}])

    assert expected == takes(match, head("/", *(("x-a", value) for value in values)))


def test_a_few_headers_are_one_value_from_the_start() -> None:
    """Envoy joins the lines of headers that it knows, such as Accept."""
    match = e.RouteMatch(prefix="/", headers=[{"name": "accept", "string_match": {"exact": "a,b"}}])

    assert takes(match, head("/", ("accept", "a"), ("accept", "b")))


@pytest.mark.parametrize(
    ("name", "value"), [(":method", "GET"), (":authority", "shop.test"), (":path", "/a?b"), (":scheme", "http")]
)
def test_pseudo_headers(name: str, value: str) -> None:
    """Method, host, path and scheme match as headers."""
    match = e.RouteMatch(prefix="/", headers=[{"name": name, "string_match": {"exact": value}}])

    assert takes(match, head("/a?b"))


@pytest.mark.parametrize(
    ("matcher", "query", "expected"),
    [
        ({"string_match": A}, "?q=a", True),
        ({"string_match": A}, "?q=a&q=b", True),
        ({"string_match": A}, "?q=b&q=a", False),
        ({"string_match": A}, "?q=%61", False),
        ({"string_match": A}, "?r=a", False),
        ({"present_match": True}, "?q", True),
        ({"present_match": False}, "?q", False),
        ({"present_match": False}, "", True),
        ({}, "?r&q=", True),
    ],
)
def test_query_parameters(matcher: dict[str, Any], query: str, expected: bool) -> None:
    """The first value of a parameter counts, as it is escaped."""
    match = e.RouteMatch(prefix="/", query_parameters=[{"name": "q", **matcher}])

    assert expected == takes(match, head(f"/{query}"))


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [("application/grpc", True), ("application/grpc+proto", True), ("application/grpc-web", False), ("", False)],
)
def test_grpc(content_type: str, expected: bool) -> None:
    """The content type tells gRPC."""
    assert expected == takes(e.RouteMatch(prefix="/", grpc={}), head("/", ("content-type", content_type)))


def test_a_match_reads_as_a_sentence() -> None:
    """All of its parts are named."""
    match = e.RouteMatch(
        path_separated_prefix="/a",
        grpc={},
        headers=[
            {"name": ":method", "string_match": {"exact": "POST"}},
            {"name": "x-a", "present_match": True, "invert_match": True},
        ],
        query_parameters=[{"name": "q", "string_match": {"prefix": "b"}}],
    )
    said = 'path is /a or below, gRPC request, method is "POST", not: header x-a is present, query parameter q '

    assert said + 'starts with "b"' == words(match)


@pytest.mark.parametrize(
    ("authority", "domain"),
    [
        ("Shop.Test", "shop.test"),
        ("shop.test:8080", "shop.test"),
        ("a.b.shop.test", "*.b.shop.test"),
        ("b.shop.test", "*.shop.test"),
        (".shop.test", "*"),
        ("www.shop.org", "www.shop.*"),
        ("www.com", "www.*"),
        ("other", "*"),
    ],
)
def test_the_most_specific_domain_wins(authority: str, domain: str) -> None:
    """Exact, the longest suffix wildcard, the longest prefix wildcard, all; a wildcard stands for something."""
    domains = ("*", "www.*", "www.shop.*", "*.shop.test", "*.b.shop.test", "SHOP.test")
    found = virtual_host([e.VirtualHost(domains=[each]) for each in domains], authority, ignores_port=True)

    assert found is not None
    assert domain == found[1].lower()


def test_the_port_of_a_host_counts_unless_it_is_ignored() -> None:
    """A domain may name a port."""
    hosts = [e.VirtualHost(domains=["shop.test:8080"])]

    assert None is virtual_host(hosts, "shop.test", ignores_port=False)
    assert "shop.test:8080" == virtual_host(hosts, "shop.test:8080", ignores_port=False)[1]  # type: ignore[index]
