"""What a real Envoy does with translated routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.translated import (
    ADDRESS,
    OFFSET,
    Backend,
    ask,
    backed,
    connection,
    http_listener,
    prefix,
    rule_for,
    serve,
    share,
    to,
)
from tests.envoy_validate import World, endpoints, running
from xds_server.model.refs import ClusterRef, TableRef
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    Filters,
    Forward,
    HeaderModifier,
    Mirror,
    PathMatch,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
    RouteMatch,
    SourceRanges,
    ValueMatch,
    WeightedBackend,
)
from xds_server.translation.settings import TranslationSettings

REFUSING = ClusterRef("default", "refusing", 80, "http")
BOTH = ClusterRef("default", "both", 80, "http")
BACKENDS = ("one", "two", "mirror")


class Served(NamedTuple):
    one: Backend
    two: Backend
    mirror: Backend


@pytest.fixture(scope="module")
def served(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        backends = Served(*(stack.enter_context(Backend(name).serving()) for name in BACKENDS))
        world = World(TranslationSettings(port_offset=OFFSET))
        table = http_listener(world)
        backed(world, *backends)
        # A port that was just closed refuses; the other endpoint of this backend works.
        world.put(endpoints(REFUSING, ("127.0.0.1", 1), ("127.0.0.1", backends.one.server_port)))
        world.put(endpoints(BOTH, *(("127.0.0.1", each.server_port) for each in backends[:2])))
        serve(world, table, "*", *routes(backends))
        hosts(world, table, backends)
        world.commit()
        stack.enter_context(running(envoy, world.resources, tmp_path_factory.mktemp("translation")))
        yield backends


def routes(served: Served) -> list[Any]:
    one, two, mirror = served
    kept = Retry(attempts=2, codes=(503,), backoff_ms=1)
    foo_or_bar = Cors(("https://www.foo.com", "https://*.bar.com"), ("GET",), ("x-1",), ("x-2",), 60, True)
    return [
        prefix(0, "/split", to(share(one, 30), WeightedBackend(None, 20), share(two, 50))),
        prefix(
            1,
            "/shares",
            Forward(
                (
                    share(one, 1, rewrite=Rewrite(path=PathModifier("full", "/rewritten"))),
                    share(two, 1, mirrors=(Mirror(mirror.cluster),)),
                    WeightedBackend(one.cluster, 2, redirect=Redirect(302, hostname="other.example")),
                ),
            ),
        ),
        prefix(2, "/stay", Redirect(302)),
        prefix(3, "/secure", Redirect(301, scheme="https", path=PathModifier("prefix", "/"))),
        prefix(4, "/away", Redirect(308, hostname="other.example", port=8443, scheme="https")),
        prefix(5, "/location", Redirect(301, location="https://other.example:8443/a?b=c")),
        prefix(6, "/moved", Redirect(302, hostname="other.example", path=PathModifier("prefix", "/new/"))),
        prefix(7, "/whole", Redirect(302, hostname="other.example", path=PathModifier("full", "/new"))),
        prefix(8, "/strip", to(one), filters=Filters(rewrite=Rewrite(path=PathModifier("prefix", "/")))),
        prefix(9, "/swap/", to(one), filters=Filters(rewrite=Rewrite(path=PathModifier("prefix", "/xyz/")))),
        prefix(10, "/full", to(one), filters=Filters(rewrite=Rewrite("host.example", PathModifier("full", "/a\\1")))),
        rule_for(
            11,
            RouteMatch(PathMatch("Regex", "/v[0-9]+/(.*)")),
            to(one),
            filters=Filters(rewrite=Rewrite(path=PathModifier("regex", r"/\1", "^/v[0-9]+/(.*)$"))),
        ),
        prefix(12, "/cors", to(one), filters=Filters(cors=foo_or_bar)),
        rule_for(
            13,
            RouteMatch(PathMatch("Prefix", "/put"), "PUT", (ValueMatch("x-1", "Exact", "yes"),)),
            to(one),
            filters=Filters(cors=foo_or_bar),
        ),
        prefix(
            14,
            "/headers",
            Forward(
                (
                    share(
                        one,
                        request_headers=HeaderModifier(set=(("x-set", "share"),), add=(("x-add", "share"),)),
                        response_headers=HeaderModifier(set=(("x-backend", "share"),)),
                    ),
                ),
            ),
            filters=Filters(
                request_headers=HeaderModifier(
                    set=(("x-set", "rule"), ("x-literal", "100% %REQ(authorization)%"), ("host", "set.example")),
                    add=(("x-add", "rule"),),
                    remove=("x-remove",),
                ),
                response_headers=HeaderModifier(set=(("x-backend", "rule"), ("x-rule", "%PROTOCOL%"))),
            ),
        ),
        prefix(15, "/retry", to(one), retry=kept),
        prefix(16, "/no-retry", to(one), retry=Retry(attempts=0, codes=(503,))),
        prefix(17, "/refused", Forward((WeightedBackend(REFUSING),)), retry=Retry(attempts=5)),
        prefix(18, "/attempt", to(one), backend_timeout_ms=50),
        prefix(19, "/request", to(one), request_timeout_ms=50, retry=Retry(attempts=3)),
        prefix(20, "/mirrored", to(one), filters=Filters(mirrors=(Mirror(mirror.cluster),))),
        prefix(21, "/inside", to(one), source_ranges=SourceRanges(allow=("127.0.0.0/8",))),
        prefix(22, "/outside", to(one), source_ranges=SourceRanges(allow=("127.0.0.0/8",), deny=("127.0.0.1/32",))),
        prefix(23, "/rate", to(one), rate_limit_rps=1),
        prefix(24, "/small", to(one), max_request_bytes=10, source_ranges=SourceRanges(allow=("127.0.0.0/8",))),
        prefix(25, "/sticky", Forward((WeightedBackend(BOTH),)), affinity=CookieAffinity("server", "/sticky")),
        prefix(26, "/nobody", Forward((WeightedBackend(None),))),
        prefix(27, "/zero", to(share(one, 0))),
        prefix(28, "/open", to(one)),
        prefix(31, "/patient", to(one), retry=Retry(10, (503,), 60_000), idle_timeout_ms=100),
        rule_for(
            32,
            RouteMatch(PathMatch("Prefix", "/owned"), headers=(ValueMatch("x-1", "Exact", "yes"),)),
            to(two),
            filters=Filters(cors=Cors(("https://evil.example",))),
        ),
        prefix(33, "/owned", to(one), filters=Filters(cors=foo_or_bar)),
        rule_for(29, RouteMatch(PathMatch("Exact", "/exact")), to(one)),
        rule_for(30, RouteMatch(PathMatch("Prefix", "/grpc"), grpc=True), Forward((WeightedBackend(None),))),
    ]


def hosts(world: World, table: TableRef, served: Served) -> None:
    anywhere = prefix(40, "/", to(served.two), written_hostnames=("*",))
    narrow = prefix(41, "/", to(served.one), written_hostnames=("*.ingress.example",))
    serve(world, table, "*.ingress.example", narrow, anywhere, one_label=True)
    serve(world, table, "secure.example", anywhere, force_https=True)
    serve(world, table, "named.example", prefix(42, "/", Redirect(301, path=PathModifier("full", "/there"))))


def test_an_unresolved_share_answers_500_and_the_others_their_part(served: Served) -> None:
    """Weights hold to a few percent, whatever each share does."""
    answers = Counter(ask("/split").headers.get("x-backend", "none") for _ in range(600))
    counts = (answers["one"], answers["none"], answers["two"])

    assert all(abs(count / 600 - part) < 0.08 for count, part in zip(counts, (0.3, 0.2, 0.5), strict=True))


def test_shares_of_a_rule_rewrite_mirror_and_redirect_for_themselves(served: Served) -> None:
    """Fractions of one request are asked with one random number, so routes of shares add up to the whole."""
    answers = [ask("/shares/a?q=1") for _ in range(200)]
    paths = Counter(answer.seen["path"] for answer in answers if answer.status == 200)
    away = {answer.location for answer in answers if answer.status == 302}

    assert {"/rewritten?q=1", "/shares/a?q=1"} == set(paths)
    assert {"http://other.example/shares/a?q=1"} == away
    assert all(25 < count < 80 for count in paths.values())


@pytest.mark.parametrize(
    ("path", "host", "location"),
    [
        ("/stay/a?b=1", "example.com", "http://example.com:20080/stay/a?b=1"),
        ("/stay", "example.com:8080", "http://example.com:20080/stay"),
        ("/secure/a?b", "example.com", "https://example.com:20443/a?b"),
        ("/secure", "example.com", "https://example.com:20443/"),
        ("/away/x", "example.com", "https://other.example:8443/away/x"),
        ("/location/x?y", "example.com", "https://other.example:8443/a?b=c"),
        ("/moved/a/", "example.com", "http://other.example/new/a/"),
        ("/moved", "example.com", "http://other.example/new"),
        ("/moved?a=b", "example.com", "http://other.example/new?a=b"),
        ("/whole/a?b=c", "example.com", "http://other.example/new?b=c"),
        ("/", "named.example", "http://named.example:20080/there"),
        ("/", "NAMED.example.:9", "http://named.example:20080/there"),
        ("/a?b", "secure.example", "https://secure.example:20443/a?b"),
    ],
)
def test_location_is_what_the_specification_says(served: Served, path: str, host: str, location: str) -> None:
    """Scheme, host, port and path of a redirect come from the redirect, else from the listener and the request."""
    assert location == ask(path, host=host).location


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/strip/bar?x=1", "/bar?x=1"),
        ("/strip", "/"),
        ("/strip/", "/"),
        ("/strip?x", "/?x"),
        ("/strip//bar", "/bar"),
        ("/swap/bar", "/xyz/bar"),
        ("/swap", "/xyz"),
        ("/swap/", "/xyz/"),
        ("/full/a/b?c=d", "/a\\1?c=d"),
        ("/v2/items/1?q=2", "/items/1?q=2"),
        ("/open/../exact", "/exact"),
        ("/open/./a", "/open/a"),
    ],
)
def test_paths_are_rewritten_by_segment(served: Served, path: str, seen: str) -> None:
    """A prefix is replaced without doubling or losing a slash; the query always stays."""
    assert seen == ask(path).seen["path"]


@pytest.mark.parametrize("path", ["/open%2Fa", "/open%5ca", "/open/%2e%2e%2fexact"])
def test_an_escaped_slash_is_refused(served: Served, path: str) -> None:
    """S6: a path that router and application could read differently is neither's."""
    assert 400 == ask(path).status


@pytest.mark.parametrize(
    "path", ["/exac%74", "/%65xact", "/open/%2e%2e/exact", "/open/..;x/exact", "/open\\..\\exact", "//exact"]
)
def test_other_spellings_of_a_path_meet_its_rule(served: Served, path: str) -> None:
    """S6: what a URI means by the same path is compared, and sent on, in one form."""
    assert "/exact" == ask(path).seen["path"]


@pytest.mark.parametrize("tail", [";x", "%3bx", "%09", "%7f", "%c0%af", "%ff", "%2574"])
def test_what_only_a_backend_takes_for_the_same_path_is_another(served: Served, tail: str) -> None:
    """S6: the threat model tells backends that these are compared and passed on as they are, never decoded."""
    assert 404 == ask(f"/exact{tail}").status
    assert f"/open/{tail}" == ask(f"/open/{tail}").seen["path"]


def test_a_dot_segment_that_is_escaped_in_part_is_none(served: Served) -> None:
    """S6: a backend that drops parameters must refuse these itself, as the threat model says."""
    asked = ("/open/%2e%2e;/exact", "/open/..%3b/exact")

    assert ["/open/..;/exact", "/open/..%3b/exact"] == [ask(path).seen["path"] for path in asked]


@pytest.mark.parametrize("path", ["/exact%00", "/open/\x01", "/open/\xff"])
def test_zero_and_bare_control_bytes_are_refused(served: Served, path: str) -> None:
    """S6: no request line has them."""
    with connection() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: example.com\r\n\r\n".encode("latin-1"))

        assert b"400" == client.makefile("rb").readline().split()[1]


def test_prefixes_match_whole_segments(served: Served) -> None:
    """/open takes /open and /open/a, not /opener; an exact path takes no slash more."""
    assert [200, 200, 404] == [ask(path).status for path in ("/open", "/open/a", "/opener")]
    assert [200, 404] == [ask(path).status for path in ("/exact?a=/", "/exact/")]


def test_hostname_rewrite_reaches_the_backend(served: Served) -> None:
    """The Host header is the rewritten one; elsewhere it is the client's own, its port included."""
    assert ["host.example"] == ask("/full").seen_headers["host"]
    assert ["example.com:8080"] == ask("/open", host="example.com:8080").seen_headers["host"]


def test_a_rule_for_a_header_answers_no_preflight_of_another(served: Served) -> None:
    """Requests without the header are the other rule's, and so is what browsers ask before them."""
    asked = {
        origin: ask("/owned", {"origin": origin, "access-control-request-method": "GET"}, method="OPTIONS")
        for origin in ("https://www.foo.com", "https://evil.example")
    }

    assert "two" == ask("/owned", {"x-1": "yes"}).headers["x-backend"]
    assert {"https://www.foo.com": "https://www.foo.com", "https://evil.example": None} == {
        origin: answer.headers.get("access-control-allow-origin") for origin, answer in asked.items()
    }


@pytest.mark.parametrize("origin", ["https://www.foo.com", "https://a.b.bar.com"])
def test_a_listed_origin_gets_its_permissions(served: Served, origin: str) -> None:
    """The gateway answers the preflight; the backend never sees it."""
    answer = ask("/cors", {"origin": origin, "access-control-request-method": "GET"}, method="OPTIONS")

    assert (200, origin, "GET") == (
        answer.status,
        answer.headers["access-control-allow-origin"],
        answer.headers["access-control-allow-methods"],
    )
    assert "x-backend" not in answer.headers
    assert origin == ask("/cors", {"origin": origin}).headers["access-control-allow-origin"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://www.fooxcom", "https://bar.com", "http://a.bar.com"]
)
def test_an_unlisted_origin_gets_none(served: Served, origin: str) -> None:
    """Not a single permission is named, and the backend is not asked."""
    preflight = ask("/cors", {"origin": origin, "access-control-request-method": "GET"}, method="OPTIONS")
    simple = ask("/cors", {"origin": origin})

    assert 204 == preflight.status
    assert [] == [name for each in (preflight, simple) for name in each.headers if name.startswith("access-control")]
    assert "x-backend" not in preflight.headers


def test_caches_are_told_that_an_answer_depends_on_the_origin(served: Served) -> None:
    """Fetch: who reflects an origin says `Vary: Origin`, also to a request that has none; the others do not."""
    answers = [ask("/cors", {"origin": "https://www.foo.com"}), ask("/cors"), ask("/open")]

    assert ["origin", "origin", None] == [answer.headers.get("vary") for answer in answers]


def test_a_preflight_finds_the_rule_of_the_request_that_it_asks_for(served: Served) -> None:
    """A rule for PUT with a header answers the preflight of PUT, which has neither; other methods find no rule."""
    origin = {"origin": "https://www.foo.com"}
    put = ask("/put", {**origin, "access-control-request-method": "PUT"}, method="OPTIONS")
    get = ask("/put", {**origin, "access-control-request-method": "GET"}, method="OPTIONS")

    assert (200, 404) == (put.status, get.status)


def test_headers_of_a_backend_come_after_those_of_its_rule(served: Served) -> None:
    """What the share sets stands, what both add is there in that order, and percent signs are only text (S4)."""
    answer = ask("/headers", {"x-remove": "1", "x-set": "client", "x-add": "client", "authorization": "secret"})
    seen = answer.seen_headers

    assert ["share"] == seen["x-set"]
    assert ["client", "rule", "share"] == seen["x-add"]
    assert ["100% %REQ(authorization)%"] == seen["x-literal"]
    assert ["set.example"] == seen["host"]
    assert "x-remove" not in seen
    assert ("share", "%PROTOCOL%") == (answer.headers["x-backend"], answer.headers["x-rule"])


def test_retries_stop_at_their_count(served: Served) -> None:
    """Two retries outlive two failures, not three; a code that is not listed and zero attempts retry nothing."""
    assert 200 == ask("/retry?status=503&failures=2&key=a").status
    assert 503 == ask("/retry?status=503&failures=3&key=b").status
    assert 500 == ask("/retry?status=500&failures=1&key=c").status
    assert 503 == ask("/no-retry?status=503&failures=1&key=d").status


def test_retries_do_not_outlive_their_stream(served: Served) -> None:
    """A request without a limit of its own ends with the idle limit, however long its retries would wait."""
    assert ask("/patient?status=503&failures=9&key=e").status in {408, 504}


def test_a_refused_connection_is_tried_elsewhere(served: Served) -> None:
    """An endpoint that refuses costs no request while another one works."""
    assert {200} == {ask("/refused").status for _ in range(40)}


def test_timeouts_end_a_request(served: Served) -> None:
    """Both the limit of the whole request and that of one attempt answer 504."""
    assert (504, 504) == (ask("/attempt?hold=1").status, ask("/request?hold=1").status)


def test_a_mirror_sees_the_request_and_its_host(served: Served) -> None:
    """The mirror gets the request as the backend does; its answer goes nowhere."""
    for number in range(20):
        assert "one" == ask(f"/mirrored/{number}", host="mirrored.example").headers["x-backend"]
    # Mirrors are sent aside: they arrive when they arrive, while other requests keep Envoy busy.
    for _ in range(1000):
        if len(mirrored(served)) == 20:
            break
        ask("/open")

    assert ["mirrored.example"] * 20 == mirrored(served)


def mirrored(served: Served) -> list[str]:
    return [host for host, path in served.mirror.seen if path.startswith("/mirrored")]


def test_source_ranges_decide_by_the_connections_address(served: Served) -> None:
    """A denied range wins over an allowed one, and no header makes a client somebody else (S7)."""
    assert (200, 403) == (ask("/inside").status, ask("/outside").status)
    assert 403 == ask("/outside", {"x-forwarded-for": "127.0.0.2", "x-real-ip": "127.0.0.2"}).status


def test_a_client_that_is_too_fast_is_told_so(served: Served) -> None:
    """Five seconds' worth may come at once; then 429."""
    first = [ask("/rate").status for _ in range(5)]
    later = {ask("/rate").status for _ in range(100)}

    assert [200] * 5 == first
    assert 429 in later


def test_a_body_that_is_too_long_is_refused(served: Served) -> None:
    """The limit holds whether or not the client says the length first."""
    assert 200 == ask("/small", method="POST", body=b"x" * 10).status
    assert 413 == ask("/small", method="POST", body=b"x" * 11).status
    assert 413 == ask("/small", method="POST", body=iter([b"x" * 6, b"y" * 6])).status


def test_a_cookie_keeps_a_client_at_its_endpoint(served: Served) -> None:
    """The cookie that the first answer sets brings later requests to the same endpoint."""
    first = ask("/sticky/start")
    cookie = first.headers["set-cookie"].partition(";")[0]

    assert cookie.startswith("server=")
    assert {first.headers["x-backend"]} == {ask("/sticky", {"cookie": cookie}).headers["x-backend"] for _ in range(20)}


def test_a_rule_without_a_usable_backend_answers_500(served: Served) -> None:
    """No reference that resolves, or no weight: 500, and not the next rule."""
    assert (500, 500) == (ask("/nobody").status, ask("/zero").status)


def test_a_grpc_rule_without_a_usable_backend_is_unavailable(served: Served) -> None:
    """A gRPC client reads its status in a header: 14 here, and 12, unimplemented, where no rule matches."""
    asked = [ask(path, {"content-type": "application/grpc"}, method="POST", body=b"") for path in ("/grpc", "/unknown")]

    assert [(200, "14"), (200, "12")] == [(answer.status, answer.headers["grpc-status"]) for answer in asked]


def test_clients_say_nothing_in_the_name_of_envoy(served: Served) -> None:
    """S7: `x-envoy-*` of clients never reaches a backend, and neither does a forged address, host or certificate."""
    forged = {
        f"x-envoy-{name}": "1"
        for name in ("internal", "retry-on", "original-path", "original-dst-host", "attempt-count", "anything")
    }
    forged |= {
        "x-envoy-external-address": "10.0.0.1",
        "x-forwarded-client-cert": "Hash=1",
        "x-forwarded-proto": "https",
    }
    spoken_for = (
        *(
            "forwarded",
            "true-client-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-real-ip",
            "x-rewrite-url",
            "x-scheme",
        ),
        *(f"x-forwarded-{name}" for name in ("host", "port", "prefix", "scheme", "server", "ssl")),
        *(f"x-original-{name}" for name in ("forwarded-for", "host", "uri", "url")),
    )
    forged |= dict.fromkeys(spoken_for, "10.0.0.1")
    for extra in ({}, {"x-forwarded-for": "10.0.0.1"}):
        seen = ask("/open", {**forged, **extra}).seen_headers

        assert {"x-envoy-external-address": ["127.0.0.1"]} == {
            name: value for name, value in seen.items() if name.startswith("x-envoy")
        }
        assert set() == {"x-forwarded-client-cert", *spoken_for} & seen.keys()
        assert ["http"] == seen["x-forwarded-proto"]
        assert ["127.0.0.1"] == seen["x-forwarded-for"]


def test_backends_see_the_clients_address(served: Served) -> None:
    """W3: `X-Forwarded-For` is the client's own address; the answer carries Envoy's name and the backend's time."""
    answer = ask("/open")

    assert ["127.0.0.1"] == answer.seen_headers["x-forwarded-for"]
    assert "envoy" == answer.headers["server"]
    assert "x-envoy-upstream-service-time" in answer.headers


def test_a_header_with_an_underscore_is_refused(served: Served) -> None:
    """S7: an application may take x_y for x-y."""
    assert 400 == ask("/open", {"x_forwarded_for": "10.0.0.1"}).status


def test_a_wildcard_of_an_ingress_covers_one_label(served: Served) -> None:
    """Deeper hosts belong to rules for every host; case, port and a final dot change nothing."""
    one, deeper = "shop.ingress.example", "a.shop.ingress.example"

    assert ["one", "one", "two"] == [
        ask("/", host=each).headers["x-backend"] for each in (one, "SHOP." + one[5:] + ".:80", deeper)
    ]


@pytest.mark.parametrize("path", ["/open", "/small"])
def test_websockets_pass(served: Served, path: str) -> None:
    """After 101 both sides talk freely, also where requests are limited in size or by address."""
    with connection() as client:
        client.sendall(
            f"GET {path} HTTP/1.1\r\nhost: example.com\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        stream = client.makefile("rb")
        status = stream.readline().split()[1]
        while stream.readline() != b"\r\n":
            pass
        client.sendall(b"longer than ten bytes")

        assert (b"101", b"longer than ten bytes") == (status, stream.read(21))


def test_the_listener_is_where_it_should_be(served: Served) -> None:
    """Every address of the frontend, its port shifted by the offset."""
    with connection() as client:
        assert (ADDRESS, 80 + OFFSET) == client.getpeername()
