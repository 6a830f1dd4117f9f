"""Requests as clients send them, and as Envoy takes them in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.explain.world import answer, asked, redirect, served, to
from xds_server.explain.path import merge_slashes, normalize, unescape_slashes
from xds_server.explain.pattern import replaced
from xds_server.explain.request import Request, target
from xds_server.translation import envoy as e

Manager = e.HttpConnectionManager
ECHO = redirect(host_redirect="seen")


@pytest.mark.parametrize(
    ("url", "authority", "port", "sni", "path"),
    [
        ("http://shop.test", "shop.test", 80, "", "/"),
        ("http://shop.test:80/a", "shop.test", 80, "", "/a"),
        ("https://Shop.test.:8443/a/../b?c#d", "Shop.test.:8443", 8443, "shop.test", "/a/../b?c"),
        ("http://user@shop.test/a?", "shop.test", 80, "", "/a?"),
        ("https://[::1]/", "[::1]", 443, "", "/"),
        ("https://127.0.0.1:443/", "127.0.0.1", 443, "", "/"),
        ("http://shop.test?q", "shop.test", 80, "", "/?q"),
    ],
)
def test_a_url_becomes_what_a_client_sends(url: str, authority: str, port: int, sni: str, path: str) -> None:
    """Host leaves out the scheme's port, TLS names no addresses, and nothing tidies the path."""
    found = target(Request("GET", url))

    assert (authority, port, sni, path) == (found.head.authority, found.port, found.sni, found.head.path)


def test_a_host_header_replaces_the_urls_but_not_for_tls() -> None:
    """As with curl: -H Host changes what is asked, not whom the connection is for."""
    found = target(Request("GET", "https://a.test/", (("Host", "b.test"),)))

    assert ("b.test", "a.test") == (found.head.authority, found.sni)


@pytest.mark.parametrize(
    ("path", "normalised"),
    [
        ("/a/../b", "/b"),
        ("/../a", "/a"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a//../b", "/a/b"),
        ("/a\\..\\b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/b/..;x=1/c", "/a/c"),
        ("/a/.;", "/a/"),
        ("/a/%2e%2e;/b", "/a/..;/b"),
        ("/a/..;x\\c", "/"),
        ("/a/...", "/a/..."),
        ("/%61%7e%2F%zz%4", "/a~%2F%zz%4"),
        ('/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("/a?b=/../%61", "/a?b=/../%61"),
        ("/a%00", None),
        ("/a?%00", "/a?%00"),
    ],
)
def test_paths_are_normalised_as_envoy_does(path: str, normalised: str | None) -> None:
    """Each line was seen with the real Envoy."""
    assert normalised == normalize(path)


def test_slashes_merge_outside_the_query() -> None:
    """Nothing else is a path's business; a path of slashes alone keeps two, as in Envoy."""
    assert ["/a/b/?c=//d", "//", "/a"] == [merge_slashes(path) for path in ("//a///b//?c=//d", "///", "/a")]


def test_escaped_slashes_are_unescaped_outside_the_query() -> None:
    """Forward and backward ones, in either case."""
    assert "/a/b\\c?%2f" == unescape_slashes("/a%2fb%5Cc?%2f")


@pytest.mark.parametrize(
    ("action", "status", "location"),
    [
        (Manager.KEEP_UNCHANGED, 301, "http://seen/a%2F../b"),
        (Manager.REJECT_REQUEST, 400, ""),
        (Manager.UNESCAPE_AND_REDIRECT, 307, "/b"),
        (Manager.UNESCAPE_AND_FORWARD, 301, "http://seen/b"),
    ],
)
def test_escaped_slashes_are_dealt_with_as_configured(action: Any, status: int, location: str) -> None:
    """Before dot segments are resolved, so that none hides behind an escape."""
    resources = served(ECHO, normalize_path={"value": True}, path_with_escaped_slashes_action=action)
    result = asked(resources, "http://shop.test/a%2F../b")

    assert (status, location) == (result.status, result.location)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "BREW"}, 400),
        ({"method": "CONNECT"}, 400),
        ({"url": "http://shop.test/a b"}, 400),
        ({"url": "http://shop.test/é"}, 400),
        ({"headers": (("host", "a/b"),)}, 400),
        ({"headers": (("a_b", "c"),)}, 400),
        ({"headers": (("a-b", "c"),)}, 200),
    ],
)
def test_what_envoys_parser_refuses_never_gets_to_a_route(changes: dict[str, Any], status: int) -> None:
    """It answers 400 and says why."""
    reject = {"headers_with_underscores_action": e.HttpProtocolOptions.REJECT_REQUEST}

    assert status == asked(served(answer(200), common_http_protocol_options=reject), **changes).status


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({}, "https://Shop.test.:8080/"),
        ({"strip_trailing_host_dot": True}, "https://Shop.test:8080/"),
        ({"strip_any_host_port": True}, "https://Shop.test./"),
        ({"strip_matching_host_port": True}, "https://Shop.test.:8080/"),
    ],
)
def test_the_host_is_stripped_as_configured(fields: dict[str, Any], location: str) -> None:
    """Of its final dot, of any port, or of the listener's own."""
    resources = served(redirect(https_redirect=True), **fields)

    assert location == asked(resources, headers=(("host", "Shop.test.:8080"),)).location


def header_match(name: str) -> Any:
    return e.RouteMatch(prefix="/", headers=[{"name": name, "present_match": True}])


def test_headers_that_only_envoys_may_send_are_gone_before_routes_match() -> None:
    """Those of Envoy's router for strangers, and whatever an early mutation removes."""
    removal = {"mutations": [{"remove_on_match": {"key_matcher": {"prefix": "x-own-"}}}]}
    early = [{"name": "early", "typed_config": e.any_of(e.EarlyHeaderMutation(**removal))}]
    routes = [answer(500, match=header_match(name)) for name in ("x-envoy-max-retries", "x-own-a")]
    headers = (("x-envoy-max-retries", "9"), ("x-own-a", "b"))

    assert 200 == asked(served(*routes, answer(200), early_header_mutation_extensions=early), headers=headers).status


def test_an_internal_client_keeps_its_headers() -> None:
    """Addresses that the configuration calls internal may steer Envoy's router."""
    internal = {"cidr_ranges": [e.CidrRange(address_prefix="10.0.0.0", prefix_len={"value": 8})]}
    resources = served(answer(200, match=header_match("x-envoy-max-retries")), internal_address_config=internal)
    headers = (("x-envoy-max-retries", "9"),)

    assert 200 == asked(resources, headers=headers, client="10.1.1.1").status
    assert 404 == asked(resources, headers=headers, client="192.0.2.1").status


def test_the_protocol_is_what_envoy_saw() -> None:
    """At the edge a client cannot claim another with X-Forwarded-Proto; behind a trusted proxy it is believed."""
    headers = (("x-forwarded-proto", "https"),)
    trusting = {"use_remote_address": {"value": False}}

    assert "http://seen/" == asked(served(ECHO), headers=headers).location
    assert "https://seen/" == asked(served(ECHO, **trusting), headers=headers).location


def test_replacement_is_that_of_re2() -> None:
    """Groups by number, a doubled backslash for one, and no empty match right after another match."""
    assert "/c/b\\" == replaced(r"^/(b)/(c)$", r"/\2/\1\\", "/b/c")
    assert "x" == replaced("[ab]*", "x", "abab")
    assert "-c-" == replaced("b*", "-", "c")


def test_rewrites_show_what_the_backend_gets() -> None:
    """Path and host before and after; the query stays."""
    route = to(prefix_rewrite="/new", host_rewrite_literal="inner", match=e.RouteMatch(path_separated_prefix="/old"))
    result = asked(served(route), "http://shop.test/old/a?b")

    assert ("rewrite path /old/a?b -> /new/a?b", "rewrite host shop.test -> inner") == result.filters
