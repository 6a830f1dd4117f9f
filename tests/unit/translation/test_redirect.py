from __future__ import annotations

from typing import Any

import pytest

from tests.unit.translation.written import GATEWAY, PLAIN, PREFIX, SECURE
from xds_server.model.refs import TableRef
from xds_server.model.route import PathModifier, Redirect
from xds_server.translation.redirect import Place, redirects

SHOP = Place(PLAIN, "shop.example")
ODD = Place(TableRef(GATEWAY, 8080, ""), "shop.example")
TLS = Place(SECURE, "shop.example")
SHIFTED = Place(PLAIN, "shop.example", 20_000)


def answers(redirect: Redirect, place: Place) -> list[Any]:
    return list(redirects(redirect, PREFIX.path, place))


@pytest.mark.parametrize(
    ("redirect", "place", "scheme", "host", "port"),
    [
        (Redirect(), SHOP, "http", "shop.example", 0),
        (Redirect(), ODD, "http", "shop.example", 8080),
        (Redirect(), TLS, "https", "shop.example", 0),
        (Redirect(port=80), ODD, "http", "shop.example", 0),
        (Redirect(port=443), SHOP, "http", "shop.example", 443),
        (Redirect(scheme="https"), ODD, "https", "shop.example", 0),
        (Redirect(scheme="https", port=443), SHOP, "https", "shop.example", 0),
        (Redirect(scheme="https", port=8443), SHOP, "https", "shop.example", 8443),
        (Redirect(scheme="http"), TLS, "http", "shop.example", 0),
        (Redirect(scheme="http", port=8080), TLS, "http", "shop.example", 8080),
        (Redirect(hostname="a.example"), ODD, "http", "a.example", 8080),
        (Redirect(), SHIFTED, "http", "shop.example", 20_080),
        (Redirect(scheme="https"), SHIFTED, "https", "shop.example", 20_443),
        (Redirect(port=65_530), SHIFTED, "http", "shop.example", 65_530),
        (Redirect(scheme="https", hostname="a.example"), SHIFTED, "https", "a.example", 0),
    ],
)
def test_the_port_is_derived_as_the_specification_says(
    redirect: Redirect, place: Place, scheme: str, host: str, port: int
) -> None:
    """The redirect's own, else its scheme's, else the listener's; 80 of http and 443 of https are left out."""
    [answer] = answers(redirect, place)

    assert (scheme, host, port) == (
        answer.action.scheme_redirect,
        answer.action.host_redirect,
        answer.action.port_redirect,
    )


def test_a_port_of_the_request_does_not_leak_where_hosts_are_many() -> None:
    """Envoy keeps the Host header's port unless it is told one: requests that name a port are told."""
    with_port, without = answers(Redirect(scheme="https"), Place(PLAIN, "*.example"))

    assert (True, 443) == (with_port.host_has_port, with_port.action.port_redirect)
    assert (False, 0, "") == (without.host_has_port, without.action.port_redirect, without.action.host_redirect)


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (PathModifier("full", "/new"), "path_redirect", "/new"),
        (PathModifier("full", ""), "path_redirect", "/"),
        (PathModifier("prefix", "/new/"), "prefix_rewrite", "/new"),
    ],
)
def test_paths_of_redirects(path: PathModifier, field: str, value: str) -> None:
    """A full path has a field of its own; a prefix is replaced as in a rewrite."""
    [answer] = answers(Redirect(path=path), SHOP)

    assert value == getattr(answer.action, field)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://a.example:8443/b?c=d#e", "a.example:8443", "/b?c=d#e"),
        ("https://a.example", "a.example", "/"),
        ("https://a.example?c", "a.example", "/?c"),
        ("http://https", "https", "/"),
    ],
)
def test_a_location_is_answered_as_it_stands(url: str, host: str, path: str) -> None:
    """Nothing of the request is left in it."""
    [answer] = answers(Redirect(301, location=url), SHOP)

    assert (host, path, True) == (answer.action.host_redirect, answer.action.path_redirect, answer.action.strip_query)


@pytest.mark.parametrize(
    ("redirect", "said"),
    [
        (Redirect(200), "status 200 is no redirect"),
        (Redirect(scheme="ftp"), "neither http nor https"),
        (Redirect(location="javascript:alert(1)"), "no http or https URL"),
        (Redirect(location="/relative"), "no http or https URL"),
        (Redirect(port=65_536), "is not between 1 and 65535"),
        (Redirect(port=0, hostname="a.example"), "is not between 1 and 65535"),
        (Redirect(hostname="a\r\nset-cookie: b"), "control character"),
    ],
)
def test_what_is_no_redirect_is_named(redirect: Redirect, said: str) -> None:
    """X54: the caller learns which field and what to write."""
    with pytest.raises(ValueError, match=said):
        answers(redirect, SHIFTED)
