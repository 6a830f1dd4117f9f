"""The connection manager's HTTP filters: those that answer a request themselves, and what the others do, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from envoy.config.route.v3.route_components_pb2 import FilterConfig

from xds_server.explain import rbac
from xds_server.explain.answer import Answer
from xds_server.explain.match import string_matches
from xds_server.explain.request import Head
from xds_server.explain.words import seconds
from xds_server.translation.envoy import (
    Buffer,
    BufferPerRoute,
    CookieBasedSessionState,
    CorsPolicy,
    LocalRateLimit,
    Rbac,
    RbacPerRoute,
    StatefulSession,
    StatefulSessionPerRoute,
)

_HTTP: Final = "envoy.extensions.filters.http."
_CORS: Final = f"type.googleapis.com/{_HTTP}cors.v3.Cors"

# Filters that neither answer a request nor change where it goes.
_TRANSPARENT: Final = frozenset(
    f"{_HTTP}{name}"
    for name in ("router.v3.Router", "grpc_web.v3.GrpcWeb", "grpc_stats.v3.FilterConfig", "on_demand.v3.OnDemand")
)


@dataclass(frozen=True, slots=True)
class Effect:
    """What one filter does to one request; `answer` ends it, `unmodelled` says what could not be told."""

    words: tuple[str, ...] = ()
    answer: Answer | None = None
    unmodelled: str = ""


_NOTHING: Final = Effect()


def effects(
    http_filters: Iterable[Any], levels: Sequence[Mapping[str, Any]], head: Head, client: str, *, forwards: bool
) -> tuple[Effect, ...]:
    """Effects in the filters' order, up to the one that answers.

    `levels` are the `typed_per_filter_config` of route, virtual host and route configuration, the most specific first.
    CORS works only on routes that forward: Envoy passes it over where a route redirects or answers.
    """
    collected: list[Effect] = []
    for http_filter in http_filters:
        if not forwards and http_filter.typed_config.type_url == _CORS:
            continue
        effect = _effect(http_filter, levels, head, client)
        collected.append(effect)
        if effect.answer:
            break
    return tuple(collected)


def _effect(http_filter: Any, levels: Sequence[Mapping[str, Any]], head: Head, client: str) -> Effect:
    is_on, configs = _configured(http_filter, levels)
    kind = http_filter.typed_config.type_url.rpartition("/")[2]
    if not is_on or kind in _TRANSPARENT:
        return _NOTHING
    if kind not in KINDS:
        return Effect(unmodelled=f"HTTP filter {http_filter.name} ({kind or 'without configuration'})")
    return KINDS[kind](http_filter.typed_config, configs, head, client)


def _configured(http_filter: Any, levels: Sequence[Mapping[str, Any]]) -> tuple[bool, tuple[Any, ...]]:
    """Whether the filter runs for the route, and its configurations for the route, the most specific first."""
    own = [level[http_filter.name] for level in levels if http_filter.name in level]
    is_on = bool(own) or not http_filter.disabled
    configs = []
    for position, each in enumerate(own):
        config = each
        if each.Is(FilterConfig.DESCRIPTOR):
            wrapper = _unpacked(each, FilterConfig)
            config = wrapper.config
            is_on = is_on and not (position == 0 and wrapper.disabled)
        if config.type_url:
            configs.append(config)
    return is_on, tuple(configs)


def _unpacked(config: Any, message: Any) -> Any:
    return message.FromString(config.value)


def _cors(base: Any, configs: Sequence[Any], head: Head, client: str) -> Effect:
    policies = [_unpacked(each, CorsPolicy) for each in configs]
    if not policies or not _is_enabled(policies[0].filter_enabled):
        return _NOTHING
    origins = next((each.allow_origin_string_match for each in policies if each.allow_origin_string_match), ())
    allowed = ", ".join(_origin_words(each) for each in origins) or "no origin"
    words = (f"CORS: answers preflights and marks responses for {allowed}",)
    origin = head.value("origin")
    is_preflight = head.method == "OPTIONS" and bool(head.value("access-control-request-method"))
    if not origin or not is_preflight:
        return Effect(words)
    is_allowed = any(string_matches(each, "*") or string_matches(each, origin) for each in origins)
    if is_allowed:
        return Effect(words, Answer(200, f"CORS preflight of an allowed origin: {origin}", knows_grpc=False))
    forwards = not policies[0].HasField("forward_not_matching_preflights") or (
        policies[0].forward_not_matching_preflights.value
    )
    if forwards:
        return Effect((*words, f"CORS: origin {origin} is not allowed, its preflight goes on without allow headers"))
    return Effect(
        words,
        Answer(200, f"CORS preflight of an origin that is not allowed: {origin}; no allow headers", knows_grpc=False),
    )


def _is_enabled(fraction: Any) -> bool:
    return not fraction.HasField("default_value") or bool(fraction.default_value.numerator)


def _origin_words(matcher: Any) -> str:
    return str(
        getattr(matcher, "safe_regex" if matcher.HasField("safe_regex") else matcher.WhichOneof("match_pattern"))
    )


def _rbac(base: Any, configs: Sequence[Any], head: Head, client: str) -> Effect:
    policy = _unpacked(configs[0], RbacPerRoute).rbac if configs else _unpacked(base, Rbac)
    if policy.HasField("matcher"):
        return Effect(unmodelled="RBAC filter with a matcher")
    if not policy.HasField("rules"):
        return _NOTHING
    words = (f"RBAC: {rbac.words(policy.rules)}",)
    if not client:
        return Effect(words)
    return Effect(words, None if rbac.allows(policy.rules, client) else Answer(403, f"RBAC refuses client {client}"))


def _buffer(base: Any, configs: Sequence[Any], head: Head, client: str) -> Effect:
    if not configs:
        limit = _unpacked(base, Buffer).max_request_bytes.value
        return Effect((_buffer_words(limit),))
    route = _unpacked(configs[0], BufferPerRoute)
    return _NOTHING if route.disabled else Effect((_buffer_words(route.buffer.max_request_bytes.value),))


def _buffer_words(limit: int) -> str:
    return f"request body is read whole, up to {limit} bytes (413 above)"


def _local_ratelimit(base: Any, configs: Sequence[Any], head: Head, client: str) -> Effect:
    config = _unpacked(configs[0] if configs else base, LocalRateLimit)
    if not config.HasField("token_bucket"):
        return _NOTHING
    whom = "each client" if config.rate_limits else "all clients together"
    bucket = config.descriptors[0].token_bucket if config.descriptors else config.token_bucket
    tokens = bucket.tokens_per_fill.value if bucket.HasField("tokens_per_fill") else 1
    rate = f"{tokens} requests every {seconds(bucket.fill_interval)}, bursts of {bucket.max_tokens}"
    return Effect((f"rate limit: {rate}, for {whom} ({config.status.code or 429} above)",))


def _stateful_session(base: Any, configs: Sequence[Any], head: Head, client: str) -> Effect:
    if configs:
        route = _unpacked(configs[0], StatefulSessionPerRoute)
        if route.disabled:
            return _NOTHING
        session = route.stateful_session
    else:
        session = _unpacked(base, StatefulSession)
    state = session.session_state.typed_config
    if not state.type_url:
        return _NOTHING
    if not state.Is(CookieBasedSessionState.DESCRIPTOR):
        return Effect(unmodelled=f"session state {state.type_url.rpartition('/')[2]}")
    cookie = _unpacked(state, CookieBasedSessionState).cookie
    return Effect((f"session: cookie {cookie.name} keeps a client at its endpoint",))


KINDS: Final[dict[str, Callable[[Any, Sequence[Any], Head, str], Effect]]] = {
    f"{_HTTP}cors.v3.Cors": _cors,
    f"{_HTTP}rbac.v3.RBAC": _rbac,
    f"{_HTTP}buffer.v3.Buffer": _buffer,
    f"{_HTTP}local_ratelimit.v3.LocalRateLimit": _local_ratelimit,
    f"{_HTTP}stateful_session.v3.StatefulSession": _stateful_session,
}
