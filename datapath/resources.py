"""The resources that the control plane serves to a node, checked and frozen.

Whatever comes from the stream is hostile until it has become one of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

import re2
from google.protobuf.message import DecodeError

from xds_server.proto.tidegate.datapath.v1 import datapath_pb2

_PREFIX: Final = "type.googleapis.com/tidegate.datapath.v1."
SERVICE: Final = _PREFIX + "Service"
WORKLOADS: Final = _PREFIX + "Workloads"
ANNOUNCEMENTS: Final = _PREFIX + "Announcements"

Address = IPv4Address | IPv6Address

TCP: Final = 6
UDP: Final = 17
_PROTOCOLS: Final = {datapath_pb2.TCP: TCP, datapath_pb2.UDP: UDP}

MOST_BACKENDS: Final = 10_000
MOST_FRONTENDS: Final = 1_000
_MOST_WORKLOADS: Final = 4_096
_MOST_ANSWERS: Final = 4_096
_MOST_WEIGHT: Final = 1_000_000
LONGEST_NAME: Final = 512
_MOST_AFFINITY_S: Final = 86_400
_LONGEST_PATTERN: Final = 256


class InvalidResource(ValueError):
    """The text says which field of it cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Frontend:
    address: Address | None
    """None for every address of the node."""
    port: int
    listener: str
    """Of Envoy; empty where no proxy serves it."""


@dataclass(frozen=True, slots=True)
class Backend:
    address: Address | None
    """None for nobody: who would get this backend is refused."""
    port: int
    weight: int
    terminating: bool


@dataclass(frozen=True, slots=True)
class Proxied:
    fail_open: bool


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    protocol: int
    """As IP has it."""
    frontends: tuple[Frontend, ...]
    backends: tuple[Backend, ...]
    external: bool
    proxy: Proxied | None
    affinity_s: int


@dataclass(frozen=True, slots=True)
class Workload:
    namespace: str
    name: str
    uid: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Workloads:
    name: str
    workloads: tuple[Workload, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    address: Address
    interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Announcements:
    name: str
    announcements: tuple[Announcement, ...]


Resource = Service | Workloads | Announcements


def decoded(type_url: str, name: str, body: bytes) -> Resource:
    """:raises InvalidResource: it cannot be used; nothing of it is."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidResource(f"its name is to have 1 to {LONGEST_NAME} printable characters")
    message, build = _KINDS[type_url]
    try:
        parsed = message.FromString(body)
    except DecodeError:
        raise InvalidResource(f"it is no {type_url.rpartition('.')[2]}") from None
    resource: Resource = build(name, parsed)
    return resource


def _service(name: str, message: Any) -> Service:
    protocol = _PROTOCOLS.get(message.protocol)
    if protocol is None:
        raise InvalidResource(f"protocol {message.protocol} is unknown: TCP and UDP are supported")
    proxied = message.HasField("proxy")
    if proxied and protocol != TCP:
        raise InvalidResource("proxy: Envoy serves TCP alone here")
    if not message.frontends:
        raise InvalidResource("frontends: it has none")
    if len(message.frontends) > MOST_FRONTENDS or len(message.backends) > MOST_BACKENDS:
        raise InvalidResource(f"it has more than {MOST_FRONTENDS} frontends or {MOST_BACKENDS} backends")
    if message.affinity_s > _MOST_AFFINITY_S:
        raise InvalidResource(f"affinity_s {message.affinity_s} is more than a day")
    return Service(
        name=name,
        protocol=protocol,
        frontends=tuple(_frontend(i, frontend, proxied=proxied) for i, frontend in enumerate(message.frontends)),
        backends=tuple(_backend(i, backend) for i, backend in enumerate(message.backends)),
        external=message.external,
        proxy=_proxied(message.proxy) if proxied else None,
        affinity_s=message.affinity_s,
    )


def _proxied(message: Any) -> Proxied:
    if message.fail_mode not in {datapath_pb2.Proxy.CLOSED, datapath_pb2.Proxy.OPEN}:
        raise InvalidResource(f"proxy.fail_mode {message.fail_mode} is unknown: a newer daemon may know it")
    return Proxied(message.fail_mode == datapath_pb2.Proxy.OPEN)


def _frontend(index: int, message: Any, *, proxied: bool) -> Frontend:
    field = f"frontends[{index}]"
    address = _address(f"{field}.address", message.address) if message.address else None
    if proxied and not 0 < len(message.listener) <= LONGEST_NAME:
        raise InvalidResource(f"{field}.listener: a service with a proxy names the listener of each frontend")
    if message.listener and not proxied:
        raise InvalidResource(f"{field}.listener: it has no proxy")
    return Frontend(address, _port(f"{field}.port", message.port), message.listener)


def _backend(index: int, message: Any) -> Backend:
    field = f"backends[{index}]"
    if message.weight > _MOST_WEIGHT:
        raise InvalidResource(f"{field}.weight {message.weight} is more than {_MOST_WEIGHT}")
    if not message.address:
        if message.port or message.terminating:
            raise InvalidResource(f"{field}: it has no address, and so neither a port nor an end")
        return Backend(None, 0, message.weight, terminating=False)
    address = _address(f"{field}.address", message.address)
    return Backend(address, _port(f"{field}.port", message.port), message.weight, message.terminating)


def _port(field: str, port: int) -> int:
    if not 1 <= port <= 65535:
        raise InvalidResource(f"{field} {port} is no port")
    return port


def _address(field: str, raw: bytes) -> Address:
    if len(raw) not in {4, 16}:
        raise InvalidResource(f"{field} has {len(raw)} bytes: an address has 4 or 16")
    found = ip_address(raw)
    address = (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
    # To send connections there would reach the node itself, or nobody.
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
        raise InvalidResource(f"{field} {address} is no address of a service, a pod or a node")
    return address


def _workloads(name: str, message: Any) -> Workloads:
    if len(message.workloads) > _MOST_WORKLOADS:
        raise InvalidResource(f"it has more than {_MOST_WORKLOADS} workloads")
    return Workloads(name, tuple(_workload(i, workload) for i, workload in enumerate(message.workloads)))


def _workload(index: int, message: Any) -> Workload:
    field = f"workloads[{index}]"
    words = (message.namespace, message.name, message.uid)
    if not all(len(word) <= LONGEST_NAME and word.isprintable() for word in words):
        raise InvalidResource(f"{field}: a name in it is too long, or not printable")
    addresses = tuple(_address(f"{field}.addresses[{i}]", raw) for i, raw in enumerate(message.addresses))
    return Workload(*words, addresses)


def _announcements(name: str, message: Any) -> Announcements:
    if len(message.announcements) > _MOST_ANSWERS:
        raise InvalidResource(f"it has more than {_MOST_ANSWERS} announcements")
    return Announcements(name, tuple(_announcement(i, found) for i, found in enumerate(message.announcements)))


def _announcement(index: int, message: Any) -> Announcement:
    field = f"announcements[{index}]"
    for i, pattern in enumerate(message.interfaces):
        if len(pattern) > _LONGEST_PATTERN:
            raise InvalidResource(f"{field}.interfaces[{i}] is longer than {_LONGEST_PATTERN} characters")
        try:
            re2.compile(pattern)
        except re2.error:
            raise InvalidResource(f"{field}.interfaces[{i}] is no RE2 pattern") from None
    return Announcement(_address(f"{field}.address", message.address), tuple(message.interfaces))


_KINDS: Final[dict[str, tuple[Any, Any]]] = {
    SERVICE: (datapath_pb2.Service, _service),
    WORKLOADS: (datapath_pb2.Workloads, _workloads),
    ANNOUNCEMENTS: (datapath_pb2.Announcements, _announcements),
}
