"""Explain of translated worlds against the real Envoy: random models, translated, served, asked and explained."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pki import Authority
from tests.e2e.replay import (
    CLIENT,
    HOSTS,
    client_hello,
    difference,
    echo,
    exchange,
    first_bytes,
    free_ports,
    name_itself,
    random_request,
    server,
)
from tests.envoy_validate import World, endpoints, running
from xds_server.explain.explain import explain
from xds_server.explain.request import Request
from xds_server.model.backend import Certificate
from xds_server.model.listener import Frontend, Listener, TlsTermination
from xds_server.model.refs import ClusterRef, HostRef, ListenerRef, ObjectRef, RouteRef, TableRef
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Filters,
    Forward,
    HeaderModifier,
    Mirror,
    PathKind,
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
from xds_server.translation import names
from xds_server.translation.settings import TranslationSettings

REQUESTS = 250
ROUTES = 30
GATEWAY = ObjectRef("Gateway", "shop", "web")
CERTIFICATE = ObjectRef("Secret", "shop", "web")
SERVICES = (ClusterRef("shop", "one", 80, "http"), ClusterRef("shop", "two", 80, "http"))
EMPTY = ClusterRef("shop", "empty", 80, "http")
STREAMS = (ClusterRef("shop", "left", 443, "tcp"), ClusterRef("shop", "right", 443, "tcp"))
HOSTNAMES = ("a.test", "b.a.test", "*.a.test", "*.b.a.test", "*.test", "shop.io", "*")


# Models, at random


def value_match(rng: random.Random, *wanted: str) -> ValueMatch:
    name = rng.choice(wanted)
    if rng.random() < 0.3:
        return ValueMatch(name, "Regex", rng.choice(("o.*", "[a-z]+", "1|one", ".*")))
    return ValueMatch(name, "Exact", rng.choice(("one", "two", "1")))


def path_match(rng: random.Random) -> PathMatch:
    kinds: tuple[PathKind, ...] = ("Exact", "Prefix", "Prefix", "Prefix", "Regex")
    kind = rng.choice(kinds)
    if kind == "Regex":
        return PathMatch("Regex", rng.choice((r"/a/[0-9]+", r"/.*", r"/(a|b)/c?", "(?i)/A/b.*")))
    return PathMatch(kind, rng.choice(("/", "/", "/", "/a", "/a/", "/a/b", "/A", "/b", "/a/b/c", "/a%20b")))


def route_match(rng: random.Random) -> RouteMatch:
    return RouteMatch(
        path_match(rng),
        method=rng.choice(("", "", "", "", "", "GET", "POST", "PUT")),
        headers=tuple(value_match(rng, "x-a", "x-b") for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))),
        query_params=tuple(value_match(rng, "q", "r") for _ in range(rng.choice((0, 0, 0, 0, 1)))),
        grpc=rng.random() < 0.05,
    )


def path_modifier(rng: random.Random, match: RouteMatch) -> PathModifier:
    kinds = ("full", "regex", "prefix", "prefix", "prefix") if match.path.kind == "Prefix" else ("full", "regex")
    match rng.choice(kinds):
        case "full":
            return PathModifier("full", rng.choice(("/", "/whole", "/wh\\ole/")))
        case "regex":
            pattern, value = rng.choice((("^/a/(.*)$", r"/\1"), ("/", "//"), ("(/)([^/]+)", r"\1\\\2")))
            return PathModifier("regex", value, pattern)
        case _:
            return PathModifier("prefix", rng.choice(("/", "/new", "/new/", "/a")))


def redirect(rng: random.Random, match: RouteMatch) -> Redirect:
    if rng.random() < 0.15:
        return Redirect(rng.choice((301, 302)), location=rng.choice(("https://to.test/x?y=1", "http://to.test:81")))
    return Redirect(
        status=rng.choice((301, 302, 303, 307, 308)),
        scheme=rng.choice(("", "", "http", "https")),
        hostname=rng.choice(("", "", "to.test")),
        port=rng.choice((None, None, 80, 443, 8080)),
        path=path_modifier(rng, match) if rng.random() < 0.5 else None,
    )


def modifier(rng: random.Random) -> HeaderModifier:
    if rng.random() < 0.7:
        return HeaderModifier()
    return HeaderModifier(set=rng.choice(((("x-set", "100%"),), (("host", "set.test"),))), remove=("x-b",))


def filters(rng: random.Random, match: RouteMatch, mark: str, *, of_rule: bool = True) -> Filters:
    rewrites = rng.random() < 0.4
    path = path_modifier(rng, match) if rewrites and rng.random() < 0.8 else None
    origins = rng.choice((("*",), ("https://good.test",), ("https://*.good.test", "https://bad.test")))
    return Filters(
        request_headers=modifier(rng),
        response_headers=HeaderModifier(set=(("x-route", mark),)),
        rewrite=Rewrite(rng.choice(("", "inner.test")), path) if rewrites else None,
        mirrors=(Mirror(rng.choice(SERVICES), (1, 2)),) if rng.random() < 0.1 else (),
        cors=Cors(origins, ("PUT",)) if of_rule and rng.random() < 0.2 else None,
    )


def backend(rng: random.Random, cluster: ClusterRef | None, match: RouteMatch, mark: str) -> WeightedBackend:
    own = filters(rng, match, mark, of_rule=False) if rng.random() < 0.3 else Filters()
    answered = redirect(rng, match) if rng.random() < 0.1 else None
    return WeightedBackend(cluster, rng.choice((0, 1, 1, 3)), own, answered)


def route(rng: random.Random, rule: int) -> Route:
    ref = RouteRef(ObjectRef("HTTPRoute", "shop", "table"), rule, 0)
    match, mark = route_match(rng), names.route(ref)
    clusters = rng.sample((*SERVICES, rng.choice((EMPTY, None))), rng.choice((0, 1, 1, 2, 2, 3)))
    backends = tuple(backend(rng, cluster, match, mark) for cluster in clusters)
    action = rng.choice((*(Forward(backends),) * 5, redirect(rng, match)))
    ranges = (SourceRanges(("10.0.0.0/8",)), SourceRanges((), ("127.0.0.0/8",)), SourceRanges(("127.0.0.0/8",)))
    return Route(
        ref,
        created="2026-01-01T00:00:00Z",
        match=match,
        action=action if rng.random() < 0.95 else DirectResponse(rng.choice((200, 404, 503)), "said"),
        filters=filters(rng, match, mark),
        written_hostnames=(rng.choice(HOSTNAMES),),
        request_timeout_ms=rng.choice((None, 0, 10_000)),
        max_request_bytes=rng.choice((None, None, None, 1000)),
        retry=rng.choice((None, None, Retry(2, (503,)))),
        affinity=rng.choice((None, None, None, CookieAffinity("at"))),
        source_ranges=rng.choice(ranges) if rng.random() < 0.06 else None,
        rate_limit_rps=rng.choice((None, None, None, 100_000)),
    )


def table(
    rng: random.Random, ref: TableRef, refs: list[RouteRef], hostnames: tuple[str, ...] = HOSTNAMES
) -> list[VirtualHost]:
    return [
        VirtualHost(
            HostRef(ref, hostname),
            tuple(rng.sample(refs, rng.randint(2, 12))),
            one_label=hostname.startswith("*.") and rng.random() < 0.3,
            fallback=DirectResponse(404, "none") if rng.random() < 0.2 else None,
            force_https=rng.random() < 0.06,
        )
        for hostname in rng.sample(hostnames, rng.randint(min(3, len(hostnames)), len(hostnames)))
    ]


def listener(port: int, section: str, hostname: str = "*", **more: Any) -> Listener:
    return Listener(ListenerRef(GATEWAY, section), GATEWAY, port, more.pop("protocol", "HTTP"), hostname, **more)


def hosts_of(url: str) -> tuple[str, ...]:
    """Over TLS, most clients ask for the host whose certificate they have seen."""
    host = url.partition("://")[2].partition(":")[0]
    return (*(host,) * 12, *HOSTS) if url.startswith("https:") else HOSTS


def replayed(
    rng: random.Random, world: World, urls: dict[str, int], envoy: Path, directory: Path, offset: int = 0
) -> Counter[str]:
    """Ask each URL's port of an Envoy that serves the world; count outcomes, with the first differences."""
    outcomes: Counter[str] = Counter()
    with ExitStack() as stack:
        for ref in SERVICES:
            port = stack.enter_context(server(echo(names.cluster(ref))))
            world.put(endpoints(ref, (CLIENT, port)))
        world.commit()
        stack.enter_context(running(envoy, world.resources, directory))
        for url, port in urls.items():
            for _ in range(REQUESTS):
                request = random_request(rng, url, hosts_of(url))
                [explained] = explain(world.resources, request, parent="Gateway/shop/web", port_offset=offset)
                assert "" == difference(explained, exchange(port, request)), (request, explained)
                assert "cannot tell" not in explained.reason
                outcomes[explained.outcome] += 1
    return outcomes


@pytest.mark.parametrize(("seed", "vhds"), [(0, False), (1, False), (2, True)])
def test_explain_agrees_over_plaintext_tables(seed: int, vhds: bool, envoy: Path, tmp_path: Path) -> None:
    """A translated table is explained as Envoy serves it, its virtual hosts inline or by VHDS."""
    rng = random.Random(seed)
    ports = free_ports(3)
    world = World(TranslationSettings(vhds_threshold=0 if vhds else 500)).put(Frontend(GATEWAY, (CLIENT,)))
    routes = [route(rng, rule) for rule in range(ROUTES)]
    world.put(*routes)
    for port in ports:
        world.put(listener(port, f"http-{port}"))
        world.put(*table(rng, TableRef(GATEWAY, port, ""), [each.ref for each in routes]))

    outcomes = replayed(rng, world, {f"http://{CLIENT}:{port}": port for port in ports}, envoy, tmp_path)

    assert {"route", "redirect", "direct_response", "no_route"} == outcomes.keys()


def test_explain_agrees_with_a_port_offset(envoy: Path, tmp_path: Path) -> None:
    """With an offset, a URL names the port that the object has, and redirects lead to where Envoy listens."""
    rng = random.Random(3)
    [bound] = free_ports(1)
    world = World(TranslationSettings(port_offset=bound - 80)).put(Frontend(GATEWAY, (CLIENT,)), listener(80, "http"))
    routes = [route(rng, rule) for rule in range(ROUTES)]
    world.put(*routes, *table(rng, TableRef(GATEWAY, 80, ""), [each.ref for each in routes]))

    outcomes = replayed(rng, world, {f"http://{CLIENT}:80": bound}, envoy, tmp_path, offset=bound - 80)

    assert {"route", "redirect", "direct_response", "no_route"} == outcomes.keys()


def certificate(directory: Path) -> Certificate:
    return Certificate(CERTIFICATE, *Authority(directory / "authority.pem").issue("a.test"))


def test_explain_agrees_over_https(envoy: Path, tmp_path: Path) -> None:
    """The name that TLS asks for chooses the table, and a Host of another listener is misdirected."""
    rng = random.Random(4)
    [port] = free_ports(1)
    tls = TlsTermination((CERTIFICATE,))
    world = World().put(Frontend(GATEWAY, (CLIENT,)), certificate(tmp_path))
    routes = [route(rng, rule) for rule in range(ROUTES)]
    world.put(*routes)
    hostnames = {
        "a.test": ("a.test",),
        "*.a.test": ("*.a.test", "x.a.test", "b.a.test"),
        "*.b.a.test": ("*.b.a.test",),
        "*": ("*", "shop.io", "*.test"),
    }
    for hostname, inside in hostnames.items():
        others = tuple(other for other in hostnames if other != hostname)
        world.put(listener(port, hostname, hostname, protocol="HTTPS", tls=tls, misdirected=others))
        world.put(*table(rng, TableRef(GATEWAY, port, hostname), [each.ref for each in routes], inside))

    urls = {f"https://{host}:{port}": port for host in ("a.test", "x.a.test", "B.a.test", "c.b.a.test", "shop.io")}
    outcomes = replayed(rng, world, urls, envoy, tmp_path)

    assert {"route", "redirect", "direct_response", "no_route"} == outcomes.keys()


@pytest.mark.parametrize("everywhere", [False, True])
def test_explain_agrees_on_which_connections_pass(everywhere: bool, envoy: Path, tmp_path: Path) -> None:
    """TLS is passed on by the most specific name that a listener has, and closed where it has none."""
    [port] = free_ports(1)
    listeners = {"*.a.test": "TLS", "deep.b.a.test": "TLS", "web.test": "HTTPS", **({"*": "TLS"} if everywhere else {})}
    served = {"x.a.test": STREAMS[0], "*.a.test": STREAMS[1], "*": STREAMS[0]}
    world = World().put(Frontend(GATEWAY, (CLIENT,)), certificate(tmp_path))
    tls = TlsTermination((CERTIFICATE,))
    for hostname, protocol in listeners.items():
        terminates = {"tls": tls} if protocol == "HTTPS" else {}
        world.put(listener(port, hostname, hostname, protocol=protocol, **terminates))
    for hostname, ref in served.items():
        home = "*" if hostname == "*" else "*.a.test"
        if home in listeners:
            source = RouteRef(ObjectRef("TLSRoute", "shop", "streams"), 0, 0)
            world.put(TlsRoute(HostRef(TableRef(GATEWAY, port, home), hostname), source, (WeightedBackend(ref),)))

    said, did = {}, {}
    with ExitStack() as stack:
        for ref in STREAMS:
            at = stack.enter_context(server(name_itself(names.cluster(ref))))
            world.put(endpoints(ref, (CLIENT, at)))
        world.commit()
        stack.enter_context(running(envoy, world.resources, tmp_path))
        for host in ("x.a.test", "y.a.test", "X.A.test", "z.b.a.test", "deep.b.a.test", "a.test", "web.test", "other"):
            [explained] = explain(world.resources, Request("GET", f"https://{host}:{port}/"))
            answer = first_bytes(port, client_hello(host))
            # A server that ends TLS itself answers with a record of the handshake (22).
            did[host] = "HTTP" if answer[:1] == b"\x16" else answer.decode()
            said[host] = "HTTP" if explained.status else explained.cluster

    assert did == said
    assert {"HTTP", "shop/left/443/tcp", "shop/right/443/tcp", ""} == set(said.values())
