from __future__ import annotations

import pytest

from tests.unit.ingestion.test_mesh import WEB, at, route, service, slice_
from tests.unit.ingestion.test_workloads import DATAPATH
from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.preserved import ANNOTATION
from xds_server.model.backend import Endpoint
from xds_server.model.refs import ClusterRef
from xds_server.model.route import Forward

DUAL = "clusterIPs: [10.96.0.1, '2001:db8::1'], ports: [{port: 80}]"
FIELD = f"metadata.annotations[{ANNOTATION}]"
BOTH = (slice_(at("10.0.0.1")), slice_(at("2001:db8:1::1"), name="web-2", type_="IPv6"))


def asking(value: str = "true", spec: str = DUAL) -> str:
    return service(spec).replace("metadata: {", f"metadata: {{annotations: {{{ANNOTATION}: '{value}'}}, ")


def tables(world: World) -> dict[str, list[object]]:
    """Of the port 80 of the Service `web`: by the family whose addresses are kept, where requests go."""
    found: dict[str, list[object]] = {}
    for ref, host in world.ingested.virtual_hosts.items():
        if ref.table.frontend == WEB:
            actions = [world.ingested.routes[each].action for each in host.routes]
            found[ref.table.kept] = [
                backend.cluster for each in actions if isinstance(each, Forward) for backend in each.backends
            ]
    return found


def warned(world: World) -> list[str]:
    """What is said of the annotation."""
    return [each.message for (ref, field), each in world.ingested.warnings.items() if (ref, field) == (WEB, FIELD)]


def test_each_family_has_a_listener_a_table_and_clusters_of_its_own() -> None:
    """Besides those for everybody; its endpoints are of the one family, and nothing is said."""
    world = World(asking(), route(), *BOTH, settings=DATAPATH)
    clusters = {kept: ClusterRef("default", "web", 80, "http", kept) for kept in ("", "ipv4", "ipv6")}

    assert {kept: [cluster] for kept, cluster in clusters.items()} == tables(world)
    assert {"", "ipv4", "ipv6"} == {each.kept for each in world.ingested.listeners.values()}
    assert (Endpoint("10.0.0.1", 8080),) == world.ingested.endpoints[clusters["ipv4"]].endpoints
    assert (Endpoint("2001:db8:1::1", 8080),) == world.ingested.endpoints[clusters["ipv6"]].endpoints
    assert [] == warned(world)


def test_a_service_that_does_not_ask_has_nothing_of_it() -> None:
    """Nor one that says no, one without a route, and any without daemons."""
    worlds = (
        World(service(DUAL), route(), *BOTH, settings=DATAPATH),
        World(asking("false"), route(), *BOTH, settings=DATAPATH),
        World(asking(), *BOTH, settings=DATAPATH),
        World(asking(), route(), *BOTH, settings=DIRECTORY),
    )

    assert [{""}, {""}, set(), set()] == [set(tables(world)) for world in worlds]
    assert [[]] * 4 == [warned(world) for world in worlds]


def test_only_families_of_the_service_are_asked_for() -> None:
    """Nobody connects to it over the other one."""
    world = World(asking(spec="clusterIP: 10.96.0.1, ports: [{port: 80}]"), route(), *BOTH, settings=DATAPATH)

    assert {"", "ipv4"} == set(tables(world))


def test_bytes_are_kept_as_requests_are() -> None:
    """What turns out not to be HTTP goes to endpoints of the family too."""
    world = World(asking(), route(), *BOTH, settings=DATAPATH)

    assert {kept: [ClusterRef("default", "web", 80, "tcp", kept)] for kept in ("", "ipv4", "ipv6")} == {
        ref.table.kept: [backend.cluster for backend in found.backends]
        for ref, found in world.ingested.tls_routes.items()
    }


@pytest.mark.parametrize("type_", ["IPv4", "IPv6"])
def test_a_family_that_one_backend_lacks_goes_from_the_node(type_: str) -> None:
    """All of its connections: it is not known before a request comes which backend one is for."""
    other = service("clusterIP: 10.96.0.2, ports: [{port: 80}]", "other")
    only = slice_(at("10.0.0.9" if type_ == "IPv4" else "2001:db8:1::9"), name="other-1", type_=type_)
    rule = "backendRefs: [{name: web, port: 80}, {name: other, port: 80, weight: 1}]"
    world = World(
        asking(), other, route(rule=rule), *BOTH, only.replace("service-name: web", "service-name: other"),
        settings=DATAPATH,
    )  # fmt: skip
    lost = {"IPv4": "IPv6", "IPv6": "IPv4"}[type_]

    assert {"", type_.lower()} == set(tables(world))
    told = (
        f"port 80: Service/default/other has no {lost} endpoints, so that backends see the node's address in the place "
        f"of {lost} clients': give it both families (spec.ipFamilyPolicy), or route to others"
    )
    assert [told] == warned(world)


def test_endpoints_that_come_and_go_change_no_listener() -> None:
    """A slice that is empty says that there may be some of its family; a Service without any slice may have all."""
    world = World(asking(), route(), settings=DATAPATH)
    before = set(tables(world))
    world.apply(*BOTH)
    world.apply(slice_(type_="IPv6", name="web-2"))

    assert {"", "ipv4", "ipv6"} == before == set(tables(world))
    assert {"preserved/listeners", "listeners"}.isdisjoint(world.changed)


def test_copies_of_requests_are_no_matter_of_a_clients() -> None:
    """A mirror is reached from the node, and need not have the family."""
    mirror = (
        "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: other, port: 80}}}], "
        "backendRefs: [{name: web, port: 80}]"
    )
    other = service("clusterIP: 10.96.0.2, ports: [{port: 80}]", "other")
    only = slice_(at("10.0.0.9"), name="other-1").replace("service-name: web", "service-name: other")
    world = World(asking(), other, route(rule=mirror), *BOTH, only, settings=DATAPATH)
    mirrors = {each.cluster for found in world.ingested.routes.values() for each in found.filters.mirrors}

    assert {"", "ipv4", "ipv6"} == set(tables(world))
    assert {ClusterRef("default", "other", 80, "http")} == mirrors


def test_routes_of_other_namespaces_keep_it_as_those_of_its_own() -> None:
    """And so does what nobody wrote a route for."""
    world = World(asking(), route("name: web, namespace: default", "c", "east"), *BOTH, settings=DATAPATH)

    assert {(kept, clients) for kept in ("", "ipv4", "ipv6") for clients in ("", "east")} == {
        (ref.table.kept, ref.clients) for ref in world.ingested.virtual_hosts if ref.table.frontend == WEB
    }


def test_a_value_that_is_none_is_told() -> None:
    """With what becomes of it, and the way out; the value itself is not repeated."""
    world = World(asking("perhaps"), route(), *BOTH, settings=DATAPATH)

    assert {""} == set(tables(world))
    assert ['neither true nor false, so that backends see the node\'s address: write "true" or "false"'] == warned(
        world
    )


def test_all_of_it_goes_with_the_wish() -> None:
    """The same tables as without it are left."""
    world = World(asking(), route(), *BOTH, settings=DATAPATH).apply(service(DUAL))

    assert {""} == set(tables(world))
    assert {""} == {ref.kept for ref in world.ingested.routes} | {ref.kept for ref in world.ingested.clusters}
