"""Frontends and their listeners: where requests come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from xds_server.model.refs import Kept, ListenerRef, ObjectRef, PortRef, TableRef


class FrontendPort(NamedTuple):
    """A listener's port, the one that Envoy binds for it, the one that clients use, and that of every node, if any."""

    port: int
    bound: int
    client: int
    node: int = 0


@dataclass(frozen=True, slots=True)
class Frontend:
    """Addresses served as one: a Gateway, a dedicated Ingress, all shared Ingresses, or a Service with routes.

    `addresses` is empty while none can be had; `unusable` then says why, and `reason` is its word in a condition.
    `outdated` says why a change of what leads there was refused, so that it goes on as it was.
    `pools` are the objects that the addresses are from.
    `bind` is where Envoy listens, where that is not at the addresses: a load balancer or the node leads there.
    `ports` are those that differ on the way.
    """

    ref: ObjectRef
    addresses: tuple[str, ...]
    unusable: str = ""
    reason: str = "AddressNotUsable"
    pools: tuple[ObjectRef, ...] = ()
    bind: tuple[str, ...] = ()
    ports: tuple[FrontendPort, ...] = ()
    outdated: str = ""

    @property
    def bound(self) -> tuple[str, ...]:
        """The addresses that Envoy binds."""
        return self.bind or self.addresses

    def bound_port(self, port: int, offset: int = 0) -> int:
        """The port that Envoy binds for a listener's; `offset` shifts those that have none of their own."""
        return next((each.bound for each in self.ports if each.port == port), port + offset)

    def node_port(self, port: int) -> int:
        """The port of every node by which a listener's is reached; 0 for none."""
        return next((each.node for each in self.ports if each.port == port), 0)

    def client_port(self, port: int, offset: int = 0) -> int:
        """The port that clients use for a listener's."""
        return next((each.client for each in self.ports if each.port == port), port + offset)


@dataclass(frozen=True, slots=True)
class TlsTermination:
    """The certificates that Envoy presents; `certificates` are Secrets, in the order of preference."""

    certificates: tuple[ObjectRef, ...]


ListenerProtocol = Literal["HTTP", "HTTPS", "TLS"]


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener that is served.

    `hostname` is "*" where the object names none.
    An HTTPS listener has `tls`; a TLS listener without `tls` passes bytes through, chosen by SNI.
    `misdirected` are the hostnames of the other HTTPS listeners on this port: requests for them answer 421 here.
    `kept` is the family of the clients whose address backends see: it serves the addresses of that family.
    """

    ref: ListenerRef
    frontend: ObjectRef
    port: int
    protocol: ListenerProtocol
    hostname: str
    tls: TlsTermination | None = None
    misdirected: tuple[str, ...] = ()
    kept: Kept = ""

    @property
    def port_ref(self) -> PortRef:
        return PortRef(self.frontend, self.port)

    @property
    def table(self) -> TableRef:
        return TableRef(self.frontend, self.port, "" if self.protocol == "HTTP" else self.hostname, self.kept)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A route's acceptance by one listener, for the hostnames that both have and no more specific listener takes.

    `source` is None for the listener's own hostname: it keeps requests from falling to a less specific listener.
    `hostnames` is empty where the listener is not served.
    `accepted` is False for a route that is refused as a whole: its requests answer 500 and it counts as not attached.
    `clients` is the namespace whose pods alone it is for, "" for everybody.
    """

    source: ObjectRef | None
    listener: ListenerRef
    table: TableRef
    hostnames: tuple[str, ...]
    accepted: bool = True
    clients: str = ""
