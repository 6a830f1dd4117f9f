"""What a node's daemon does with a connection: it leads it to a listener of Envoy, or the kernel chooses a backend.

As with Envoy's messages, it is read from what the daemon is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from xds_server.explain import origin
from xds_server.explain.result import Backend, Result
from xds_server.model.resource import INTERCEPTED, Resource, ResourceKey
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as datapath

_KERNEL: Final = "no route of HTTP is for this port: the kernel chooses a backend, and no proxy sees the connection"
_NOBODY: Final = "the kernel refuses the connection: no backend can take it"
_UNTOUCHED: Final = "no service of the mesh has this address and port: the connection goes where it would without it"


def in_kernel(resources: Mapping[ResourceKey, Resource], address: str, port: int) -> Result | None:
    """What becomes of a TCP connection to an address that Envoy does not take.

    None for one that it takes, and where nodes have no daemon.
    """
    if not any(key.type_url == INTERCEPTED for key in resources):
        return None
    for name, found, listener in _at(resources, address, port):
        return None if listener else _balanced(name, found, address)
    return Result(address=address, outcome="kernel", reason=_UNTOUCHED)


def _at(resources: Mapping[ResourceKey, Resource], address: str, port: int) -> Iterator[tuple[str, Any, str]]:
    """Services at an address and port, or else at every address of the nodes, with the listener that serves them."""
    packed = ip_address(address).packed
    anywhere = []
    for key in sorted(key for key in resources if key.type_url == INTERCEPTED):
        found = datapath.Service.FromString(resources[key].body)
        for each in found.frontends:
            if found.protocol == datapath.TCP and each.port == port and each.address in (packed, b""):
                told = (key.name, found, each.listener)
                if each.address:
                    yield told
                else:
                    anywhere.append(told)
    yield from anywhere


def _balanced(name: str, found: Any, address: str) -> Result:
    by_weight: dict[int, list[str]] = defaultdict(list)
    version = ip_address(address).version
    staying = [each for each in found.backends if not each.terminating]
    for each in staying or found.backends:
        reached = ip_address(each.address) if each.address else None
        if reached is None or reached.version == version:
            by_weight[each.weight].append(_endpoint(reached, each.port))
    port = origin.intercepted(name)
    # A Gateway's backends are those of its TCPRoutes, which the daemon is not told the names of.
    service = f"{port.frontend.namespace}/{port.frontend.name}" if port and port.frontend.kind == "Service" else ""
    backends = tuple(
        Backend("", service, port.port if port else 0, weight, tuple(endpoints))
        for weight, endpoints in sorted(by_weight.items())
    )
    endpoints = tuple(each for backend in backends for each in backend.endpoints)
    return Result(
        parent=str(port.frontend) if port else "",
        address=address,
        outcome="kernel",
        backends=backends,
        endpoints=endpoints,
        reason=_KERNEL if endpoints else _NOBODY,
    )


def _endpoint(address: Any, port: int) -> str:
    if address is None:
        return "nobody: refused"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
