"""EndpointSlices: which addresses of a Service get requests, and which never do (S11)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.model.backend import Endpoint
from xds_server.model.refs import ClusterRef

MANIFEST = """
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80, name: web}, {port: 81, name: admin}]}
"""
CLUSTER = replace(DIRECTORY, allow_local_endpoints=False)


def slice_(
    endpoints: str,
    name: str = "app-1",
    kind: str = "IPv4",
    ports: str = "{port: 8080, name: web}",
    service: str = "app",
) -> str:
    return f"""
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: {kind}
ports: [{ports}]
endpoints: [{endpoints}]
"""


def found(world: World) -> list[tuple[str, int]]:
    endpoints = world.ingested.endpoints[ClusterRef("default", "app", 80, "http")].endpoints
    return [(endpoint.address, endpoint.port) for endpoint in endpoints]


def addresses(*slices: str) -> list[str]:
    return [address for address, _ in found(World(MANIFEST, *slices, settings=CLUSTER))]


def test_a_service_without_slices_has_no_endpoints() -> None:
    """The cluster exists, empty: Envoy answers 503."""
    assert [] == addresses()


def test_the_ports_name_joins_slice_and_service() -> None:
    """The slice's port of the same name, with the number that the pods listen on; other ports are others' business."""
    ports = "{port: 8080, name: web}, {port: 9090, name: admin}, {port: 8081, name: web, protocol: UDP}, {name: web}"

    assert [("10.0.0.1", 8080)] == found(World(MANIFEST, slice_("{addresses: [10.0.0.1]}", ports=ports)))


def test_slices_of_both_families_are_joined_and_sorted() -> None:
    """Dual stack: every slice of the Service counts, each address once, in one order."""
    slices = (
        slice_("{addresses: ['2001:DB8::1'], zone: b}", "app-2", "IPv6"),
        slice_("{addresses: [10.0.0.2], zone: a}, {addresses: [10.0.0.1]}"),
        slice_("{addresses: [10.0.0.1]}", "app-3"),
        slice_("{addresses: [10.0.0.9]}", "other-1", service="other"),
    )
    world = World(MANIFEST, *slices)
    endpoints = world.ingested.endpoints[ClusterRef("default", "app", 80, "http")].endpoints

    assert (
        Endpoint("10.0.0.1", 8080),
        Endpoint("10.0.0.2", 8080, "a"),
        Endpoint("2001:db8::1", 8080, "b"),
    ) == endpoints


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("{}", True),
        ("{ready: true}", True),
        ("{ready: false}", False),
        ("{ready: true, serving: true, terminating: false}", True),
        ("{ready: false, serving: false, terminating: true}", False),
        ("{ready: false, serving: true, terminating: true}", True),
        ("{ready: false, serving: true, terminating: false}", True),
    ],
)
def test_conditions_alone_on_the_field(conditions: str, expected: bool) -> None:
    """Unset counts as ready; an endpoint that serves while it terminates is used when there is no better one."""
    assert (["10.0.0.1"] if expected else []) == addresses(
        slice_(f"{{addresses: [10.0.0.1], conditions: {conditions}}}")
    )


def test_terminating_endpoints_give_way_to_ready_ones() -> None:
    """Those that terminate get requests only where none is ready."""
    terminating = "{addresses: [10.0.0.1], conditions: {ready: false, serving: true, terminating: true}}"

    assert ["10.0.0.2"] == addresses(slice_(f"{terminating}, {{addresses: [10.0.0.2]}}"))


FORBIDDEN = [
    "127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "100.100.100.200",
    "168.63.129.16", "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1",
    "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "0:0:0:0:0:0:0:1",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_addresses_of_the_proxys_own_machine_and_cloud_are_refused(address: str) -> None:
    """S11: loopback, link-local, multicast, unspecified and metadata, however they are written."""
    kind = "IPv6" if ":" in address else "IPv4"

    assert ["10.0.0.1"] == addresses(
        slice_(f"{{addresses: ['{address}']}}", kind=kind), slice_("{addresses: [10.0.0.1]}", "b")
    )


@pytest.mark.parametrize(
    "address", ["localhost", "metadata.google.internal", "127.1", "0x7f000001", "2130706433", "10.0.0.1:80", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """S11: no name is looked up and no odd spelling understood, wherever it stands."""
    kinds = [addresses(slice_(f"{{addresses: ['{address}']}}", kind=kind)) for kind in ("IPv4", "FQDN")]

    assert [[], []] == kinds


def test_fqdn_slices_are_not_followed() -> None:
    """S11: a slice of names is a way to anywhere."""
    assert [] == addresses(slice_("{addresses: [10.0.0.1]}", kind="FQDN"))


def test_the_author_of_a_directory_may_use_loopback() -> None:
    """The directory source's author is the operator, whose backends may run beside Envoy."""
    world = World(MANIFEST, slice_("{addresses: [127.0.0.1]}"), settings=DIRECTORY)

    assert [("127.0.0.1", 8080)] == found(world)


def test_one_slice_touches_the_endpoints_of_its_service_alone() -> None:
    """Work per change: no route, cluster or verdict is computed again."""
    world = World(MANIFEST, slice_("{addresses: [10.0.0.1]}"))
    world.apply(slice_("{addresses: [10.0.0.2]}"))

    assert {"endpoint_slices": 1, "endpoints": 1} == world.changed
