"""What the API server checks across fields: those of Gateway API, and those that core kinds have in code.

Each rule reads a Struct whose fields are known to be well-formed, and yields findings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from xds_server.files.problems import Finding
from xds_server.files.rules import core as core_rules
from xds_server.files.rules import gateway as gateway_rules
from xds_server.files.rules import ingress as ingress_rules
from xds_server.files.rules import route as route_rules
from xds_server.files.rules import tidegate as tidegate_rules
from xds_server.files.rules.metadata import metadata
from xds_server.files.rules.names import Findings
from xds_server.objects import core, gateway, networking, routes, tidegate
from xds_server.objects.meta import Model, ObjectMeta

RULES: Final[dict[type[Model], Callable[[Any], Findings]]] = {
    core.Service: core_rules.service,
    core.EndpointSlice: core_rules.endpoint_slice,
    core.Secret: core_rules.secret,
    core.ConfigMap: core_rules.config_map,
    networking.Ingress: ingress_rules.ingress,
    gateway.Gateway: gateway_rules.gateway_,
    routes.HTTPRoute: route_rules.http_route,
    routes.GRPCRoute: route_rules.grpc_route,
    routes.TLSRoute: route_rules.tls_route,
    routes.TCPRoute: route_rules.transport_route,
    routes.UDPRoute: route_rules.transport_route,
    tidegate.LoadBalancerIPPool: tidegate_rules.address_pool,
    tidegate.CiliumLoadBalancerIPPool: tidegate_rules.cilium_pool,
    tidegate.GatewayParameters: tidegate_rules.gateway_parameters,
}


def findings(obj: Model) -> list[Finding]:
    """All that is wrong with an object of well-formed fields."""
    meta = obj.metadata  # type: ignore[attr-defined]
    return [*(metadata(meta) if isinstance(meta, ObjectMeta) else ()), *RULES.get(type(obj), _nothing)(obj)]


def _nothing(_: Any) -> Findings:
    yield from ()
