"""What a node's daemon does with a connection: it leads it to a listener of Envoy, or the kernel chooses a backend.

As with Envoy's messages, it is read from what the daemon is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final

from xds_server.explain import origin
from xds_server.explain.cluster import endpoint
from xds_server.explain.result import Backend, Result
from xds_server.model.resource import INTERCEPTED, WORKLOADS, Resource, ResourceKey
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as datapath

_KERNEL: Final = "no route of HTTP is for this port: the kernel chooses a backend, and no proxy sees the connection"
_NOBODY: Final = "the kernel refuses the connection: no backend can take it"
IF_OF_NODE: Final = "so it is where the address is one of a node; elsewhere the connection goes where it would anyway"
_INSIDERS: Final = "it is for pods, and for processes of nodes, alone"
_UNTOUCHED: Final = "no service of the mesh has this address and port: the connection goes where it would without it"


def in_kernel(resources: Mapping[ResourceKey, Resource], address: str, port: int) -> Result | None:
    """What becomes of a TCP connection to an address that Envoy does not take.

    None for one that it takes, and where nodes have no daemon.
    """
    if not any(key.type_url == INTERCEPTED for key in resources):
        return None
    for name, found, frontend in _at(resources, address, port):
        if frontend.listener:
            return None
        balanced = _balanced(name, found, address)
        return balanced if frontend.address else replace(balanced, reason=f"{balanced.reason}; {IF_OF_NODE}")
    return Result(address=address, outcome="kernel", reason=_UNTOUCHED)


def is_of_nodes(resources: Mapping[ResourceKey, Resource], address: str, port: int) -> bool:
    """Whether what is there is so at every address of the nodes, and nowhere else."""
    return not next((frontend.address for _, _, frontend in _at(resources, address, port)), b"anywhere")


def for_insiders(resources: Mapping[ResourceKey, Resource], address: str, port: int, client: str) -> str:
    """A note where what is there is not for a client from elsewhere, which this one may be; else ""."""
    found = next((found for _, found, _ in _at(resources, address, port)), None) if client else None
    if found is None or found.external or _may_be_pods(resources, client):
        return ""
    return (
        f"{_INSIDERS}, and {client} is no pod's: if it is no node's either, the connection goes where it would anyway"
    )


def _may_be_pods(resources: Mapping[ResourceKey, Resource], address: str) -> bool:
    """Of which there are none where nobody was told of any."""
    found = ip_address(address)
    packed = (getattr(found, "ipv4_mapped", None) or found).packed
    told = [datapath.Workloads.FromString(resources[key].body) for key in resources if key.type_url == WORKLOADS]
    return not told or any(packed in workload.addresses for each in told for workload in each.workloads)


def _at(resources: Mapping[ResourceKey, Resource], address: str, port: int) -> Iterator[tuple[str, Any, Any]]:
    """Services at an address and port, or else at every address of the nodes, with the frontend that they are there."""
    packed = ip_address(address).packed
    anywhere = []
    for key in sorted(key for key in resources if key.type_url == INTERCEPTED):
        found = datapath.Service.FromString(resources[key].body)
        for each in found.frontends:
            if found.protocol == datapath.TCP and each.port == port and each.address in (packed, b""):
                told = (key.name, found, each)
                if each.address:
                    yield told
                else:
                    anywhere.append(told)
    yield from anywhere


def _balanced(name: str, found: Any, address: str) -> Result:
    chosen = _eligible(found.backends, len(ip_address(address).packed))
    port = origin.intercepted(name)
    # A Gateway's backends are those of its TCPRoutes, which the daemon is not told the names of.
    service = f"{port.frontend.namespace}/{port.frontend.name}" if port and port.frontend.kind == "Service" else ""
    number = port.port if port else 0
    backends = tuple(Backend("", service, number, each.weight, (_endpoint(each),)) for each in chosen)
    endpoints = tuple(each for backend in backends for each in backend.endpoints)
    return Result(
        parent=str(port.frontend) if port else "",
        address=address,
        outcome="kernel",
        backends=backends,
        endpoints=endpoints,
        reason=_KERNEL if endpoints else _NOBODY,
    )


def _eligible(backends: Iterable[Any], length: int) -> list[Any]:
    """As the daemon chooses them: of an address's family, who terminates only where nobody else is; and nobody beside.

    `length` is of such an address, in bytes.
    """
    weighted = [each for each in backends if each.weight]
    of_family = [each for each in weighted if len(each.address) == length]
    staying = [each for each in of_family if not each.terminating] or of_family
    return staying + [each for each in weighted if not each.address] if staying else []


def _endpoint(backend: Any) -> str:
    return endpoint(str(ip_address(backend.address)), backend.port) if backend.address else "nobody: refused"
