"""A node that the programs of TC translate packets on: whom it has, how packets to and from them are made and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from typing import Final, NamedTuple

from datapath.kernel.layout import (
    AFFINITY,
    BACKENDS,
    CONNECTIONS,
    NODE_ADDRESSES,
    ONLY,
    SERVICES,
    SETTINGS,
    TRANSLATIONS,
    WORKLOADS,
    AddressKey,
    Backend,
    BackendKey,
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
from tests.bpf.frames import ACK, SYN, TCP, UDP, extension, frame, ipv4, ipv6, tcp, udp
from tests.bpf.stand import TC_ACT_UNSPEC, Outcome, Stand
from tests.bpf.translated import ETHERNET, Seen, sealed, seen

LOOPBACK: Final = 1
PORT: Final = 80
BACKEND_PORT: Final = 8080
numbers = count(1)
ports = count(20_000)


class Family(NamedTuple):
    name: str
    service: str
    """All services come after this address."""
    client: str
    node: str
    pod: str
    """Behind the link that packets come from."""
    neighbour: str
    remote: str
    """A pod of another node."""
    stranger: str


V4: Final = Family(
    "IPv4", "203.0.112.0", "198.51.100.7", "192.0.2.1", "10.1.0.5", "10.1.0.6", "10.2.0.8", "203.0.111.9"
)
V6: Final = Family(
    "IPv6", "2001:db8:203::", "2001:db8:9::7", "2001:db8::1", "fd00:1::5", "fd00:1::6", "fd00:2::8", "2001:db8:a::9"
)


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

    def frame(self, source: tuple[str, int], destination: tuple[str, int], flags: int = SYN, **numbers: int) -> bytes:
        make = tcp(source[1], destination[1], flags, self.payload, **numbers) if self.protocol == TCP else None
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
        self.connections, self.translations = stand.map(CONNECTIONS), stand.map(TRANSLATIONS)
        self.affinity = stand.map(AFFINITY)
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
        at = (str(ip_address(kind.family.service) + number), PORT)
        self.backends.put_all(
            (BackendKey(number, generation, slot), somebody(address)) for slot, address in enumerate(backends)
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

    def open(
        self, kind: Kind, client: tuple[str, int], at: tuple[str, int], backend: tuple[str, int]
    ) -> list[tuple[str, int]]:
        """Both sides agree upon a connection; who the client is to the backend, by its first segment and its second."""
        first = self._passed(kind.frame(client, at))
        answer = kind.frame(backend, first, SYN | ACK, sequence=4000, acknowledged=2)
        if first != client:
            _, _, answer = self.stand.pass_through("from_network", answer)
        answered = self.sent("to_network", answer)
        assert (client, at) == (
            (answered.destination, answered.destination_port),
            (answered.source, answered.source_port),
        )
        return [first, self._passed(kind.frame(client, at, ACK, sequence=2, acknowledged=4001))]

    def _passed(self, packet: bytes) -> tuple[str, int]:
        _, _, came = self.stand.pass_through("from_network", packet)
        left = self.sent("to_network", came)
        return left.source, left.source_port

    def kept(self, kind: Kind, backend: tuple[str, int], peer: tuple[str, int]) -> Translation:
        """By which a connection is known to live: what answers of its backend, to whom that sees, meet first."""
        found = self.translations.get(
            Flow(ip_address(backend[0]), ip_address(peer[0]), backend[1], peer[1], kind.protocol)
        )
        assert found
        return found

    def outcome(self, program: str, packet: bytes) -> Outcome:
        return self.stand.run(program, packet)


def somebody(address: str) -> Backend:
    """Of a slot; "" is nobody."""
    return Backend(ip_address(address), BACKEND_PORT) if address else Backend(None, 0)


def whole(kind: Kind, source: tuple[str, int], destination: tuple[str, int]) -> Seen:
    """What a packet is to be: both checksums hold, unless it had none."""
    return Seen(*source, *destination, network=True, transport=True if kind.sums else None)


def same_but_for_addresses(kind: Kind, one: bytes, other: bytes) -> bool:
    """Nothing but addresses, ports and checksums was touched."""
    length = len(kind.payload)
    return one[:ETHERNET] == other[:ETHERNET] and one[len(one) - length :] == other[len(other) - length :]
