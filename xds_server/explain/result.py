"""What explain answers, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from xds_server.model.refs import RouteRef

Outcome = Literal["route", "redirect", "direct_response", "passthrough", "kernel", "no_route"]

CONSIDERED_LIMIT = 20
"""Routes passed over that a result names; a table may hold thousands."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A share of the requests, by weight among its neighbours; `service` is empty for a cluster that is not of one."""

    cluster: str
    service: str
    port: int
    weight: int
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What happens to the request at one address.

    `status` is of answers that Envoy gives itself; None when the backend gives it, or when nothing is answered.
    `grpc_status` stands for it where the request is gRPC: Envoy then answers 200 and puts this into a header.
    `envoy_route` is the name of the route within Envoy.
    `alternatives` tell the shares apart where chance decides between routes; the result itself is the likeliest,
    with the backends of all of them.
    """

    parent: str = ""
    address: str = ""
    outcome: Outcome = "no_route"
    status: int | None = None
    grpc_status: int | None = None
    listener: str = ""
    filter_chain: str = ""
    virtual_host: str = ""
    route: RouteRef | None = None
    envoy_route: str = ""
    match: str = ""
    filters: tuple[str, ...] = ()
    cluster: str = ""
    backends: tuple[Backend, ...] = ()
    endpoints: tuple[str, ...] = ()
    location: str = ""
    body: str = ""
    reason: str = ""
    considered: tuple[str, ...] = ()
    share: float = 1.0
    alternatives: tuple[Result, ...] = ()


def document(result: Result) -> dict[str, Any]:
    """The JSON form: every key is always there; what does not apply is null or empty."""
    source = result.route.source if result.route else None
    return {
        "parent": result.parent,
        "address": result.address,
        "outcome": result.outcome,
        "status": result.status,
        "grpc_status": result.grpc_status,
        "listener": result.listener,
        "filter_chain": result.filter_chain,
        "virtual_host": result.virtual_host,
        "route": {"kind": source.kind, "namespace": source.namespace, "name": source.name} if source else None,
        "rule": result.route.rule if result.route else None,
        "match": result.match,
        "filters": list(result.filters),
        "cluster": result.cluster or None,
        "backends": [
            {
                "service": each.service,
                "port": each.port,
                "weight": each.weight,
                "cluster": each.cluster,
                "endpoints": list(each.endpoints),
            }
            for each in result.backends
        ],
        "endpoints": list(result.endpoints),
        "location": result.location or None,
        "reason": result.reason,
        "considered": list(result.considered),
        "share": result.share,
        "alternatives": [document(each) for each in result.alternatives],
    }
