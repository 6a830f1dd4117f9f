"""Backends that see their clients' own addresses: whose connection is whose, and what survives which restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.load import Load
from tests.netns.mesh import address_of, until
from tests.netns.stand import FAMILIES, Answer, Family, Place
from tests.netns.table import KEPT, World, peer, settle, told
from tests.netns.test_restarts import kill_envoy
from tests.netns.test_safety import accepted, time_waits
from xds_server.ingestion.preserved import ANNOTATION

OWN_PORTS = range(16_384, 30_000)
MANY = 10_000
NEAR_AND_FAR = pytest.mark.parametrize("service", ["kept-near", "kept-far"])
both = pytest.mark.parametrize("family", FAMILIES)


def ends(answer: Answer) -> tuple[str, int]:
    """Whom the server had at the other end."""
    return answer.peer, int(answer.saw["peer"][1])


@both
@NEAR_AND_FAR
def test_connections_to_backends_are_shared_by_no_two_clients(world: World, service: str, family: Family) -> None:
    """Two pods and a process of the node ask in turns: each is seen at its own address, and told of as it."""
    asking: tuple[Place, ...] = (world.client, world.consumer, world.node)
    answers = [(each, each.get(address_of(service, family))) for _ in range(10) for each in asking]

    assert set() == {
        (each.name, answer.peer, answer.forwarded_for)
        for each, answer in answers
        if {answer.peer, answer.forwarded_for} != {each.address(family)}
    }


@both
def test_connections_of_one_client_are_shared_by_its_requests(world: World, family: Family) -> None:
    """Ten requests on connections of their own need no ten connections to the backend."""
    peers = {ends(world.client.get(address_of("kept-near", family))) for _ in range(10)}

    assert len(peers) <= 2  # one of each of Envoy's workers


@both
@NEAR_AND_FAR
def test_envoys_ports_are_apart_from_those_of_clients(world: World, service: str, family: Family) -> None:
    """So that a backend never has a pod and the Envoy that has its name at one address and port."""
    world.client.ask("burst", address=address_of(service, family), port=80, count=200)
    server = world.one if service == "kept-near" else world.two
    answers = [world.client.get(address_of(service, family)) for _ in range(20)]
    straight = [world.client.get(server.address(family), 8080) for _ in range(20)]

    assert set() == {ends(answer)[1] for answer in answers} - {*OWN_PORTS}
    assert set() == {ends(answer)[1] for answer in straight} & {*OWN_PORTS}


@both
@NEAR_AND_FAR
def test_a_pod_cannot_disturb_what_envoy_has_in_its_name(world: World, service: str, family: Family) -> None:
    """From the same port to the same backend it waits; Envoy's connection serves on."""
    server = world.one if service == "kept-near" else world.two
    own = {ends(world.client.get(address_of(service, family))) for _ in range(20)}

    straight = [
        world.client.get(server.address(family), 8080, source_port=port, timeout_s=0.3).error for _, port in own
    ]
    after = {ends(world.client.get(address_of(service, family))) for _ in range(20)}

    assert ({"TimeoutError"}, own) == ({*straight}, after)


@both
@NEAR_AND_FAR
def test_a_client_may_use_its_port_again_at_once(world: World, service: str, family: Family) -> None:
    """Envoy's side of the connection is in TIME_WAIT, and a SYN for it opens the next one."""
    address, port = address_of(service, family), 42_000 + len(service)
    first = world.client.get(address, source_port=port).status
    waiting = time_waits(world.node, port, family)

    again = [world.client.get(address, source_port=port).status for _ in range(5)]

    assert (200, 1, [200] * 5) == (first, waiting, again)


@both
def test_what_is_not_http_keeps_the_address_too(world: World, family: Family) -> None:
    """A port that does not say what it speaks leads it on as bytes: each connection is one to the backend, 500 here."""
    client = world.client.address(family)
    said = {"port": 80, "text": "HELLO /there whoever", "times": 500}
    near, far = (
        world.client.ask("say", address=address_of(each, family), **said) for each in ("kept-near", "kept-far")
    )

    assert {("one", client, ""), ("two", client, "")} == {
        (each["name"], each["peer"][0], each["headers"].get("x-forwarded-for", "")) for each in (*near, *far)
    }
    assert set() == {each["peer"][1] for each in (*near, *far)} - {*OWN_PORTS}


def test_a_family_that_no_backend_has_is_reached_from_the_node(world: World) -> None:
    """Where endpoints have IPv4 alone, clients over IPv6 are served all the same; others keep their address."""
    answers = [world.client.get(address_of("kept-mixed", family)) for family in FAMILIES]

    assert ["from client", "from node1"] == [peer(world, answer) for answer in answers]
    assert {"200 two by envoy, route kept-mixed, for client"} == {told(world, answer) for answer in answers}


@both
def test_a_service_that_does_not_ask_is_reached_from_the_node(world: World, family: Family) -> None:
    """Also while others that have the same backends do."""
    assert ["from node1"] * 2 == [
        peer(world, world.client.get(address_of(service, family))) for service in ("near", "far")
    ]


@both
def test_a_process_of_the_node_reaches_another(world: World, family: Family) -> None:
    """Both ends have the node's address, and none of it leaves the node's loopback."""
    answer = world.node.get(address_of("kept-host", family))

    assert (
        "200 node1 by envoy, route kept-host, for node1, from node1" == f"{told(world, answer)}, {peer(world, answer)}"
    )


@both
def test_a_narrow_link_on_the_way_is_found(world: World, family: Family) -> None:
    """The error about what Envoy sends is addressed to the client, and Envoy's connection gets it."""
    pad, address = {"x-pad": "x" * 8000}, address_of("kept-far", family)
    wide = {ends(world.client.get(address)) for _ in range(20)}
    narrow(world, 1300)
    try:
        answer = world.client.get(address, headers=pad)
    finally:
        narrow(world, world.two.mtu)

    assert (200, True, pad["x-pad"]) == (answer.status, ends(answer) in wide, answer.seen("x-pad"))


def narrow(world: World, mtu: int) -> None:
    """Both ends of the link of `two`: who is connected to it already does not know."""
    world.mesh.stand.node2.sh(f"ip link set {world.two.link} mtu {mtu}")
    world.two.sh(f"ip link set eth0 mtu {mtu}")


def test_the_wish_may_come_and_go(world: World) -> None:
    """Without it backends see the node again, each time within the time that a change of a listener takes."""
    mesh = world.mesh
    asking = [
        {**each, "metadata": {**each["metadata"], "annotations": {ANNOTATION: "true"}}}
        if (each["kind"], each["metadata"]["name"]) == ("Service", "near")
        else each
        for each in mesh.world
    ]
    for manifests, seen in ((asking, "from client"), (mesh.world, "from node1"), (asking, "from client")):
        mesh.apply("mesh", *manifests)
        for family in FAMILIES:
            until(
                lambda f=family, s=seen: s == peer(world, world.client.get(address_of("near", f))),  # type: ignore[misc]
                f"{seen} over {family}",
            )
    mesh.apply("mesh", *mesh.world)
    until(lambda: peer(world, world.client.get(address_of("near", "ipv4"))) == "from node1", "the node's address again")


def test_of_10000_connections_none_meets_envoy_twice(world: World) -> None:
    """Envoy has accepted exactly those that clients made, to backends of this node and the other."""
    before = accepted(world)

    failed = world.client.ask("burst", address=address_of("kept-near", "ipv4"), port=80, count=MANY // 2)
    failed += world.client.ask("burst", address=address_of("kept-far", "ipv6"), port=80, count=MANY // 2)

    assert (0, MANY) == (failed, accepted(world) - before)


# --- restarts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def going(world: World) -> Iterator[Load]:
    """A pod that asks Services near and far without end, on connections that stay, and on new ones."""
    for family in FAMILIES:
        for service in KEPT:
            world.client.ask("load", address=address_of(service, family), port=80)
    yield Load((world.client,))
    world.client.ask("stop")
    world.mesh.daemons["node1"].start()
    settle(world)


def test_the_daemon_may_be_killed(world: World, going: Load) -> None:
    """What the kernel has of connections in clients' names is its own: 0 of 10,000 requests fail."""
    daemon = world.mesh.daemons["node1"]
    for _ in range(5):
        daemon.kill()
        going.go_on(MANY // 10)
        daemon.start()
        going.go_on(MANY // 10)

    assert {} == going.failed


def test_envoy_is_replaced_without_a_lost_request(world: World, going: Load) -> None:
    """The old one has its connections in clients' names until it has drained, beside those of the new one."""
    for _ in range(2):
        before = world.mesh.envoys(world.node)
        world.mesh.command(world.node, "restart-envoy")
        until(lambda old=before: not old & world.mesh.envoys(world.node), "the old Envoy has gone")  # type: ignore[misc]
        going.go_on(MANY // 5)

    assert {} == going.failed


def test_after_envoy_was_killed_its_clients_are_served_as_before(world: World) -> None:
    """What it had in their names is closed with it, and nothing of it is in the way of the next one."""
    for _ in range(3):
        kill_envoy(world)
        until(lambda: world.client.get(address_of("kept-near", "ipv4")).via == "envoy", "the next Envoy")
    settle(world)

    assert {"from client"} == {
        peer(world, world.client.get(address_of(service, family)))
        for service in ("kept-near", "kept-far")
        for family in FAMILIES
    }
