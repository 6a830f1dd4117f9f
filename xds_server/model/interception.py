"""Services as a node's daemon sees them: where clients connect to, and who takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from xds_server.model.listener import Frontend
from xds_server.model.refs import ObjectRef, PortRef

TransportProtocol = Literal["TCP", "UDP"]


class ServiceRef(NamedTuple):
    """One port of a Service, a Gateway or an Ingress."""

    object: ObjectRef
    port: int
    protocol: TransportProtocol

    @property
    def port_ref(self) -> PortRef:
        return PortRef(self.object, self.port)


class Frontage(NamedTuple):
    """An address and port that clients connect to; every address of the nodes where `address` is empty.

    `listener` is the Envoy listener that serves it, if one does.
    """

    address: str
    port: int
    listener: str = ""


ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # recognised, not bound


def frontages(port: int, frontend: Frontend, port_offset: int = 0) -> tuple[Frontage, ...]:
    """Where clients connect to for a port of a frontend.

    Every address of a node is one for both families, since it is one for the kernel.
    """
    number = frontend.bound_port(port, port_offset)
    own = [Frontage(address, number) for address in frontend.bound if address not in ANYWHERE]
    if len(own) < len(frontend.bound):
        own += (Frontage("", each) for each in dict.fromkeys((number, frontend.node_port(port))) if each)
    return tuple(own)


class KernelBackend(NamedTuple):
    """One that is chosen in the kernel; `terminating` gets nothing new while there are others."""

    address: str
    port: int
    weight: int = 1
    terminating: bool = False


NOBODY: Final = KernelBackend("", 0)
"""Who is given this is refused."""


@dataclass(frozen=True, slots=True)
class Intercepted:
    """What the daemon is to do with what is sent to the frontages of a service.

    `external`: from outside the node, too.
    `proxied`: Envoy takes it; with `fail_open` a backend of those here does where there is no Envoy.
    `affinity_s`: for so long a client keeps its backend.
    `route`: the TCPRoute or UDPRoute whose backends these are; its own, where there is none.
    """

    ref: ServiceRef
    frontages: tuple[Frontage, ...]
    external: bool = False
    proxied: bool = False
    fail_open: bool = False
    backends: tuple[KernelBackend, ...] = ()
    affinity_s: int = 0
    route: ObjectRef | None = None


class Announced(NamedTuple):
    """An address that a node says it has: on the links whose name one of the patterns is found in, or on all."""

    node: str
    address: str
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod with addresses of its own; its object is gone, or has another name, once the addresses are another's."""

    ref: ObjectRef
    uid: str
    node: str
    addresses: tuple[str, ...]
