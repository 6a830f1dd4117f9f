"""What a route does: the Location of a redirect and the rewrites of a request, letter by letter as Envoy has them."""

from __future__ import annotations

from typing import Any, Final

from xds_server.explain import pattern
from xds_server.explain.match import UnmodelledError
from xds_server.explain.path import split_query
from xds_server.explain.request import Head
from xds_server.translation.envoy import RedirectAction, RouteAction

REDIRECT_STATUS: Final = {
    RedirectAction.MOVED_PERMANENTLY: 301,
    RedirectAction.FOUND: 302,
    RedirectAction.SEE_OTHER: 303,
    RedirectAction.TEMPORARY_REDIRECT: 307,
    RedirectAction.PERMANENT_REDIRECT: 308,
}
CLUSTER_NOT_FOUND_STATUS: Final = {
    RouteAction.SERVICE_UNAVAILABLE: 503,
    RouteAction.NOT_FOUND: 404,
    RouteAction.INTERNAL_SERVER_ERROR: 500,
}


def https_location(head: Head) -> str:
    """Where `require_tls` of a virtual host sends plaintext requests."""
    return f"https://{head.authority}{head.path}"


def has_location(status: int) -> bool:
    """Envoy adds a Location to its own answers where the status has room for one."""
    return status == 201 or 300 <= status < 400


def own_location(head: Head) -> str:
    """The Location of such an answer when no redirect says another: the request's own URL."""
    return f"{head.scheme}://{head.authority}{head.path}"


def location(redirect: Any, match: Any, head: Head) -> str:
    scheme = redirect.scheme_redirect or ("https" if redirect.https_redirect else head.scheme)
    port = f":{redirect.port_redirect}" if redirect.port_redirect else ""
    host = redirect.host_redirect or _request_host(head, scheme, has_port=bool(port))
    path = _redirected_path(redirect, match, head)
    # A rewrite may lose the leading slash, which would glue the path to the host.
    return f"{scheme}://{host}{port}{path if path.startswith('/') else f'/{path}'}"


def _redirected_path(redirect: Any, match: Any, head: Head) -> str:
    path = rewritten_path(redirect, match, head)
    query = split_query(path)[1]
    if redirect.path_redirect:
        # A query of the redirect's own replaces the request's, and is never stripped.
        if "?" in redirect.path_redirect:
            return str(redirect.path_redirect)
        path = redirect.path_redirect + query
    return split_query(path)[0] if redirect.strip_query else path


def _request_host(head: Head, scheme: str, *, has_port: bool) -> str:
    """The Host header; its port goes when the redirect names one, or when it belongs to a scheme that changes."""
    host = head.authority
    at = host.rfind("]:") + 1 if host.startswith("[") else host.rfind(":")
    if at <= 0 or host[at : at + 1] != ":":
        return host
    own = {"https": ":443", "http": ":80"}.get(head.scheme)
    drops = has_port or (scheme != head.scheme and host[at:] == own)
    return host[:at] if drops else host


def rewritten_path(action: Any, match: Any, head: Head) -> str:
    """Path and query after `prefix_rewrite` or `regex_rewrite` of a route or redirect."""
    path, query = split_query(head.path)
    if action.HasField("regex_rewrite"):
        rewrite = action.regex_rewrite
        return pattern.replaced(rewrite.pattern.regex, rewrite.substitution, path) + query
    if action.prefix_rewrite:
        return str(action.prefix_rewrite) + path[_matched_length(match, path) :] + query
    return head.path


def _matched_length(match: Any, path: str) -> int:
    kind = match.WhichOneof("path_specifier")
    if kind in {"prefix", "path_separated_prefix"}:
        return len(getattr(match, kind))
    return len(path)


def rewritten_host(action: Any, head: Head) -> str | None:
    """The Host that the backend sees; None when it stays."""
    kind = action.WhichOneof("host_rewrite_specifier")
    match kind:
        case None:
            return None
        case "host_rewrite_literal":
            return str(action.host_rewrite_literal)
        case "host_rewrite_header":
            return head.first(action.host_rewrite_header.lower()) or None
        case "host_rewrite_path_regex":
            rewrite = action.host_rewrite_path_regex
            return pattern.replaced(rewrite.pattern.regex, rewrite.substitution, head.path_only)
        case "auto_host_rewrite":
            return "the endpoint's own host name" if action.auto_host_rewrite.value else None
    raise UnmodelledError(f"host rewrite {kind}")
