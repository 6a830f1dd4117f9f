"""Keys and values of the maps, as datapath/bpf/intercept.h has them: one table of fields, and typed entries.

An address is either family's own object; in the kernel it is 16 bytes, IPv4 mapped. None is address zero.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Any, Final, Generic, NamedTuple, TypeVar

LAYOUT: Final = 4
"""Of all the structures here: maps are pinned below a folder of that name."""

MARK_MASK: Final = 0x0F00
MARK_TO_PROXY: Final = 0x0200
MARK_REFUSE: Final = 0x0300
MARK_FROM_PROXY: Final = 0x0A00
MARK_FROM_PROXY_AS: Final = 0x0B00
CAPTURE_PORT: Final = 15001
ROUTE_TABLE: Final = 2004
RULE_PREFERENCE: Final = 9
LISTENERS_PER_FAMILY: Final = 16
NODE_PORT_FIRST: Final = 61000
NODE_PORTS: Final = 4536
"""Of the node, for connections to backends elsewhere; clear of what its processes send from by default (to 60999)."""
PATIENCE_NS: Final = 3_000_000_000
"""For how long connections of a service that fails closed are dropped before they are refused."""
OPENING_S: Final = 30
DATAGRAMS_S: Final = 180
SILENT_S: Final = 7440
HALF_CLOSED_S: Final = 120
CLOSED_S: Final = 60
FREED_S: Final = 10
"""For how long a connection is kept of which nothing is heard, by its progress."""

Address = IPv4Address | IPv6Address


class ServiceFlag(IntFlag):
    PROXY = 1
    EXTERNAL = 2
    FAIL_OPEN = 4
    AFFINITY = 16
    LEAVING = 32
    GONE = 64


class Direction(IntEnum):
    """Where a verdict was reached."""

    FROM_WORKLOAD = 0
    TO_WORKLOAD = 1
    FROM_NETWORK = 2
    TO_NETWORK = 3
    FROM_HOST = 4
    DELIVERY = 5
    LISTEN = 6
    SOCKET = 7


class Reason(IntEnum):
    """Every verdict of the programs, with what becomes of the packet; `enum reason` has a word on each."""

    PASS_NOT_IP = 0
    PASS_NO_PORTS = 1
    PASS_FRAGMENT = 2
    PASS_EXTENSIONS = 3
    PASS_MALFORMED = 4
    PASS_NO_SERVICE = 5
    PASS_NOT_EXTERNAL = 6
    PASS_FROM_PROXY = 7
    PASS_STEERED = 8
    STEERED = 9
    STEERED_REPLY = 10
    STEERED_ERROR = 11
    REFUSED_ABSENT = 12
    RECORDED = 13
    BALANCED = 14
    REFUSED_NO_BACKEND = 15
    DROP_SPOOFED = 16
    DROP_MALFORMED = 17
    DROP_DOUBLE_TAGGED = 18
    DROP_AWAIT = 19
    DROP_LOOP = 20
    SELECTED = 21
    REFUSED_NO_LISTENER = 22
    REFUSED_CAPTURE_PORT = 23
    REFUSED_NOT_EXTERNAL = 24
    LISTENER_PUBLISHED = 25
    LISTENERS_FULL = 26
    PASS_TAGGED = 27
    TRANSLATED_SELF = 28
    PASS_BALANCED = 29
    BALANCED_ERROR = 30
    NAMED = 31
    ANSWERED = 32
    MASQUERADED = 33
    RETURNED = 34
    DROP_NO_SOURCE = 35
    DROP_TAKEN = 36
    NEIGHBOUR_ANSWERED = 37
    NEIGHBOUR_YIELDED = 38
    DROP_NO_CONNECTION = 39
    REFUSED_NO_CONNECTION = 40
    BALANCED_RECLAIMED = 41
    PASS_STRANGER = 42
    PASS_UNDERWAY = 43
    DROP_EXTENSIONS = 44


class ServiceKey(NamedTuple):
    address: Address | None
    port: int
    protocol: int


class Service(NamedTuple):
    flags: int
    id: int
    generation: int = 0
    backends: int = 0
    affinity_s: int = 0


class BackendKey(NamedTuple):
    service: int
    generation: int
    slot: int


class Backend(NamedTuple):
    address: Address | None
    """None: who is given this is refused."""
    port: int


class AddressKey(NamedTuple):
    address: Address


class Workload(NamedTuple):
    ifindex: int


class NodeAddress(NamedTuple):
    ifindex: int


class Flow(NamedTuple):
    source: Address | None
    destination: Address | None
    source_port: int
    destination_port: int
    protocol: int


class Proxied(NamedTuple):
    since_ns: int
    closed: int = 0


class Fragment(NamedTuple):
    source: Address | None
    destination: Address | None
    id: int
    protocol: int


class Ports(NamedTuple):
    source: int
    destination: int


class AnswerKey(NamedTuple):
    address: Address | None
    ifindex: int


class Answer(NamedTuple):
    mac: bytes


class MacKey(NamedTuple):
    octets: bytes


class Index(NamedTuple):
    """The key of an array."""

    slot: int


class Settings(NamedTuple):
    node4: Address | None = None
    node6: Address | None = None
    envoy_cgroup: int = 0
    host_netns: int = 0


class Absence(NamedTuple):
    since_ns: int = 0


class Tally(NamedTuple):
    packets: int
    bytes: int


class ClientKind(IntEnum):
    ADDRESS = 1
    NAMESPACE = 2
    SOCKET = 3


class Client(NamedTuple):
    address: Address | None
    cookie: int
    kind: int
    service: int


class Held(NamedTuple):
    """The backend that a client has."""

    seen_ns: int
    generation: int
    slot: int
    address: Address
    port: int


class Connection(NamedTuple):
    """The backend of a flow that was balanced packet by packet."""

    address: Address
    port: int
    service: int
    generation: int
    slot: int
    node: Address | None
    node_port: int


class Progress(IntFlag):
    """Of a connection: what was seen of its two sides."""

    REPLIED = 1
    ESTABLISHED = 2
    CLIENT_CLOSED = 4
    BACKEND_CLOSED = 8
    CLOSED = 12


class Translation(NamedTuple):
    """What takes the place of a packet's destination (`Reason.RETURNED`), or of its source."""

    address: Address
    port: int
    reason: int
    progress: int
    seen_s: int
    of_backend: int = 0
    of_client: int = 0


class Pace(NamedTuple):
    window_ns: int
    events: int
    suppressed: int


class Event(NamedTuple):
    time_ns: int
    source: Address | None
    destination: Address | None
    source_port: int
    destination_port: int
    protocol: int
    ifindex: int
    suppressed: int
    reason: int
    direction: int


class Kind(NamedTuple):
    """How a field of C is told to `struct`, and what it is in Python."""

    code: str
    packed: Callable[[Any], Any]
    unpacked: Callable[[Any], Any]


def packed_address(address: Address | None) -> bytes:
    if address is None:
        return bytes(16)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def unpacked_address(octets: bytes) -> Address | None:
    if octets == bytes(16):
        return None
    address = IPv6Address(octets)
    return address.ipv4_mapped or address


def _same(value: Any) -> Any:
    return value


KINDS: Final = {
    "u8": Kind("B", _same, _same),
    "u32": Kind("I", _same, _same),
    "u64": Kind("Q", _same, _same),
    "port": Kind("2s", lambda port: port.to_bytes(2, "big"), lambda octets: int.from_bytes(octets, "big")),
    "address": Kind("16s", packed_address, unpacked_address),
    "mac": Kind("6s", _same, _same),
    "1x": Kind("x", _same, _same),
    "2x": Kind("2x", _same, _same),
    "3x": Kind("3x", _same, _same),
    "4x": Kind("4x", _same, _same),
    "6x": Kind("6x", _same, _same),
}

_FLOW: Final = "source:address destination:address source_port:port destination_port:port protocol:u8 pad:3x"

STRUCTS: Final[dict[str, str]] = {
    "address": "word:address",
    "service_key": "address:address port:port protocol:u8 pad:1x",
    "service": "flags:u32 id:u32 generation:u32 backends:u32 affinity_s:u32 pad:4x",
    "backend_key": "service:u32 generation:u32 slot:u32",
    "backend": "address:address port:port pad:2x",
    "workload": "ifindex:u32",
    "node_address": "ifindex:u32",
    "flow": _FLOW,
    "proxied": "since_ns:u64 closed:u32 pad:4x",
    "fragment": "source:address destination:address id:u32 protocol:u8 pad:3x",
    "ports": "source:port destination:port",
    "answer_key": "address:address ifindex:u32",
    "answer": "mac:mac pad:2x",
    "mac": "octets:mac pad:2x",
    "settings": "node4:address node6:address envoy_cgroup:u64 host_netns:u64",
    "absence": "since_ns:u64",
    "tally": "packets:u64 bytes:u64",
    "pace": "window_ns:u64 events:u32 suppressed:u32",
    "event": "time_ns:u64 "
    + _FLOW.replace("pad:", "flow_pad:")
    + " ifindex:u32 suppressed:u32 reason:u8 direction:u8 pad:6x",
    "client": "address:address cookie:u64 kind:u32 service:u32",
    "held": "seen_ns:u64 generation:u32 slot:u32 address:address port:port backend_pad:2x pad:4x",
    "connection": "address:address port:port backend_pad:2x service:u32 generation:u32 slot:u32"
    " node:address node_port:port pad:2x",
    "translation": "address:address port:port reason:u8 progress:u8 seen_s:u32 of_backend:u32 of_client:u32",
}
"""C structure -> its fields and their kinds, in order. An event's flow is spread out."""

T = TypeVar("T", bound=tuple[Any, ...])


class Codec(Generic[T]):
    """Entries of one structure <-> bytes."""

    def __init__(self, struct: str, entry: Callable[..., T]) -> None:
        self.struct = struct
        fields = [field.split(":") for field in STRUCTS[struct].split()] if struct != "u32" else [["slot", "u32"]]
        self._struct = Struct("=" + "".join(KINDS[kind].code for _, kind in fields))
        self._kinds = [KINDS[kind] for _, kind in fields if not kind.endswith("x")]
        self._entry = entry

    @property
    def size(self) -> int:
        return self._struct.size

    def pack(self, entry: T) -> bytes:
        return self._struct.pack(*(kind.packed(value) for kind, value in zip(self._kinds, entry, strict=True)))

    def unpack(self, octets: bytes) -> T:
        values = self._struct.unpack_from(octets)
        return self._entry(*(kind.unpacked(value) for kind, value in zip(self._kinds, values, strict=True)))


EVENT: Final = Codec("event", Event)
PACE: Final = Codec("pace", Pace)
TALLY: Final = Codec("tally", Tally)


class MapType(IntEnum):
    HASH = 1
    ARRAY = 2
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LPM_TRIE = 11
    SOCKMAP = 15
    RINGBUF = 27


K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V", bound=tuple[Any, ...])


class MapSpec(NamedTuple, Generic[K, V]):
    """A map of datapath/bpf/maps.h: under its name it is pinned."""

    name: str
    key: Codec[K]
    value: Codec[V]


_ADDRESS: Final = Codec("address", AddressKey)
_INDEX: Final = Codec("u32", Index)
ONLY: Final = Index(0)
"""The key of an array that has one entry."""

SERVICES: Final = MapSpec("svc", Codec("service_key", ServiceKey), Codec("service", Service))
BACKENDS: Final = MapSpec("backends", Codec("backend_key", BackendKey), Codec("backend", Backend))
WORKLOADS: Final = MapSpec("workloads", _ADDRESS, Codec("workload", Workload))
NODE_ADDRESSES: Final = MapSpec("node_addresses", _ADDRESS, Codec("node_address", NodeAddress))
LINK_ADDRESSES: Final = MapSpec("link_addresses", _ADDRESS, Codec("node_address", NodeAddress))
PROXIED_AS: Final = MapSpec("proxied_as", Codec("flow", Flow), Codec("proxied", Proxied))
FRAGMENTS: Final = MapSpec("fragments", Codec("fragment", Fragment), Codec("ports", Ports))
ANSWERS: Final = MapSpec("answers", Codec("answer_key", AnswerKey), Codec("answer", Answer))
OWN_MACS: Final = MapSpec("own_macs", Codec("mac", MacKey), Codec("node_address", NodeAddress))
SETTINGS: Final = MapSpec("settings", _INDEX, Codec("settings", Settings))
FILLED: Final = frozenset(
    each.name for each in (SERVICES, BACKENDS, WORKLOADS, NODE_ADDRESSES, LINK_ADDRESSES, SETTINGS)
)
"""What the daemon alone writes, and writes whole before it attaches programs."""
ABSENCE: Final = MapSpec("absence", _INDEX, Codec("absence", Absence))
"""IPv4 first, then IPv6."""
BALANCED: Final = MapSpec("balanced", _INDEX, _INDEX)
AFFINITY: Final = MapSpec("affinity", Codec("client", Client), Codec("held", Held))
CONNECTIONS: Final = MapSpec("connections", Codec("flow", Flow), Codec("connection", Connection))
TRANSLATIONS: Final = MapSpec("translations", Codec("flow", Flow), Codec("translation", Translation))
