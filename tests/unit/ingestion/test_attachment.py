"""Routes and their parents: which listeners take a route, for which hostnames, and what is said where none does."""

# ruff: noqa: E501  # a manifest on one line reads better than one broken by Python

from __future__ import annotations

import pytest

from tests.unit.ingestion import tls
from tests.unit.ingestion.world import World, service
from xds_server.ingestion.attachment import selects
from xds_server.model.refs import ParentRef
from xds_server.objects.gateway import GROUP
from xds_server.objects.meta import LabelSelector, LabelSelectorRequirement


def gateway(*listeners: str, name: str = "web") -> str:
    return f"""
kind: Gateway
metadata: {{name: {name}}}
spec: {{gatewayClassName: tidegate, listeners: [{", ".join(listeners)}]}}
"""


def http(name: str = "http", port: int = 80, hostname: str = "", allowed: str = "") -> str:
    host = f", hostname: '{hostname}'" if hostname else ""
    routes = f", allowedRoutes: {allowed}" if allowed else ""
    return f"{{name: {name}, port: {port}, protocol: HTTP{host}{routes}}}"


def route(
    name: str = "r",
    *,
    parents: str = "{name: web}",
    hostnames: str = "",
    backend: str = "app",
    namespace: str = "default",
    path: str = "/",
    kind: str = "HTTPRoute",
    created: str = "",
) -> str:
    matches = f"matches: [{{path: {{value: {path}}}}}], " if kind == "HTTPRoute" else ""
    return f"""
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, generation: 5, creationTimestamp: "{created}"}}
spec:
  parentRefs: [{parents}]
  hostnames: [{hostnames}]
  rules: [{{{matches}backendRefs: [{{name: {backend}, port: 80}}]}}]
"""


def attached(world: World) -> dict[str, tuple[str, ...]]:
    """The hostnames of each listener that took a route."""
    found = world.ingested.attachments.values()
    return {one.listener.section: one.hostnames for one in found if one.source is not None}


def test_a_route_attaches_to_every_listener_that_takes_it() -> None:
    """A parentRef without sectionName names them all; each counts it."""
    world = World(gateway(http("a"), http("b", 81), http("c", 82, "x.io")), route(), service("app"))

    assert {"a": ("*",), "b": ("*",), "c": ("x.io",)} == attached(world)
    assert [1, 1, 1] == [world.verdict("Gateway", "web", section).attached_routes for section in "abc"]
    assert "True/Accepted" == world.reason("Accepted", "HTTPRoute", "r")
    assert "True/ResolvedRefs" == world.reason("ResolvedRefs", "HTTPRoute", "r")
    assert 5 == world.verdict("HTTPRoute", "r").generation


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        ("{name: web, sectionName: a}", {"a"}),
        ("{name: web, port: 81}", {"b"}),
        ("{name: web, sectionName: b, port: 81}", {"b"}),
        ("{name: web, namespace: default, kind: Gateway, group: gateway.networking.k8s.io}", {"a", "b"}),
    ],
)
def test_section_and_port_choose_listeners(parent: str, expected: set[str]) -> None:
    """ "The name and port of the selected listener must match both specified values." """
    assert expected == set(attached(World(gateway(http("a"), http("b", 81)), route(parents=parent))))


@pytest.mark.parametrize("parent", ["sectionName: c", "port: 82", "sectionName: a, port: 81"])
def test_a_section_or_port_that_is_not_there_is_told(parent: str) -> None:
    """NoMatchingParent, and the message names the listeners that there are."""
    world = World(gateway(http("a"), http("b", 81)), route(parents=f"{{name: web, {parent}}}"))
    [found] = [verdict for key, verdict in world.ingested.verdicts.items() if key.object.kind == "HTTPRoute"]

    assert ("False", "NoMatchingParent") == (found.conditions[0].status, found.conditions[0].reason)
    assert "a (port 80), b (port 81)" in found.conditions[0].message
    assert "ResolvedRefs" == found.conditions[1].type


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("", False),
        ("{namespaces: {from: Same}}", False),
        ("{namespaces: {from: All}}", True),
        ("{namespaces: {from: None}}", False),
        ("{namespaces: {from: Selector}}", False),
        ("{namespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}", True),
        ("{namespaces: {from: Selector, selector: {matchLabels: {team: pay}}}}", False),
        ("{namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}}}", True),
        ("{namespaces: {from: All}, kinds: [{kind: GRPCRoute}]}", False),
        ("{namespaces: {from: All}, kinds: [{kind: HTTPRoute}]}", True),
    ],
)
def test_a_listener_decides_who_may_attach(allowed: str, expected: bool) -> None:
    """NotAllowedByListeners: by namespace, its labels and the kind of route."""
    namespace = "kind: Namespace\nmetadata: {name: shop, labels: {team: shop}}"
    parents = "{name: web, namespace: default}"
    world = World(gateway(http(allowed=allowed)), namespace, route(namespace="shop", parents=parents))
    reason = world.reason("Accepted", "HTTPRoute", "r", namespace="shop")

    assert (expected, "True/Accepted" if expected else "False/NotAllowedByListeners") == (bool(attached(world)), reason)


def test_a_namespace_that_changes_its_labels_is_followed() -> None:
    """What a selector chose is chosen again when labels change."""
    allowed = "{namespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}"
    parents = "{name: web, namespace: default}"
    world = World(gateway(http(allowed=allowed)), route(namespace="shop", parents=parents))
    seen = [len(attached(world))]
    for label in ("shop", "pay"):
        world.apply(f"kind: Namespace\nmetadata: {{name: shop, labels: {{team: {label}}}}}")
        seen.append(len(attached(world)))

    assert [0, 1, 0] == seen


@pytest.mark.parametrize(
    ("labels", "expected"), [({"a": "1"}, True), ({"a": "2"}, False), ({}, False), ({"a": "1", "b": "x"}, False)]
)
def test_selectors_hold_as_in_kubernetes(labels: dict[str, str], expected: bool) -> None:
    """In, NotIn, Exists and DoesNotExist must all hold."""
    selector = LabelSelector(
        match_expressions=(
            LabelSelectorRequirement(key="a", operator="In", values=("1", "3")),
            LabelSelectorRequirement(key="a", operator="NotIn", values=("2",)),
            LabelSelectorRequirement(key="a", operator="Exists"),
            LabelSelectorRequirement(key="b", operator="DoesNotExist"),
        )
    )

    assert expected == selects(selector, labels)


def test_an_unknown_operator_selects_nothing() -> None:
    """S16: what is not understood lets nobody in."""
    selector = LabelSelector(match_expressions=(LabelSelectorRequirement(key="a", operator="Like", values=("1",)),))

    assert not selects(selector, {"a": "1"})


@pytest.mark.parametrize(
    ("listener", "hostnames", "expected"),
    [
        ("", "", ("*",)),
        ("", "a.io", ("a.io",)),
        ("a.io", "", ("a.io",)),
        ("a.io", "a.io", ("a.io",)),
        ("a.io", "'*.io'", ("a.io",)),
        ("*.example.com", "a.example.com, a.other.com", ("a.example.com",)),
        ("*.example.com", "a.b.example.com", ("a.b.example.com",)),
        ("*.example.com", "'*.com'", ("*.example.com",)),
        ("*.example.com", "'*.b.example.com'", ("*.b.example.com",)),
        ("*.example.com", "", ("*.example.com",)),
        ("*.example.com", "example.com", None),
        ("a.io", "b.io", None),
        ("a.io", "'*.a.io'", None),
        ("*.example.com", "'*.example.net'", None),
        ("example.com", "notexample.com", None),
        ("*.example.com", "a.notexample.com", None),
    ],
)
def test_hostnames_of_listener_and_route_intersect(
    listener: str, hostnames: str, expected: tuple[str, ...] | None
) -> None:
    """The more specific of both, or NoMatchingListenerHostname."""
    world = World(gateway(http(hostname=listener)), route(hostnames=hostnames))
    reason = "False/NoMatchingListenerHostname" if expected is None else "True/Accepted"

    assert (expected, reason) == (attached(world).get("http"), world.reason("Accepted", "HTTPRoute", "r"))


def test_a_route_is_refused_by_one_parent_and_taken_by_another() -> None:
    """Each parentRef has its own verdict, with the entry's position."""
    world = World(
        gateway(http(hostname="a.io")),
        gateway(http(hostname="b.io"), name="other"),
        route(parents="{name: other}, {name: web}", hostnames="a.io"),
        service("app"),
    )
    found = {
        key.position: (key.parent, verdict.conditions[0].status)
        for key, verdict in world.ingested.verdicts.items()
        if key.object.kind == "HTTPRoute"
    }

    assert {0: ("Gateway/default/other", "False"), 1: ("Gateway/default/web", "True")} == found
    assert "app" == world.answers("a.io")


def test_parents_of_others_are_left_alone() -> None:
    """Another controller's Gateway, a Service, and a Gateway that is nowhere: no verdict, no route, no cluster."""
    other = gateway(http(), name="other").replace("tidegate", "example")
    parents = "{name: other}, {kind: Service, group: '', name: app}, {kind: Gateway, group: example.com, name: web}"
    world = World(gateway(http()), other, route(parents=parents), service("app"))

    assert [] == [key for key in world.ingested.verdicts if key.object.kind == "HTTPRoute"]
    assert ({}, {}) == (dict(world.ingested.routes), dict(world.ingested.clusters))


def test_a_parent_that_is_nowhere_is_a_warning() -> None:
    """The specification has no condition for it; an author should still hear of a mistyped name."""
    world = World(route(parents="{name: wbe}"))
    [warning] = world.ingested.warnings.values()

    assert "spec.parentRefs[0]" == warning.field
    assert "Gateway/default/wbe does not exist" in warning.message
    assert {} == dict(world.apply(gateway(http(), name="wbe")).ingested.warnings)


def test_a_route_counts_where_a_listener_is_not_served() -> None:
    """AttachedRoutes "MUST be set even if" the listener's references do not resolve; nothing is served for it."""
    https = "{name: x, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: missing}]}}"
    world = World(gateway(https), route(), service("app"))

    assert 1 == world.verdict("Gateway", "web", "x").attached_routes
    assert ({}, {}) == (dict(world.ingested.virtual_hosts), dict(world.ingested.routes))


def test_a_route_that_leaves_is_no_longer_counted() -> None:
    """Attached routes follow deletes and edits."""
    world = World(gateway(http()), route("a"), route("b"))
    seen = [world.verdict("Gateway", "web", "http").attached_routes]
    seen.append(world.delete("HTTPRoute", "a").verdict("Gateway", "web", "http").attached_routes)
    elsewhere = route("b", parents="{name: web, port: 9}")
    seen.append(world.apply(elsewhere).verdict("Gateway", "web", "http").attached_routes)

    assert [2, 1, 0] == seen


# --- isolation and hijack ---------------------------------------------------------------------------------------------


def test_a_request_belongs_to_the_most_specific_listener() -> None:
    """Listener isolation: a less specific listener's routes never see requests for a more specific one's hostname."""
    listeners = [
        http("empty"),
        http("wild", hostname="*.example.com"),
        http("deep", hostname="*.foo.example.com"),
        http("exact", hostname="abc.foo.example.com"),
    ]
    routes = [
        route(name, parents=f"{{name: web, sectionName: {name}}}", backend=name, path=f"/{name}")
        for name in ("empty", "wild", "deep", "exact")
    ]
    world = World(gateway(*listeners), *routes, *(service(name) for name in ("empty", "wild", "deep", "exact")))
    hosts = {
        "bar.com": "empty",
        "bar.example.com": "wild",
        "bar.foo.example.com": "deep",
        "abc.foo.example.com": "exact",
    }
    found = {
        host: [name for name in ("empty", "wild", "deep", "exact") if world.answers(host, f"/{name}") != "404"]
        for host in hosts
    }

    assert {host: [name] for host, name in hosts.items()} == found


def test_isolation_holds_for_routes_that_name_hostnames_of_another_listener() -> None:
    """Each listener sees only its own hostnames, even where a route of a wider listener writes them out."""
    listeners = [http("empty"), http("wild", hostname="*.example.com"), http("exact", hostname="abc.example.com")]
    hostnames = "'*.com', '*.example.com', abc.example.com, x.example.com"
    routes = [
        route(name, parents=f"{{name: web, sectionName: {name}}}", backend=name, path=f"/{name}", hostnames=hostnames)
        for name in ("empty", "wild", "exact")
    ]
    world = World(gateway(*listeners), *routes, *(service(name) for name in ("empty", "wild", "exact")))
    found = {
        host: [name for name in ("empty", "wild", "exact") if world.answers(host, f"/{name}") != "404"]
        for host in ("other.com", "x.example.com", "y.example.com", "abc.example.com")
    }

    assert {
        "other.com": ["empty"],
        "x.example.com": ["wild"],
        "y.example.com": ["wild"],
        "abc.example.com": ["exact"],
    } == found


def test_a_listener_without_routes_still_keeps_its_hostname() -> None:
    """A hostname that a listener claims answers 404 there, and never falls to the listener without hostname."""
    world = World(
        gateway(http("any"), http("shop", hostname="shop.io")), route(parents="{name: web, sectionName: any}")
    )

    assert ["app", "404"] == [
        world.apply(service("app")).answers("other.io"),
        world.answers("shop.io"),
    ]


def test_listeners_on_other_ports_are_not_in_the_way() -> None:
    """Isolation is among the listeners of one port."""
    listeners = [http("a", 80), http("b", 81, "shop.io")]
    world = World(
        gateway(*listeners), route(parents="{name: web, sectionName: a}", hostnames="shop.io"), service("app")
    )

    assert "app" == world.answers("shop.io")


@pytest.mark.parametrize("first", [0, 1])
def test_the_older_route_keeps_a_hostname_and_path(first: int) -> None:
    """S3: whoever comes second gets nothing, in whatever order the objects arrive."""
    allowed = "{namespaces: {from: All}}"
    manifests = [
        route("victim", namespace="shop", parents="{name: web, namespace: default}", hostnames="shop.io", created="2020-01-01T00:00:00Z"),
        route("attacker", namespace="evil", parents="{name: web, namespace: default}", hostnames="shop.io", created="2021-01-01T00:00:00Z"),
    ]  # fmt: skip
    ordered = [manifests[first], manifests[1 - first]]
    world = World(
        gateway(http(allowed=allowed)), *ordered, service("app", namespace="shop"), service("app", namespace="evil")
    )
    found = world.ask("shop.io")

    assert found is not None
    assert ("shop", "victim") == (found.ref.source.namespace, found.ref.source.name)


@pytest.mark.parametrize("hostname", ["SHOP.io", "shop.io.", "shop.io:80", "'*.shop..io'", "'*'", "'sh*p.io'", "-a.io"])
def test_another_spelling_of_a_hostname_is_no_hostname(hostname: str) -> None:
    """S3: case, trailing dot, port and odd wildcards do not make a second way to somebody's requests."""
    victim, evil = (
        route("victim", hostnames="shop.io"),
        route("evil", hostnames=hostname, path="/admin", backend="evil"),
    )
    world = World(gateway(http()), victim, evil, service("app"), service("evil"))

    assert "False/UnsupportedValue" == world.reason("Accepted", "HTTPRoute", "evil")
    assert "app" == world.answers("shop.io", "/admin")
    assert 1 == world.verdict("Gateway", "web", "http").attached_routes


@pytest.mark.parametrize("kind", ["GRPCRoute", "TLSRoute"])
def test_bad_hostnames_are_refused_for_every_kind(kind: str) -> None:
    """S3 holds for GRPCRoute and TLSRoute as well."""
    listeners = http(), "{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}"
    world = World(gateway(*listeners), route(kind=kind, hostnames="SHOP.io"), service("app"))

    assert "False/UnsupportedValue" == world.reason("Accepted", kind, "r")
    assert ({}, {}) == (dict(world.ingested.routes), dict(world.ingested.tls_routes))


def test_https_routes_live_in_the_table_of_their_listener() -> None:
    """The SNI decides the table, so that one listener's routes are not reached through another's certificate."""
    listeners = [
        f"{{name: {name}, port: 443, protocol: HTTPS, hostname: {name}.io, tls: {{certificateRefs: [{{name: pair}}]}}}}"
        for name in ("a", "b")
    ]
    world = World(gateway(*listeners), route(), service("app"), tls.secret("pair"))

    assert (["a.io"], ["b.io"]) == (world.hosts(port=443, table="a.io"), world.hosts(port=443, table="b.io"))


# --- listeners that are refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refused",
    [
        [http("x", hostname="x.io"), http("y", hostname="x.io")],
        [
            http("x", hostname="x.io")[:-1]
            + ", filters: {requests: [{type: ExtensionRef, extensionRef: {group: a, kind: b, name: c}}]}}"
        ],
    ],
    ids=["conflicted", "filters that are not implemented"],
)
def test_a_refused_listener_keeps_its_hostname(refused: list[str]) -> None:
    """S16: requests for a hostname whose listener is not served answer 404, and do not fall to one that asks for less."""
    world = World(gateway(http("any"), *refused), route(), service("app"))

    assert ["app", "404"] == [world.answers("other.io"), world.answers("x.io")]


def test_a_listener_without_certificate_leaves_no_way_around_it() -> None:
    """S16: with SNI and Host of a listener that cannot be served, the universal one answers 421 and has no route for it."""
    secure = "{name: secure, port: 443, protocol: HTTPS, hostname: x.io, tls: {certificateRefs: [{name: missing}]}}"
    wide = "{name: wide, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: pair}]}}"
    world = World(gateway(secure, wide), route(hostnames="x.io, y.io"), service("app"), tls.secret("pair"))
    [listener] = world.ingested.listeners.values()

    assert ("wide", ("x.io",)) == (listener.ref.section, listener.misdirected)
    assert ["*", "y.io"] == world.hosts(port=443, table="*")


def test_a_verdict_names_its_entry_as_it_is_written() -> None:
    """What a status repeats as `parentRef`: section and port apart, no namespace where none is written."""
    world = World(gateway(http()), route(parents="{name: web, sectionName: http, port: 80}"), service("app"))

    found = world.verdict("HTTPRoute", "r", "http")

    assert ParentRef(GROUP, "Gateway", "", "web", "http", 80) == found.parent
