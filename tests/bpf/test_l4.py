"""Packets to services that Envoy does not serve, and the answers: each is translated where it arrives and leaves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from struct import pack, unpack_from
from typing import Final, NamedTuple

import pytest

from datapath.kernel.layout import (
    AFFINITY,
    BACKENDS,
    MARK_MASK,
    MARK_REFUSE,
    NODE_ADDRESSES,
    NODE_PORT_FIRST,
    NODE_PORTS,
    ONLY,
    SERVICES,
    SETTINGS,
    TRANSLATIONS,
    WORKLOADS,
    AddressKey,
    Backend,
    BackendKey,
    Client,
    ClientKind,
    Flow,
    NodeAddress,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Settings,
    Translation,
    Workload,
)
from tests.bpf.frames import (
    ACK,
    FIN,
    FRAGMENT,
    ICMP,
    ICMPV6,
    RST,
    SYN,
    TCP,
    UDP,
    checksum,
    extension,
    fragment,
    frame,
    icmp,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from tests.bpf.stand import TC_ACT_SHOT, TC_ACT_UNSPEC, Outcome, Stand
from tests.bpf.translated import ETHERNET, Seen, addresses, sealed, seen

LOOPBACK: Final = 1
PORT: Final = 80
BACKEND_PORT: Final = 8080
numbers = count(100)
ports = count(20_000)


class Family(NamedTuple):
    name: str
    service: str
    client: str
    node: str
    pod: str
    """Behind the link that packets come from."""
    neighbour: str
    remote: str
    """A pod of another node."""


V4: Final = Family("IPv4", "203.0.113.{}", "198.51.100.7", "192.0.2.1", "10.1.0.5", "10.1.0.6", "10.2.0.8")
V6: Final = Family("IPv6", "2001:db8:203::{}", "2001:db8:9::7", "2001:db8::1", "fd00:1::5", "fd00:1::6", "fd00:2::8")


@dataclass(frozen=True, slots=True)
class Kind:
    """How a packet is made."""

    name: str
    family: Family
    protocol: int
    payload: bytes = b""
    options: bool = False
    """In its network header: options of IPv4, or extension headers of IPv6."""
    sums: bool = True

    def frame(self, source: tuple[str, int], destination: tuple[str, int], flags: int = SYN) -> bytes:
        make = tcp(source[1], destination[1], flags, self.payload) if self.protocol == TCP else None
        segment = make or udp(source[1], destination[1], self.payload)
        between = (source[0], destination[0])
        if self.family is V4:
            packet = ipv4(*between, self.protocol, segment, options=bytes(8) if self.options else b"")
        elif self.options:
            packet = ipv6(*between, 60, extension(60, extension(self.protocol, segment, length=1)))
        else:
            packet = ipv6(*between, self.protocol, segment)
        return sealed(frame(packet)) if self.sums else frame(packet)


KINDS: Final = (
    Kind("TCP over IPv4", V4, TCP),
    Kind("TCP over IPv4 with options and an odd payload", V4, TCP, b"odd", options=True),
    Kind("UDP over IPv4", V4, UDP, b"query"),
    Kind("UDP over IPv4, empty", V4, UDP),
    Kind("UDP over IPv4 without a checksum", V4, UDP, b"query", sums=False),
    Kind("UDP over IPv4 of 1,400 bytes", V4, UDP, bytes(range(200)) * 7),
    Kind("TCP over IPv6", V6, TCP),
    Kind("TCP over IPv6 behind extension headers, with an odd payload", V6, TCP, b"odd", options=True),
    Kind("UDP over IPv6", V6, UDP, b"query"),
    Kind("UDP over IPv6 of 1,400 bytes", V6, UDP, bytes(range(200)) * 7),
)


class Node:
    """A node with two pods, and services as a test wants them."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.services, self.backends = stand.map(SERVICES), stand.map(BACKENDS)
        self.translations, self.affinity = stand.map(TRANSLATIONS), stand.map(AFFINITY)
        self._settings, workloads, addresses = stand.map(SETTINGS), stand.map(WORKLOADS), stand.map(NODE_ADDRESSES)
        self.set(with_addresses=True)
        for family in (V4, V6):
            workloads.put(AddressKey(ip_address(family.pod)), Workload(LOOPBACK))
            workloads.put(AddressKey(ip_address(family.neighbour)), Workload(7))
            addresses.put(AddressKey(ip_address(family.node)), NodeAddress(LOOPBACK))

    def set(self, *, with_addresses: bool) -> None:
        node4, node6 = (ip_address(family.node) if with_addresses else None for family in (V4, V6))
        self._settings.put(ONLY, Settings(node4, node6))

    def service(
        self,
        kind: Kind,
        backends: Sequence[str],
        *,
        flags: ServiceFlag = ServiceFlag.EXTERNAL,
        generation: int = 1,
        number: int | None = None,
    ) -> tuple[str, int]:
        """The address and port of a service of its own, or of `number`."""
        number = next(numbers) if number is None else number
        at = (kind.family.service.format(number), PORT)
        self.backends.put_all(
            (BackendKey(number, generation, slot), Backend(ip_address(address), BACKEND_PORT))
            for slot, address in enumerate(backends)
        )
        service = Service(flags, number, generation, len(backends), 60)
        self.services.put(ServiceKey(ip_address(at[0]), at[1], kind.protocol), service)
        return at

    def run(self, program: str, packet: bytes, reason: Reason) -> bytes:
        """The packet as it goes on."""
        outcome = self.outcome(program, packet)
        assert (TC_ACT_UNSPEC, (reason,)) == (outcome.action, outcome.reasons)
        assert len(packet) == len(outcome.packet)
        return outcome.packet

    def sent(self, program: str, packet: bytes) -> Seen:
        """The same, where the verdict is no matter."""
        action, _, left = self.stand.pass_through(program, packet)
        assert TC_ACT_UNSPEC == action
        return seen(left)

    def outcome(self, program: str, packet: bytes) -> Outcome:
        return self.stand.run(program, packet)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Stand(tmp_path_factory.mktemp("bpffs")) as stand:
        yield Node(stand)


def whole(kind: Kind, source: tuple[str, int], destination: tuple[str, int]) -> Seen:
    """What a packet is to be: both checksums hold, unless it had none."""
    return Seen(*source, *destination, network=True, transport=True if kind.sums else None)


def same_but_for_addresses(kind: Kind, one: bytes, other: bytes) -> bool:
    """Nothing but addresses, ports and checksums was touched."""
    length = len(kind.payload)
    return one[:ETHERNET] == other[:ETHERNET] and one[len(one) - length :] == other[len(other) - length :]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_client_outside_reaches_a_pod_of_this_node(node: Node, kind: Kind) -> None:
    """The pod sees the client's own address, and its answer has the service's."""
    family, client = kind.family, (kind.family.client, next(ports))
    at, backend = node.service(kind, [family.pod]), (family.pod, BACKEND_PORT)

    sent = kind.frame(client, at)
    came = node.run("from_network", sent, Reason.BALANCED)
    again = node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED)
    answer = node.run("to_network", kind.frame(backend, client, SYN | ACK), Reason.ANSWERED)

    assert whole(kind, client, backend) == seen(came) == seen(again)
    assert same_but_for_addresses(kind, sent, came)
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_client_outside_reaches_a_pod_of_another_node(node: Node, kind: Kind) -> None:
    """The pod sees this node, at a port of its own for the client, so that it answers by way of it."""
    family, client = kind.family, (kind.family.client, next(ports))
    at, backend = node.service(kind, [family.remote]), (family.remote, BACKEND_PORT)

    came = node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    left = seen(node.run("to_network", came, Reason.MASQUERADED))
    returned = node.run(
        "from_network", kind.frame(backend, (family.node, left.source_port), SYN | ACK), Reason.RETURNED
    )
    answer = node.run("to_network", returned, Reason.ANSWERED)
    later = node.run(
        "to_network", node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED), Reason.MASQUERADED
    )

    assert whole(kind, client, backend) == seen(came)
    assert whole(kind, (family.node, left.source_port), backend) == left == seen(later)
    assert left.source_port in range(NODE_PORT_FIRST, NODE_PORT_FIRST + NODE_PORTS)
    assert whole(kind, backend, client) == seen(returned)
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("where", ["neighbour", "remote"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_pod_whose_socket_did_not_choose_reaches_a_backend(node: Node, kind: Kind, where: str) -> None:
    """Wherever that is, it sees the pod's own address; the answer has the service's."""
    family, client = kind.family, (kind.family.pod, next(ports))
    backend = (getattr(family, where), BACKEND_PORT)
    at = node.service(kind, [backend[0]], flags=ServiceFlag(0))

    came = node.run("from_workload", kind.frame(client, at), Reason.BALANCED)
    gone = node.outcome("to_workload" if where == "neighbour" else "to_network", came)
    answer = node.run("to_workload", kind.frame(backend, client, SYN | ACK), Reason.ANSWERED)

    assert whole(kind, client, backend) == seen(came) == seen(gone.packet)
    assert (Reason.PASS_NO_SERVICE,) == gone.reasons
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_pod_reaches_itself(node: Node, kind: Kind) -> None:
    """As its own backend it sees the node, whose address it can answer to."""
    family, client = kind.family, (kind.family.pod, next(ports))
    at, backend = node.service(kind, [family.pod], flags=ServiceFlag(0)), (family.pod, BACKEND_PORT)

    came = node.run("from_workload", kind.frame(client, at), Reason.BALANCED)
    # Envoy's way to a pod that is its own backend does not count here: this has no mark.
    gone = seen(node.run("to_workload", came, Reason.MASQUERADED))
    returned = node.run("from_workload", kind.frame(backend, (family.node, gone.source_port), ACK), Reason.RETURNED)
    answer = node.run("to_workload", returned, Reason.ANSWERED)

    assert whole(kind, (family.node, gone.source_port), backend) == gone
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_packet_that_is_cut_off_is_not_translated(node: Node, kind: Kind) -> None:
    """Without all of its headers it passes as it is."""
    client = (kind.family.client, next(ports))
    at = node.service(kind, [kind.family.pod])
    sent = kind.frame(client, at)
    least = ETHERNET + (20 if kind.family is V4 else 40)  # a kernel lets no less of a packet in
    headers = len(sent) - len(kind.payload)
    cut = [(sent[:length], node.stand.pass_through("from_network", sent[:length])) for length in range(least, headers)]

    assert [(TC_ACT_UNSPEC, 0, octets) for octets, _ in cut] == [outcome for _, outcome in cut]
    assert (Reason.PASS_MALFORMED,) == node.outcome("from_network", sent[: headers - 1]).reasons


@pytest.mark.parametrize("family", [V4, V6], ids=lambda family: family.name)
def test_fragments_go_where_the_first_one_goes(node: Node, family: Family) -> None:
    """Put together, what arrives is the datagram with the backend's address and a checksum that holds."""
    kind = Kind("fragments", family, UDP, bytes(range(250)) * 4)
    client, backend = (family.client, next(ports)), (family.pod, BACKEND_PORT)
    at = node.service(kind, [family.pod])
    header = 20 if family is V4 else 40
    datagram = kind.frame(client, at)[ETHERNET + header :]
    parts = [(0, datagram[:400]), (50, datagram[400:800]), (100, datagram[800:])]
    came = b""
    for offset, part in parts:
        more = offset < 100
        if family is V4:
            packet = ipv4(client[0], at[0], UDP, part, fragment=offset, more=more, identification=7)
        else:
            inner = fragment(UDP, part, offset=offset, more=more, identification=7)
            packet = ipv6(client[0], at[0], FRAGMENT, inner)
        reason = Reason.PASS_BALANCED if offset else Reason.BALANCED
        got = node.run("from_network", frame(packet), reason)
        came += got[ETHERNET + header + (0 if family is V4 else 8) :]
        assert (
            ip_address(family.pod).packed
            == got[ETHERNET + header - len(ip_address(family.pod).packed) :][: len(ip_address(family.pod).packed)]
        )

    make = ipv4 if family is V4 else ipv6
    assert whole(kind, client, backend) == seen(frame(make(client[0], backend[0], UDP, came)))


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_service_without_backends_is_refused(node: Node, kind: Kind) -> None:
    """The packet is marked for an answer that says so, and is otherwise as it was."""
    sent = kind.frame((kind.family.client, next(ports)), node.service(kind, []))

    outcome = node.outcome("from_network", sent)

    assert (TC_ACT_UNSPEC, MARK_REFUSE, (Reason.REFUSED_NO_BACKEND,), sent) == (
        outcome.action,
        outcome.mark & MARK_MASK,
        outcome.reasons,
        outcome.packet,
    )


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_backend_of_the_other_family_is_none(node: Node, kind: Kind) -> None:
    """An IPv4 packet cannot become one of IPv6."""
    other = V6 if kind.family is V4 else V4
    sent = kind.frame((kind.family.client, next(ports)), node.service(kind, [other.pod]))

    assert (Reason.REFUSED_NO_BACKEND,) == node.outcome("from_network", sent).reasons


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_service_of_the_cluster_is_not_for_who_is_outside(node: Node, kind: Kind) -> None:
    """Without EXTERNAL its address is nothing to what comes over the network."""
    sent = kind.frame((kind.family.client, next(ports)), node.service(kind, [kind.family.pod], flags=ServiceFlag(0)))

    outcome = node.outcome("from_network", sent)

    assert ((Reason.PASS_NOT_EXTERNAL,), sent) == (outcome.reasons, outcome.packet)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
def test_a_service_that_fails_open_has_its_backends_while_envoy_is_away(node: Node, kind: Kind) -> None:
    """A pod that connects then is balanced, and its connection stays with the backend."""
    family, client = kind.family, (kind.family.pod, next(ports))
    at = node.service(kind, [family.remote], flags=ServiceFlag.PROXY | ServiceFlag.FAIL_OPEN)

    came = node.run("from_workload", kind.frame(client, at), Reason.BALANCED)
    later = node.run("from_workload", kind.frame(client, at, ACK), Reason.PASS_BALANCED)

    assert whole(kind, client, (family.remote, BACKEND_PORT)) == seen(came) == seen(later)


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_flow_keeps_its_backend(node: Node, kind: Kind) -> None:
    """Also what opens it once more, and also when that backend moves to another slot."""
    backends = [f"{kind.family.pod}{number}" for number in range(4)]
    client, number = (kind.family.client, next(ports)), next(numbers)
    at = node.service(kind, backends, number=number)
    [first] = {node.sent("from_network", kind.frame(client, at)).destination for _ in range(10)}
    node.service(kind, backends[::-1], number=number, generation=2)
    node.backends.delete_all(BackendKey(number, 1, slot) for slot in range(4))

    assert {first} == {node.sent("from_network", kind.frame(client, at)).destination for _ in range(10)}


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
def test_a_connection_outlives_its_backend_s_slot(node: Node, kind: Kind) -> None:
    """A backend that is being stopped finishes what it has; who connects anew gets another."""
    client, number = (kind.family.client, next(ports)), next(numbers)
    at = node.service(kind, [kind.family.pod], number=number)
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.service(kind, [kind.family.neighbour], number=number, generation=2)

    later = seen(node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED))
    anew = seen(node.run("from_network", kind.frame(client, at, SYN), Reason.BALANCED))

    assert (kind.family.pod, kind.family.neighbour) == (later.destination, anew.destination)


@pytest.mark.parametrize("kind", [KINDS[2], KINDS[8]], ids=lambda kind: kind.name)
def test_datagrams_leave_a_backend_that_has_gone(node: Node, kind: Kind) -> None:
    """Nothing else would tell them."""
    client, number = (kind.family.client, next(ports)), next(numbers)
    at = node.service(kind, [kind.family.pod], number=number)
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.service(kind, [kind.family.neighbour], number=number, generation=2)

    moved = seen(node.run("from_network", kind.frame(client, at), Reason.BALANCED))

    assert kind.family.neighbour == moved.destination


def test_flows_are_spread_by_weight(node: Node) -> None:
    """4,000 flows over a backend of three slots and one of one come within six standard deviations of that."""
    kind = KINDS[0]
    at = node.service(kind, [V4.pod, V4.pod, V4.pod, V4.neighbour])
    found = Counter(
        node.sent("from_network", kind.frame((V4.client, port), at)).destination for port in range(10_000, 14_000)
    )

    assert {V4.pod, V4.neighbour} == set(found)
    assert abs(found[V4.neighbour] - 1000) < 6 * (4000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
def test_a_client_keeps_its_backend(node: Node, kind: Kind) -> None:
    """With affinity all flows of an address go to one backend, until it was away for longer than that lasts."""
    backends = [f"{kind.family.pod}{number}" for number in range(4)]
    number, flags = next(numbers), ServiceFlag.EXTERNAL | ServiceFlag.AFFINITY
    at = node.service(kind, backends, number=number, flags=flags)
    key = Client(ip_address(kind.family.client), 0, ClientKind.ADDRESS, number)

    def reached(flows: int) -> set[str]:
        sent = [kind.frame((kind.family.client, next(ports)), at) for _ in range(flows)]
        return {node.sent("from_network", each).destination for each in sent}

    kept, later = reached(40), set()
    for _ in range(40):
        held = node.affinity.get(key)
        assert held
        node.affinity.put(key, held._replace(seen_ns=(time.monotonic_ns() - 61 * 10**9) % 2**64))
        later |= reached(1)

    assert 1 == len(kept)
    assert set(backends) == later


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_each_flow_to_another_node_has_a_port_of_its_own(node: Node, kind: Kind) -> None:
    """300 clients of one backend are 300 ports of the node."""
    at = node.service(kind, [kind.family.remote])
    came = [
        node.stand.pass_through("from_network", kind.frame((kind.family.client, next(ports)), at))[2]
        for _ in range(300)
    ]
    left = {node.sent("to_network", each).source_port for each in came}

    assert 300 == len(left)


def taken(node: Node, kind: Kind, backend: str, *, closed: int, idle_s: int) -> None:
    """All ports of the node, by clients of before."""
    family, seen_s = kind.family, (time.monotonic_ns() // 10**9 - idle_s) % 2**32
    client = Translation(ip_address(family.neighbour), 1, Reason.RETURNED, closed, seen_s)
    node.translations.put_all(
        (
            Flow(ip_address(backend), ip_address(family.node), BACKEND_PORT, NODE_PORT_FIRST + port, kind.protocol),
            client,
        )
        for port in range(NODE_PORTS)
    )


@pytest.mark.parametrize(
    ("kind", "closed", "idle_s", "reason"),
    [
        (KINDS[0], 0, 7000, Reason.DROP_NO_SOURCE),
        (KINDS[0], 0, 7300, Reason.BALANCED),
        (KINDS[0], 1, 5, Reason.DROP_NO_SOURCE),
        (KINDS[0], 1, 15, Reason.BALANCED),
        (KINDS[2], 0, 170, Reason.DROP_NO_SOURCE),
        (KINDS[2], 0, 190, Reason.BALANCED),
        (KINDS[6], 0, 7000, Reason.DROP_NO_SOURCE),
        (KINDS[6], 1, 15, Reason.BALANCED),
    ],
)
def test_a_port_is_free_again_when_it_was_closed_or_is_long_silent(
    node: Node, kind: Kind, closed: int, idle_s: int, reason: Reason
) -> None:
    """While all are taken, a new flow is dropped and counted."""
    backend = f"{kind.family.remote}{next(numbers) % 10}"
    at = node.service(kind, [backend])
    taken(node, kind, backend, closed=closed, idle_s=idle_s)

    outcome = node.outcome("from_network", kind.frame((kind.family.client, next(ports)), at))

    assert (reason,) == outcome.reasons
    assert outcome.action == (TC_ACT_SHOT if reason is Reason.DROP_NO_SOURCE else TC_ACT_UNSPEC)


@pytest.mark.parametrize("flags", [FIN | ACK, RST], ids=["FIN", "RST"])
@pytest.mark.parametrize("closer", ["client", "backend"])
def test_who_closes_frees_the_port(node: Node, flags: int, closer: str) -> None:
    """Either side's word on it is remembered."""
    kind, client = KINDS[0], (V4.client, next(ports))
    at = node.service(kind, [V4.remote])
    came = node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    port = seen(node.run("to_network", came, Reason.MASQUERADED)).source_port
    key = Flow(ip_address(V4.remote), ip_address(V4.node), BACKEND_PORT, port, TCP)
    before = node.translations.get(key)

    if closer == "client":
        node.run("from_network", kind.frame(client, at, flags), Reason.PASS_BALANCED)
    else:
        node.run("from_network", kind.frame((V4.remote, BACKEND_PORT), (V4.node, port), flags), Reason.RETURNED)
    after = node.translations.get(key)

    assert before
    assert after
    assert (0, 1) == (before.closed, after.closed)


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_node_without_an_address_reaches_only_its_own_pods(node: Node, kind: Kind) -> None:
    """It has nothing to be for backends elsewhere."""
    node.set(with_addresses=False)
    far, near = node.service(kind, [kind.family.remote]), node.service(kind, [kind.family.pod])
    client = (kind.family.client, next(ports))
    outcomes = [node.outcome("from_network", kind.frame(client, at)) for at in (far, near)]
    node.set(with_addresses=True)

    assert [(Reason.DROP_NO_SOURCE,), (Reason.BALANCED,)] == [outcome.reasons for outcome in outcomes]


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_what_was_pushed_out_is_written_again(node: Node, kind: Kind) -> None:
    """The next packet of the client makes answers known, also where nothing but its connection was kept."""
    family, client = kind.family, (kind.family.client, next(ports))
    at, backend = node.service(kind, [family.pod]), (family.pod, BACKEND_PORT)
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.translations.delete(Flow(ip_address(backend[0]), ip_address(client[0]), backend[1], client[1], kind.protocol))
    lost = node.outcome("to_network", kind.frame(backend, client, ACK))
    node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED)

    assert (Reason.PASS_NO_SERVICE,) == lost.reasons
    assert whole(kind, at, client) == seen(node.run("to_network", kind.frame(backend, client, ACK), Reason.ANSWERED))


def test_what_is_no_flow_of_ours_passes(node: Node) -> None:
    """To a port of the node's range that nobody has, from a pod to a client that asked for no service."""
    kind = KINDS[0]
    strange = kind.frame((V4.remote, 5), (V4.node, NODE_PORT_FIRST + 1), ACK)
    own = kind.frame((V4.pod, 9090), (V4.client, 9), ACK)

    assert strange == node.run("from_network", strange, Reason.PASS_NO_SERVICE)
    assert own == node.run("to_network", own, Reason.PASS_NO_SERVICE)


def error(family: Family, router: str, to: str, quoted: bytes) -> bytes:
    """A router's word that what it quotes is too big for the next link."""
    if family is V4:
        octets = icmp(3, 4, quoted)
        return frame(ipv4(router, to, ICMP, octets[:2] + pack(">H", checksum(octets)) + octets[4:]))
    octets = icmp(2, 0, quoted)
    pseudo = ip_address(router).packed + ip_address(to).packed + pack(">II", len(octets), ICMPV6)
    return frame(ipv6(router, to, ICMPV6, octets[:2] + pack(">H", checksum(pseudo + octets)) + octets[4:]))


@pytest.mark.parametrize("length", [8, 20, 1000])
@pytest.mark.parametrize("where", ["pod", "remote"])
@pytest.mark.parametrize("family", [V4, V6], ids=lambda family: family.name)
def test_an_error_about_an_answer_is_the_backend_s(node: Node, family: Family, where: str, length: int) -> None:
    """What it quotes is what the backend has sent, as far as it is quoted; the error's checksum holds."""
    kind = Kind("segments", family, TCP, bytes(range(250)) * 4)
    client, backend = (family.client, next(ports)), (getattr(family, where), BACKEND_PORT)
    at, router = node.service(kind, [backend[0]]), "198.51.100.254" if family is V4 else "2001:db8:9::fe"
    came = node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    peer = seen(node.run("to_network", came, Reason.MASQUERADED)) if where == "remote" else seen(came)
    header = 20 if family is V4 else 40

    quoted = kind.frame(at, client, ACK)[ETHERNET : ETHERNET + header + length]
    got = node.run("from_network", error(family, router, at[0], quoted), Reason.BALANCED_ERROR)[ETHERNET:]
    inner = got[header + 8 :]

    pseudo = b"" if family is V4 else got[8:40] + pack(">II", len(got) - header, ICMPV6)
    assert 0 == checksum(pseudo + got[header:])
    assert (ip_address(router).packed, ip_address(backend[0]).packed) == addresses(got)
    assert (ip_address(backend[0]).packed, ip_address(peer.source).packed) == addresses(inner)
    assert (BACKEND_PORT, peer.source_port) == unpack_from(">HH", inner, header)
    assert family is V6 or 0 == checksum(got[:header]) == checksum(inner[:header])


def test_an_error_about_nothing_of_ours_is_left_alone(node: Node) -> None:
    """Also if it quotes a packet of a client to a service: nobody here has sent that."""
    kind, client = KINDS[0], (V4.client, next(ports))
    at = node.service(kind, [V4.pod])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    sent = error(V4, "198.51.100.254", client[0], kind.frame(client, at)[ETHERNET:])

    assert sent == node.run("from_network", sent, Reason.PASS_NO_PORTS)
