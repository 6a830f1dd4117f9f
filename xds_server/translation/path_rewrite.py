"""Replacing paths: Gateway API thinks in segments, Envoy in text."""

from __future__ import annotations

from typing import Any, Final

from xds_server.model.route import PathMatch, PathModifier
from xds_server.translation.route_match import segments
from xds_server.translation.text import header_value, literal, substitution

_WHOLE: Final = "^.*$"


def path_rewrite(modifier: PathModifier, match: PathMatch) -> dict[str, Any]:
    """Keyword arguments of a `RouteAction` or a `RedirectAction`; the query string always stays."""
    if modifier.kind == "regex":
        return {"regex_rewrite": substitution(modifier.pattern, modifier.value)}
    if modifier.kind == "full":
        return {"regex_rewrite": substitution(_WHOLE, _absolute(modifier.value).replace("\\", "\\\\"))}
    return _prefix(modifier, match)


def full_path(modifier: PathModifier | None) -> str:
    """The one path that a modifier leads to, if it does: a redirect says it in a field of its own."""
    return _absolute(modifier.value) if modifier is not None and modifier.kind == "full" else ""


def _prefix(modifier: PathModifier, match: PathMatch) -> dict[str, Any]:
    if match.kind != "Prefix":
        raise ValueError("a prefix can be replaced only where the match is a path prefix")
    old, new = segments(match.value), segments(_absolute(modifier.value))
    if old == new:
        return {}
    if not old:
        return {"prefix_rewrite": new + "/"}  # Envoy's match is "/", so "/a" becomes new + "/" + "a"
    if not new:
        # "/foo" replaced by "/": "/foo/bar" becomes "/bar", not "//bar", and "/foo" becomes "/", not "".
        return {"regex_rewrite": substitution(f"^{literal(old)}/*", "/")}
    return {"prefix_rewrite": header_value(new)}


def _absolute(path: str) -> str:
    return header_value(path if path.startswith("/") else "/" + path)
