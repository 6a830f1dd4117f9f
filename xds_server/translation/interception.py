"""What a node's daemon is told: which connections go to the node's Envoy, and where all others go.

It must not know why.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from xds_server.model.interception import (
    ANYWHERE,
    Announced,
    Frontage,
    Intercepted,
    KernelBackend,
    ServiceRef,
    Workload,
    frontages,
)
from xds_server.model.listener import Frontend
from xds_server.model.refs import PortRef
from xds_server.model.resource import ANNOUNCEMENTS, INTERCEPTED, LISTENER, WORKLOADS, Resource, ResourceKey, resource
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as datapath
from xds_server.translation import envoy, names


def service(found: Intercepted) -> Resource:
    """It refers to the listeners of its frontages: one that goes is to go after it."""
    led = [_with_listener(found, each) for each in sorted(found.frontages)]
    message = datapath.Service(
        frontends=[
            datapath.Frontend(address=_packed(each.address), port=each.port, listener=each.listener) for each in led
        ],
        protocol=found.ref.protocol,
        external=found.external,
        backends=map(_backend, sorted(found.backends)),
        affinity_s=found.affinity_s,
    )
    if found.proxied:
        message.proxy.fail_mode = datapath.Proxy.OPEN if found.fail_open else datapath.Proxy.CLOSED
    references = sorted({ResourceKey(LISTENER, each.listener) for each in led if each.listener})
    return resource(INTERCEPTED, names.intercepted(found.ref), envoy.serialised(message), tuple(references))


def exposed(port: PortRef, frontend: Frontend, port_offset: int = 0) -> Intercepted | None:
    """What serves a port of a Gateway or an Ingress; None while it has no address."""
    found = frontages(port.port, frontend, port_offset)
    if not found:
        return None
    anywhere = next((address for address in frontend.bound if address in ANYWHERE), "")
    named = tuple(each._replace(listener=names.listener(port, each.address or anywhere)) for each in found)
    return Intercepted(ServiceRef(port.frontend, port.port, "TCP"), named, external=True, proxied=True)


def workloads(node: str, found: Iterable[Workload]) -> Resource:
    """The pods of a node."""
    message = datapath.Workloads(
        workloads=[
            datapath.Workload(
                namespace=each.ref.namespace,
                name=each.ref.name,
                uid=each.uid,
                addresses=map(_packed, each.addresses),
            )
            for each in sorted(found, key=lambda each: each.ref)
        ]
    )
    return resource(WORKLOADS, node, envoy.serialised(message))


def announcements(node: str, found: Iterable[Announced]) -> Resource:
    """What a node says on its links that it has."""
    message = datapath.Announcements(
        announcements=[
            datapath.Announcement(address=_packed(each.address), interfaces=each.interfaces) for each in sorted(found)
        ]
    )
    return resource(ANNOUNCEMENTS, node, envoy.serialised(message))


def _with_listener(found: Intercepted, at: Frontage) -> Frontage:
    """What Envoy takes is taken by the listener that is named after the address."""
    if not found.proxied or at.listener:
        return at
    return at._replace(listener=names.listener(found.ref.port_ref, at.address))


def _backend(found: KernelBackend) -> datapath.Backend:
    return datapath.Backend(
        address=_packed(found.address), port=found.port, weight=found.weight, terminating=found.terminating
    )


def _packed(address: str) -> bytes:
    return ip_address(address).packed if address else b""
