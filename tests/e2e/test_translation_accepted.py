"""No accepted object may lead to a NACK: random model values against the real Envoy's own validation."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.pki import Authority
from tests.envoy_validate import World, endpoints, judgement
from tests.unit.translation.written import GATEWAY, PLAIN, PREFIX, ROUTE, cluster, route, share, to
from xds_server.model.backend import Certificate, Cluster
from xds_server.model.listener import Frontend, Listener, TlsTermination
from xds_server.model.refs import ClusterRef, HostRef, ListenerRef, ObjectRef, Protocol, RouteRef, TableRef
from xds_server.model.resource import VIRTUAL_HOST
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Filters,
    Forward,
    HeaderModifier,
    Mirror,
    PathMatch,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
    Route,
    RouteMatch,
    SourceRanges,
    TlsRoute,
    ValueMatch,
    VirtualHost,
    WeightedBackend,
)
from xds_server.translation.settings import TranslationSettings


def mostly(usual: st.SearchStrategy[str], refused: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One value that Envoy refuses hides the rest of its route, so there are few."""
    return st.integers(0, 31).flatmap(lambda chance: refused if chance == 31 else usual)


NAMES = st.text("abcdefgh-_.!~0123", min_size=1, max_size=8)
CHANGED = mostly(NAMES, st.sampled_from(["host", ":path", "te"]))
VALUES = mostly(st.text('ab%é ,;"\t{}\\', max_size=12), st.text(max_size=12))
PATHS = mostly(st.text("/ab.%*\\(){}é ", max_size=8), st.text("/?#\x7f\0", max_size=4)).map(lambda text: "/" + text)
PATTERNS = mostly(
    st.sampled_from(["/.*", "/(a|b)+", "/(?i)a", r"/(.*)\.php", "/é", "/a{900}"]),
    st.sampled_from(["(", "[", "a{1000}", "", r"\C", "(?=a)"]),
)
VALUE_MATCHES = st.builds(ValueMatch, NAMES, st.sampled_from(["Exact", "Regex"]), VALUES | PATTERNS)
PATH_MATCHES = st.one_of(
    st.builds(PathMatch, st.sampled_from(["Exact", "Prefix"]), PATHS), st.builds(PathMatch, st.just("Regex"), PATTERNS)
)
MATCHES = st.builds(
    RouteMatch,
    PATH_MATCHES,
    st.sampled_from(["", "GET", "a b"]),
    st.lists(VALUE_MATCHES, max_size=2).map(tuple),
    st.lists(VALUE_MATCHES, max_size=2).map(tuple),
    st.booleans(),
)
HEADERS = st.lists(st.tuples(CHANGED, VALUES), max_size=2).map(tuple)
MODIFIERS = st.builds(HeaderModifier, HEADERS, HEADERS, st.lists(NAMES, max_size=2).map(tuple))
PATH_MODIFIERS = st.one_of(
    st.builds(PathModifier, st.sampled_from(["full", "prefix"]), PATHS | st.just("")),
    st.builds(PathModifier, st.just("regex"), st.sampled_from(["/\\1", "/\\0", "\\", "/\\9", "/a", ""]), PATTERNS),
)
REWRITES = st.none() | st.builds(Rewrite, st.sampled_from(["", "a.example", "ü"]), st.none() | PATH_MODIFIERS)
CLUSTERS = st.sampled_from([cluster("one"), cluster("two", "h2c"), cluster("three", "https"), cluster("four", "h2")])
MIRRORS = st.lists(
    st.builds(Mirror, CLUSTERS, st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3))), max_size=2
).map(tuple)
ORIGINS = st.lists(st.sampled_from(["*", "https://a.example", "http://*.b.example:80", "https://*"]), max_size=3).map(
    tuple
)
POLICIES = st.builds(
    Cors,
    ORIGINS,
    st.lists(st.sampled_from(["GET", "*"]), max_size=2).map(tuple),
    st.lists(NAMES | st.just("*"), max_size=2).map(tuple),
    st.lists(NAMES, max_size=2).map(tuple),
    st.none() | st.integers(0, 10),
    st.booleans(),
)
FILTERS = st.builds(Filters, MODIFIERS, MODIFIERS, REWRITES, MIRRORS, st.none() | POLICIES)
REDIRECTS = st.builds(
    Redirect,
    st.sampled_from([301, 302, 303, 307, 308]),
    st.sampled_from(["", "http", "https"]),
    st.sampled_from(["", "a.example"]),
    st.none() | st.integers(0, 65_536),
    st.none() | PATH_MODIFIERS,
    st.sampled_from(["", "", "https://a.example/b?c", "http://[::1]:80", "/b"]),
)
BACKENDS = st.builds(WeightedBackend, st.none() | CLUSTERS, st.integers(0, 1_000_000), FILTERS, st.none() | REDIRECTS)
ACTIONS = st.one_of(
    st.lists(BACKENDS, max_size=3).map(lambda backends: Forward(tuple(backends))),
    REDIRECTS,
    st.builds(DirectResponse, st.sampled_from([200, 404, 500, 99]), VALUES),
)
LIMITS = st.none() | st.integers(0, 10**7)
ROUTES = st.builds(
    Route,
    st.just(RouteRef(ROUTE, 0, 0)),
    st.just("2026"),
    MATCHES,
    ACTIONS,
    FILTERS,
    written_hostnames=st.sampled_from([("*",), ("*.example",)]),
    request_timeout_ms=LIMITS,
    backend_timeout_ms=LIMITS,
    idle_timeout_ms=LIMITS,
    max_request_bytes=LIMITS,
    retry=st.none() | st.builds(Retry, st.integers(0, 100), st.just((500, 503)), LIMITS, st.booleans()),
    affinity=st.none() | st.builds(CookieAffinity, NAMES, st.sampled_from(["/", "/a"]), LIMITS),
    source_ranges=st.none()
    | st.builds(SourceRanges, st.sampled_from([(), ("10.0.0.0/8",)]), st.sampled_from([(), ("::/0",), ("1.2.3.4",)])),
    rate_limit_rps=LIMITS,
)


def world(routes: list[Route], threshold: int = 500) -> World:
    """All routes in each of three virtual hosts, so that one judgement is about many; faults are expected."""
    made = World(TranslationSettings(vhds_threshold=threshold))
    made.put(Frontend(GATEWAY, ("127.0.0.1",)), Listener(ListenerRef(GATEWAY, "http"), GATEWAY, 80, "HTTP", "*"))
    numbered = [
        Route(RouteRef(ROUTE, number, 0), *[getattr(each, name) for name in Route.__slots__[1:]])
        for number, each in enumerate(routes)
    ]
    made.put(*numbered)
    refs = tuple(each.ref for each in numbered)
    made.put(VirtualHost(HostRef(PLAIN, "*"), refs), VirtualHost(HostRef(PLAIN, "a.example"), refs))
    made.put(VirtualHost(HostRef(PLAIN, "*.example"), refs, one_label=True))
    made.graph.commit()
    return made


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(routes=st.lists(ROUTES, min_size=10, max_size=60))
def test_no_route_leads_to_a_nack(envoy: Path, tmp_path: Path, routes: list[Route]) -> None:
    """X54, S5: what cannot be told to Envoy is a fault of the graph or answers 500; Envoy takes the rest."""
    assert "" == judgement(envoy, world(routes).resources, tmp_path)


def test_every_field_at_once_is_accepted(envoy: Path, tmp_path: Path) -> None:
    """Nothing of a full route is a fault, and Envoy takes all of it, also by VHDS."""
    everything = Filters(
        HeaderModifier((("a", "%"),), (("b", ""),), ("c",)),
        HeaderModifier((("a", "%"),), (("b", ""),), ("c",)),
        Rewrite("a.example", PathModifier("prefix", "/")),
        (Mirror(cluster("one")), Mirror(cluster("two"), (1, 3))),
        Cors(("https://*.a.example",), ("*",), ("*",), ("x",), 60, allow_credentials=True),
    )
    one = route(
        Forward((share("one", 3), WeightedBackend(None, 1), WeightedBackend(cluster("two"), 2, everything))),
        RouteMatch(PREFIX.path, "GET", (ValueMatch("a", "Regex", "b+"),), (ValueMatch("c", "Exact", "d"),), grpc=True),
        filters=everything,
        request_timeout_ms=1,
        backend_timeout_ms=1,
        idle_timeout_ms=1,
        max_request_bytes=1,
        retry=Retry(100, tuple(range(400, 600)), 0, grpc=True),
        affinity=CookieAffinity("a", "/", 1),
        source_ranges=SourceRanges(("::/0",), ("10.0.0.0/8",)),
        rate_limit_rps=1,
    )
    made = world([one], threshold=2)

    assert {} == dict(made.graph.faults)
    assert 3 == sum(key.type_url == VIRTUAL_HOST for key in made.resources)
    assert "" == judgement(envoy, made.resources, tmp_path)


def test_many_origins_and_large_patterns_are_accepted(envoy: Path, tmp_path: Path) -> None:
    """The specification's most: 64 origins of 253 characters; a pattern of almost our limit."""
    origins = tuple(f"https://*.{'a' * 60}.{number:02}{'b' * 58}.{'c' * 60}.{'d' * 55}" for number in range(64))
    many = route(filters=Filters(cors=Cors(origins)))
    large = route(match=RouteMatch(PathMatch("Regex", "/" + "[a-z]" * 900)))
    made = world([many, large])

    assert {} == dict(made.graph.faults)
    assert "" == judgement(envoy, made.resources, tmp_path)


def test_every_listener_and_cluster_is_accepted(envoy: Path, tmp_path: Path) -> None:
    """Four protocols, HTTPS by SNI with two certificates, and TLS in both modes on one port."""
    authority = Authority(tmp_path / "ca.pem")
    certificates = tuple(ObjectRef("Secret", "default", name) for name in ("a", "b"))
    both = TlsTermination(certificates)
    made = World()
    made.put(Frontend(GATEWAY, ("127.0.0.1", "::1")))
    made.put(*(Certificate(ref, *authority.issue("a.example", "*.example")) for ref in certificates))
    https, passed, ended = ("*", "*.example", "vhds"), "pass.example", "ended.example"
    for hostname in https:
        other = ("a.example", "*.other")
        made.put(Listener(ListenerRef(GATEWAY, hostname), GATEWAY, 443, "HTTPS", hostname, both, other))
    made.put(Listener(ListenerRef(GATEWAY, passed), GATEWAY, 443, "TLS", passed))
    made.put(Listener(ListenerRef(GATEWAY, ended), GATEWAY, 443, "TLS", ended, both))
    for hostname, shares in (
        (passed, (WeightedBackend(cluster("t", "tcp"), 2**31), WeightedBackend(None))),
        (ended, ()),
    ):
        made.put(TlsRoute(HostRef(TableRef(GATEWAY, 443, hostname), hostname), RouteRef(ROUTE, 0, 0), shares))
    protocols: tuple[Protocol, ...] = get_args(Protocol)
    for ref in (ClusterRef("default", "c", 80, protocol) for protocol in protocols):
        made.put(Cluster(ref), endpoints(ref, ("10.0.0.1", 80), ("fd00::1", 80)))
    made.commit()

    assert "" == judgement(envoy, made.resources, tmp_path)


def test_the_judge_refuses_what_it_should(envoy: Path, tmp_path: Path) -> None:
    """A table with a pattern that RE2 does not know does not pass."""
    made = world([route(to("one"), RouteMatch(PathMatch("Regex", "/abcdefg")))])
    bad = {
        key: resource.__class__(key.type_url, key.name, resource.body.replace(b"/abcdefg", b"/(?=abc)"), "")
        for key, resource in made.resources.items()
    }

    assert "invalid perl operator" in judgement(envoy, bad, tmp_path)


@pytest.mark.parametrize("pattern", ["/" + "a" * 5000, "/[à-üa-z]{900}"])
def test_what_is_too_large_for_envoy_is_too_large_for_us(pattern: str) -> None:
    """S5: Envoy would refuse the whole table; here it is a fault of one route."""
    made = world([route(match=RouteMatch(PathMatch("Regex", pattern)))])

    assert 1 <= len(made.graph.faults)
