"""Annotations of Ingresses: what each does, what a malformed value does, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ingestion.ingress_world import SHOP, World, ingress, path_to, service
from xds_server.ingestion.annotations import CILIUM, CILIUM_OLD, NATIVE, NGINX, TABLE, annotations_of
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.model.route import (
    CookieAffinity,
    Cors,
    DirectResponse,
    Forward,
    HeaderModifier,
    PathModifier,
    Redirect,
    Rewrite,
    Route,
    SourceRanges,
)


@pytest.fixture
def world() -> World:
    return World().apply(service("a"), service("b"), service("new"))


def nginx(**annotations: str) -> dict[str, str]:
    return {NGINX + name.replace("_", "-"): value for name, value in annotations.items()}


def routed(world: World, paths: str = path_to("a"), url: str = "http://x/", **annotations: str) -> Route:
    """The route that takes a request when the Ingress has these annotations of ingress-nginx, without any complaint."""
    found = world.apply(ingress(paths, annotations=nginx(**annotations))).ask(url, SHOP)

    assert {} == world.warnings("shop")
    assert isinstance(found, Route)
    return found


def told(world: World, **annotations: str) -> str:
    """The warning of the one annotation that is complained of."""
    [(field, message)] = world.apply(ingress(path_to("a"), annotations=nginx(**annotations))).warnings("shop").items()

    assert field.removeprefix("metadata.annotations[").removesuffix("]") in nginx(**annotations)
    return message


# --- The table ---


def test_every_annotation_is_documented(project: Path) -> None:
    """docs/ingress.md has a row for each name of the table."""
    text = (project / "docs/ingress.md").read_text()
    names = {name.rpartition("/")[2] for name in TABLE}

    assert [] == sorted(name for name in names if f"| `{name}` |" not in text)


@pytest.mark.parametrize("name", sorted(name for name, row in TABLE.items() if row.example))
def test_the_example_of_an_annotation_is_accepted(name: str) -> None:
    """What a warning offers as an example is itself without fault."""
    asked, problems = annotations_of({name: TABLE[name].example})

    assert () == problems
    assert () == asked.closed


@pytest.mark.parametrize("name", sorted(TABLE))
@pytest.mark.parametrize("value", ["\r\nx: y", "\0", "a\x7f", "x" * 20_000, "\x1b[31m"])
def test_hostile_values_are_refused(name: str, value: str) -> None:
    """S4: CR, LF, NUL and other control characters, and endless values, are refused by every row without an echo."""
    asked, problems = annotations_of({name: value})
    messages = [*asked.closed, *(problem.message for problem in problems)]

    assert 1 == len(messages)
    assert value not in messages[0]


@given(st.dictionaries(st.sampled_from(sorted(TABLE)), st.text(), max_size=6))
def test_no_text_raises(given_: dict[str, str]) -> None:
    """Any text is either understood or reported."""
    annotations_of(given_)


@pytest.mark.parametrize("prefix", [NATIVE, CILIUM, CILIUM_OLD, NGINX])
def test_an_unknown_annotation_changes_nothing_and_is_reported(world: World, prefix: str) -> None:
    """A name that no row has is a warning."""
    plain = world.apply(ingress(path_to("a"))).ask("http://x/", SHOP)
    world.apply(ingress(path_to("a"), annotations={prefix + "no-such-thing": "return 200;"}))

    assert plain == world.ask("http://x/", SHOP)
    assert [f"metadata.annotations[{prefix}no-such-thing]"] == list(world.warnings("shop"))


def test_annotations_of_others_are_none_of_our_business(world: World) -> None:
    """Only the known prefixes are looked at."""
    world.apply(ingress(path_to("a"), annotations={"cert-manager.io/cluster-issuer": "x", "example.com/y": "z"}))

    assert {} == world.warnings("shop")


def test_an_object_cannot_flood_its_readers() -> None:
    """S13: of a thousand unknown annotations thirty-two are named and the rest counted."""
    _, problems = annotations_of({f"{NGINX}x{n}": "" for n in range(1000)})

    assert 33 == len(problems)
    assert "968 more annotations have no effect" == problems[-1].message


def test_the_native_name_comes_first(world: World) -> None:
    """Of two annotations that set the same the native one counts, and the other is reported."""
    both = {NATIVE + "request-timeout": "1s", CILIUM + "request-timeout": "2s"}
    found = world.apply(ingress(path_to("a"), annotations=both)).ask("http://x/", SHOP)

    assert isinstance(found, Route)
    assert 1000 == found.request_timeout_ms
    assert [f"metadata.annotations[{CILIUM}request-timeout]"] == list(world.warnings("shop"))


def test_a_malformed_value_is_ignored_with_an_example(world: World) -> None:
    """The warning says what is wrong and what would be right, and does not repeat the value."""
    assert "ignored: not a whole number; an example: 60" == told(world, proxy_read_timeout="a minute")


# --- Cilium's and our own ---


@pytest.mark.parametrize("prefix", [NATIVE, CILIUM])
@pytest.mark.parametrize(
    ("value", "expected"),
    [("30s", 30_000), ("1m30s", 90_000), ("250ms", 250), ("0", 0), ("0s", 0), ("1.5h", 5_400_000), ("1ns", 1)],
)
def test_request_timeout(world: World, prefix: str, value: str, expected: int) -> None:
    """A duration as Go writes it; 0 disables, and nothing else does."""
    world.apply(ingress(path_to("a"), annotations={prefix + "request-timeout": value}))
    found = world.ask("http://x/", SHOP)

    assert isinstance(found, Route)
    assert expected == found.request_timeout_ms


@pytest.mark.parametrize("value", ["30", "-1s", "1 s", "s", "1d", "", "9" * 30 + "h", "1e3s"])
def test_a_malformed_request_timeout_is_ignored(world: World, value: str) -> None:
    """The default stays."""
    world.apply(ingress(path_to("a"), annotations={CILIUM + "request-timeout": value}))
    found = world.ask("http://x/", SHOP)

    assert isinstance(found, Route)
    assert found.request_timeout_ms is None
    assert 1 == len(world.warnings("shop"))


@pytest.mark.parametrize("prefix", [NATIVE, CILIUM, CILIUM_OLD])
def test_loadbalancer_mode(world: World, prefix: str) -> None:
    """W5: each prefix moves the Ingress; an unknown mode is ignored."""
    world.apply(ingress(path_to("a"), annotations={prefix + "loadbalancer-mode": "shared"}))

    assert {SHARED_INGRESS} == set(world.parts.frontends)

    world.apply(ingress(path_to("a"), annotations={prefix + "loadbalancer-mode": "neither"}))

    assert {SHOP} == set(world.parts.frontends)
    assert "none of dedicated, shared" in world.warnings("shop")[f"metadata.annotations[{prefix}loadbalancer-mode]"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("service-type", "NodePort", "Node"),
        ("service-external-traffic-policy", "Local", "Remote"),
        ("insecure-node-port", "30080", "70000"),
        ("secure-node-port", "30443", "https"),
        ("host-listener-port", "8080", "0"),
        ("loadbalancer-class", "example.com/class", "a/b/c"),
    ],
)
def test_annotations_of_the_service_change_no_route(world: World, name: str, good: str, bad: str) -> None:
    """A malformed value is reported."""
    service = {} if name in {"service-type", "host-listener-port"} else {NATIVE + "service-type": "LoadBalancer"}
    plain = world.apply(ingress(path_to("a"))).ask("http://x/", SHOP)
    world.apply(ingress(path_to("a"), annotations={**service, CILIUM + name: good}))

    assert ({}, plain) == (world.warnings("shop"), world.ask("http://x/", SHOP))

    world.apply(ingress(path_to("a"), annotations={**service, CILIUM + name: bad}))

    assert 1 == len(world.warnings("shop"))


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"loadbalancer-mode": "shared", "service-type": "NodePort"}, "set loadbalancer-mode to dedicated"),
        ({"insecure-node-port": "30080"}, "set service-type"),
        ({"host-listener-port": "8080", "service-type": "NodePort"}, "host-listener-port is ignored"),
    ],
)
def test_annotations_that_do_nothing_together_are_told(world: World, annotations: dict[str, str], message: str) -> None:
    """With the way out."""
    world.apply(ingress(path_to("a"), annotations={NATIVE + name: text for name, text in annotations.items()}))

    assert message in world.warnings("shop")["metadata.annotations"]


# --- Paths and rewriting ---


def test_rewrite_target_with_capture_groups(world: World) -> None:
    """The path is a regular expression and the whole path is replaced by what its groups captured."""
    route = routed(
        world, path_to("a", "/app(/|$)(.*)", "ImplementationSpecific"), "http://x/app/page", rewrite_target="/$2"
    )

    assert Rewrite(path=PathModifier("regex", "/\\2", "(?i)^(?:/app(/|$)(.*)).*$")) == route.filters.rewrite


def test_rewrite_target_of_a_plain_prefix(world: World) -> None:
    """As with ingress-nginx everything below the prefix becomes the target."""
    route = routed(world, path_to("a", "/app"), "http://x/APP/page", rewrite_target="/")

    assert Rewrite(path=PathModifier("regex", "/", "(?i)^(?:/app).*$")) == route.filters.rewrite


def test_a_group_that_a_path_does_not_have_is_empty(world: World) -> None:
    """Envoy would refuse a group that does not exist; it stands for nothing, as with nginx."""
    route = routed(world, path_to("a", "/app(.*)"), "http://x/app", rewrite_target="/$1$2/$9")

    assert Rewrite(path=PathModifier("regex", "/\\1/", "(?i)^(?:/app(.*)).*$")) == route.filters.rewrite


@pytest.mark.parametrize("value", ["/$host", "/${1}", "https://example.com/", "/a b", "/a?b=$1", "relative", "$1", ""])
def test_a_rewrite_target_that_is_no_path_is_ignored(world: World, value: str) -> None:
    """Variables of nginx, URLs, queries and relative paths are refused."""
    assert "ignored: " in told(world, rewrite_target=value)


def test_use_regex_is_a_prefix_without_case(world: World) -> None:
    """As with ingress-nginx a path is a regular expression from the beginning of the request's path, in any case."""
    paths = ", ".join([path_to("a", "/item/[0-9]+"), path_to("b", "/exact", "Exact")])
    world.apply(ingress(paths, annotations=nginx(use_regex="true")))

    assert ["a:80", "a:80", "404"] == [world.served(f"http://x{path}") for path in ("/item/1", "/ITEM/1/x", "/item/x")]
    assert "b:80" == world.served("http://x/exactly")


def test_use_regex_is_for_a_host_and_a_namespace(world: World) -> None:
    """It holds for all paths of its hosts in its namespace; nobody else's paths change their meaning (S3)."""
    shared = {NATIVE + "loadbalancer-mode": "shared"}
    world.apply(
        service("theirs", namespace="theirs"),
        ingress(("h.example", path_to("a", "/a")), annotations={**shared, **nginx(use_regex="true")}),
        ingress(("h.example", path_to("b", "/b", "Exact")), name="same", annotations=shared),
        ingress(("h.example", path_to("theirs", "/t", "Exact")), namespace="theirs", annotations=shared),
    )

    assert ["b:80", "theirs:80", "404"] == [
        world.served(f"http://h.example{path}", SHARED_INGRESS) for path in ("/bb", "/t", "/tt")
    ]


def test_upstream_vhost(world: World) -> None:
    """The backend sees this Host."""
    assert Rewrite(hostname="internal.example") == routed(world, upstream_vhost="internal.example").filters.rewrite


def test_app_root(world: World) -> None:
    """The path "/" alone is redirected; the rest goes on."""
    root = routed(world, app_root="/app")

    assert Redirect(302, path=PathModifier("full", "/app")) == root.action
    assert "a:80" == world.served("http://x/app")


# --- Redirects ---


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"permanent_redirect": "https://new.example/x"}, Redirect(301, location="https://new.example/x")),
        (
            {"permanent_redirect": "https://new.example", "permanent_redirect_code": "308"},
            Redirect(308, location="https://new.example"),
        ),
        ({"temporal_redirect": "http://new.example:81/?a=b"}, Redirect(302, location="http://new.example:81/?a=b")),
        (
            {"temporal_redirect": "http://new.example", "temporal_redirect_code": "307"},
            Redirect(307, location="http://new.example"),
        ),
        (
            {"permanent_redirect": "https://new.example:8443$request_uri"},
            Redirect(301, scheme="https", hostname="new.example", port=8443),
        ),
        (
            {"permanent_redirect": "https://one.example", "temporal_redirect": "https://two.example"},
            Redirect(302, location="https://two.example"),
        ),
    ],
)
def test_redirects(world: World, annotations: dict[str, str], expected: Redirect) -> None:
    """A whole URL, or one that keeps the request's path; the temporal one comes first, as with nginx."""
    assert expected == routed(world, **annotations).action


@pytest.mark.parametrize(
    "value",
    [
        "/relative",
        "javascript:alert(1)",
        "https://",
        "https://$host/",
        "https://u:p@x/",
        "https://x/a b",
        "//x",
        "https://x:99999/",
    ],
)
def test_a_redirect_that_is_no_url_is_ignored(world: World, value: str) -> None:
    """Other schemes, user names, variables and junk are refused; the request is served."""
    assert "ignored: " in told(world, permanent_redirect=value)
    assert "a:80" == world.served("http://x/")


@pytest.mark.parametrize("value", ["200", "304", "399", "x"])
def test_a_redirect_code_that_envoy_has_not_is_ignored(world: World, value: str) -> None:
    """301, 302, 303, 307 and 308 are known."""
    assert "ignored: " in told(world, permanent_redirect_code=value)


def test_ssl_redirect_and_its_force(world: World) -> None:
    """ssl-redirect decides for hosts with TLS; force-ssl-redirect redirects without it."""
    assert "a:80" == world.apply(ingress(path_to("a"), annotations=nginx(ssl_redirect="true"))).served("http://x/")
    assert "308" == world.apply(ingress(path_to("a"), annotations=nginx(force_ssl_redirect="true"))).served("http://x/")


# --- Backends ---


@pytest.mark.parametrize(
    ("value", "expected"), [("HTTP", "http"), ("HTTPS", "https"), ("grpc", "h2c"), ("GRPCS", "h2")]
)
def test_backend_protocol(world: World, value: str, expected: str) -> None:
    """HTTP/1.1 or HTTP/2, without or with TLS."""
    action = routed(world, backend_protocol=value).action

    assert isinstance(action, Forward)
    assert [expected] == [share.cluster.protocol for share in action.backends if share.cluster]


def test_an_unknown_backend_protocol_is_ignored(world: World) -> None:
    """FCGI is not spoken."""
    assert "none of HTTP, HTTPS, GRPC, GRPCS" in told(world, backend_protocol="FCGI")


def test_timeouts(world: World) -> None:
    """The connect time-out is its own; the idle time-out is the longer of reading and sending."""
    route = routed(world, proxy_connect_timeout="5", proxy_read_timeout="60", proxy_send_timeout="120s")

    assert (5000, 120_000) == (route.connect_timeout_ms, route.idle_timeout_ms)


@pytest.mark.parametrize(
    ("value", "expected"), [("8m", 8 << 20), ("1G", 1 << 30), ("10K", 10_240), ("7", 7), ("0", None)]
)
def test_proxy_body_size(world: World, value: str, expected: int | None) -> None:
    """A size as nginx writes it; 0 is no limit."""
    assert expected == routed(world, proxy_body_size=value).max_request_bytes


@pytest.mark.parametrize("value", ["8 m", "-1", "8t", "9999g", ""])
def test_a_malformed_body_size_is_ignored(world: World, value: str) -> None:
    """No limit is guessed."""
    assert "ignored: " in told(world, proxy_body_size=value)


def test_cookie_affinity(world: World) -> None:
    """A cookie binds a client to an endpoint; its name, path and age may be set."""
    assert CookieAffinity("INGRESSCOOKIE", "/", None) == routed(world, affinity="cookie").affinity
    assert (
        CookieAffinity("route", "/app", 60)
        == routed(
            world,
            affinity="cookie",
            session_cookie_name="route",
            session_cookie_path="/app",
            session_cookie_max_age="60",
        ).affinity
    )
    assert routed(world, session_cookie_name="route").affinity is None


@pytest.mark.parametrize(("value", "expected"), [("5", 5), ("0", None)])
def test_limit_rps(world: World, value: str, expected: int | None) -> None:
    """Requests a second; 0 is no limit."""
    assert expected == routed(world, limit_rps=value).rate_limit_rps


# --- CORS and headers ---


def test_cors_defaults(world: World) -> None:
    """enable-cors alone allows every origin, without credentials."""
    cors = routed(world, enable_cors="true").filters.cors

    assert isinstance(cors, Cors)
    assert (("*",), False, 1_728_000) == (cors.allow_origins, cors.allow_credentials, cors.max_age_s)
    assert "PATCH" in cors.allow_methods
    assert "Authorization" in cors.allow_headers


def test_cors_in_parts(world: World) -> None:
    """Each part may be set; named origins have credentials unless that is denied."""
    cors = routed(
        world,
        enable_cors="true",
        cors_allow_origin="https://a.example, https://*.b.example:8443",
        cors_allow_methods="GET, POST",
        cors_allow_headers="X-One",
        cors_expose_headers="X-Two, X-Three",
        cors_max_age="600",
    ).filters.cors

    assert (
        Cors(
            ("https://a.example", "https://*.b.example:8443"),
            ("GET", "POST"),
            ("X-One",),
            ("X-Two", "X-Three"),
            600,
            True,
        )
        == cors
    )


def test_cors_parts_without_cors_do_nothing(world: World) -> None:
    """enable-cors is the switch."""
    assert routed(world, cors_allow_origin="https://a.example").filters.cors is None


def test_credentials_for_every_origin_are_refused(world: World) -> None:
    """Any site could act for its visitors; a warning says how to have credentials."""
    assert "name cors-allow-origin" in told(world, enable_cors="true", cors_allow_credentials="true")


@pytest.mark.parametrize(
    "value", ["https://*", "a.example", "https://a.example/path", "ftp://a.example", "https://a.*.b"]
)
def test_a_malformed_origin_is_ignored(world: World, value: str) -> None:
    """An origin is a scheme, a host and perhaps a port."""
    assert "ignored: has a part that is no origin" in told(world, cors_allow_origin=value)


HEADERS = """
kind: ConfigMap
metadata: {name: headers, namespace: NAMESPACE}
data: {X-Frame-Options: DENY, Strict-Transport-Security: max-age=60}
"""


def test_custom_headers_come_from_a_config_map(world: World) -> None:
    """Responses carry the ConfigMap's headers, and follow it."""
    world.apply(HEADERS.replace("NAMESPACE", "default"))
    route = routed(world, custom_headers="default/headers")

    expected = HeaderModifier(set=(("strict-transport-security", "max-age=60"), ("x-frame-options", "DENY")))
    assert expected == route.filters.response_headers

    world.apply("kind: ConfigMap\nmetadata: {name: headers}\ndata: {X-New: '1'}")
    found = world.ask("http://x/", SHOP)

    assert isinstance(found, Route)
    assert HeaderModifier(set=(("x-new", "1"),)) == found.filters.response_headers


def test_custom_headers_of_another_namespace_are_refused(world: World) -> None:
    """S1: the ConfigMap must be in the Ingress's own namespace."""
    world.apply(HEADERS.replace("NAMESPACE", "theirs"))

    assert "ignored: a ConfigMap of namespace default is needed" == told(world, custom_headers="theirs/headers")
    assert "ignored: ConfigMap default/headers does not exist" == told(world, custom_headers="default/headers")


@pytest.mark.parametrize(
    ("name", "value"), [("X A", "1"), (":status", "1"), ("Transfer-Encoding", "x"), ("X-A", "a\\r\\nb: c"), ("", "x")]
)
def test_a_header_that_may_not_be_set_is_left_out(world: World, name: str, value: str) -> None:
    """S4: names that are no tokens, headers of the connection and line breaks are left out; the others are set."""
    world.apply(f'kind: ConfigMap\nmetadata: {{name: headers}}\ndata: {{"{name}": "{value}", X-Good: "1"}}')
    found = world.apply(ingress(path_to("a"), annotations=nginx(custom_headers="default/headers"))).ask(
        "http://x/", SHOP
    )

    assert isinstance(found, Route)
    assert HeaderModifier(set=(("x-good", "1"),)) == found.filters.response_headers
    assert 1 == len(world.warnings("shop"))


# --- Protection ---


def test_source_ranges(world: World) -> None:
    """Networks and single addresses, of both families."""
    route = routed(world, whitelist_source_range="10.0.0.0/8, 192.0.2.1", denylist_source_range="2001:db8::/32")

    assert SourceRanges(("10.0.0.0/8", "192.0.2.1/32"), ("2001:db8::/32",)) == route.source_ranges


def test_the_newer_name_of_the_allow_list(world: World) -> None:
    """allowlist-source-range is whitelist-source-range."""
    assert SourceRanges(("10.1.0.0/16",)) == routed(world, allowlist_source_range="10.1.0.0/16").source_ranges


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whitelist-source-range", "10.0.0.0/33"),
        ("whitelist-source-range", ""),
        ("allowlist-source-range", "10.0.0.0/8; allow all"),
        ("denylist-source-range", "everybody"),
        ("denylist-source-range", "10.0.0.0/8, x"),
        ("auth-tls-secret", "default/ca"),
        ("auth-type", "basic"),
        ("auth-url", "https://auth.example/check"),
    ],
)
def test_protection_that_cannot_be_given_closes_the_ingress(world: World, name: str, value: str) -> None:
    """S16: every route of the Ingress answers 403 and the condition names the annotation; its neighbours live."""
    paths = ", ".join([path_to("a"), path_to("gone", "/gone"), path_to("b", "/a[", "ImplementationSpecific")])
    annotations = {NGINX + name: value, **nginx(permanent_redirect="https://x.example", app_root="/x")}
    world.apply(ingress(paths, annotations=annotations), ingress(path_to("b"), name="other"))

    assert {DirectResponse(403)} == {r.action for r in world.parts.routes.values() if r.ref.source == SHOP}
    assert "b:80" == world.served("http://x/", ObjectRef("Ingress", "default", "other"))
    assert (condition := world.condition("shop", "Accepted"))
    assert ("False", "UnsupportedValue") == (condition.status, condition.reason)
    assert condition.message.startswith(f"every request is answered 403: {NGINX}{name}: ")


# --- Canaries ---


def canary(name: str = "canary", backend: str = "new", namespace: str = "default", path: str = "/", **by: str) -> str:
    return ingress(path_to(backend, path), name=name, namespace=namespace, annotations=nginx(canary="true", **by))


def both(world: World, *manifests: str) -> World:
    """The Ingress shop with its canaries."""
    return world.apply(ingress(path_to("a")), *manifests)


def test_a_canary_takes_a_share_by_weight(world: World) -> None:
    """10 of 100 by default; of another total if one is given; all of it leaves the main backend nothing."""
    both(world, canary(canary_weight="10"))

    assert "a:80 90, new:80 10" == world.served("http://x/")
    assert "a:80 990, new:80 10" == both(world, canary(canary_weight="10", canary_weight_total="1000")).served(
        "http://x/"
    )
    assert "new:80" == both(world, canary(canary_weight="100")).served("http://x/")
    assert "a:80" == both(world, canary(canary_weight="0")).served("http://x/")


def test_a_canary_by_header(world: World) -> None:
    """The header "always" goes to the canary, "never" does not, and anything else is left to the weight."""
    both(world, canary(canary_by_header="X-Canary", canary_weight="50"))

    assert ["new:80", "a:80", "a:80 50, new:80 50"] == [
        world.served("http://x/", x_canary=value) for value in ("always", "never", "maybe")
    ]


def test_a_canary_by_header_value_and_pattern(world: World) -> None:
    """A value must be equal, a pattern be found anywhere."""
    both(world, canary(canary_by_header="x-canary", canary_by_header_value="me"))

    assert ["new:80", "a:80"] == [world.served("http://x/", x_canary=v) for v in ("me", "always")]

    both(world, canary(canary_by_header="x-canary", canary_by_header_pattern="m[ae]"))

    assert ["new:80", "a:80"] == [world.served("http://x/", x_canary=v) for v in ("some", "other")]


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("c=always", "new:80"),
        ("a=b; c=always; d=e", "new:80"),
        ("xc=always", "a:80"),
        ("c=always2", "a:80"),
        ("c=never", "a:80"),
    ],
)
def test_a_canary_by_cookie(world: World, cookie: str, expected: str) -> None:
    """A cookie of that name with the value "always"."""
    assert expected == both(world, canary(canary_by_cookie="c")).served("http://x/", cookie=cookie)


def test_a_canarys_header_decides_before_its_cookie(world: World) -> None:
    """Header, cookie, weight: the order of ingress-nginx."""
    both(world, canary(canary_by_header="x-canary", canary_by_cookie="c", canary_weight="100"))

    assert ["a:80", "new:80"] == [
        world.served("http://x/", x_canary="never", cookie="c=always"),
        world.served("http://x/", x_canary="always", cookie="c=never"),
    ]


def test_the_routes_of_a_canary_are_named(world: World) -> None:
    """Routes to the canary carry its name, for those who ask why a request went there."""
    found = both(world, canary(canary_by_header="x-canary")).ask("http://x/", SHOP, x_canary="always")

    assert isinstance(found, Route)
    assert "canary canary" == found.rule_name


def test_a_canary_follows_its_backend(world: World) -> None:
    """A canary whose Service is missing answers 500 for its share, and its own condition says so."""
    both(world, canary(backend="gone", canary_weight="10"))

    assert "a:80 90, 500 10" == world.served("http://x/")
    assert (condition := world.condition("canary", "ResolvedRefs"))
    assert "False" == condition.status


def test_a_canary_of_nothing_is_told(world: World) -> None:
    """Another path, or another namespace's Ingress, is not its to share (S3)."""
    world.apply(service("new", namespace="evil"))
    both(world, canary(path="/other", canary_weight="10"), canary(namespace="evil", canary_weight="100"))

    assert "a:80" == world.served("http://x/")
    assert "a canary of nothing" in world.warnings("canary")["spec.rules[0].http.paths[0]"]
    assert "a canary of nothing" in world.warnings("canary", "evil")["spec.rules[0].http.paths[0]"]


def test_one_canary_a_path(world: World) -> None:
    """The oldest counts, by name where there is no age; the other is told."""
    both(world, canary(canary_weight="10"), canary(name="second", canary_weight="20"))

    assert "a:80 90, new:80 10" == world.served("http://x/")
    assert "is the canary of this path" in world.warnings("second")["spec.rules[0].http.paths[0]"]


def test_a_canary_ends_with_its_ingress(world: World) -> None:
    """Deleting the canary gives everything back to the main Ingress."""
    both(world, canary(canary_weight="10")).delete("Ingress", "canary")

    assert "a:80" == world.served("http://x/")


def test_a_canary_is_wherever_its_path_is_served(world: World) -> None:
    """It has no address of its own, and follows the Ingress whose path it shares to another."""
    both(world, canary(canary_weight="10"))

    assert {SHOP} == set(world.parts.frontends)
    assert {SHOP} == {ref.source for ref in world.parts.routes}

    world.apply(ingress(path_to("a"), annotations={NATIVE + "loadbalancer-mode": "shared"}))

    assert {SHARED_INGRESS} == set(world.parts.frontends)
    assert "a:80 90, new:80 10" == world.served("http://x/", SHARED_INGRESS)


@pytest.mark.parametrize("ranges", ["10.0.0.0/8", "everybody"])
def test_a_canary_is_no_way_around_source_ranges(world: World, ranges: str) -> None:
    """S16: a canary that wants other source ranges than its main Ingress, or unreadable ones, has a share of 500s."""
    both(world, canary(canary_weight="10", whitelist_source_range=ranges))

    assert "a:80 90, 500 10" == world.served("http://x/")
    conditions = [world.condition("canary", "PartiallyInvalid"), world.condition("canary", "Accepted")]
    assert "UnsupportedValue" in [condition.reason for condition in conditions if condition]

    guarded = nginx(whitelist_source_range="10.0.0.0/8")
    world.apply(
        ingress(path_to("a"), annotations=guarded), canary(canary_weight="10", whitelist_source_range="10.0.0.0/8")
    )

    assert "a:80 90, new:80 10" == world.served("http://x/")
    assert world.condition("canary", "PartiallyInvalid") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auth-secret", "users"),
        ("auth-snippet", "proxy_set_header A b;"),
        ("auth-tls-match-cn", "CN=client"),
        ("auth-tls-secret", "default/ca"),
        ("auth-tls-verify-client", "on"),
        ("auth-tls-verify-client", "optional"),
        ("auth-type", "basic"),
        ("auth-url", "https://auth.example"),
        ("enable-global-auth", "true"),
        ("enable-modsecurity", "true"),
        ("enable-owasp-core-rules", "true"),
        ("modsecurity-snippet", "SecRuleEngine On"),
        ("proxy-ssl-secret", "default/ca"),
        ("proxy-ssl-verify", "on"),
    ],
)
def test_protection_that_is_not_given_closes_the_ingress(world: World, name: str, value: str) -> None:
    """S16: what authenticates, filters or verifies is given or nobody passes, and `Accepted` says which it is."""
    world.apply(ingress(path_to("a"), annotations={NGINX + name: value}))
    condition = world.condition("shop", "Accepted")

    assert "403" == world.served("http://x/")
    assert condition is not None
    assert ("False", "UnsupportedValue") == (condition.status, condition.reason)
    assert NGINX + name in condition.message


@pytest.mark.parametrize("value", ["off", "false"])
@pytest.mark.parametrize(
    "name",
    [
        "auth-tls-verify-client",
        "enable-global-auth",
        "enable-modsecurity",
        "enable-owasp-core-rules",
        "proxy-ssl-verify",
    ],
)
def test_protection_that_is_switched_off_is_not_missed(world: World, name: str, value: str) -> None:
    """Who asks for none gets none, without complaint."""
    assert "a:80" == world.apply(ingress(path_to("a"), annotations={NGINX + name: value})).served("http://x/")
    assert {} == world.warnings("shop")


@pytest.mark.parametrize(
    "name",
    "limit-rpm limit-connections limit-rate server-snippet stream-snippet configuration-snippet".split(),
)
def test_limits_and_snippets_that_do_nothing_are_told_loudly(world: World, name: str) -> None:
    """What is not enforced is served, and its author cannot overlook that."""
    world.apply(ingress(path_to("a"), annotations={NGINX + name: "1"}))

    assert "a:80" == world.served("http://x/")
    assert "NOTHING OF IT IS ENFORCED" in world.warnings("shop")[f"metadata.annotations[{NGINX}{name}]"]
