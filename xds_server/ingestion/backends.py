"""Backend references: from a name in a route to a Service's port, or to the reason why not.

It must not know what the route does with the backend.
"""

from __future__ import annotations

from typing import Final

from xds_server.graph import Fetch
from xds_server.ingestion.grants import Grants, permitted
from xds_server.ingestion.sources import Sources
from xds_server.model.backend import InvalidBackend
from xds_server.model.refs import ClusterRef, ObjectRef, Protocol
from xds_server.objects.core import ServicePort
from xds_server.objects.gateway import BackendObjectReference

PROTOCOL_BY_APP_PROTOCOL: Final[dict[str, Protocol]] = {
    "": "http",
    "http": "http",
    "tcp": "http",  # says nothing of what runs on top, as an empty one
    "kubernetes.io/ws": "http",
    "kubernetes.io/h2c": "h2c",
    "h2c": "h2c",
    "http2": "h2c",
    "grpc": "h2c",
    "https": "https",
    "kubernetes.io/wss": "https",
}


def service_backend(
    fetch: Fetch,
    sources: Sources,
    namespace: str,
    service: str,
    port: int | str | None,
    protocol: Protocol | None,
) -> ClusterRef | InvalidBackend:
    """A Service's port by number or by name; `protocol` None takes the port's own."""
    ref = ObjectRef("Service", namespace, service)
    if port is None:
        return InvalidBackend("BackendNotFound", f"{ref}: the reference names no port, and a Service needs one")
    found = fetch.get(sources.services, ref)
    if found is None:
        return InvalidBackend("BackendNotFound", f"{ref} does not exist")
    if found.spec.type == "ExternalName":
        return InvalidBackend("BackendNotFound", f"{ref} is of type ExternalName, which is not followed")
    transport = "UDP" if protocol == "udp" else "TCP"
    match = next((p for p in found.spec.ports if port in (p.port, p.name) and p.protocol == transport), None)
    if match is None:
        return no_port(ref, port, found.spec.ports, transport)
    protocol = protocol or PROTOCOL_BY_APP_PROTOCOL.get(match.app_protocol.lower())
    if protocol is None:
        message = f"{ref} port {match.port} has appProtocol {match.app_protocol!r}, which is not spoken here"
        return InvalidBackend("UnsupportedProtocol", message)
    return ClusterRef(namespace, service, match.port, protocol)


def no_port(ref: ObjectRef, port: int | str, ports: tuple[ServicePort, ...], transport: str) -> InvalidBackend:
    other = next((p for p in ports if port in (p.port, p.name)), None)
    if other is not None:
        return InvalidBackend("UnsupportedProtocol", f"{ref} port {port} is {other.protocol}, not {transport}")
    known = ", ".join(str(p.port) for p in ports[:8]) or "none"
    return InvalidBackend("BackendNotFound", f"{ref} has no port {port}; it has: {known}")


def resolve(
    fetch: Fetch,
    sources: Sources,
    grants: Grants,
    referrer: ObjectRef,
    ref: BackendObjectReference,
    protocol: Protocol | None,
    spared: ObjectRef | None = None,
) -> ClusterRef | InvalidBackend:
    """What a route's backend reference names, checked in the order that gives nothing away: kind, grant, existence.

    The Service that is `spared` needs no grant.
    """
    if (ref.group, ref.kind) != ("", "Service"):
        kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
        return InvalidBackend("InvalidKind", f"backendRef {ref.name} is a {kind}; only Services are backends")
    target = ObjectRef("Service", ref.namespace or referrer.namespace, ref.name)
    if target != spared and not permitted(fetch, grants, referrer, target):
        message = f"{target}: no ReferenceGrant there allows {referrer.kind}s of namespace {referrer.namespace}"
        return InvalidBackend("RefNotPermitted", message)
    return service_backend(fetch, sources, target.namespace, target.name, ref.port, protocol)
