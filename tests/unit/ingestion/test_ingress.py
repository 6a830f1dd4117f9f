"""Ingress without annotations: classes, hosts, paths, backends, default backends, conflicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.ingestion.ingress_world import DIRECTORY, SHOP, World, ingress, path_to, service
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.model.verdict import Condition
from xds_server.objects.networking import Ingress

SHARED = replace(DIRECTORY, loadbalancer_mode="shared")
DECLARED = replace(DIRECTORY, undeclared_classes=())
MODE = "ingress.cilium.io/loadbalancer-mode"

BOOKINFO = """
kind: Ingress
metadata: {name: basic-ingress}
spec:
  ingressClassName: cilium
  rules:
  - http:
      paths:
      - {path: /details, pathType: Prefix, backend: {service: {name: details, port: {number: 9080}}}}
      - {path: /, pathType: Prefix, backend: {service: {name: productpage, port: {number: 9080}}}}
"""

PATH_TYPES = """
kind: Ingress
metadata: {name: multiple-path-types}
spec:
  ingressClassName: cilium
  rules:
  - host: pathtypes.example.com
    http:
      paths:
      - {path: /exact, pathType: Exact, backend: {service: {name: exactpath, port: {number: 80}}}}
      - {path: /, pathType: Prefix, backend: {service: {name: prefixpath, port: {number: 80}}}}
      - {path: /prefix, pathType: Prefix, backend: {service: {name: prefixpath2, port: {number: 80}}}}
      - {path: /impl, pathType: ImplementationSpecific, backend: {service: {name: implpath, port: {number: 80}}}}
      - {path: /impl.+, pathType: ImplementationSpecific, backend: {service: {name: implpath2, port: {number: 80}}}}
"""


def ingress_class(name: str, controller: str, *, default: bool = False, created: str = "") -> str:
    return f"""
kind: IngressClass
metadata:
  name: {name}
  creationTimestamp: {created!r}
  annotations: {{ingressclass.kubernetes.io/is-default-class: "{str(default).lower()}"}}
spec: {{controller: {controller}}}
"""


@pytest.fixture
def world() -> World:
    return World().apply(service("a"), service("b"), service("c"), service("victim", namespace="victim"))


# --- The walk-through ---


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "productpage:9080"),
        ("/details", "details:9080"),
        ("/details/1", "details:9080"),
        ("/detailsx", "productpage:9080"),
        ("/ratings", "productpage:9080"),
    ],
)
def test_bookinfo_is_routed_by_prefix(path: str, expected: str) -> None:
    """W2: /details goes to details; everything else, /ratings too, goes to productpage."""
    world = World().apply(BOOKINFO, service("details", 9080), service("productpage", 9080))

    assert expected == world.served(f"http://anything.example{path}", ObjectRef("Ingress", "default", "basic-ingress"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/exact", "exactpath:80"),
        ("/exact/", "prefixpath:80"),
        ("/exactly", "prefixpath:80"),
        ("/prefix", "prefixpath2:80"),
        ("/prefix/", "prefixpath2:80"),
        ("/prefix/deeper", "prefixpath2:80"),
        ("/prefixed", "prefixpath:80"),
        ("/impl", "implpath:80"),
        ("/implementation", "implpath2:80"),
        ("/", "prefixpath:80"),
        ("/anything", "prefixpath:80"),
    ],
)
def test_path_types(path: str, expected: str) -> None:
    """W9: Exact takes one path, Prefix whole segments, ImplementationSpecific a regular expression."""
    names = ("exactpath", "prefixpath", "prefixpath2", "implpath", "implpath2")
    world = World().apply(PATH_TYPES, *(service(name) for name in names))
    frontend = ObjectRef("Ingress", "default", "multiple-path-types")

    assert expected == world.served(f"http://pathtypes.example.com{path}", frontend)
    assert "404" == world.served(f"http://other.example.com{path}", frontend)


def test_path_types_are_ordered() -> None:
    """W9: Exact, then regular expressions, then prefixes, each the longest first and "/" last."""
    world = World().apply(PATH_TYPES)
    [host] = world.parts.virtual_hosts.values()

    assert ["/exact", "/impl.+", "/impl", "/prefix", "/"] == [
        world.parts.routes[ref].match.path.value for ref in host.routes
    ]


def test_a_dedicated_ingress_has_a_frontend_of_its_own() -> None:
    """W5: dedicated Ingresses have one frontend each; switching to shared moves the Ingress, and back again."""
    world = World().apply(service("a"), ingress(path_to("a")), ingress(path_to("a"), name="other"))

    assert {SHOP, ObjectRef("Ingress", "default", "other")} == set(world.parts.frontends)

    world.apply(ingress(path_to("a"), annotations={MODE: "shared"}))

    assert {SHARED_INGRESS, ObjectRef("Ingress", "default", "other")} == set(world.parts.frontends)
    assert "a:80" == world.served("http://x/", SHARED_INGRESS)
    assert "404" == world.served("http://x/", SHOP)

    world.apply(ingress(path_to("a"), annotations={"ingress.tidegate.dev/loadbalancer-mode": "dedicated"}))

    assert {SHOP, ObjectRef("Ingress", "default", "other")} == set(world.parts.frontends)
    assert {SHOP, ObjectRef("Ingress", "default", "other")} == {ref.parent for ref in world.parts.listeners}


def test_shared_ingresses_have_one_frontend_together() -> None:
    """W4: with shared mode as the default every Ingress is behind one frontend."""
    world = World(SHARED).apply(
        service("a"), service("b"), ingress(("a.example", path_to("a"))), ingress(("b.example", path_to("b")), name="b")
    )

    assert {SHARED_INGRESS} == set(world.parts.frontends)
    assert "a:80" == world.served("http://a.example/", SHARED_INGRESS)
    assert "b:80" == world.served("http://b.example/", SHARED_INGRESS)


def test_a_foreign_class_is_left_alone(world: World) -> None:
    """W6: an Ingress of class nginx has no route, no condition, no warning and no address here."""
    world.apply(ingress(path_to("a"), class_name="nginx", annotations={"nginx.ingress.kubernetes.io/foo": "bar"}))

    assert [] == [name for name, part in world.parts._asdict().items() if dict(part)]


# --- Classes ---


def test_a_class_is_ours_by_its_controller_whatever_its_name() -> None:
    """An IngressClass that names our controller makes its Ingresses ours; deleting it gives them back."""
    world = World(DECLARED).apply(service("a"), ingress(path_to("a"), class_name="web"))

    assert "404" == world.served("http://x/")

    world.apply(ingress_class("web", "tidegate.dev/controller"))

    assert "a:80" == world.served("http://x/")

    world.delete("IngressClass", "web")

    assert "404" == world.served("http://x/")


def test_a_declared_class_of_another_controller_is_not_ours(world: World) -> None:
    """The class cilium that names Cilium's own controller is Cilium's."""
    world.apply(ingress(path_to("a")), ingress_class("cilium", "cilium.io/ingress-controller"))

    assert {} == dict(world.parts.frontends)


def test_the_older_annotation_names_a_class() -> None:
    """kubernetes.io/ingress.class works as spec.ingressClassName does."""
    legacy = ingress(path_to("a"), class_name="", annotations={"kubernetes.io/ingress.class": "cilium"})
    world = World().apply(service("a"), legacy)

    assert "a:80" == world.served("http://x/")


def test_the_older_annotation_takes_precedence() -> None:
    """Where annotation and field differ the annotation counts, and the author is told when that makes it ours."""
    annotated = {"kubernetes.io/ingress.class": "nginx"}
    world = World().apply(service("a"), ingress(path_to("a"), class_name="cilium", annotations=annotated))

    assert {} == dict(world.parts.frontends)

    annotated = {"kubernetes.io/ingress.class": "cilium"}
    world.apply(ingress(path_to("a"), class_name="nginx", annotations=annotated))

    assert "a:80" == world.served("http://x/")
    assert ["spec.ingressClassName"] == list(world.warnings("shop"))


def test_the_default_class_takes_ingresses_without_class() -> None:
    """An Ingress without class belongs to the default class: of several the youngest, as Kubernetes does."""
    world = World(DECLARED).apply(service("a"), ingress(path_to("a"), class_name=""))

    assert {} == dict(world.parts.frontends)

    world.apply(ingress_class("ours", "tidegate.dev/controller", default=True, created="2026-01-01T00:00:00Z"))

    assert {SHOP} == set(world.parts.frontends)

    world.apply(ingress_class("theirs", "example.com/other", default=True, created="2026-02-01T00:00:00Z"))

    assert {} == dict(world.parts.frontends)


def test_without_default_class_an_ingress_without_class_is_nobodys(world: World) -> None:
    """The undeclared classes have to be named."""
    world.apply(ingress(path_to("a"), class_name=""))

    assert {} == dict(world.parts.frontends)


# --- Hosts ---


def test_a_wildcard_host_takes_exactly_one_label(world: World) -> None:
    """*.example.com is for a.example.com, not for example.com nor a.b.example.com."""
    world.apply(ingress(("*.example.com", path_to("a"))))

    assert "a:80" == world.served("http://one.example.com/")
    assert "404" == world.served("http://example.com/")
    assert "404" == world.served("http://one.two.example.com/")


def test_an_exact_host_wins_over_a_wildcard_and_no_host(world: World) -> None:
    """The most specific host takes a request wholly: what its paths do not match is not tried elsewhere."""
    world.apply(
        ingress(("x.example.com", path_to("a", "/a")), ("*.example.com", path_to("b")), path_to("c")),
    )

    assert "a:80" == world.served("http://x.example.com/a")
    assert "404" == world.served("http://x.example.com/b")
    assert "b:80" == world.served("http://y.example.com/a")
    assert "c:80" == world.served("http://example.org/")


def test_hosts_are_compared_in_lower_case(world: World) -> None:
    """A host is a DNS name, whose case says nothing."""
    world.apply(ingress(("Shop.Example.COM", path_to("a"))))

    assert "a:80" == world.served("http://shop.example.com/")


@pytest.mark.parametrize(
    "host", ["*", "a*.example.com", "10.0.0.1", "a b", " a.b", "x\\n.example", "-a.example", "a..b", "*.*.a"]
)
def test_a_host_that_is_no_name_is_refused(world: World, host: str) -> None:
    """A rule with such a host is not served, the condition says so, and its neighbours are."""
    world.apply(ingress((host, path_to("a")), ("good.example", path_to("b"))))

    assert "b:80" == world.served("http://good.example/")
    assert ["good.example"] == [ref.hostname for ref in world.parts.virtual_hosts]
    assert (condition := world.condition("shop", "PartiallyInvalid"))
    assert ("True", "UnsupportedValue") == (condition.status, condition.reason)
    assert "spec.rules[0].host" in condition.message


# --- Paths ---


@pytest.mark.parametrize(
    ("written", "taken", "left"),
    [("/a/", ("/a", "/a/", "/a/b"), ("/ab", "/")), ("/", ("/", "/a"), ()), ("", ("/", "/a"), ())],
)
def test_a_prefix_is_of_segments(world: World, written: str, taken: tuple[str, ...], left: tuple[str, ...]) -> None:
    """A trailing slash of a Prefix says nothing; an empty path is "/"."""
    world.apply(ingress(path_to("a", written)))

    assert ["a:80"] * len(taken) == [world.served(f"http://x{path}") for path in taken]
    assert ["404"] * len(left) == [world.served(f"http://x{path}") for path in left]


@pytest.mark.parametrize("pattern", ["/a[", "/(", "/a{1001}", "/a**", "/\\1", "/((a{100}){10}){10}"])
def test_a_pattern_that_envoy_refuses_answers_500(world: World, pattern: str) -> None:
    """S5: a pattern that RE2 does not take answers 500 where it is met literally; its neighbours live."""
    world.apply(ingress(", ".join([path_to("a", pattern, "ImplementationSpecific"), path_to("b", "/good")])))

    assert "500" == world.served(f"http://x{pattern}")
    assert "b:80" == world.served("http://x/good")
    assert (condition := world.condition("shop", "PartiallyInvalid"))
    assert "spec.rules[0].http.paths[0].path: " in condition.message


@pytest.mark.parametrize("path", ["a", "a/b", "/a\\u0000", "/a\\r\\nx: y", "/a\\u001b"])
def test_a_path_with_control_characters_is_not_served(world: World, path: str) -> None:
    """S4: such a path reaches no configuration; the condition says so."""
    written = path.encode().decode("unicode_escape")
    world.apply(ingress(", ".join([path_to("a", written), path_to("b", "/good")])))

    assert ["/good"] == [route.match.path.value for route in world.parts.routes.values()]
    assert world.condition("shop", "PartiallyInvalid")


@pytest.mark.parametrize(
    "path", ["/a//b", "/a/./b", "/a/../b", "/a/..", "/a%2Fb", "/a%2fb", "/a?b=c", "/a#b", "/a b", "/ä"]
)
def test_a_path_that_no_normalised_request_has_is_reported(world: World, path: str) -> None:
    """S6: requests are normalised before they are matched, so that such a path would never match."""
    world.apply(ingress(path_to("a", path)))

    assert (condition := world.condition("shop", "PartiallyInvalid"))
    assert "can never match" in condition.message


@pytest.mark.parametrize("path", ["/", "/app/*"])
def test_an_ambiguous_pattern_is_pointed_out(world: World, path: str) -> None:
    """Who writes "/" or "/app/*" as ImplementationSpecific may have meant a prefix, and is asked."""
    world.apply(ingress(path_to("a", path, "ImplementationSpecific")))

    assert "did you mean pathType Prefix?" in world.warnings("shop")["spec.rules[0].http.paths[0].path"]


def test_a_pattern_matches_the_whole_path(world: World) -> None:
    """ImplementationSpecific "/v[0-9]+" takes /v1, not /v1/x nor /a/v1."""
    world.apply(ingress(path_to("a", "/v[0-9]+", "ImplementationSpecific")))

    assert ["a:80", "404", "404"] == [world.served(f"http://x{path}") for path in ("/v1", "/v1/x", "/a/v1")]


# --- Backends ---


def test_a_backend_port_may_be_named(world: World) -> None:
    """The port's name resolves to its number, and follows the Service."""
    named = "{path: /, pathType: Prefix, backend: {service: {name: a, port: {name: http}}}}"
    world.apply(ingress(named))

    assert "a:80" == world.served("http://x/")

    world.apply(service("a", 8080))

    assert "a:8080" == world.served("http://x/")


def test_a_missing_service_answers_500_until_it_appears(world: World) -> None:
    """The path of a missing Service answers 500 and ResolvedRefs says so; when the Service comes both heal."""
    world.apply(ingress(", ".join([path_to("gone", "/gone"), path_to("a")])))

    assert "500" == world.served("http://x/gone")
    assert "a:80" == world.served("http://x/")
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert ("False", "BackendNotFound") == (condition.status, condition.reason)
    assert "spec.rules[0].http.paths[0].backend: Service/default/gone does not exist" == condition.message

    world.apply(service("gone"))

    assert "gone:80" == world.served("http://x/gone")
    assert Condition("ResolvedRefs", "True", "ResolvedRefs") == world.condition("shop", "ResolvedRefs")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("resource: {kind: Bucket, name: files, apiGroup: example.com}", "InvalidKind"),
        ("service: {name: a, port: {number: 81}}", "BackendNotFound"),
        ("service: {name: a, port: {name: metrics}}", "BackendNotFound"),
        ("service: {name: a}", "BackendNotFound"),
        ("", "BackendNotFound"),
    ],
)
def test_a_backend_that_cannot_be_used_answers_500(world: World, backend: str, reason: str) -> None:
    """Resource backends, wrong ports and empty backends answer 500 with a condition."""
    world.apply(ingress(f"{{path: /, pathType: Prefix, backend: {{{backend}}}}}"))

    assert "500" == world.served("http://x/")
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert ("False", reason) == (condition.status, condition.reason)


def test_backends_are_of_the_ingress_own_namespace(world: World) -> None:
    """S1: a Service of another namespace with the same name is not found."""
    world.apply(ingress(path_to("victim")))

    assert "500" == world.served("http://x/")


# --- Default backends ---


DEFAULT = "defaultBackend: {service: {name: c, port: {number: 80}}}"


def test_a_default_backend_alone_takes_everything(world: World) -> None:
    """An Ingress may consist of a default backend."""
    world.apply(ingress(spec=DEFAULT))

    assert "c:80" == world.served("http://any.example/any")


def test_a_default_backend_takes_what_no_rule_matches(world: World) -> None:
    """Unmatched paths of the Ingress's hosts and unknown hosts go to the default backend."""
    world.apply(ingress(("a.example", path_to("a", "/a")), spec=DEFAULT))

    assert ["a:80", "c:80", "c:80"] == [
        world.served(url) for url in ("http://a.example/a", "http://a.example/other", "http://b.example/")
    ]


def test_a_host_without_paths_is_the_default_backends(world: World) -> None:
    """Kubernetes: a rule without http sends the host's requests to the default backend; without it they answer 404."""
    rule = "{host: a.example}"
    world.apply(ingress(path_to("a"), spec=DEFAULT).replace("rules: [", f"rules: [{rule}, "))

    assert ["c:80", "a:80"] == [world.served("http://a.example/"), world.served("http://b.example/")]

    world.apply(ingress(path_to("a")).replace("rules: [", f"rules: [{rule}, "))

    assert ["404", "a:80"] == [world.served("http://a.example/"), world.served("http://b.example/")]


def test_a_default_backend_of_others_never_takes_a_hosts_requests(world: World) -> None:
    """S3: unmatched requests of a shared host go to the default backends of Ingresses that name it, and to no other."""
    world = World(SHARED).apply(
        service("a"), service("c"), service("evil", namespace="evil"), ingress(("a.example", path_to("a", "/a")))
    )
    world.apply(ingress(spec=DEFAULT.replace("name: c", "name: evil"), name="evil", namespace="evil"))

    assert "404" == world.served("http://a.example/other", SHARED_INGRESS)
    assert "evil:80" == world.served("http://unclaimed.example/", SHARED_INGRESS)


def test_a_default_backend_comes_after_the_paths_of_every_ingress() -> None:
    """An older default backend does not take the path "/" of a younger Ingress of the same host."""
    older = ingress(("a.example", path_to("a", "/a")), spec=DEFAULT, name="older", created="2026-01-01T00:00:00Z")
    younger = ingress(("a.example", path_to("b")), name="younger", created="2026-02-01T00:00:00Z")
    world = World(SHARED).apply(service("a"), service("b"), service("c"), older, younger)

    assert "b:80" == world.served("http://a.example/other", SHARED_INGRESS)


# --- Conflicts ---


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("victim", "attacker", "host"),
    [
        (OLD, NEW, "shop.example"),
        ("", "", "shop.example"),
        (OLD, NEW, "SHOP.example"),
        (OLD, NEW, "*.example"),
        (OLD, NEW, ""),
    ],
)
@pytest.mark.parametrize("victim_first", [True, False])
def test_a_path_belongs_to_the_oldest_ingress(victim: str, attacker: str, host: str, *, victim_first: bool) -> None:
    """S3: of two shared Ingresses with one host and path the older wins, then namespace and name, in whatever order."""
    manifests = [
        ingress(("shop.example", path_to("victim")), namespace="a", created=victim),
        ingress((host, path_to("attacker")), namespace="b", created=attacker),
    ]
    world = World(SHARED).apply(service("victim", namespace="a"), service("attacker", namespace="b"))
    world.apply(*(manifests if victim_first else reversed(manifests)))

    assert "victim:80" == world.served("http://shop.example/", SHARED_INGRESS)
    assert "victim:80" == world.served("http://shop.example/deep/path", SHARED_INGRESS)


@pytest.mark.parametrize("host", ["shop.example", "*.example"])
@pytest.mark.parametrize(
    "path",
    [
        path_to("attacker", "/.*", "ImplementationSpecific"),
        path_to("attacker", "/ap[i].*", "ImplementationSpecific"),
        path_to("attacker", "/api/login", "Exact"),
        path_to("attacker", "/api/login"),
    ],
)
def test_the_paths_of_a_hosts_owner_come_first(host: str, path: str) -> None:
    """S3: no kind of path takes from the oldest namespace of a host what its own paths take."""
    world = World(SHARED).apply(service("victim", namespace="z"), service("attacker", namespace="b"))
    world.apply(
        ingress((host, path_to("victim", "/api")), namespace="z", created=OLD),
        ingress((host, path), namespace="b", created=NEW),
    )

    assert "victim:80" == world.served("http://shop.example/api/login", SHARED_INGRESS)
    assert "Ingress/z/shop, which is older" in world.warnings("shop", "b")["spec.rules[0].http.paths[0]"]
    assert {} == world.warnings("shop", "z")


def test_paths_of_other_namespaces_are_served_beside_the_owners() -> None:
    """A host may be shared by namespaces: each has the paths that those before it leave."""
    world = World(SHARED).apply(service("a"), service("b", namespace="b"), service("c", namespace="c"))
    world.apply(
        ingress(("shop.example", path_to("a", "/a")), created=OLD),
        ingress(("shop.example", path_to("b", "/b")), namespace="b", created=NEW),
        ingress(("shop.example", path_to("c", "/")), namespace="c", created=NEW),
    )

    assert ["a:80", "b:80", "c:80"] == [
        world.served(f"http://shop.example/{path}", SHARED_INGRESS) for path in ("a", "b", "c")
    ]
    assert {} == world.warnings("shop", "b") == world.warnings("shop", "c")


def test_an_app_root_of_another_namespace_does_not_take_the_owners_home_page() -> None:
    """S3: the redirect of "/" is a path like any other."""
    world = World(SHARED).apply(service("a"), service("b", namespace="b"))
    world.apply(ingress(("shop.example", path_to("a")), created=OLD))
    root = {"nginx.ingress.kubernetes.io/app-root": "/theirs"}
    world.apply(ingress(("shop.example", path_to("b", "/b")), namespace="b", annotations=root, created=NEW))

    assert "a:80" == world.served("http://shop.example/", SHARED_INGRESS)


def test_a_namespace_with_the_host_itself_comes_before_others_under_a_wildcard() -> None:
    """S3: where the wildcard is of a third namespace, the older of those that name the host has its paths first."""
    world = World(SHARED).apply(
        *(service("a", namespace=name) for name in ("platform", "z")), service("b", namespace="b")
    )
    world.apply(
        ingress(("*.example", path_to("a")), namespace="platform", created="2025"),
        ingress(("shop.example", path_to("a", "/api")), namespace="z", created=OLD),
        ingress(("shop.example", path_to("b", "/.*", "ImplementationSpecific")), namespace="b", created=NEW),
    )

    assert "a:80" == world.served("http://shop.example/api", SHARED_INGRESS)
    assert "b:80" == world.served("http://shop.example/other", SHARED_INGRESS)


def test_the_loser_of_a_path_is_told() -> None:
    """The younger Ingress has a warning that names the older; it is gone when the conflict is."""
    world = World(SHARED).apply(
        service("a"), ingress(path_to("a"), name="old", created=OLD), ingress(path_to("a"), name="new", created=NEW)
    )

    assert {} == world.warnings("old")
    assert {
        "spec.rules[0].http.paths[0]": "'/' of host * is served by Ingress/default/old, which is older"
    } == world.warnings("new")

    world.delete("Ingress", "old")

    assert {} == world.warnings("new")


def test_dedicated_ingresses_do_not_conflict(world: World) -> None:
    """The same host and path may be behind two addresses."""
    world.apply(ingress(path_to("a")), ingress(path_to("b"), name="other"))

    assert "a:80" == world.served("http://x/")
    assert "b:80" == world.served("http://x/", ObjectRef("Ingress", "default", "other"))
    assert {} == world.warnings("shop") == world.warnings("other")


# --- Changes ---


def test_a_change_costs_its_own_ingress_only() -> None:
    """One Ingress of a hundred changes: one is planned, one routed, and one virtual host is made."""
    world = World(SHARED).apply(
        service("a"), service("b"), *(ingress((f"h{n}.example", path_to("a")), name=f"i{n}") for n in range(100))
    )
    before = {c.name: getattr(c, "runs", 0) for c in world.graph.collections}
    world.apply(ingress(("h7.example", path_to("b")), name="i7"))
    runs = {c.name: getattr(c, "runs", 0) - before[c.name] for c in world.graph.collections}

    assert {"ingress_frontends": 1, "ingress_wants": 1} | dict.fromkeys(
        ["ingress_plans", "ingress_owners", "ingress_paths", "ingress_routes_by_ingress", "ingress_routes"], 1
    ) | dict.fromkeys(["ingress_ruled_hosts", "ingress_verdicts", "ingress_warnings"], 1) == {
        name: count for name, count in runs.items() if count
    }


def test_nothing_is_left_of_deleted_ingresses(world: World) -> None:
    """After everything is deleted every collection and its book-keeping is empty."""
    world.apply(ingress(("a.example", path_to("a")), spec=DEFAULT + "\n  tls: [{hosts: [a.example], secretName: s}]"))
    world.delete("Ingress", "shop")
    for name in ("a", "b", "c"):
        world.delete("Service", name)
    world.delete("Service", "victim", "victim")

    assert {} == {c.name: len(c) for c in world.graph.collections if len(c)}
    assert 0 == sum(getattr(c, "leftovers", lambda: 0)() for c in world.graph.collections)


def test_an_ingress_without_rules_is_accepted(world: World) -> None:
    """It has an address and answers 404."""
    world.apply(ingress())

    assert "404" == world.served("http://x/")
    assert Condition("Accepted", "True", "Accepted") == world.condition("shop", "Accepted")
    assert isinstance(world.sources.ingresses[SHOP], Ingress)
