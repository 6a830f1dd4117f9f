"""TLSRoute: connections by SNI, passed through or terminated."""

from __future__ import annotations

from itertools import permutations

from tests.unit.ingestion import tls
from tests.unit.ingestion.world import World, service
from xds_server.model.refs import ClusterRef, HostRef, ObjectRef, TableRef
from xds_server.model.route import WeightedBackend

WEB = ObjectRef("Gateway", "default", "web")


def gateway(*listeners: str) -> str:
    return f"""
kind: Gateway
metadata: {{name: web}}
spec: {{gatewayClassName: tidegate, listeners: [{", ".join(listeners)}]}}
"""


def listener(name: str = "tls", hostname: str = "", mode: str = "Passthrough", protocol: str = "TLS") -> str:
    host = f", hostname: '{hostname}'" if hostname else ""
    certificates = ", certificateRefs: [{name: pair}]" if mode == "Terminate" else ""
    return f"{{name: {name}, port: 443, protocol: {protocol}{host}, tls: {{mode: {mode}{certificates}}}}}"


def route(
    name: str = "r", hostnames: str = "a.io", backend: str = "app", created: str = "2024", parent: str = "{name: web}"
) -> str:
    return f"""
kind: TLSRoute
metadata: {{name: {name}, creationTimestamp: "{created}"}}
spec: {{parentRefs: [{parent}], hostnames: [{hostnames}], rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]}}
"""


def backends(world: World) -> dict[str, str]:
    """The Service for each SNI hostname."""
    found = world.ingested.tls_routes
    return {
        ref.hostname: route.backends[0].cluster.service if route.backends and route.backends[0].cluster else "none"
        for ref, route in found.items()
    }


def test_a_route_passes_the_bytes_of_its_hostnames() -> None:
    """W12: one TlsRoute for each SNI hostname, to the Service's port as plain bytes, and no virtual host."""
    world = World(gateway(listener()), route(hostnames="a.io, b.io"), service("app"))
    cluster = ClusterRef("default", "app", 80, "tcp")
    ref = HostRef(TableRef(WEB, 443, "*"), "a.io")

    assert {"a.io": "app", "b.io": "app"} == backends(world)
    assert (WeightedBackend(cluster),) == world.ingested.tls_routes[ref].backends
    assert ([cluster], {}) == ([*world.ingested.clusters], dict(world.ingested.virtual_hosts))
    assert "True/Accepted" == world.reason("Accepted", "TLSRoute", "r")


def test_terminated_and_passed_through_hostnames_live_on_one_port() -> None:
    """TLSRouteModeMixed: each route under the listener that has its hostname."""
    world = World(
        gateway(listener("end", "t.io", "Terminate"), listener("pass", "p.io")),
        route("t", "t.io", "one"),
        route("p", "p.io", "two"),
        *(service(name) for name in ("one", "two")),
        tls.secret("pair"),
    )

    assert {"t.io": "one", "p.io": "two"} == backends(world)


def test_the_oldest_route_has_a_hostname() -> None:
    """Nothing but the SNI tells connections apart, so that one route has them all (S3)."""
    routes = (
        route("a", created="2024-02-01T00:00:00Z", backend="one"),
        route("b", created="2024-01-01T00:00:00Z", backend="two"),
    )
    found = [
        backends(World(gateway(listener()), *ordered, service("one"), service("two")))
        for ordered in permutations(routes)
    ]

    assert [{"a.io": "two"}] * 2 == found


def test_the_hostname_that_was_written_decides_under_an_exact_listener() -> None:
    """TLSRouteMultipleRoutesAttachmentSameHostnameIntersection: exact before an older wildcard."""
    world = World(
        gateway(listener(hostname="a.example.com")),
        route("wild", "'*.example.com'", "one", created="2020"),
        route("exact", "a.example.com", "two", created="2025"),
        service("one"),
        service("two"),
    )

    assert {"a.example.com": "two"} == backends(world)


def test_a_backend_that_does_not_resolve_closes_connections() -> None:
    """ResolvedRefs says why; the hostname stays with its route, so that nobody else gets its connections."""
    world = World(gateway(listener()), route(backend="missing"))

    assert {"a.io": "none"} == backends(world)
    assert "False/BackendNotFound" == world.reason("ResolvedRefs", "TLSRoute", "r")


def test_a_hostname_that_no_listener_has_is_told() -> None:
    """NoMatchingListenerHostname."""
    world = World(gateway(listener(hostname="b.io")), route(), service("app"))

    assert ("False/NoMatchingListenerHostname", {}) == (world.reason("Accepted", "TLSRoute", "r"), backends(world))


def test_http_listeners_take_no_tls_routes_and_tls_listeners_no_http_routes() -> None:
    """NotAllowedByListeners for the kinds that a protocol has not."""
    http = "{name: http, port: 80, protocol: HTTP}"
    wrong = """
kind: HTTPRoute
metadata: {name: h}
spec: {parentRefs: [{name: web, sectionName: tls}]}
"""
    world = World(gateway(listener(), http), route(parent="{name: web, sectionName: http}"), wrong, service("app"))

    assert ["False/NotAllowedByListeners"] * 2 == [
        world.reason("Accepted", "TLSRoute", "r", "http"),
        world.reason("Accepted", "HTTPRoute", "h", "tls"),
    ]


def test_a_more_specific_https_listener_keeps_its_sni() -> None:
    """An HTTPS listener's hostname on the same port is not passed through by a wildcard's route."""
    world = World(
        gateway(listener("pass", "*.a.io"), listener("web", "shop.a.io", "Terminate", "HTTPS")),
        route(hostnames="shop.a.io, other.a.io"),
        service("app"),
        tls.secret("pair"),
    )

    assert {"other.a.io": "app"} == backends(world)
