"""Explain against the real Envoy: the same bytes of configuration, the same requests, the same answers.

These route tables say whatever Envoy's messages can say, so that explain knows Envoy and not only how we use it.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.replay import CLIENT, difference, echo, exchange, free_ports, random_request, server
from tests.envoy_validate import running
from xds_server.explain.explain import explain
from xds_server.model.backend import Cluster, Endpoint, Endpoints
from xds_server.model.refs import ClusterRef
from xds_server.model.resource import LISTENER, ROUTE_CONFIGURATION, Resource, ResourceKey, resource
from xds_server.translation import cluster, endpoint, names
from xds_server.translation import envoy as e

SEEDS = range(3)
TABLES = 6
REQUESTS = 150
REFS = (ClusterRef("shop", "one", 80, "http"), ClusterRef("shop", "two", 80, "http"))
BACKENDS = tuple(map(names.cluster, REFS))
EMPTY = ClusterRef("shop", "empty", 80, "http")
MISSING = "shop/missing/80/http"
DOMAINS = ("a.test", "B.a.test", "*.a.test", "*.b.a.test", "*-x.test", "*.test", "shop.*", "a.*", "a.test:8080", "*")


def string_matcher(rng: random.Random, values: tuple[str, ...]) -> Any:
    value = rng.choice(values)
    kind = rng.choice(("exact", "exact", "prefix", "suffix", "contains", "safe_regex"))
    if kind == "safe_regex":
        return e.StringMatcher(
            safe_regex=e.RegexMatcher(regex=rng.choice((value, f"{value[0]}.*", "[a-z]+", "[0-9]*")))
        )
    part = value if kind == "exact" else rng.choice((value[:2], value[-1:], value))
    return e.StringMatcher(**{kind: part}, ignore_case=rng.random() < 0.3)


def header_matcher(rng: random.Random) -> Any:
    kind = rng.choice(("string", "string", "string", "present", "range", "method", "authority", "scheme"))
    inverted = rng.random() < 0.25
    if kind == "method":
        return e.HeaderMatcher(
            name=":method", string_match=e.StringMatcher(exact=rng.choice(("GET", "POST", "OPTIONS")))
        )
    if kind == "authority":
        matcher = e.StringMatcher(safe_regex=e.RegexMatcher(regex=r"[^.]+\.a\.test"))
        return e.HeaderMatcher(name=":authority", string_match=matcher, invert_match=inverted)
    if kind == "scheme":
        name = rng.choice((":scheme", "x-forwarded-proto"))
        return e.HeaderMatcher(name=name, string_match=e.StringMatcher(exact=rng.choice(("http", "https"))))
    if kind == "range":
        return e.HeaderMatcher(name="x-n", range_match=e.Int64Range(start=-5, end=10), invert_match=inverted)
    name = rng.choice(("x-a", "x-b", "X-Envoy-Retry-On", "accept"))
    if kind == "present":
        return e.HeaderMatcher(name=name, present_match=rng.random() < 0.7, invert_match=inverted)
    return e.HeaderMatcher(
        name=name,
        string_match=string_matcher(rng, ("one", "two", "One,two", "a,b")),
        invert_match=inverted,
        treat_missing_header_as_empty=rng.random() < 0.2,
    )


def query_matcher(rng: random.Random) -> Any:
    name = rng.choice(("q", "r", "a%20b"))
    if rng.random() < 0.3:
        return e.QueryParameterMatcher(name=name, present_match=rng.random() < 0.7)
    return e.QueryParameterMatcher(name=name, string_match=string_matcher(rng, ("one", "1", "a b")))


def path_specifier(rng: random.Random) -> dict[str, Any]:
    match rng.randrange(8):
        case 0 | 1:
            return {"prefix": rng.choice(("/", "/", "/", "/a", "/a/", "/A", "/a/b", "//", "/a%20b"))}
        case 2:
            return {"path": rng.choice(("/a", "/a/b", "/", "/A/b", "/a/b/", "/x.y"))}
        case 3:
            patterns = (r"/a/[0-9]+", r"/.*", r"/(a|b)/c?", r"/[^/]*", r"(?i)/A/B", r"/a/?.*b")
            return {"safe_regex": e.RegexMatcher(regex=rng.choice(patterns))}
        case _:
            return {"path_separated_prefix": rng.choice(("/a", "/a/b", "/A", "/b", "/a%2fb"))}


def fraction(rng: random.Random) -> Any:
    numerator = rng.choice((0, 250_000, 500_000, 1_000_000))
    percent = e.FractionalPercent(numerator=numerator, denominator=e.FractionalPercent.MILLION)
    return e.RuntimeFractionalPercent(default_value=percent)


def route_match(rng: random.Random) -> Any:
    match = e.RouteMatch(**path_specifier(rng))
    if rng.random() < 0.2:
        match.case_sensitive.value = False
    if rng.random() < 0.1:
        match.grpc.SetInParent()
    if rng.random() < 0.15:
        match.runtime_fraction.CopyFrom(fraction(rng))
    match.headers.extend(header_matcher(rng) for _ in range(rng.choice((0, 0, 0, 0, 1, 2))))
    match.query_parameters.extend(query_matcher(rng) for _ in range(rng.choice((0, 0, 0, 0, 1))))
    return match


def regex_rewrite(rng: random.Random) -> Any:
    pattern, substitution = rng.choice(
        (
            (r"^/a/(.*)$", r"/\1"),
            (r"^.*$", "/whole"),
            (r"/", "//"),
            (r"^/a/*", "/"),
            (r"[ab]*", "<\\0>"),
            (r"(/)([^/]+)", r"\1\\\2"),
        )
    )
    return e.RegexMatchAndSubstitute(pattern=e.RegexMatcher(regex=pattern), substitution=substitution)


def redirect(rng: random.Random) -> Any:
    made = e.RedirectAction(response_code=rng.randrange(5), strip_query=rng.random() < 0.2)
    match rng.randrange(3):
        case 0:
            made.https_redirect = True
        case 1:
            made.scheme_redirect = rng.choice(("http", "https"))
    if rng.random() < 0.4:
        made.host_redirect = "elsewhere.test"
    if rng.random() < 0.4:
        made.port_redirect = rng.choice((80, 443, 8080))
    match rng.randrange(4):
        case 0:
            made.path_redirect = rng.choice(("/new", "/new?own=1"))
        case 1:
            made.prefix_rewrite = rng.choice(("/", "/p", "/p/"))
        case 2:
            made.regex_rewrite.CopyFrom(regex_rewrite(rng))
    return made


def route_action(rng: random.Random) -> Any:
    made = e.RouteAction()
    match rng.randrange(8):
        case 0:
            made.cluster = names.cluster(EMPTY)
        case 1:
            made.cluster = MISSING
            made.cluster_not_found_response_code = rng.randrange(3)
        case 2 | 3:
            weights = [rng.choice((0, 1, 3)), 1]
            made.weighted_clusters.CopyFrom(
                e.WeightedCluster(
                    clusters=[
                        e.WeightedCluster.ClusterWeight(name=name, weight={"value": weight})
                        for name, weight in zip(BACKENDS, weights, strict=True)
                    ]
                )
            )
        case _:
            made.cluster = rng.choice(BACKENDS)
    match rng.randrange(4):
        case 0:
            made.prefix_rewrite = rng.choice(("/", "/p", "/p/"))
        case 1:
            made.regex_rewrite.CopyFrom(regex_rewrite(rng))
    match rng.randrange(5):
        case 0:
            made.host_rewrite_literal = "inner.test"
        case 1:
            made.host_rewrite_header = "x-a"
        case 2:
            made.host_rewrite_path_regex.pattern.regex = "^/([a-z]+).*$"
            made.host_rewrite_path_regex.substitution = r"\1.inner"
    return made


def rbac(rng: random.Random) -> Any:
    principal = rng.choice(
        (
            e.Principal(remote_ip=e.CidrRange(address_prefix="127.0.0.0", prefix_len={"value": 8})),
            e.Principal(remote_ip=e.CidrRange(address_prefix="10.0.0.0", prefix_len={"value": 8})),
            e.Principal(
                not_id=e.Principal(remote_ip=e.CidrRange(address_prefix="10.0.0.0", prefix_len={"value": 8})),
            ),
        )
    )
    policy = e.Policy(permissions=[e.Permission(any=True)], principals=[principal])
    rules = e.RbacRules(action=rng.choice((e.RbacRules.ALLOW, e.RbacRules.DENY)), policies={"clients": policy})
    return e.RbacPerRoute(rbac=e.Rbac(rules=rules))


def cors(rng: random.Random) -> Any:
    origins = [e.StringMatcher(exact="https://good.test"), e.StringMatcher(exact="*")]
    policy = e.CorsPolicy(allow_origin_string_match=[rng.choice((origins[0], origins[0], origins[1]))])
    if rng.random() < 0.5:
        policy.forward_not_matching_preflights.value = rng.random() < 0.5
    return policy


def route(rng: random.Random, position: int) -> Any:
    made = e.Route(name=f"httproute/shop/table/{position}/0", match=route_match(rng))
    match rng.randrange(6):
        case 0:
            made.redirect.CopyFrom(redirect(rng))
        case 1:
            made.direct_response.status = rng.choice((200, 204, 301, 404, 421, 500, 503))
        case _:
            made.route.CopyFrom(route_action(rng))
    # Marks every answer that comes by way of this route, Envoy's own too.
    made.response_headers_to_add.add(header=e.HeaderValue(key="x-route", value=made.name))
    if rng.random() < 0.2:
        made.typed_per_filter_config["envoy.filters.http.cors"].CopyFrom(e.any_of(cors(rng)))
    if rng.random() < 0.15:
        made.typed_per_filter_config["envoy.filters.http.rbac"].CopyFrom(e.any_of(rbac(rng)))
    return made


def route_configuration(rng: random.Random, name: str) -> Any:
    domains = rng.sample(DOMAINS, rng.randint(3, len(DOMAINS)))
    made = e.RouteConfiguration(
        name=name,
        validate_clusters={"value": False},
        ignore_port_in_host_matching=rng.random() < 0.5,
        ignore_path_parameters_in_path_matching=rng.random() < 0.2,
    )
    position = 0
    for at, domain in enumerate(domains):
        virtual_host = made.virtual_hosts.add(name=f"host-{at}", domains=[domain])
        if rng.random() < 0.1:
            virtual_host.require_tls = e.VirtualHost.ALL
        for _ in range(rng.randint(0, 10)):
            virtual_host.routes.append(route(rng, position))
            position += 1
    return made


def manager(rng: random.Random, name: str) -> Any:
    made = e.HttpConnectionManager(
        stat_prefix="test",
        rds=e.Rds(config_source=e.ADS, route_config_name=name),
        normalize_path={"value": rng.random() < 0.7},
        merge_slashes=rng.random() < 0.6,
        path_with_escaped_slashes_action=rng.randrange(5),
        strip_trailing_host_dot=rng.random() < 0.5,
        use_remote_address={"value": rng.random() < 0.7},
        http_filters=[
            e.HttpFilter(name="envoy.filters.http.cors", typed_config=e.any_of(e.Cors())),
            e.HttpFilter(name="envoy.filters.http.rbac", typed_config=e.any_of(e.Rbac())),
            e.HttpFilter(name="envoy.filters.http.router", typed_config=e.any_of(e.Router())),
        ],
    )
    match rng.randrange(3):
        case 0:
            made.strip_any_host_port = True
        case 1:
            made.strip_matching_host_port = True
    made.common_http_protocol_options.headers_with_underscores_action = rng.randrange(3)
    if rng.random() < 0.5:
        made.upgrade_configs.add(upgrade_type="websocket")
    return made


def listener(name: str, port: int, http: Any) -> Any:
    address = e.Address(socket_address=e.SocketAddress(address=CLIENT, port_value=port))
    network_filter = e.Filter(name="http", typed_config=e.any_of(http))
    return e.Listener(name=name, address=address, filter_chains=[e.FilterChain(filters=[network_filter])])


def resources(rng: random.Random, ports: list[int], backends: dict[ClusterRef, int]) -> dict[ResourceKey, Resource]:
    """A route table for each port, and clusters with the ports of their backends."""
    made: list[Resource] = []
    for port in ports:
        name = f"gateway/shop/table/{port}"
        made.append(resource(LISTENER, name, e.serialised(listener(name, port, manager(rng, name)))))
        made.append(resource(ROUTE_CONFIGURATION, name, e.serialised(route_configuration(rng, name))))
    for ref in (*REFS, EMPTY):
        found = (Endpoint(CLIENT, backends[ref]),) if ref in backends else ()
        made.append(cluster.cluster(Cluster(ref)))
        made.append(endpoint.cluster_load_assignment(ref, Endpoints(ref, found)))
    return {each.key: each for each in made}


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of many requests: the outcomes that explain gave, counted, and in what Envoy disagreed."""

    outcomes: Counter[str]
    differences: tuple[str, ...]


def replay(seed: int, envoy: Path, directory: Path, count: int = REQUESTS) -> Replay:
    rng = random.Random(seed)
    ports = free_ports(TABLES)
    outcomes: Counter[str] = Counter()
    differences = []
    with ExitStack() as stack:
        backends = {ref: stack.enter_context(server(echo(names.cluster(ref)))) for ref in REFS}
        configured = resources(rng, ports, backends)
        stack.enter_context(running(envoy, configured, directory))
        for port in ports:
            for _ in range(count):
                request = random_request(rng, f"http://{CLIENT}:{port}")
                [explained] = explain(configured, request)
                outcomes[explained.outcome] += 1
                if found := difference(explained, exchange(port, request)):
                    differences.append(f"{request}: {found} ({explained.reason} {explained.considered})")
    return Replay(outcomes, tuple(differences))


@pytest.mark.parametrize("seed", SEEDS)
def test_explain_agrees_with_envoy(seed: int, envoy: Path, tmp_path: Path) -> None:
    """Over random route tables, Envoy does with each random request what explain says that it does."""
    found = replay(seed, envoy, tmp_path)

    assert () == found.differences
    assert {"route", "redirect", "direct_response", "no_route"} == found.outcomes.keys()
