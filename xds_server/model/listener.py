"""Frontends and their listeners: where requests come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xds_server.model.refs import ListenerRef, ObjectRef, PortRef, TableRef


@dataclass(frozen=True, slots=True)
class Frontend:
    """Addresses served as one: a Gateway, a dedicated Ingress, or all shared Ingresses.

    `addresses` is empty while none can be had; `unusable` then says why, and `reason` is its word in a condition.
    `pools` are the objects that the addresses are from.
    """

    ref: ObjectRef
    addresses: tuple[str, ...]
    unusable: str = ""
    reason: str = "AddressNotUsable"
    pools: tuple[ObjectRef, ...] = ()


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
    """

    ref: ListenerRef
    frontend: ObjectRef
    port: int
    protocol: ListenerProtocol
    hostname: str
    tls: TlsTermination | None = None
    misdirected: tuple[str, ...] = ()

    @property
    def port_ref(self) -> PortRef:
        return PortRef(self.frontend, self.port)

    @property
    def table(self) -> TableRef:
        return TableRef(self.frontend, self.port, "" if self.protocol == "HTTP" else self.hostname)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A route's acceptance by one listener, for the hostnames that both have and no more specific listener takes.

    `source` is None for the listener's own hostname: it keeps requests from falling to a less specific listener.
    `hostnames` is empty where the listener is not served.
    `accepted` is False for a route that is refused as a whole: its requests answer 500 and it counts as not attached.
    """

    source: ObjectRef | None
    listener: ListenerRef
    table: TableRef
    hostnames: tuple[str, ...]
    accepted: bool = True
