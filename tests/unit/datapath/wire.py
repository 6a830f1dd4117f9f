"""Resources as a control plane serves them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from datapath.resources import SERVICE
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb


def packed(address: str) -> bytes:
    return ip_address(address).packed if address else b""


def service(
    *frontends: tuple[str, int, str],
    backends: Iterable[tuple[str, int, int]] = (),
    proxied: bool = False,
    fail_open: bool = False,
    **fields: Any,
) -> pb.Service:
    """Frontends are address, port and listener; backends address, port and weight."""
    message = pb.Service(
        protocol=fields.pop("protocol", pb.TCP),
        frontends=[pb.Frontend(address=packed(a), port=p, listener=name) for a, p, name in frontends],
        backends=[pb.Backend(address=packed(a), port=p, weight=w) for a, p, w in backends],
        **fields,
    )
    if proxied:
        message.proxy.fail_mode = pb.Proxy.OPEN if fail_open else pb.Proxy.CLOSED
    return message


def response(
    *resources: tuple[str, Any],
    type_url: str = SERVICE,
    removed: Iterable[str] = (),
    version: str = "1",
    nonce: str = "n",
) -> Any:
    answer = DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, removed_resources=removed)
    for name, message in resources:
        found = answer.resources.add(name=name, version=version)
        found.resource.type_url = type_url
        found.resource.value = message if isinstance(message, bytes) else message.SerializeToString()
    return answer
