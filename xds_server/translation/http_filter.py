"""The HTTP filters of every listener, in order, and what a single route asks of them.

All but the router are off until a route configures them: a request pays for what its route uses.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Final

from xds_server.model.route import CookieAffinity, Cors, Route, SourceRanges
from xds_server.translation import envoy
from xds_server.translation.text import header_name, header_value, literal, regex

RBAC: Final = "envoy.filters.http.rbac"
CORS: Final = "envoy.filters.http.cors"
LOCAL_RATE_LIMIT: Final = "envoy.filters.http.local_ratelimit"
BUFFER: Final = "envoy.filters.http.buffer"
STATEFUL_SESSION: Final = "envoy.filters.http.stateful_session"
ROUTER: Final = "envoy.filters.http.router"

_BURST: Final = 5
"""Seconds' worth of requests that a client may send at once, as ingress-nginx has it."""

_CLIENTS: Final = 10_000
"""Clients whose rates are counted at a time; the least recent is forgotten first, so that memory stays bounded."""

_LARGEST_BODY: Final = 2**32 - 1


def http_filters(*, upgrade: bool = False) -> list[envoy.HttpFilter]:
    """Who may not come in is refused first; only then is CORS answered and are rates counted.

    `upgrade` leaves out the buffer, which would wait for the end of a stream that has none.
    """
    optional: list[tuple[str, Any]] = [
        (RBAC, envoy.Rbac()),
        (CORS, envoy.Cors()),
        (LOCAL_RATE_LIMIT, envoy.LocalRateLimit(stat_prefix="rate_limit")),
        *([] if upgrade else [(BUFFER, envoy.Buffer(max_request_bytes={"value": 1}))]),
        (STATEFUL_SESSION, envoy.StatefulSession()),
    ]
    return [
        *(envoy.HttpFilter(name=name, typed_config=envoy.any_of(config), disabled=True) for name, config in optional),
        envoy.HttpFilter(name=ROUTER, typed_config=envoy.any_of(envoy.Router())),
    ]


def admission(route: Route) -> dict[str, envoy.Any]:
    """What decides whether a request gets to its action at all."""
    config: dict[str, envoy.Any] = {}
    if route.source_ranges and (route.source_ranges.allow or route.source_ranges.deny):
        config[RBAC] = envoy.any_of(_source_ranges(route.source_ranges))
    if route.rate_limit_rps is not None:
        config[LOCAL_RATE_LIMIT] = envoy.any_of(_rate_limit(route.rate_limit_rps))
    return config


def forwarding(route: Route) -> dict[str, envoy.Any]:
    """What only a request that goes to a backend needs; Envoy's CORS is for such requests alone."""
    config: dict[str, envoy.Any] = {}
    if route.filters.cors:
        config[CORS] = envoy.any_of(_cors(route.filters.cors))
    if route.max_request_bytes is not None:
        config[BUFFER] = envoy.any_of(_buffer(route.max_request_bytes))
    if route.affinity:
        config[STATEFUL_SESSION] = envoy.any_of(_cookie(route.affinity))
    return config


def _source_ranges(ranges: SourceRanges) -> envoy.RbacPerRoute:
    """`remote_ip` is the connection's peer: no hop before us is trusted to say otherwise."""
    allowed = envoy.Principal(or_ids={"ids": [_remote(cidr) for cidr in ranges.allow]} if ranges.allow else None)
    if not ranges.allow:
        allowed = envoy.Principal(any=True)
    principals = [allowed]
    if ranges.deny:
        denied = envoy.Principal(or_ids={"ids": [_remote(cidr) for cidr in ranges.deny]})
        principals.append(envoy.Principal(not_id=denied))
    policy = envoy.Policy(
        permissions=[envoy.Permission(any=True)], principals=[envoy.Principal(and_ids={"ids": principals})]
    )
    rules = envoy.RbacRules(action=envoy.RbacRules.ALLOW, policies={"source-ranges": policy})
    return envoy.RbacPerRoute(rbac=envoy.Rbac(rules=rules))


def _remote(cidr: str) -> envoy.Principal:
    network = ip_network(cidr, strict=False)
    return envoy.Principal(
        remote_ip=envoy.CidrRange(address_prefix=str(network.network_address), prefix_len={"value": network.prefixlen})
    )


def _cors(cors: Cors) -> envoy.CorsPolicy:
    """Fetch: with credentials a "*" among the exposed headers is no wildcard but a name, so it says nothing then."""
    exposed = [name for name in cors.expose_headers if not (cors.allow_credentials and name == "*")]
    return envoy.CorsPolicy(
        allow_origin_string_match=[origin_matcher(origin) for origin in cors.allow_origins],
        allow_methods=", ".join(map(header_value, cors.allow_methods)),
        allow_headers=", ".join(map(_name_or_any, cors.allow_headers)),
        expose_headers=", ".join(map(_name_or_any, exposed)),
        max_age="" if cors.max_age_s is None else str(cors.max_age_s),
        allow_credentials={"value": cors.allow_credentials},
    )


def origin_matcher(origin: str) -> envoy.StringMatcher:
    """A star takes one label or more, so `https://*.example.com` takes https://a.b.example.com; all else is literal."""
    if "*" not in origin or origin == "*":
        return envoy.StringMatcher(exact=header_value(origin))
    return envoy.StringMatcher(safe_regex=regex("[^/:]+".join(map(literal, header_value(origin).split("*")))))


def _name_or_any(name: str) -> str:
    return name if name == "*" else header_name(name)


def _rate_limit(rps: int) -> envoy.LocalRateLimit:
    """So many requests a second from each client address, counted by each Envoy for itself; more answer 429."""
    if not 0 < rps <= 2**31:
        raise ValueError(f"a rate of {rps} requests a second is not between 1 and {2**31}")
    bucket = envoy.TokenBucket(
        max_tokens=rps * _BURST, tokens_per_fill={"value": rps}, fill_interval=envoy.milliseconds(1000)
    )
    always = {"default_value": {"numerator": 100}}
    return envoy.LocalRateLimit(
        stat_prefix="rate_limit",
        token_bucket=bucket,
        filter_enabled=always,
        filter_enforced=always,
        rate_limits=[envoy.RateLimit(actions=[{"remote_address": {}}])],
        descriptors=[
            envoy.LocalRateLimitDescriptor(
                entries=[envoy.RateLimitDescriptor.Entry(key="remote_address")], token_bucket=bucket
            )
        ],
        always_consume_default_token_bucket={"value": False},
        max_dynamic_descriptors={"value": _CLIENTS},
    )


def _buffer(max_request_bytes: int) -> envoy.BufferPerRoute:
    """The only limit of Envoy that also holds for bodies of unknown length; it costs waiting for the whole body."""
    if not 0 < max_request_bytes <= _LARGEST_BODY:
        raise ValueError(f"a request limit of {max_request_bytes} bytes is not between 1 and {_LARGEST_BODY}")
    return envoy.BufferPerRoute(buffer=envoy.Buffer(max_request_bytes={"value": max_request_bytes}))


def _cookie(affinity: CookieAffinity) -> envoy.StatefulSessionPerRoute:
    cookie = envoy.Cookie(name=header_name(affinity.name), path=header_value(affinity.path))
    if affinity.ttl_s is not None:
        cookie.ttl.seconds = affinity.ttl_s
    state = envoy.CookieBasedSessionState(cookie=cookie)
    return envoy.StatefulSessionPerRoute(
        stateful_session={
            "session_state": {"name": "envoy.http.stateful_session.cookie", "typed_config": envoy.any_of(state)}
        }
    )
