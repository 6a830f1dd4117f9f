"""Names of things: tuples that hash, sort and print well."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class ObjectRef(NamedTuple):
    """A Kubernetes object; `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


SHARED_INGRESS: Final = ObjectRef("SharedIngress", "", "shared")
"""The frontend that all Ingresses of shared mode have in common; no Kubernetes object has this kind."""


class ParentRef(NamedTuple):
    """An entry of `parentRefs` as it is written: what is "" or None there is left to its default."""

    group: str
    kind: str
    namespace: str
    name: str
    section: str
    port: int | None


Kept = Literal["", "ipv4", "ipv6"]
"""For connections of this IP family alone, which go on from their client's own address; "" for all others.

An address of one family reaches nobody of the other: so each has tables, routes and clusters of its own.
"""


def family(address: str) -> Literal["ipv4", "ipv6"]:
    return "ipv6" if ":" in address else "ipv4"


class ListenerRef(NamedTuple):
    """One listener of a Gateway (`section` is its name) or of an Ingress frontend."""

    parent: ObjectRef
    section: str


class PortRef(NamedTuple):
    """One port of a frontend: becomes one Envoy listener."""

    frontend: ObjectRef
    port: int


class TableRef(NamedTuple):
    """One route table: becomes one Envoy route configuration.

    Plaintext HTTP has one table a port, with `hostname` empty.
    HTTPS has one table for each listener hostname ("*" when it has none), since SNI decides the table.
    """

    frontend: ObjectRef
    port: int
    hostname: str
    kept: Kept = ""


UNSAID: Final = "/bytes"
"""In the place of a table's hostname, which it cannot be: connections that turn out to speak something else."""


class HostRef(NamedTuple):
    """One virtual host of a route table; `hostname` may be "*" or start with "*.".

    Of a Service, it may be for the pods of one namespace alone: `clients`.
    """

    table: TableRef
    hostname: str
    clients: str = ""


class RouteRef(NamedTuple):
    """One match of one rule of a route object, by position; an Ingress path is a rule with one match."""

    source: ObjectRef
    rule: int
    match: int
    kept: Kept = ""


Protocol = Literal["http", "h2c", "https", "h2", "tcp", "udp"]
"""How a backend is spoken to: HTTP/1.1 or HTTP/2, without or with TLS, or plain bytes; datagrams never by Envoy."""


class ClusterRef(NamedTuple):
    """One port of a Service as one protocol: becomes one Envoy cluster."""

    namespace: str
    service: str
    port: int
    protocol: Protocol
    kept: Kept = ""
