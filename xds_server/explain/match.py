"""Matchers of Envoy's routes: one function a kind, in tables; each says in words why it does not match.

A matcher answers None when the request matches, else the reason. A kind that is not in its table is `UnmodelledError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, Final

from xds_server.explain import pattern
from xds_server.explain.path import split_query
from xds_server.explain.request import Head
from xds_server.translation import names


class UnmodelledError(ValueError):
    """A part of the configuration that explain cannot evaluate; an answer that ignored it might be wrong."""


# Strings (envoy.type.matcher.v3.StringMatcher)


def _folded(matcher: Any, wanted: str, text: str) -> tuple[str, str]:
    return (wanted.lower(), text.lower()) if matcher.ignore_case else (wanted, text)


def _exact(matcher: Any, text: str) -> bool:
    wanted, given = _folded(matcher, matcher.exact, text)
    return given == wanted


def _prefix(matcher: Any, text: str) -> bool:
    wanted, given = _folded(matcher, matcher.prefix, text)
    return given.startswith(wanted)


def _suffix(matcher: Any, text: str) -> bool:
    wanted, given = _folded(matcher, matcher.suffix, text)
    return given.endswith(wanted)


def _contains(matcher: Any, text: str) -> bool:
    wanted, given = _folded(matcher, matcher.contains, text)
    return wanted in given


def _regex(matcher: Any, text: str) -> bool:
    return pattern.matches(matcher.safe_regex.regex, text)


# kind -> (test, words)
STRINGS: Final[dict[str, tuple[Callable[[Any, str], bool], Callable[[Any], str]]]] = {
    "exact": (_exact, lambda matcher: f'is "{matcher.exact}"'),
    "prefix": (_prefix, lambda matcher: f'starts with "{matcher.prefix}"'),
    "suffix": (_suffix, lambda matcher: f'ends with "{matcher.suffix}"'),
    "contains": (_contains, lambda matcher: f'contains "{matcher.contains}"'),
    "safe_regex": (_regex, lambda matcher: f"is like {matcher.safe_regex.regex}"),
}


def _string_kind(matcher: Any) -> tuple[Callable[[Any, str], bool], Callable[[Any], str]]:
    kind = matcher.WhichOneof("match_pattern")
    if kind not in STRINGS:
        raise UnmodelledError(f"string matcher {kind or '(empty)'}")
    return STRINGS[kind]


def string_matches(matcher: Any, text: str) -> bool:
    return _string_kind(matcher)[0](matcher, text)


def string_words(matcher: Any) -> str:
    return _string_kind(matcher)[1](matcher)


# Paths

_PATH_WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "prefix": lambda match: f"path starts with {match.prefix}",
    "path": lambda match: f"path is {match.path}",
    "safe_regex": lambda match: f"path is like {match.safe_regex.regex}",
    "path_separated_prefix": lambda match: f"path is {match.path_separated_prefix} or below",
    "connect_matcher": lambda _: "method is CONNECT",
}


def _path_prefix(match: Any, path: str, head: Head) -> bool:
    return path.startswith(_cased(match, match.prefix))


def _path_exact(match: Any, path: str, head: Head) -> bool:
    return path == _cased(match, match.path)


def _path_regex(match: Any, path: str, head: Head) -> bool:
    return pattern.matches(match.safe_regex.regex, split_query(head.path)[0])


def _path_separated_prefix(match: Any, path: str, head: Head) -> bool:
    prefix = _cased(match, match.path_separated_prefix)
    return path == prefix or path.startswith(prefix + "/")


def _connect(match: Any, path: str, head: Head) -> bool:
    return head.method == "CONNECT"


PATHS: Final[dict[str, Callable[[Any, str, Head], bool]]] = {
    "prefix": _path_prefix,
    "path": _path_exact,
    "safe_regex": _path_regex,
    "path_separated_prefix": _path_separated_prefix,
    "connect_matcher": _connect,
}


def _is_case_sensitive(match: Any) -> bool:
    return not match.HasField("case_sensitive") or bool(match.case_sensitive.value)


def _cased(match: Any, wanted: str) -> str:
    return wanted if _is_case_sensitive(match) else wanted.lower()


def path_mismatch(match: Any, head: Head, *, ignores_parameters: bool = False) -> str | None:
    """`ignores_parameters` drops the parameters of every segment (";a=b"), as the route configuration may ask."""
    kind = match.WhichOneof("path_specifier")
    if kind not in PATHS:
        raise UnmodelledError(f"path matcher {kind or '(none)'}")
    path = split_query(head.path)[0]
    if ignores_parameters:
        path = re.sub(";[^/]*", "", path)
    given = path if _is_case_sensitive(match) else path.lower()
    return None if PATHS[kind](match, given, head) else f"not: {_PATH_WORDS[kind](match)}"


# Headers (envoy.config.route.v3.HeaderMatcher)

# Envoy writes these itself before it looks for a route; a client's values do not reach the matchers unchanged.
_WRITTEN_BY_ENVOY: Final = frozenset(
    {"x-forwarded-for", "x-request-id", "x-envoy-external-address", "x-envoy-internal", "x-forwarded-client-cert"}
)


def _range(matcher: Any, text: str) -> bool:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        return False
    return bool(matcher.range_match.start <= int(text) < matcher.range_match.end)


HEADERS: Final[dict[str, tuple[Callable[[Any, str], bool], Callable[[Any], str]]]] = {
    "string_match": (
        lambda matcher, text: string_matches(matcher.string_match, text),
        lambda matcher: string_words(matcher.string_match),
    ),
    "exact_match": (
        lambda matcher, text: bool(text == matcher.exact_match),
        lambda matcher: f'is "{matcher.exact_match}"',
    ),
    "prefix_match": (
        lambda matcher, text: text.startswith(matcher.prefix_match),
        lambda matcher: f'starts with "{matcher.prefix_match}"',
    ),
    "suffix_match": (
        lambda matcher, text: text.endswith(matcher.suffix_match),
        lambda matcher: f'ends with "{matcher.suffix_match}"',
    ),
    "contains_match": (
        lambda matcher, text: matcher.contains_match in text,
        lambda matcher: f'contains "{matcher.contains_match}"',
    ),
    "safe_regex_match": (
        lambda matcher, text: pattern.matches(matcher.safe_regex_match.regex, text),
        lambda matcher: f"is like {matcher.safe_regex_match.regex}",
    ),
    "range_match": (
        _range,
        lambda matcher: f"is a number from {matcher.range_match.start} to below {matcher.range_match.end}",
    ),
}


def _header_words(matcher: Any) -> str:
    kind = matcher.WhichOneof("header_match_specifier") or "present_match"
    negation = "not: " if matcher.invert_match else ""
    if kind == "present_match":
        wants_presence = kind not in {f.name for f, _ in matcher.ListFields()} or matcher.present_match
        return f"{negation}header {matcher.name} is {'present' if wants_presence else 'absent'}"
    if matcher.name == ":method":
        return f"{negation}method {HEADERS[kind][1](matcher)}"
    return f"{negation}header {matcher.name} {HEADERS[kind][1](matcher)}"


def _header_matches(matcher: Any, head: Head) -> bool:
    name = matcher.name.lower()
    if name in _WRITTEN_BY_ENVOY:
        raise UnmodelledError(f"match on header {name}, which Envoy itself writes")
    kind = matcher.WhichOneof("header_match_specifier")
    values = head.values(name)
    if kind is None or kind == "present_match":
        wants_presence = kind is None or matcher.present_match
        return bool((bool(values) == wants_presence) != matcher.invert_match)
    if kind not in HEADERS:
        raise UnmodelledError(f"header matcher {kind}")
    # An absent header fails each matcher of values, an inverted one too, unless it counts as empty.
    if not values and not matcher.treat_missing_header_as_empty:
        return False
    # One line that matches is enough, and one is enough to fail an inverted matcher.
    return any(HEADERS[kind][0](matcher, value) for value in values or ("",)) != bool(matcher.invert_match)


# Query parameters (envoy.config.route.v3.QueryParameterMatcher)


def query_parameters(path: str) -> dict[str, str]:
    """The first value of each parameter, still escaped, as the matchers see them."""
    parameters: dict[str, str] = {}
    for pair in split_query(path)[1][1:].split("&"):
        name, _, value = pair.partition("=")
        parameters.setdefault(name, value)
    return parameters


def _query_words(matcher: Any) -> str:
    kind = matcher.WhichOneof("query_parameter_match_specifier")
    if kind != "string_match":
        return f"query parameter {matcher.name} is {'absent' if kind and not matcher.present_match else 'present'}"
    return f"query parameter {matcher.name} {string_words(matcher.string_match)}"


def _query_matches(matcher: Any, parameters: dict[str, str]) -> bool:
    kind = matcher.WhichOneof("query_parameter_match_specifier")
    value = parameters.get(matcher.name)
    if kind == "string_match":
        return value is not None and string_matches(matcher.string_match, value)
    if kind is None or kind == "present_match":
        return (value is not None) == (kind is None or matcher.present_match)
    raise UnmodelledError(f"query parameter matcher {kind}")


# The client (envoy.config.route.v3.FilterStateMatcher)


def _client_words(matcher: Any) -> str:
    return f"the client has one of {len(matcher.address_match.ranges)} addresses of pods"


def _client_matches(matcher: Any, client: str) -> bool:
    if matcher.key != names.CLIENT or matcher.WhichOneof("matcher") != "address_match":
        raise UnmodelledError(f"filter state matcher {matcher.key}")
    if not client:
        raise UnmodelledError("a client that is not named, by whom routes are chosen here (give --client),")
    address = ip_address(client)
    return any(
        address in ip_network(f"{each.address_prefix}/{each.prefix_len.value}") for each in matcher.address_match.ranges
    )


# The whole match, but for chance

_UNMODELLED_FIELDS: Final = ("tls_context", "dynamic_metadata")


def mismatch(match: Any, head: Head, *, client: str = "", ignores_parameters: bool = False) -> str | None:
    """Why a request does not match, or None when it does. `runtime_fraction` is left to the caller."""
    for name in _UNMODELLED_FIELDS:
        if (match.HasField(name)) if name == "tls_context" else len(getattr(match, name)):
            raise UnmodelledError(f"route matcher {name}")
    if reason := path_mismatch(match, head, ignores_parameters=ignores_parameters):
        return reason
    if match.HasField("grpc") and not head.is_grpc:
        return "not: gRPC request"
    for header in match.headers:
        if not _header_matches(header, head):
            return f"not: {_header_words(header)}"
    parameters = query_parameters(head.path) if match.query_parameters else {}
    for parameter in match.query_parameters:
        if not _query_matches(parameter, parameters):
            return f"not: {_query_words(parameter)}"
    return next(
        (f"not: {_client_words(state)}" for state in match.filter_state if not _client_matches(state, client)), None
    )


def words(match: Any) -> str:
    """A match in words for people."""
    parts = [_PATH_WORDS[match.WhichOneof("path_specifier")](match)]
    parts += ["gRPC request"] if match.HasField("grpc") else []
    parts += [_header_words(header) for header in match.headers]
    parts += [_query_words(parameter) for parameter in match.query_parameters]
    parts += [_client_words(state) for state in match.filter_state]
    return ", ".join(parts)
