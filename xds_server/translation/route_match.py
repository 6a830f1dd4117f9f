"""What a request must look like, in Envoy's words."""

from __future__ import annotations

from typing import Any, Final

from xds_server.model.route import PathMatch, RouteMatch, ValueMatch
from xds_server.translation import envoy
from xds_server.translation.text import header_name, header_value, literal, regex

_GRPC: Final = envoy.RouteMatch.GrpcRouteMatchOptions()

MILLION: Final = 1_000_000
_PER_MILLION: Final = envoy.FractionalPercent.MILLION


def route_match(match: RouteMatch, one_label_of: str = "", below: int | None = None) -> envoy.RouteMatch:
    """`one_label_of` wants hosts with one label before this domain; `below` takes that many of a million requests."""
    message = envoy.RouteMatch(**_path(match.path))
    if match.method:
        message.headers.add(name=":method", string_match=envoy.StringMatcher(exact=header_value(match.method)))
    for header in match.headers:
        # A header that comes several times is one value joined by commas, as RFC 9110 section 5.3 reads it.
        message.headers.add(name=header_name(header.name), string_match=_string(header))
    for param in match.query_params:
        if not param.name:
            raise ValueError("a query parameter has no name")
        message.query_parameters.add(name=header_value(param.name), string_match=_string(param))
    if match.grpc:
        message.grpc.CopyFrom(_GRPC)
    if one_label_of:
        message.headers.append(one_label_host(one_label_of))
    if below is not None:
        message.runtime_fraction.CopyFrom(fraction(below))
    return message


def every_request() -> envoy.RouteMatch:
    return envoy.RouteMatch(prefix="/")


def one_label_host(domain: str) -> envoy.HeaderMatcher:
    """Ingress: a wildcard covers one label of the host; a port, a final dot and capitals do not matter."""
    host = rf"(?i)[^.:]+\.{literal(domain)}\.?(:[0-9]+)?"
    return envoy.HeaderMatcher(name=":authority", string_match=envoy.StringMatcher(safe_regex=regex(host)))


def fraction(numerator: int) -> envoy.RuntimeFractionalPercent:
    """A share of a million."""
    return envoy.RuntimeFractionalPercent(
        default_value=envoy.FractionalPercent(numerator=numerator, denominator=_PER_MILLION)
    )


def segments(path: str) -> str:
    """A prefix without its trailing slash: "/a/" and "/a" are the same prefix, "/" is none."""
    return path.rstrip("/")


def _path(path: PathMatch) -> dict[str, Any]:
    if path.kind == "Regex":
        return {"safe_regex": regex(path.value)}
    if not path.value.startswith("/"):
        raise ValueError(f"path {path.value[:64]!r} does not begin with a slash")
    if path.kind == "Exact":
        return {"path": header_value(path.value)}
    prefix = segments(path.value)
    if "?" in prefix or "#" in prefix:
        raise ValueError(f"path {path.value[:64]!r} has a query or a fragment, which no path has")
    return {"path_separated_prefix": header_value(prefix)} if prefix else {"prefix": "/"}


def _string(match: ValueMatch) -> envoy.StringMatcher:
    if match.kind == "Exact":
        return envoy.StringMatcher(exact=header_value(match.value))
    return envoy.StringMatcher(safe_regex=regex(match.value))
