"""What a client sends: a URL, a method and headers, as they reach Envoy. Knows nothing of its configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

SCHEME_PORTS: Final = {"http": 80, "https": 443}
# Envoy keeps these as one value from the start; every other header keeps its lines apart.
JOINED: Final = frozenset(
    {
        *("accept", "accept-encoding", "access-control-request-headers", "access-control-request-method"),
        *("access-control-request-private-network", "authentication", "authorization", "cache-control", "cdn-loop"),
        *("connection", "content-encoding", "content-length", "content-type", "expect", "grpc-accept-encoding"),
        *("grpc-timeout", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
        *("keep-alive", "origin", "pragma", "proxy-connection", "proxy-status", "referer", "te", "transfer-encoding"),
        *("upgrade", "user-agent", "via", "x-client-trace-id", "x-forwarded-for", "x-forwarded-host"),
        *("x-forwarded-port", "x-forwarded-proto", "x-request-id"),
    }
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Request:
    """`url` and `headers` are sent as they are written; a Host among the headers replaces the URL's, but not for SNI.

    `client` is the address that the request comes from; empty leaves what depends on it undecided.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    client: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an HTTP request; header names are lower case, `path` includes the query."""

    method: str
    scheme: str
    authority: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    def values(self, name: str) -> tuple[str, ...]:
        """A header as Envoy's matchers see it: a value for each of its lines, empty when it is absent."""
        if name.startswith(":"):
            return self._pseudo(name)
        values = tuple(value for each, value in self.headers if each == name)
        return (",".join(values),) if values and name in JOINED else values

    def value(self, name: str) -> str:
        """All lines of a header as one, empty when it is absent."""
        return ",".join(self.values(name))

    def _pseudo(self, name: str) -> tuple[str, ...]:
        pseudo = {":method": self.method, ":scheme": self.scheme, ":authority": self.authority, ":path": self.path}
        return (pseudo[name],) if name in pseudo else ()

    def first(self, name: str) -> str:
        """The first value of a header, empty when it is absent."""
        return next((value for each, value in self.headers if each == name), "")

    @property
    def path_only(self) -> str:
        return self.path.partition("?")[0]

    @property
    def is_grpc(self) -> bool:
        content_type = self.value("content-type")
        return content_type == "application/grpc" or content_type.startswith("application/grpc+")

    @property
    def upgrade(self) -> str:
        """The protocol that a request with `Connection: upgrade` asks for, else empty."""
        tokens = {token.strip().lower() for token in self.value("connection").split(",")}
        return self.value("upgrade").lower() if "upgrade" in tokens else ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects, what name it asks TLS for (empty for none), and what it sends."""

    port: int
    tls: bool
    sni: str
    head: Head = field(repr=False)


def target(request: Request) -> Target:
    """Raise `ValueError` in words for the author of a URL or header that no client could send."""
    url, host, port = destination(request.url)
    headers = tuple((name.strip().lower(), value.strip()) for name, value in request.headers)
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or re.search(r"[\r\n\0]", value):
            raise ValueError(f"header {name!r}: not a header that HTTP can carry; write it as 'name: value'")

    hosts = [value for name, value in headers if name == "host"]
    head = Head(
        method=request.method,
        scheme=url.scheme,
        authority=",".join(hosts) if hosts else _authority(url.scheme, url.netloc, port),
        path=_path(request.url),
        headers=tuple(pair for pair in headers if pair[0] != "host"),
    )
    tls = url.scheme == "https"
    return Target(port, tls, _server_name(host) if tls else "", head)


def destination(url: str) -> tuple[SplitResult, str, int]:
    """A URL's parts, and the host and port that it leads to. Raise `ValueError` as `target` does."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"URL {url!r}: write an IPv6 address in brackets, http://[2001:db8::1]:8080/PATH") from None
    if parts.scheme not in SCHEME_PORTS or not parts.hostname:
        raise ValueError(f"URL {url!r}: write it as http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
    try:
        port = SCHEME_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not port:
        raise ValueError(f"URL {url!r}: the port is not a number between 1 and 65535")
    return parts, parts.hostname, port


def _authority(scheme: str, netloc: str, port: int) -> str:
    """The Host header that clients make of a URL: without user, and without the port that its scheme implies."""
    host = netloc.rpartition("@")[2]
    without_port = re.sub(r":\d*$", "", host)
    return without_port if port == SCHEME_PORTS[scheme] else f"{without_port}:{port}"


def _path(url: str) -> str:
    """Path and query as written; `urlsplit` would drop an empty query and quietly remove tabs."""
    rest = re.sub(r"^[a-z]+://[^/?#]*", "", url, count=1, flags=re.IGNORECASE).partition("#")[0]
    return rest if rest.startswith("/") else f"/{rest}"


def _server_name(host: str) -> str:
    """TLS names hosts in lower case and without the root's dot, and never names addresses."""
    try:
        ip_address(host)
    except ValueError:
        return host.lower().removesuffix(".")
    return ""
