"""Redirects: the one action whose result depends on where the request came in.

"If no port is specified, the redirect port MUST be derived": from the redirect's scheme if it names one that has a
well-known port, else it is the listener's. The Location header leaves out 80 for http and 443 for https.
With a port offset, a redirect that keeps the request's host leads to the shifted port, where our listener really is;
one that names a host leads where its author says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from xds_server.model.refs import TableRef
from xds_server.model.route import PathMatch, Redirect
from xds_server.translation import envoy
from xds_server.translation.path_rewrite import full_path, path_rewrite
from xds_server.translation.text import header_value

_Code: Final = envoy.RedirectAction
_CODES: Final = {
    301: _Code.MOVED_PERMANENTLY,
    302: _Code.FOUND,
    303: _Code.SEE_OTHER,
    307: _Code.TEMPORARY_REDIRECT,
    308: _Code.PERMANENT_REDIRECT,
}
_WELL_KNOWN: Final = {"http": 80, "https": 443}
_LAST_PORT: Final = 65_535
_HAS_PORT: Final = r".*:[0-9]+"


@dataclass(frozen=True, slots=True)
class Place:
    """The virtual host that a route stands in."""

    table: TableRef
    hostname: str
    port_offset: int = 0

    @property
    def scheme(self) -> str:
        return "https" if self.table.hostname else "http"

    @property
    def host(self) -> str:
        """The one host of every request here; empty where there are many."""
        return "" if self.hostname.startswith("*") else self.hostname


@dataclass(frozen=True, slots=True)
class Answer:
    """A redirect, and whether only requests whose Host header names a port get it."""

    action: envoy.RedirectAction
    host_has_port: bool = False


def redirects(redirect: Redirect, match: PathMatch, place: Place) -> Iterator[Answer]:
    """Most redirects are one answer, first match wins."""
    code = _CODES.get(redirect.status)
    if code is None:
        raise ValueError(f"status {redirect.status} is no redirect: use one of {sorted(_CODES)}")
    if redirect.location:
        yield Answer(_location(redirect.location, code))
        return
    scheme = redirect.scheme or place.scheme
    if scheme not in _WELL_KNOWN:
        raise ValueError(f"scheme {scheme!r} is neither http nor https")
    port = _port(redirect, place)
    host = redirect.hostname or place.host
    fields = {
        "scheme_redirect": scheme,
        "response_code": code,
        "host_redirect": header_value(host),
        **_path(redirect, match),
    }
    if port != _WELL_KNOWN[scheme]:
        yield Answer(envoy.RedirectAction(port_redirect=port, **fields))
        return
    if not host:
        # Envoy keeps a port that the Host header names unless it is told another: say ":80" rather than keep ":8080".
        yield Answer(envoy.RedirectAction(port_redirect=port, **fields), host_has_port=True)
    yield Answer(envoy.RedirectAction(**fields))


def host_has_port() -> envoy.HeaderMatcher:
    return envoy.HeaderMatcher(
        name=":authority", string_match=envoy.StringMatcher(safe_regex=envoy.RegexMatcher(regex=_HAS_PORT))
    )


def _port(redirect: Redirect, place: Place) -> int:
    if redirect.port is not None:
        port = redirect.port
    elif redirect.scheme:
        port = _WELL_KNOWN[redirect.scheme]
    else:
        port = place.table.port
    if not redirect.hostname and port + place.port_offset <= _LAST_PORT:  # beyond it nothing of ours listens
        port += place.port_offset
    if not 0 < port <= _LAST_PORT:
        raise ValueError(f"port {port} of a redirect is not between 1 and 65535")
    return port


def _path(redirect: Redirect, match: PathMatch) -> dict[str, Any]:
    if full := full_path(redirect.path):
        return {"path_redirect": full}
    return path_rewrite(redirect.path, match) if redirect.path else {}


def _location(url: str, code: int) -> envoy.RedirectAction:
    """A URL that is the answer as it stands; nothing of the request's path and query is left."""
    parts = urlsplit(header_value(url))
    if parts.scheme not in _WELL_KNOWN or not parts.hostname:
        raise ValueError(f"location {url[:128]!r} is no http or https URL")
    path = url[url.index(parts.netloc, len(parts.scheme) + 3) + len(parts.netloc) :]
    return envoy.RedirectAction(
        scheme_redirect=parts.scheme,
        host_redirect=parts.netloc,
        path_redirect=path if path.startswith("/") else "/" + path,
        strip_query=True,
        response_code=code,
    )
