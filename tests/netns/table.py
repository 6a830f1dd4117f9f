"""What is asked of the mesh, and what is to be seen: a row for each sentence of what it promises, in both families."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.netns.mesh import Mesh, address_of, mesh, until
from tests.netns.stand import FAMILIES, Answer, Family, Node, Place, Pod
from xds_server.demo.steps import near

DRAWS: Final = 200
KEPT: Final = ("kept-near", "kept-far", "kept-self", "kept-host")
"""Services whose backends see their clients' own addresses."""
_STAND_INS: Final = ("192.0.0.8", "100:0:0:1::8")


@dataclass(frozen=True)
class World:
    """Six pods on two nodes; `one` and `two` serve, and so does the client."""

    mesh: Mesh
    client: Pod
    one: Pod
    consumer: Pod
    two: Pod
    distant: Pod
    impostor: Pod
    """Where the rules of a pretended kube-proxy lead: nobody is to get there."""

    @property
    def node(self) -> Node:
        return self.mesh.stand.node1

    @property
    def outside(self) -> Place:
        return self.mesh.stand.outside


Seen = Callable[[World, Family], str]


@dataclass(frozen=True)
class Row:
    """`seen` asks, and says in the words of `expected` what it got."""

    name: str
    asked: str
    expected: str
    seen: Seen
    agrees: Callable[[str, str], bool] = operator.eq


@contextmanager
def populated(envoy: Path, *, bridge: str = "", drain_s: int = 2) -> Iterator[World]:
    """The mesh with its pods, all of it served."""
    with mesh(envoy, bridge=bridge, drain_s=drain_s) as running:
        node1, node2 = running.stand.nodes
        client, one = running.pod(node1, "client"), running.pod(node1, "one", tier="server")
        consumer = running.pod(node1, "consumer", namespace="orders")
        two = running.pod(node2, "two", tier="server")
        distant, impostor = running.pod(node2, "distant"), running.pod(node2, "impostor")
        running.declare()
        for server in (client, one, two, impostor):
            server.serve(8080).serve(5353, udp=True)
        node1.serve(8090)
        for gateway in ("edge", "second", "lines"):
            for family in FAMILIES:
                running.stand.route(address_of(gateway, family), node1)
        world = World(running, client, one, consumer, two, distant, impostor)
        settle(world)
        yield world


def settle(world: World) -> None:
    """Wait until each node leads connections to its Envoy, and Envoy knows the way."""
    for node in world.mesh.stand.nodes:
        world.mesh.until_tells(node)
    for family in FAMILIES:
        for service in ("near", "far", "self", *KEPT):
            for asking in (world.client, world.distant):
                until_served(asking, address_of(service, family))
        until_served(world.outside, address_of("edge", family), "one.example.com")
        until_served(world.outside, address_of("announced", family))


def until_served(asking: Place, address: str, host: str = "") -> None:
    def is_served() -> bool:
        answer = asking.get(address, host=host)
        return (200, "envoy") == (answer.status, answer.via)

    until(is_served, f"an answer at {address} to {asking.name}")


def told(world: World, answer: Answer, *asking: Place) -> str:
    """Who answered by whom, by which route, and whom the server took for its client."""
    if answer.error:
        return answer.error
    names = {place.address(family): place.name for place in everyone(world, *asking) for family in FAMILIES}
    origin = answer.forwarded_for or answer.peer
    by = f"{answer.name or 'Envoy'} by {answer.via}"
    return f"{answer.status} {by}, route {answer.seen('x-route') or 'none'}, for {names.get(origin, origin)}"


def preserved(asking: str, service: str, path: str = "/") -> Seen:
    """With whom the server saw at the other end of its connection."""

    def seen(world: World, family: Family) -> str:
        [place] = [each for each in everyone(world) if each.name == asking]
        answer = place.get(address_of(service, family), path=path)
        return f"{told(world, answer)}, {peer(world, answer)}"

    return seen


def peer(world: World, answer: Answer) -> str:
    names = {place.address(family): place.name for place in everyone(world) for family in FAMILIES}
    names |= dict.fromkeys(_STAND_INS, "a stand-in")
    return f"from {names.get(answer.peer, answer.peer)}"


def everyone(world: World, *more: Place) -> tuple[Place, ...]:
    pods = (pod for node in world.mesh.stand.nodes for pod in node.pods.values())
    return (*pods, *world.mesh.stand.nodes, world.outside, *more)


def kept(answer: Answer, address: str) -> str:
    """Whether the client's connection is still to whom it asked."""
    return "to the service" if answer.remote[0] == address else f"to {answer.remote[0]}"


def from_pod(name: str, service: str) -> Seen:
    def seen(world: World, family: Family) -> str:
        asking: Pod = getattr(world, name)
        address = address_of(service, family)
        answer = asking.get(address)
        return f"{told(world, answer)}, {kept(answer, address)}"

    return seen


def from_node(service: str) -> Seen:
    def seen(world: World, family: Family) -> str:
        return told(world, world.node.get(address_of(service, family)))

    return seen


def straight(world: World, family: Family) -> str:
    """Of many connections: who answered, from whom they came, and what conntrack has seen of them."""
    answers = [world.client.get(address_of("plain", family)) for _ in range(20)]
    names = sorted({answer.name or answer.error for answer in answers})
    ways = sorted({answer.via for answer in answers})
    sources = {"client" if answer.peer == world.client.address(family) else answer.peer for answer in answers}
    entries = [line for line in tracked(world.node) if address_of("plain", family) in line]
    return f"{' and '.join(names)} by {', '.join(ways)}, from {', '.join(sorted(sources))}, {len(entries)} entries"


def tracked(node: Node) -> list[str]:
    """The connections that the node's conntrack knows, as the kernel shows them."""
    return node.sh("cat /proc/net/nf_conntrack").splitlines()


def directly(world: World, family: Family) -> str:
    return told(world, world.client.get(world.two.address(family), 8080))


def from_outside(gateway: str, host: str, port: int = 80) -> Seen:
    def seen(world: World, family: Family) -> str:
        answer = world.outside.get(address_of(gateway, family), port, host=host)
        external = answer.seen("x-envoy-external-address")
        whose = "the client's" if external == world.outside.address(family) else external or "missing"
        return f"{told(world, answer)}, external address {whose}"

    return seen


def by_the_other_node(world: World, family: Family) -> str:
    edge, (node1, node2) = address_of("edge", family), world.mesh.stand.nodes
    world.mesh.stand.route(edge, node2)
    try:
        return told(world, world.outside.get(edge, host="one.example.com"))
    finally:
        world.mesh.stand.route(edge, node1)


def hairpin(world: World, family: Family) -> str:
    return told(world, world.one.get(address_of("edge", family), host="one.example.com"))


def claimed(world: World, family: Family) -> str:
    """Who says that he is somebody else does not become him."""
    said = {
        "x-forwarded-for": world.consumer.address(family),
        "x-envoy-external-address": world.consumer.address(family),
    }
    return told(world, world.client.get(address_of("shared", family), headers=said)).partition(", for")[0]


def at_nodes_port(port: int) -> Seen:
    def seen(world: World, family: Family) -> str:
        return told(world, world.outside.get(world.node.address(family), port))

    return seen


def privileged(world: World, family: Family) -> str:
    """Ports below 1024 that are bound on the node."""
    table = world.node.sh(f"cat /proc/net/tcp{'6' if family == 'ipv6' else ''}").splitlines()[1:]
    listening = (line.split() for line in table)
    ports = {int(fields[1].rpartition(":")[2], 16) for fields in listening if fields[3] == "0A"}
    return ", ".join(str(port) for port in sorted(ports) if port < 1024) or "none"


def redirections(world: World, _: Family) -> str:
    """Rules of netfilter on the node that would change where anything goes."""
    words = ("redirect", "dnat", "snat", "tproxy", "masquerade")
    rules = [line.strip() for line in world.node.sh("nft list ruleset").splitlines()]
    found = [rule for rule in rules if any(word in rule.split() for word in words)]
    legacy = [
        world.node.sh(f"cat /proc/net/{table} 2>/dev/null || true").strip()
        for table in ("ip_tables_names", "ip6_tables_names")
    ]
    return "; ".join([*found, *filter(None, legacy)]) or "none"


def shares(udp: bool) -> Seen:
    def seen(world: World, family: Family) -> str:
        address = address_of("weighted", family)
        asked = [world.client.send(address, 53) if udp else world.client.get(address) for _ in range(DRAWS)]
        counts = Counter(answer.name or answer.error for answer in asked)
        return ", ".join(f"{name} {100 * count // DRAWS} %" for name, count in sorted(counts.items()))

    return seen


def lines(world: World, family: Family) -> str:
    address = address_of("lines", family)
    stream, datagram = world.outside.get(address, 9000), world.outside.send(address, 53)
    return f"{stream.name or stream.error} by {stream.via}, {datagram.name or datagram.error}"


def affine(world: World, family: Family) -> str:
    names = {world.client.get(address_of("affine", family)).name for _ in range(20)}
    return f"{len(names)} backend"


def datagrams(world: World, family: Family) -> str:
    """As who sends to a Service sees it: the answer is from the Service."""
    address = address_of("plain", family)
    answers = [world.client.send(address, 53, connected=connected) for connected in (False, True)]
    return ", ".join(
        answer.error or ("from the service" if list(answer.remote) == [address, 53] else f"from {answer.remote}")
        for answer in answers
    )


def beside_kube_proxy(world: World, family: Family) -> str:
    """All that connects to Services and Gateways again, with rules for their addresses that lead to the impostor."""
    names = ("near", "far", "plain", "self", "self-plain", "shared", "two", "edge", *KEPT)
    rules = [(address_of(name, family), 80, world.impostor.address(family), 8080) for name in names]
    for node in world.mesh.stand.nodes:
        node.kube_proxy(*rules)
    try:
        kinds = {"GAMMA", "outside", "host", "hairpin", "own backend", "consumer", "preserved"}
        again = [row for row in ROWS if row.name in kinds]
        differ = [f"{row.asked}: {seen}" for row in again if (seen := row.seen(world, family)) != row.expected]
    finally:
        for node in world.mesh.stand.nodes:
            node.sh("nft delete table inet kube-proxy")
    return "; ".join(differ) or "as without them"


ROWS: Final = (
    Row("GAMMA", "a pod -> a Service with a route, backend on its node",
        "200 one by envoy, route near, for client, to the service", from_pod("client", "near")),
    Row("GAMMA", "a pod -> a Service with a route, backend on the other node",
        "200 two by envoy, route far, for client, to the service", from_pod("client", "far")),
    Row("GAMMA", "a pod of the other node -> the same",
        "200 one by envoy, route near, for distant, to the service", from_pod("distant", "near")),
    Row("L4", "a pod, 20 times -> a Service without a route",
        "one and two by nobody, from client, 0 entries", straight),
    Row("L4", "a datagram of a pod -> the same", "from the service, from the service", datagrams),
    Row("direct", "a pod -> an address of a pod", "200 two by nobody, route none, for client", directly),
    Row("outside", "a client outside -> a Gateway's address",
        "200 one by envoy, route edge-one, for outside, external address the client's",
        from_outside("edge", "one.example.com")),
    Row("outside", "the same, where the network leads to the other node",
        "200 one by envoy, route edge-one, for outside", by_the_other_node),
    Row("announced", "a client outside -> an address that the LAN has to find",
        "200 one by envoy, route announced, for outside",
        lambda world, family: told(world, world.outside.get(address_of("announced", family)))),
    Row("host", "a process of the node -> a Service with a route",
        "200 one by envoy, route near, for node1", from_node("near")),
    Row("host", "a process of the node -> the same, backend on the other node",
        "200 two by envoy, route far, for node1", from_node("far")),
    Row("host", "a process of the node -> a Service without a route, of one backend",
        "200 two by nobody, route none, for node1", from_node("two")),
    Row("hairpin", "a pod -> the Gateway that it is behind", "200 one by envoy, route edge-one, for one", hairpin),
    Row("own backend", "a pod -> a Service with a route, whose only backend it is",
        "200 client by envoy, route self, for client, to the service", from_pod("client", "self")),
    Row("own backend", "the same without a route", "200 client by nobody, route none, for client",
        lambda world, family: told(world, world.client.get(address_of("self-plain", family)))),
    Row("preserved", "a pod -> a Service that keeps its address, backend on its node",
        "200 one by envoy, route kept-near, for client, from client", preserved("client", "kept-near")),
    Row("preserved", "the same, backend on the other node",
        "200 two by envoy, route kept-far, for client, from client", preserved("client", "kept-far")),
    Row("preserved", "a pod of the other node -> the same",
        "200 two by envoy, route kept-far, for distant, from distant", preserved("distant", "kept-far")),
    Row("preserved", "the same, backend a process of the node",
        "200 node1 by envoy, route kept-host, for client, from client", preserved("client", "kept-host")),
    Row("preserved", "the same, backend a process of the other node",
        "200 node1 by envoy, route kept-host, for distant, from distant", preserved("distant", "kept-host")),
    Row("preserved", "the same, its own backend",
        "200 client by envoy, route kept-self, for client, from a stand-in", preserved("client", "kept-self")),
    Row("preserved", "a process of the node -> the same, backend a pod",
        "200 two by envoy, route kept-far, for node1, from node1", preserved("node1", "kept-far")),
    Row("families", "a pod -> a Service with a route, whose backends have IPv4 alone",
        "200 two by envoy, route mixed, for client, to the service", from_pod("client", "mixed")),
    Row("consumer", "a pod of the route's namespace -> a Service of another",
        "200 one by envoy, route orders, for consumer, to the service", from_pod("consumer", "shared")),
    Row("consumer", "a pod of another namespace -> the same Service",
        "200 one by envoy, route none, for client, to the service", from_pod("client", "shared")),
    Row("consumer", "the same, with headers that claim the consumer's address",
        "200 one by envoy, route none", claimed),
    Row("listeners", "a client outside -> the other listener of the port",
        "200 two by envoy, route edge-two, for outside, external address the client's",
        from_outside("edge", "two.example.com")),
    Row("listeners", "a client outside -> a host that no listener has",
        "404 Envoy by envoy, route none, for , external address missing", from_outside("edge", "no.example.com")),
    Row("Gateways", "a client outside -> another Gateway, the same port",
        "200 two by envoy, route second, for outside, external address the client's", from_outside("second", "any")),
    Row("Gateways", "a client outside -> its other port",
        "200 one by envoy, route second-more, for outside, external address the client's",
        from_outside("second", "any", 8443)),
    Row("hostPort", "a client outside -> port 443 of a node", "200 one by envoy, route metal, for outside",
        at_nodes_port(443)),
    Row("NodePort", "a client outside -> port 30080 of a node", "200 two by envoy, route ported, for outside",
        at_nodes_port(30080)),
    Row("ports", "privileged ports that are bound on the node", "none", privileged),
    Row("TCPRoute", f"a pod, {DRAWS} times -> a Service with weights 4 and 1", "one 80 %, two 20 %", shares(udp=False),
        near),
    Row("UDPRoute", f"a pod, {DRAWS} datagrams -> a Service with weights 4 and 1", "one 80 %, two 20 %",
        shares(udp=True), near),
    Row("TCPRoute, UDPRoute", "a client outside -> a Gateway with both", "two by nobody, two", lines),
    Row("affinity", "a pod, 20 times -> a Service with affinity", "1 backend", affine),
    Row("rules", "rules of netfilter on the node that change where anything goes", "none", redirections),
    Row("kube-proxy", "all to Services and Gateways, with rules of a kube-proxy for their addresses", "as without them",
        beside_kube_proxy),
)  # fmt: skip
