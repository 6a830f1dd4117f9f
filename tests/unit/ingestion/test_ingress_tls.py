"""TLS of Ingresses: certificates, forced HTTPS, several hosts, passthrough, and who decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.ingestion.ingress_world import DIRECTORY, SHOP, World, ingress, path_to, service
from tests.unit.ingestion.tls import secret
from xds_server.model.refs import SHARED_INGRESS, HostRef, ListenerRef, ObjectRef, TableRef
from xds_server.model.verdict import Condition

SHARED = replace(DIRECTORY, loadbalancer_mode="shared")
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
PASSTHROUGH = {"ingress.cilium.io/tls-passthrough": "enabled"}


def tls(*entries: tuple[tuple[str, ...], str]) -> str:
    """The field spec.tls: pairs of hosts and a Secret."""
    return f"tls: [{', '.join(f'{{hosts: {list(hosts)!r}, secretName: {name!r}}}' for hosts, name in entries)}]"


@pytest.fixture
def world() -> World:
    return World().apply(service("a"), service("b"), secret("cert"), secret("other"))


@pytest.fixture
def shared() -> World:
    return World(SHARED).apply(
        *(service(name, namespace=space) for name in ("a", "b") for space in ("default", "victim", "evil")),
        *(secret("cert", space) for space in ("default", "victim", "evil")),
    )


def certificates(world: World, host: str, frontend: ObjectRef = SHOP) -> list[str]:
    listener = world.parts.listeners[ListenerRef(frontend, f"https/{host}")]
    assert listener.tls is not None
    return [ref.name for ref in listener.tls.certificates]


def test_a_host_with_tls_is_served_over_https_and_http_redirects(world: World) -> None:
    """A TLS entry makes an HTTPS listener for its host; plain HTTP answers 308 by default."""
    world.apply(ingress(("a.example", path_to("a")), ("b.example", path_to("b")), spec=tls((("a.example",), "cert"))))

    assert "a:80" == world.served("https://a.example/")
    assert "308" == world.served("http://a.example/")
    assert "b:80" == world.served("http://b.example/")
    assert "refused" == world.served("https://b.example/")
    assert ["cert"] == certificates(world, "a.example")


def test_several_hosts_and_entries(world: World) -> None:
    """Each host has the certificates of the entries that name it, in their order."""
    entries = tls((("a.example", "b.example"), "cert"), (("b.example",), "other"))
    world.apply(ingress(("a.example", path_to("a")), ("b.example", path_to("b")), spec=entries))

    assert ["cert"] == certificates(world, "a.example")
    assert ["cert", "other"] == certificates(world, "b.example")
    assert "b:80" == world.served("https://b.example/")


@pytest.mark.parametrize("prefix", ["ingress.cilium.io/force-https", "ingress.tidegate.dev/force-https"])
@pytest.mark.parametrize(("value", "expected"), [("disabled", "a:80"), ("false", "a:80"), ("enabled", "308")])
def test_forcing_https_is_a_choice(world: World, prefix: str, value: str, expected: str) -> None:
    """The annotation overrides the installation's default."""
    manifest = ingress(("a.example", path_to("a")), annotations={prefix: value}, spec=tls((("a.example",), "cert")))
    world.apply(manifest)

    assert expected == world.served("http://a.example/")


def test_the_installation_may_leave_http_open(world: World) -> None:
    """With enforce_https off, HTTP is redirected only where an Ingress asks for it."""
    entry = tls((("a.example",), "cert"))
    world = World(replace(DIRECTORY, enforce_https=False)).apply(service("a"), secret("cert"))
    world.apply(ingress(("a.example", path_to("a")), spec=entry))

    assert "a:80" == world.served("http://a.example/")

    world.apply(ingress(("a.example", path_to("a")), annotations={"ingress.cilium.io/force-https": "true"}, spec=entry))

    assert "308" == world.served("http://a.example/")


def test_a_missing_secret_takes_https_only(world: World) -> None:
    """Without its Secret a host has no HTTPS, HTTP goes on unredirected, the condition says so; the Secret heals it."""
    world.apply(ingress(("a.example", path_to("a")), spec=tls((("a.example",), "gone"))))

    assert "refused" == world.served("https://a.example/")
    assert "a:80" == world.served("http://a.example/")
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert ("False", "InvalidCertificateRef") == (condition.status, condition.reason)
    assert "spec.tls[0]: Secret/default/gone: does not exist; HTTPS is not served for a.example" == condition.message

    world.apply(secret("gone"))

    assert "a:80" == world.served("https://a.example/")
    assert "308" == world.served("http://a.example/")
    assert Condition("ResolvedRefs", "True", "ResolvedRefs") == world.condition("shop", "ResolvedRefs")

    world.delete("Secret", "gone")

    assert "refused" == world.served("https://a.example/")


def test_an_invalid_secret_takes_its_own_hosts_only(world: World) -> None:
    """S15: junk for a certificate costs its host HTTPS; the other host of the same Ingress keeps it."""
    world.apply(secret("junk", crt=b"CANARY junk"))
    entries = tls((("a.example",), "junk"), (("b.example",), "cert"))
    world.apply(ingress(("a.example", path_to("a")), ("b.example", path_to("b")), spec=entries))

    assert "refused" == world.served("https://a.example/")
    assert "b:80" == world.served("https://b.example/")
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert "CANARY" not in condition.message


def test_one_good_certificate_of_two_is_enough(world: World) -> None:
    """A host with one usable certificate is served with it; the condition still names the other."""
    entries = tls((("a.example",), "gone"), (("a.example",), "cert"))
    world.apply(ingress(("a.example", path_to("a")), spec=entries))

    assert ["cert"] == certificates(world, "a.example")
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert "False" == condition.status


def test_a_secret_of_another_namespace_is_never_used(shared: World) -> None:
    """S1: secretName is of the Ingress's own namespace, whatever exists elsewhere."""
    shared.apply(secret("theirs", "victim"), ingress(("a.example", path_to("a")), spec=tls((("a.example",), "theirs"))))

    assert "refused" == shared.served("https://a.example/", SHARED_INGRESS)


def test_the_default_certificate_serves_entries_without_secret() -> None:
    """An entry without secretName takes the installation's certificate; without that it is not served."""
    manifests = (service("a"), ingress(("a.example", path_to("a")), spec=tls((("a.example",), ""))))
    default = ObjectRef("Secret", "infra", "fallback")
    world = World(replace(DIRECTORY, default_tls_secret=default)).apply(*manifests, secret("fallback", "infra"))

    assert "a:80" == world.served("https://a.example/")
    assert ["fallback"] == certificates(world, "a.example")

    world = World().apply(*manifests)

    assert "refused" == world.served("https://a.example/")
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert "spec.tls[0]: names no Secret, and there is no default certificate; set secretName" == condition.message


def test_an_entry_without_hosts_is_for_all(world: World) -> None:
    """Every host of the frontend is then served over HTTPS with its certificate."""
    world.apply(ingress(("a.example", path_to("a")), path_to("b"), spec=tls(((), "cert"))))

    assert ["a:80", "b:80"] == [world.served("https://a.example/"), world.served("https://else.example/")]
    assert ["308", "308"] == [world.served("http://a.example/"), world.served("http://else.example/")]


def test_a_wildcard_certificate_serves_the_hosts_it_covers(world: World) -> None:
    """A TLS host *.example.com serves a.example.com's own rules, and HTTP of that host is redirected."""
    world.apply(ingress(("a.example.com", path_to("a")), spec=tls((("*.example.com",), "cert"))))

    assert "a:80" == world.served("https://a.example.com/")
    assert "308" == world.served("http://a.example.com/")
    assert "404" == world.served("https://b.example.com/")
    assert HostRef(TableRef(SHOP, 443, "*.example.com"), "a.example.com") in world.parts.virtual_hosts


def test_a_certificate_does_not_cover_two_labels(world: World) -> None:
    """HTTP of a.b.example.com is not redirected to a certificate for *.example.com, which no client would accept."""
    world.apply(ingress(("a.b.example.com", path_to("a")), spec=tls((("*.example.com",), "cert"))))

    assert "a:80" == world.served("http://a.b.example.com/")


def test_a_host_that_only_tls_names_is_served_by_the_rules_without_host(world: World) -> None:
    """Rules without host and a TLS host: the host's HTTPS goes by these rules, and its HTTP is redirected."""
    world.apply(ingress(path_to("a"), spec=tls((("a.example",), "cert"))))

    assert "a:80" == world.served("https://a.example/")
    assert "308" == world.served("http://a.example/")
    assert "a:80" == world.served("http://b.example/")


def test_rules_of_any_ingress_are_served_over_https(shared: World) -> None:
    """A shared host's TLS, given by one Ingress, serves the paths that another has for the host."""
    shared.apply(
        ingress(("a.example", path_to("a", "/a")), spec=tls((("a.example",), "cert")), created=OLD),
        ingress(("a.example", path_to("b", "/b")), name="second", namespace="victim", created=NEW),
    )

    assert "b:80" == shared.served("https://a.example/b", SHARED_INGRESS)
    assert "308" == shared.served("http://a.example/b", SHARED_INGRESS)


def test_the_tls_of_a_host_is_decided_by_the_oldest_ingress(shared: World) -> None:
    """S3: a younger Ingress neither replaces nor adds a certificate; it is told who decides."""
    victim = ingress(("a.example", path_to("a")), namespace="victim", spec=tls((("a.example",), "cert")), created=OLD)
    evil = ingress(("a.example", path_to("b")), namespace="evil", spec=tls((("a.example",), "cert")), created=NEW)
    shared.apply(evil, victim)
    listener = shared.parts.listeners[ListenerRef(SHARED_INGRESS, "https/a.example")]

    assert listener.tls is not None
    assert (ObjectRef("Secret", "victim", "cert"),) == listener.tls.certificates
    assert "decided by Ingress/victim/shop" in shared.warnings("shop", "evil")["spec.tls[0][a.example]"]

    shared.delete("Secret", "cert", "victim")

    assert "refused" == shared.served("https://a.example/", SHARED_INGRESS)


def test_a_wildcard_never_answers_for_a_host_with_tls_of_its_own(shared: World) -> None:
    """S8: while the Secret of a.example.com is missing, the wildcard's listener answers 421 for that host."""
    shared.apply(
        ingress(
            ("a.example.com", path_to("a")), namespace="victim", spec=tls((("a.example.com",), "gone")), created=OLD
        ),
        ingress(("*.example.com", path_to("b")), namespace="evil", spec=tls((("*.example.com",), "cert"))),
        ingress(path_to("b"), namespace="evil", name="all", spec=tls(((), "cert"))),
    )
    listeners = shared.parts.listeners

    assert ("a.example.com",) == listeners[ListenerRef(SHARED_INGRESS, "https/*.example.com")].misdirected
    assert ("*.example.com", "a.example.com") == listeners[ListenerRef(SHARED_INGRESS, "https/*")].misdirected
    assert "refused" == shared.served("https://a.example.com/", SHARED_INGRESS)

    shared.apply(secret("gone", "victim"))

    assert "a:80" == shared.served("https://a.example.com/", SHARED_INGRESS)


def test_a_longer_wildcard_decides_for_the_hosts_below_it(world: World) -> None:
    """Envoy takes the longest wildcard by SNI, and the routes of its hosts are there."""
    entries = tls((("*.example.com",), "cert"), ((), "other"))
    world.apply(ingress(("a.b.example.com", path_to("a")), spec=entries))

    assert HostRef(TableRef(SHOP, 443, "*.example.com"), "a.b.example.com") in world.parts.virtual_hosts


# --- Passthrough ---


@pytest.mark.parametrize(
    "annotation",
    [
        "ingress.tidegate.dev/tls-passthrough",
        "ingress.cilium.io/tls-passthrough",
        "io.cilium.ingress/tls-passthrough",
        "nginx.ingress.kubernetes.io/ssl-passthrough",
    ],
)
def test_passthrough_hands_bytes_to_the_backend(world: World, annotation: str) -> None:
    """The host's TLS connections go to the path's backend by SNI; plain HTTP is redirected, and never routed."""
    world.apply(ingress(("a.example", path_to("a")), annotations={annotation: "true"}))
    table = TableRef(SHOP, 443, "a.example")
    listener = world.parts.listeners[ListenerRef(SHOP, "tls/a.example")]
    [route] = world.parts.tls_routes.values()

    assert ("TLS", None, table) == (listener.protocol, listener.tls, listener.table)
    assert HostRef(table, "a.example") == route.ref
    assert [("a", 80, "tcp")] == [
        (b.cluster.service, b.cluster.port, b.cluster.protocol) for b in route.backends if b.cluster
    ]
    assert {} == dict(world.parts.routes)
    assert "308" == world.served("http://a.example/")


def test_passthrough_lives_beside_terminated_hosts(shared: World) -> None:
    """One frontend may pass one host through and terminate another on the same port."""
    shared.apply(
        ingress(("pass.example", path_to("a")), annotations=PASSTHROUGH),
        ingress(("end.example", path_to("b")), name="end", spec=tls((("end.example",), "cert"))),
    )

    assert {("TLS", "pass.example"), ("HTTPS", "end.example")} == {
        (each.protocol, each.hostname) for each in shared.parts.listeners.values() if each.port == 443
    }
    assert "b:80" == shared.served("https://end.example/", SHARED_INGRESS)


def test_passthrough_without_backend_closes_connections(world: World) -> None:
    """A missing Service leaves a route without backends, and a condition."""
    world.apply(ingress(("a.example", path_to("gone")), annotations=PASSTHROUGH))
    [route] = world.parts.tls_routes.values()

    assert () == route.backends
    assert (condition := world.condition("shop", "ResolvedRefs"))
    assert ("False", "BackendNotFound") == (condition.status, condition.reason)


def test_passthrough_needs_a_host_and_one_path(world: World) -> None:
    """Rules without host, and paths other than "/", cannot be chosen by SNI: a condition, and the rest is served."""
    paths = ", ".join([path_to("a"), path_to("b", "/b")])
    world.apply(ingress(("a.example", paths), path_to("b"), annotations=PASSTHROUGH))

    assert ["a.example"] == [ref.hostname for ref in world.parts.tls_routes]
    assert (condition := world.condition("shop", "PartiallyInvalid"))
    assert "spec.rules[0].http.paths[1]: TLS passthrough cannot see paths" in condition.message
    assert "spec.rules[1].host: TLS passthrough chooses by the host name" in condition.message


def test_passthrough_ignores_default_backend_and_certificates(world: World) -> None:
    """Both are pointed out and change nothing."""
    rest = "defaultBackend: {service: {name: b, port: {number: 80}}}\n  " + tls((("a.example",), "cert"))
    world.apply(ingress(("a.example", path_to("a")), annotations=PASSTHROUGH, spec=rest))

    assert {"spec.defaultBackend", "spec.tls"} == set(world.warnings("shop"))
    assert "404" == world.served("http://b.example/")


def test_a_passed_through_host_is_not_decrypted_by_a_younger_ingress(shared: World) -> None:
    """S8: once a host is passed through, a younger Ingress's certificate for it is not used."""
    shared.apply(
        ingress(("a.example", path_to("a")), namespace="victim", annotations=PASSTHROUGH, created=OLD),
        ingress(("a.example", path_to("b")), namespace="evil", spec=tls((("a.example",), "cert")), created=NEW),
    )

    assert ["TLS"] == [each.protocol for each in shared.parts.listeners.values() if each.port == 443]
    assert "308" == shared.served("http://a.example/", SHARED_INGRESS)


def test_an_older_certificate_keeps_a_host_from_being_passed_through(shared: World) -> None:
    """S3: the other order: the older Ingress goes on terminating, and no TLS route is made."""
    shared.apply(
        ingress(("a.example", path_to("b")), namespace="victim", spec=tls((("a.example",), "cert")), created=OLD),
        ingress(("a.example", path_to("a")), namespace="evil", annotations=PASSTHROUGH, created=NEW),
    )

    assert {} == dict(shared.parts.tls_routes)
    assert "b:80" == shared.served("https://a.example/", SHARED_INGRESS)


# --- Whose a host is ---


@pytest.mark.parametrize("entries", [[], [(("shop.example.com",), "cert")], [(("*.example.com",), "cert")]])
@pytest.mark.parametrize("host", ["shop.example.com", "*.example.com"])
def test_a_younger_ingress_of_another_namespace_does_not_pass_a_host_through(
    shared: World, host: str, entries: list[tuple[tuple[str, ...], str]]
) -> None:
    """S3: nor when the owner serves HTTP only, has TLS through a wildcard, or names the host by a wildcard alone."""
    spec = tls(*entries)
    shared.apply(ingress((host, path_to("b")), namespace="victim", spec=spec, created=OLD))
    urls = [f"{scheme}://shop.example.com/" for scheme in ("http", "https")]
    before = [shared.served(url, SHARED_INGRESS) for url in urls]
    evil = ingress(("shop.example.com", path_to("a")), namespace="evil", annotations=PASSTHROUGH, created=NEW)
    shared.apply(evil)

    assert {} == dict(shared.parts.tls_routes)
    assert before == [shared.served(url, SHARED_INGRESS) for url in urls]
    assert "decided by Ingress/victim/shop" in shared.warnings("shop", "evil")["spec.rules[shop.example.com]"]


@pytest.mark.parametrize(
    ("annotations", "entries"),
    [
        ({}, [(("shop.example.com",), "cert")]),
        ({}, [(("*.example.com",), "cert")]),
        ({"nginx.ingress.kubernetes.io/force-ssl-redirect": "true"}, []),
        ({"ingress.cilium.io/force-https": "true"}, [(("*.example.com",), "cert")]),
    ],
)
def test_a_younger_ingress_of_another_namespace_does_not_redirect_a_host(
    shared: World, annotations: dict[str, str], entries: list[tuple[tuple[str, ...], str]]
) -> None:
    """S3: neither its TLS nor an annotation sends the clients of a host that is served over HTTP to HTTPS."""
    shared.apply(ingress(("shop.example.com", path_to("b", "/api")), namespace="victim", created=OLD))
    spec = tls(*entries)
    rule = ("shop.example.com", path_to("a", "/else"))
    shared.apply(ingress(rule, namespace="evil", annotations=annotations, spec=spec, created=NEW))

    assert "b:80" == shared.served("http://shop.example.com/api", SHARED_INGRESS)
    assert [] == [ref for ref in shared.parts.listeners if ref.section == "https/shop.example.com"]
    if annotations or "shop.example.com" in entries[0][0]:
        assert "Ingress/victim/shop" in "".join(shared.warnings("shop", "evil").values())


def test_a_host_goes_to_the_next_when_its_owner_goes(shared: World) -> None:
    """Ownership lasts as long as the owner: then the next oldest decides."""
    shared.apply(
        ingress(("shop.example.com", path_to("b")), namespace="victim", created=OLD),
        ingress(("shop.example.com", path_to("a")), namespace="evil", spec=tls((("shop.example.com",), "cert"))),
    )

    assert "refused" == shared.served("https://shop.example.com/", SHARED_INGRESS)

    shared.delete("Ingress", "shop", "victim")

    assert "a:80" == shared.served("https://shop.example.com/", SHARED_INGRESS)
    assert {} == shared.warnings("shop", "evil")


def test_the_ingresses_of_the_owners_namespace_share_its_host(shared: World) -> None:
    """W9: within a namespace TLS and redirects may be another Ingress's, whichever is the older."""
    entries = tls((("shop.example.com",), "cert"))
    shared.apply(
        ingress(("shop.example.com", path_to("a", "/a")), name="first", created=OLD),
        ingress(("shop.example.com", path_to("b", "/b")), name="second", spec=entries, created=NEW),
    )

    assert ["308", "a:80"] == [
        shared.served(f"{scheme}://shop.example.com/a", SHARED_INGRESS) for scheme in ("http", "https")
    ]
