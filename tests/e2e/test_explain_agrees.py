"""Explain against the real Envoy: the same bytes of configuration, the same requests, the same answers."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from xds_server.explain.explain import explain
from xds_server.explain.request import Request
from xds_server.explain.result import Result
from xds_server.model.resource import CLUSTER, LISTENER, Resource, ResourceKey, resource
from xds_server.translation import envoy as e

TABLES = 6
REQUESTS = 150
SEEDS = range(3)
BACKENDS = ("shop/one/80/http", "shop/two/80/http")
EMPTY, MISSING = "shop/empty/80/http", "shop/missing/80/http"
EARLY = ("CORS preflight", "RBAC refuses", "does not upgrade", "the path ")
HOSTS = ("a.test", "b.a.test", "c.b.a.test", "x-y.test", "y.test", "shop.io", "a.org", "deep.y-x.test")
DOMAINS = ("a.test", "B.a.test", "*.a.test", "*.b.a.test", "*-x.test", "*.test", "shop.*", "a.*", "a.test:8080", "*")
CLIENT = "127.0.0.1"


# Configurations, at random


def string_matcher(rng: random.Random, values: tuple[str, ...]) -> Any:
    value = rng.choice(values)
    kind = rng.choice(("exact", "exact", "prefix", "suffix", "contains", "safe_regex"))
    if kind == "safe_regex":
        return e.StringMatcher(safe_regex=e.RegexMatcher(regex=rng.choice((value, f"{value[0]}.*", "[a-z]+", "[0-9]*"))))
    part = value if kind == "exact" else rng.choice((value[:2], value[-1:], value))
    return e.StringMatcher(**{kind: part}, ignore_case=rng.random() < 0.3)


def header_matcher(rng: random.Random) -> Any:
    kind = rng.choice(("string", "string", "string", "present", "range", "method", "authority", "scheme"))
    inverted = rng.random() < 0.25
    if kind == "method":
        return e.HeaderMatcher(name=":method", string_match=e.StringMatcher(exact=rng.choice(("GET", "POST", "OPTIONS"))))
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
            return {"prefix": rng.choice(("/", "/a", "/a/", "/A", "/a/b", "//", "/a%20b"))}
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
    match.headers.extend(header_matcher(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2))))
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
            made.cluster = EMPTY
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
        for _ in range(rng.randint(0, 7)):
            virtual_host.routes.append(route(rng, position))
            position += 1
    return made


def manager(rng: random.Random, name: str) -> Any:
    made = e.HttpConnectionManager(
        stat_prefix="test",
        route_config=route_configuration(rng, name),
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


def address(port: int) -> Any:
    return e.Address(socket_address=e.SocketAddress(address="127.0.0.1", port_value=port))


def listener(rng: random.Random, port: int) -> Any:
    name = f"gateway/shop/table/{port}"
    network_filter = e.Filter(name="http", typed_config=e.any_of(manager(rng, name)))
    return e.Listener(name=name, address=address(port), filter_chains=[e.FilterChain(filters=[network_filter])])


def cluster(name: str, port: int | None) -> Any:
    made = e.Cluster(name=name, connect_timeout=e.milliseconds(1000))
    made.load_assignment.cluster_name = name
    if port is not None:
        endpoint = e.LbEndpoint(endpoint=e.Endpoint(address=address(port)))
        made.load_assignment.endpoints.add(lb_endpoints=[endpoint])
    return made


# Requests, at random


def random_path(rng: random.Random) -> str:
    segments = (
        *("a", "a", "a", "b", "b", "A", "c", "7", "42", "x.y", ""),
        *("..", ".", "%2e%2E", "..;x", ".;", "a;p=1", "a%2fb", "a%5Cb", "a\\b", "a b", "a%20b", "%61", "%zz", "a|b", "%00"),
    )
    path = "/" + "/".join(rng.choice(segments[: rng.choice((9, 9, len(segments)))]) for _ in range(rng.choice((0, 1, 2, 2, 3, 4))))
    query = rng.choice(("", "", "", "?", "?q=one", "?q=1&r=two", "?r=a%20b&q=2&q=one", "?q", "?a%20b=1", "?x=/../y&q=one"))
    return path + query


def random_host(rng: random.Random, port: int) -> str:
    host = rng.choice(HOSTS)
    host = rng.choice((host, host, host.upper(), f"{host}."))
    return host + rng.choice(("", "", "", f":{port}", ":80", ":443", ":8080"))


HEADERS = (
    *(("x-a", "one"), ("x-a", "two"), ("x-a", "ONE"), ("x-b", "two"), ("x-b", ""), ("X-B", "One")),
    *(("x-n", "-5"), ("x-n", "9"), ("x-n", "10"), ("x-n", "nine"), ("x-n", "+3")),
    *(("content-type", "application/grpc"), ("content-type", "application/grpc+proto"), ("content-type", "text/plain")),
    *(("x-envoy-retry-on", "5xx"), ("x-forwarded-proto", "https"), ("x_a", "one")),
    *(("accept", "a"), ("accept", "b")),
)


def random_request(rng: random.Random, port: int) -> Request:
    method = rng.choice(("GET", "GET", "GET", "POST", "OPTIONS", "PATCH", "FOO"[: rng.choice((0, 3))] or "HEAD"))
    headers = [("Host", random_host(rng, port)), *rng.sample(HEADERS, rng.choice((0, 0, 1, 1, 2, 3)))]
    if method == "OPTIONS":
        headers += [("Origin", rng.choice(("https://good.test", "https://bad.test")))]
        headers += [("Access-Control-Request-Method", "PUT")] * rng.randrange(2)
    if rng.random() < 0.08:
        headers += [("Connection", "Upgrade"), ("Upgrade", rng.choice(("websocket", "other")))]
    return Request(method, f"http://127.0.0.1:{port}{random_path(rng)}", tuple(headers), CLIENT)


# Envoy, its backends and its client


@dataclass(frozen=True, slots=True)
class Seen:
    status: int
    headers: dict[str, str]


def exchange(port: int, request: Request) -> Seen:
    """One request over a connection of its own, sent as it is written."""
    path = request.url.removeprefix(f"http://127.0.0.1:{port}")
    lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        return head(connection)


def head(connection: socket.socket) -> Seen:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            break
        received += part
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in lines)
    return Seen(int(first.split(" ")[1]), headers)


@contextmanager
def backend(name: str) -> Iterator[int]:
    """A server that says who it is and what it was asked."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            received = b""
            while part := connection.recv(65536):
                received += part
                while b"\r\n\r\n" in received:
                    asked, _, received = received.partition(b"\r\n\r\n")
                    first, *lines = asked.decode("latin-1").split("\r\n")
                    host = next(line[6:] for line in lines if line.lower().startswith("host: "))
                    status = "101 Switching Protocols" if "upgrade: websocket" in asked.decode().lower() else "200 OK"
                    saw = f"x-backend: {name}\r\nx-path: {first.split(' ')[1]}\r\nx-host: {host}"
                    end = "connection: upgrade\r\nupgrade: websocket" if status.startswith("101") else "content-length: 0"
                    connection.sendall(f"HTTP/1.1 {status}\r\n{saw}\r\n{end}\r\n\r\n".encode())

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(envoy: Path, bootstrap: Any, directory: Path) -> Iterator[None]:
    file = directory / "bootstrap.pb"
    file.write_bytes(bootstrap.SerializeToString())
    command = [envoy, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        log = []
        try:
            for line in process.stderr:
                log.append(line)
                if "all dependencies initialized. starting workers" in line:
                    break
            else:
                pytest.fail("Envoy did not start:\n" + "".join(log[-5:]))
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield
        finally:
            process.terminate()


def resources(bootstrap: Any) -> dict[ResourceKey, Resource]:
    """What explain reads: the messages of the bootstrap, byte for byte."""
    static = bootstrap.static_resources
    found = [
        *(resource(LISTENER, each.name, e.serialised(each)) for each in static.listeners),
        *(resource(CLUSTER, each.name, e.serialised(each)) for each in static.clusters),
    ]
    return {each.key: each for each in found}


# Comparison


def agrees(explained: Result, seen: Seen) -> str:
    """Empty, or in what the two differ. A request whose fate chance decides may have any of its fates."""
    if explained.alternatives:
        differences = [_difference(each, seen) for each in explained.alternatives]
        return "" if "" in differences else "; or ".join(differences)
    return _difference(explained, seen)


def _difference(explained: Result, seen: Seen) -> str:
    differences = []

    def compare(what: str, expected: object, actual: object) -> None:
        if expected != actual:
            differences.append(f"{what}: explain {expected!r}, Envoy {actual!r}")

    if explained.status is None:
        chosen = seen.headers.get("x-backend")
        if chosen not in {each.cluster for each in explained.backends}:
            differences.append(f"cluster: explain {[each.cluster for each in explained.backends]}, Envoy {seen}")
        for what, header in (("path", "x-path"), ("host", "x-host")):
            rewritten = [each for each in explained.filters if each.startswith(f"rewrite {what} ")]
            if rewritten:
                compare(what, rewritten[0].rpartition(" -> ")[2], seen.headers.get(header))
    elif explained.grpc_status is not None:
        compare("gRPC status", (200, str(explained.grpc_status)), (seen.status, seen.headers.get("grpc-status")))
    else:
        compare("status", explained.status, seen.status)
    compare("location", explained.location, seen.headers.get("location", ""))
    # What is answered before the router runs has no reliable mark of its route.
    if not any(word in explained.reason for word in EARLY):
        compare("route", explained.envoy_route, seen.headers.get("x-route", ""))
    return ", ".join(differences)


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
        bootstrap = Bootstrap()
        static = bootstrap.static_resources
        static.listeners.extend(listener(rng, port) for port in ports)
        static.clusters.extend(cluster(name, stack.enter_context(backend(name))) for name in BACKENDS)
        static.clusters.append(cluster(EMPTY, None))
        stack.enter_context(running(envoy, bootstrap, directory))
        configured = resources(bootstrap)
        for port in ports:
            for _ in range(count):
                request = random_request(rng, port)
                [explained] = explain(configured, request)
                outcomes[explained.outcome] += 1
                if difference := agrees(explained, exchange(port, request)):
                    differences.append(f"{request}: {difference} ({explained.reason} {explained.considered})")
    return Replay(outcomes, tuple(differences))


@pytest.mark.parametrize("seed", SEEDS)
def test_explain_agrees_with_envoy(seed: int, envoy: Path, tmp_path: Path) -> None:
    """Over random route tables, Envoy does with each random request what explain says that it does."""
    found = replay(seed, envoy, tmp_path)

    assert () == found.differences
    assert {"route", "redirect", "direct_response", "no_route"} == found.outcomes.keys()
