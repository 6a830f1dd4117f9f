"""What the programs decide by more than a packet: whether Envoy is there, what was recorded, what was told before."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest

from datapath.kernel import layout
from datapath.kernel.events import Events
from datapath.kernel.layout import (
    ABSENCE,
    LISTENERS_PER_FAMILY,
    MARK_FROM_PROXY,
    MARK_FROM_PROXY_AS,
    MARK_REFUSE,
    MARK_TO_PROXY,
    PATIENCE_NS,
    PROXIED_AS,
    Absence,
    AddressKey,
    Event,
    Flow,
    Index,
    Proxied,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Workload,
)
from tests.bpf.frames import ACK, FIN, RST, SYN, TCP, checksum, frame, ipv4, ipv6, tcp
from tests.bpf.stand import DIRECTIONS, TC_ACT_SHOT, TC_ACT_UNSPEC, Stand

POD, REMOTE, CLOSED, OPEN = "10.1.0.5", "10.2.0.8", "10.96.0.10", "10.96.0.12"
POD6, REMOTE6, CLOSED6 = "fd00:1::5", "fd00:2::8", "fd00:96::10"
SELF, SELF6 = "192.0.0.8", "100:0:0:1::8"
HTTP = 80
LOOPBACK = 1
EVENTS_PER_WINDOW = 100
EVENT_WINDOW_NS = 100_000_000

OPENING = frame(ipv4(POD, CLOSED, TCP, tcp(40000, HTTP)))
OPENING6 = frame(ipv6(POD6, CLOSED6, TCP, tcp(40000, HTTP)))
FOLLOWING = frame(ipv4(POD, CLOSED, TCP, tcp(40000, HTTP, ACK)))


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """A pod and two services, and no Envoy."""
    with Stand(tmp_path / "bpffs") as stand:
        services, workloads = stand.map(layout.SERVICES), stand.map(layout.WORKLOADS)
        flags = {CLOSED: ServiceFlag.PROXY, CLOSED6: ServiceFlag.PROXY, OPEN: ServiceFlag.PROXY | ServiceFlag.FAIL_OPEN}
        for number, (address, flag) in enumerate(flags.items()):
            services.put(ServiceKey(ip_address(address), HTTP, TCP), Service(flag, number))
        for address in (POD, POD6):
            workloads.put(AddressKey(ip_address(address)), Workload(LOOPBACK))
        yield stand


def listening(family: int = socket.AF_INET) -> socket.socket:
    opened = socket.socket(family)
    opened.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    opened.listen()
    return opened


def test_without_envoy_an_opening_is_dropped_and_the_time_is_noted(stand: Stand) -> None:
    """Fail closed: the first who asks begins the wait; the second does not begin it anew."""
    absence = stand.map(ABSENCE)
    first, noted = stand.run("from_workload", OPENING), absence.get(Index(0))
    second, still = stand.run("from_workload", OPENING), absence.get(Index(0))

    assert [(TC_ACT_SHOT, (Reason.DROP_AWAIT,))] * 2 == [(each.action, each.reasons) for each in (first, second)]
    assert noted == still
    assert Absence() != noted


def test_after_the_wait_an_opening_is_refused(stand: Stand) -> None:
    """It gets a mark by which it is answered with a reset."""
    stand.map(ABSENCE).put(Index(0), Absence(time.monotonic_ns() - PATIENCE_NS))
    outcome = stand.run("from_workload", OPENING)

    assert (TC_ACT_UNSPEC, MARK_REFUSE, (Reason.REFUSED_ABSENT,)) == outcome[:3]


def test_without_envoy_what_was_opened_goes_on(stand: Stand) -> None:
    """Whether there is a connection still, the kernel's sockets know."""
    outcome = stand.run("from_workload", FOLLOWING)

    assert (TC_ACT_UNSPEC, MARK_TO_PROXY, (Reason.STEERED,)) == outcome[:3]


def test_without_envoy_a_service_that_fails_open_is_balanced(stand: Stand) -> None:
    """It is asked of the kernel's own choice, which has no backend here."""
    outcome = stand.run("from_workload", frame(ipv4(POD, OPEN, TCP, tcp(40000, HTTP))))

    assert (TC_ACT_UNSPEC, MARK_REFUSE, (Reason.REFUSED_NO_BACKEND,)) == outcome[:3]
    assert Absence() == stand.map(ABSENCE).get(Index(0))


def test_a_family_is_given_up_although_the_other_is_served(stand: Stand) -> None:
    """What comes to a listener of IPv6 says nothing about IPv4, nor does what waits for one of IPv4 about IPv6."""
    absence = stand.map(ABSENCE)
    absence.put(Index(0), Absence(time.monotonic_ns() - PATIENCE_NS))
    with listening(socket.AF_INET6) as six:
        stand.listen(six.fileno(), LISTENERS_PER_FAMILY)
        served, refused = stand.run("from_workload", OPENING6), stand.run("from_workload", OPENING)
    awaited = stand.run("from_workload", OPENING6)

    assert [(Reason.STEERED,), (Reason.REFUSED_ABSENT,), (Reason.DROP_AWAIT,)] == [
        each.reasons for each in (served, refused, awaited)
    ]


def test_a_listener_of_the_other_family_does_not_serve(stand: Stand) -> None:
    """Each family has its own listeners."""
    with listening(socket.AF_INET6) as six:
        stand.listen(six.fileno(), LISTENERS_PER_FAMILY)
        four_is, six_is = stand.run("from_workload", OPENING), stand.run("from_workload", OPENING6)

    assert (Reason.DROP_AWAIT,) == four_is.reasons
    assert (Reason.STEERED,) == six_is.reasons


@pytest.mark.parametrize("slot", [0, 1, 7, 15])
def test_a_listener_in_any_slot_serves(stand: Stand, slot: int) -> None:
    """Where another Envoy's listener was before, there is a gap."""
    with listening() as four:
        stand.listen(four.fileno(), slot)
        outcome = stand.run("from_workload", OPENING)

    assert (Reason.STEERED,) == outcome.reasons


def test_a_closed_listener_is_gone_at_once(stand: Stand) -> None:
    """The kernel removes it from the map, whatever became of its process."""
    with listening() as four:
        stand.listen(four.fileno(), 3)
        before = stand.run("from_workload", OPENING)
    after = stand.run("from_workload", OPENING)

    assert ((Reason.STEERED,), (Reason.DROP_AWAIT,)) == (before.reasons, after.reasons)


def test_who_is_there_again_was_never_away(stand: Stand) -> None:
    """The next absence is waited for from its own begin."""
    absence = stand.map(ABSENCE)
    absence.put(Index(0), Absence(1))
    with listening() as four:
        stand.listen(four.fileno(), 0)
        stand.run("from_workload", OPENING)

    assert Absence() == absence.get(Index(0))


@pytest.mark.parametrize(
    ("program", "packet"),
    [
        ("to_workload", frame(ipv4(POD, REMOTE, TCP, tcp(50000, 8080)))),
        ("to_network", frame(ipv4(POD, REMOTE, TCP, tcp(50000, 8080)))),
        ("to_tunnel", frame(ipv4(POD, REMOTE, TCP, tcp(50000, 8080)))),
        ("to_network", frame(ipv6(POD6, REMOTE6, TCP, tcp(50000, 8080)))),
    ],
)
def test_envoys_connection_from_a_clients_address_is_recorded_once(stand: Stand, program: str, packet: bytes) -> None:
    """As its replies will have it."""
    pod, remote = (POD6, REMOTE6) if packet[12:14] == b"\x86\xdd" else (POD, REMOTE)
    outcomes = [stand.run(program, packet, MARK_FROM_PROXY_AS) for _ in range(2)]
    [(flow, _)] = stand.map(PROXIED_AS).items()

    assert [(Reason.RECORDED,), (Reason.PASS_FROM_PROXY,)] == [outcome.reasons for outcome in outcomes]
    assert [MARK_FROM_PROXY_AS] * 2 == [outcome.mark for outcome in outcomes]
    assert Flow(ip_address(remote), ip_address(pod), 8080, 50000, TCP) == flow


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_reply_to_envoy_is_steered_while_its_connection_is(
    stand: Stand, family: socket.AddressFamily, address: str
) -> None:
    """What is recorded of a connection that is no more is forgotten, and the packet is its client's."""
    packet = {socket.AF_INET: ipv4, socket.AF_INET6: ipv6}[family]
    recorded = stand.map(PROXIED_AS)
    with ExitStack() as stack:
        listener = stack.enter_context(listening(family))
        upstream = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        server = stack.enter_context(listener.accept()[0])
        ports = listener.getsockname()[1], upstream.getsockname()[1]
        flow = Flow(ip_address(address), ip_address(address), *ports, TCP)
        reply = frame(packet(address, address, TCP, tcp(*ports, ACK)))
        recorded.put(flow, Proxied(1))
        alive = stand.run("from_network", reply)
        for each in (upstream, server):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    dead = stand.run("from_network", reply)

    assert (MARK_TO_PROXY, (Reason.STEERED_REPLY,)) == (alive.mark, alive.reasons)
    assert (0, (Reason.PASS_NO_SERVICE,)) == (dead.mark, dead.reasons)
    assert [] == list(recorded.items())


def test_connections_that_are_closed_push_out_none_that_go_on(stand: Stand) -> None:
    """More than there is room for come and go in clients' names; of 20 nothing is heard meanwhile."""
    recorded = stand.map(PROXIED_AS)

    def say(source: str, port: int, *flags: int) -> None:
        for each in flags:
            stand.pass_through(
                "to_network", frame(ipv4(source, REMOTE, TCP, tcp(port, 8080, each))), MARK_FROM_PROXY_AS
            )

    for port in range(20):
        say(POD, 50_000 + port, SYN, ACK, ACK)
    first = int(ip_address("10.200.0.0"))
    for number in range(80_000):
        say(str(ip_address(first + number // 10_000)), 20_000 + number % 10_000, SYN, ACK, RST)

    kept = [Flow(ip_address(REMOTE), ip_address(POD), 8080, 50_000 + port, TCP) for port in range(20)]
    assert 20 == sum(recorded.get(flow) is not None for flow in kept)


@pytest.mark.parametrize(
    ("flags", "known"),
    [((SYN, FIN | ACK), [1]), ((SYN, FIN | ACK, ACK), [1]), ((SYN, FIN | ACK, SYN), [0]), ((SYN, ACK, RST), [])],
)
def test_what_envoy_ends_in_a_clients_name_is_known_to_be_closed(
    stand: Stand, flags: tuple[int, ...], known: list[int]
) -> None:
    """By its own side, and forgotten when it has reset it; who opens it again begins anew."""
    for each in flags:
        stand.pass_through("to_network", frame(ipv4(POD, REMOTE, TCP, tcp(50_000, 8080, each))), MARK_FROM_PROXY_AS)

    assert known == [found.closed for _, found in stand.map(PROXIED_AS).items()]


@pytest.mark.parametrize("first", ["Envoy", "its peer"])
def test_a_connection_that_both_sides_have_closed_is_forgotten_with_the_last_segment(stand: Stand, first: str) -> None:
    """Which acknowledges the end of the second one, and is steered still."""
    local = "127.0.0.1"
    recorded = stand.map(PROXIED_AS)
    with ExitStack() as stack:
        listener = stack.enter_context(listening())
        upstream = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        stack.enter_context(listener.accept()[0])
        to, own = listener.getsockname()[1], upstream.getsockname()[1]
        recorded.put(Flow(ip_address(local), ip_address(local), to, own, TCP), Proxied(1))

        def envoy(flags: int) -> int:
            sent = frame(ipv4(local, local, TCP, tcp(own, to, flags)))
            stand.pass_through("to_network", sent, MARK_FROM_PROXY_AS)
            return len(dict(recorded.items()))

        def peer(flags: int) -> int:
            outcome = stand.run("from_network", frame(ipv4(local, local, TCP, tcp(to, own, flags))))
            assert (Reason.STEERED_REPLY,) == outcome.reasons
            return len(dict(recorded.items()))

        one, other = (envoy, peer) if first == "Envoy" else (peer, envoy)

        assert [1, 1, 1, 0] == [one(FIN | ACK), other(ACK), other(FIN | ACK), one(ACK)]


def test_a_listener_is_no_connection(stand: Stand) -> None:
    """Who listens at the client's port does not get the replies."""
    with listening() as listener:
        to = listener.getsockname()[1]
        flow = Flow(ip_address("127.0.0.1"), ip_address("127.0.0.1"), 5, to, TCP)
        stand.map(PROXIED_AS).put(flow, Proxied(1))
        outcome = stand.run("from_network", frame(ipv4("127.0.0.1", "127.0.0.1", TCP, tcp(5, to, ACK))))

    assert (Reason.PASS_NO_SERVICE,) == outcome.reasons


def verified(packet: bytes, *, ipv6_header: bool) -> bool:
    """Whether the checksums of an IP packet of TCP, without options, are right."""
    if ipv6_header:
        pseudo, segment = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + b"\0\0\0\x06", packet[40:]
        return checksum(pseudo + segment) == 0
    pseudo, segment = packet[12:20] + b"\0\x06" + len(packet[20:]).to_bytes(2, "big"), packet[20:]
    return checksum(packet[:20]) == 0 and checksum(pseudo + segment) == 0


def summed(source: str, destination: str, segment: bytes) -> bytes:
    """A segment with its checksum."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    if len(addresses) == 8:
        pseudo = addresses + b"\0\x06" + len(segment).to_bytes(2, "big")
    else:
        pseudo = addresses + len(segment).to_bytes(4, "big") + b"\0\0\0\x06"
    return segment[:16] + checksum(pseudo + segment).to_bytes(2, "big") + segment[18:]


def connected(stack: ExitStack, address: str) -> tuple[int, int]:
    """The ports of a connection from an address to itself: of who connects, and of who listens."""
    listener = stack.enter_context(listening(socket.AF_INET6 if ":" in address else socket.AF_INET))
    client = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
    stack.enter_context(listener.accept()[0])
    return client.getsockname()[1], listener.getsockname()[1]


@pytest.mark.parametrize(
    ("own", "stand_in", "packet"), [("127.0.0.1", SELF, ipv4), ("::1", SELF6, ipv6)], ids=["IPv4", "IPv6"]
)
def test_a_pod_that_is_its_own_backend_is_reached_by_a_stand_in(
    stand: Stand, own: str, stand_in: str, packet: Callable[..., bytes]
) -> None:
    """To the pod the source is replaced, from it the destination, with checksums that are right."""
    stand.map(layout.WORKLOADS).put(AddressKey(ip_address(own)), Workload(LOOPBACK))
    with ExitStack() as stack:
        envoy, pod = connected(stack, own)
        there = packet(own, own, TCP, summed(own, own, tcp(envoy, pod, payload=b"odd")))
        back = packet(own, stand_in, TCP, summed(own, stand_in, tcp(pod, envoy, ACK)))
        arrived = stand.run("to_workload", frame(there), MARK_FROM_PROXY_AS)
        replied = stand.run("from_workload", frame(back))

    assert (TC_ACT_UNSPEC, MARK_FROM_PROXY_AS, (Reason.TRANSLATED_SELF,)) == arrived[:3]
    assert frame(packet(stand_in, own, TCP, arrived.packet[-23:])) == arrived.packet
    assert (TC_ACT_UNSPEC, MARK_TO_PROXY, (Reason.TRANSLATED_SELF,)) == replied[:3]
    assert frame(packet(own, own, TCP, replied.packet[-20:])) == replied.packet
    assert verified(arrived.packet[14:], ipv6_header=packet is ipv6)
    assert verified(replied.packet[14:], ipv6_header=packet is ipv6)


@pytest.mark.parametrize("to", [1, 22, 15001, 40000])
def test_a_stand_in_is_no_way_to_the_node(stand: Stand, to: int) -> None:
    """A pod that calls it out of the blue reaches nobody, whoever listens at such a port of the node."""
    outcome = stand.run("from_workload", frame(ipv4(POD, SELF, TCP, tcp(40000, to))))

    assert (TC_ACT_SHOT, 0, (Reason.DROP_NO_CONNECTION,)) == outcome[:3]


def test_a_pods_own_connection_to_itself_is_not_translated(stand: Stand) -> None:
    """Only what Envoy sends as the pod is."""
    outcome = stand.run("to_workload", frame(ipv4(POD, POD, TCP, tcp(50000, 8080))))

    assert (Reason.PASS_NO_SERVICE,) == outcome.reasons


def test_a_drop_is_told(stand: Stand) -> None:
    """With its flow, link, reason and place."""
    with Events(stand.pins.maps) as events:
        stand.run("from_workload", frame(ipv4(REMOTE, CLOSED, TCP, tcp(40000, HTTP))))
        stand.run("from_workload", FOLLOWING)
        [told] = events.read()

    expected = (ip_address(REMOTE), ip_address(CLOSED), 40000, HTTP, TCP, LOOPBACK, 0, Reason.DROP_SPOOFED, 0)
    assert Event(told.time_ns, *expected) == told
    assert 0 < told.time_ns <= time.monotonic_ns()


def test_a_connection_that_begins_to_be_steered_is_told_once(stand: Stand) -> None:
    """What follows in it is not."""
    with listening() as four, Events(stand.pins.maps) as events:
        stand.listen(four.fileno(), 0)
        for packet in (OPENING, FOLLOWING, FOLLOWING):
            stand.run("from_workload", packet)

        assert [Reason.STEERED] == [told.reason for told in events.read()]


def test_events_are_paced_and_say_how_many_were_not_told(stand: Stand) -> None:
    """A flood of drops costs a CPU its share of the ring, and no more; none of them is left uncounted."""
    spoofed = frame(ipv4(REMOTE, CLOSED, TCP, tcp(40000, HTTP)))
    with Events(stand.pins.maps) as events:
        stand.run("from_workload", spoofed, repeat=100_000)
        told = list(events.read())
        stand.forget_pace()
        stand.run("from_workload", spoofed)
        last = list(events.read())
    windows = 2 + (told[-1].time_ns - told[0].time_ns) // EVENT_WINDOW_NS

    assert EVENTS_PER_WINDOW <= len(told) <= EVENTS_PER_WINDOW * windows
    assert 1 == len(last)
    assert 100_001 == stand.counted()[Reason.DROP_SPOOFED, layout.Direction.FROM_WORKLOAD]


def test_what_was_suppressed_is_told_by_the_next_event(stand: Stand) -> None:
    """So who reads the ring knows how much it does not tell."""
    spoofed = frame(ipv4(REMOTE, CLOSED, TCP, tcp(40000, HTTP)))
    with Events(stand.pins.maps) as events:
        stand.forget_pace(suppressed=41)
        stand.run("from_workload", spoofed)

        assert [41] == [told.suppressed for told in events.read()]


def test_the_ring_is_read_around_its_end(stand: Stand) -> None:
    """More events than it has room for, read as they come, are all well formed."""
    spoofed = frame(ipv4(REMOTE, CLOSED, TCP, tcp(40000, HTTP)))
    seen: list[tuple[object, ...]] = []
    with Events(stand.pins.maps) as events:
        while len(seen) < 10_000:
            stand.forget_pace()
            stand.run("from_workload", spoofed, repeat=EVENTS_PER_WINDOW)
            seen += [told[1:5] for told in events.read()]

    assert {(ip_address(REMOTE), ip_address(CLOSED), 40000, HTTP)} == set(seen)


@pytest.mark.parametrize("mark", [MARK_FROM_PROXY, MARK_FROM_PROXY_AS])
def test_envoy_never_meets_itself(stand: Stand, mark: int) -> None:
    """B10: of 10,000 openings with its mark to what it serves itself, none is steered, wherever it is seen."""
    hooks = DIRECTIONS.keys() - {"from_workload", "from_stranger"}
    with listening() as four:
        stand.listen(four.fileno(), 0)
        for program in hooks:
            stand.run(program, OPENING, mark, repeat=10_000)
    met = {(reason, where): packets for (reason, where), packets in stand.counted().items() if packets >= 10_000}

    assert 10_000 * len(hooks) == sum(stand.counted().values())
    assert {Reason.PASS_FROM_PROXY, Reason.DROP_LOOP} == {reason for reason, _ in met}
    assert 10_000 == stand.counted()[Reason.DROP_LOOP, layout.Direction.FROM_HOST]
