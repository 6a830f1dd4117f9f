"""What must not happen: connections that hang, come back to Envoy, get in where nobody may, or are somebody else's."""

from __future__ import annotations

import pytest

from tests.netns.mesh import Member, address_of, until
from tests.netns.namespaces import batch
from tests.netns.stand import FAMILIES, Family, Node, Pod
from tests.netns.table import World, told, tracked

REUSES = 5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("service", ["near", "far"])
def test_a_client_may_use_its_port_again_at_once(world: World, service: str, family: Family) -> None:
    """Envoy's side of the connection is in TIME_WAIT, and a SYN for it opens the next one."""
    address, port = address_of(service, family), 40_000 + len(service)
    first = world.client.get(address, source_port=port).status
    waiting = time_waits(world.node, port, family)

    again = [world.client.get(address, source_port=port).status for _ in range(5)]

    assert (200, 1, [200] * 5) == (first, waiting, again)


def time_waits(node: Node, port: int, family: Family) -> int:
    """Of the node's sockets, those that a client's port was last at."""
    table = node.sh(f"cat /proc/net/tcp{'6' if family == 'ipv6' else ''}").splitlines()[1:]
    return sum(fields[2].endswith(f":{port:04X}") and fields[3] == "06" for fields in map(str.split, table))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_port_of_capture_refuses_who_calls_it(world: World, family: Family) -> None:
    """Neither from the node itself, nor from a pod, nor from outside does a byte get past it."""
    loopback = {"ipv4": "127.0.0.1", "ipv6": "::1"}[family]
    address = world.node.address(family)

    answers = [world.node.get(loopback, 15001), world.node.get(address, 15001)]
    answers += [asking.get(address, 15001) for asking in (world.client, world.outside)]

    assert [0] * 4 == [answer.status for answer in answers]
    assert {"ConnectionRefusedError", "ConnectionResetError", "EOFError"} >= {answer.error for answer in answers}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_that_leads_to_itself_is_an_error_and_no_loop(world: World, family: Family) -> None:
    """What Envoy asks for is never led back to Envoy."""
    before = accepted(world)

    answer = world.client.get(address_of("loop", family))

    assert (True, 1) == (answer.status in {503, 504}, accepted(world) - before)


def test_of_10000_connections_none_meets_envoy_twice(world: World) -> None:
    """Envoy has accepted exactly those that clients made."""
    before = accepted(world)
    count = 10_000

    failed = world.client.ask("burst", address=address_of("near", "ipv4"), port=80, count=count // 2)
    failed += world.client.ask("burst", address=address_of("far", "ipv6"), port=80, count=count // 2)

    assert (0, count) == (failed, accepted(world) - before)


def accepted(world: World) -> int:
    """Connections that the Envoy of node1 has taken, whichever listener they went on to."""
    stats = world.mesh.stats(world.node, r"^listener\..*\.downstream_cx_total$")
    return sum(count for name, count in stats.items() if ".admin." not in name and ".worker_" not in name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pod_cannot_send_as_another(world: World, family: Family) -> None:
    """What has the address of another pod does not get off its link, to no pod and to no service."""
    stolen = world.consumer.address(family)
    batch(world.client.namespace.name, [f"address add {stolen} dev lo"])
    try:
        world.client.send(world.one.address(family), 5353, text=f"stolen {family}", source=stolen, timeout_s=0.3)
        world.client.send(world.two.address(family), 5353, text=f"stolen {family}", source=stolen, timeout_s=0.3)
        answer = world.client.get(address_of("shared", family), source=stolen, timeout_s=0.3)
    finally:
        batch(world.client.namespace.name, [f"address del {stolen} dev lo"])

    heard = [*world.one.ask("heard"), *world.two.ask("heard")]

    assert ("TimeoutError", 0) == (answer.error, heard.count(f"stolen {family}"))


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_of_kube_proxy_do_not_get_what_is_ours(world: World, family: Family) -> None:
    """With its rules for the same addresses in place, all goes where it went without them, and is not tracked."""
    nodes = world.mesh.stand.nodes
    impostor = world.impostor.address(family)
    ours = [address_of(service, family) for service in ("near", "far", "plain", "self", "edge")]
    for node in nodes:
        node.kube_proxy(*((address, 80, impostor, 8080) for address in ours))
    try:
        seen = [told(world, world.client.get(address_of(service, family))) for service in ("near", "far", "self")]
        seen += [told(world, world.node.get(address_of(service, family))) for service in ("near", "far")]
        seen += [told(world, world.outside.get(address_of("edge", family), host="one.example.com"))]
        plain = {
            asking.get(address_of("plain", family)).name for _ in range(10) for asking in (world.client, world.node)
        }
        entries = [
            line for line in tracked(world.node) if {f"dst={each}" for each in (impostor, *ours)} & {*line.split()}
        ]
    finally:
        for node in nodes:
            node.sh("nft delete table inet kube-proxy")

    assert [
        "200 one by envoy, route near, for client",
        "200 two by envoy, route far, for client",
        "200 client by envoy, route self, for client",
        "200 one by envoy, route near, for node1",
        "200 two by envoy, route far, for node1",
        "200 one by envoy, route edge-one, for outside",
    ] == seen
    assert ({"one", "two"}, []) == (plain, entries)


def test_a_pod_with_the_address_of_another_has_not_its_identity(world: World) -> None:
    """B6: an address is a new pod's before the control plane knows, time and again: it has not the old one's routes."""
    mesh = world.mesh
    seen: set[str] = set()
    late = []
    for number in range(REUSES):
        old = mesh.pod(world.node, f"old{number}", namespace="orders")
        mesh.declare()
        until(lambda pod=old: "orders" == route(pod, "ipv4"), "the route of the old pod")  # type: ignore[misc]
        new = world.node.replaced(old, f"new{number}")
        seen.update(route(new, family) for _ in range(10) for family in FAMILIES)
        mesh.members[-1] = Member(new, "default", {"app": new.name})
        mesh.declare()
        until(lambda pod=new: pod.get(address_of("near", "ipv4")).via == "envoy", "the new pod in the mesh")  # type: ignore[misc]
        late += [route(new, family) for family in FAMILIES]

    assert ("orders" in seen, [""] * 2 * REUSES) == (False, late)


def route(pod: Pod, family: Family) -> str:
    """By which a Service that one namespace has a route of its own for serves a pod."""
    return pod.get(address_of("shared", family), timeout_s=0.2).seen("x-route")
