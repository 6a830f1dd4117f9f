"""How a frontend is exposed: from GatewayParameters of a class and of a Gateway, field by field.

It must not know addresses.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from msgspec.structs import fields, replace

from xds_server.graph import Fetch
from xds_server.ingestion.frontend_ports import USUAL
from xds_server.ingestion.sources import Sources
from xds_server.ingestion.values import shown
from xds_server.model.refs import ObjectRef
from xds_server.objects.gateway import Gateway, GatewayClass, LocalObjectReference, ParametersReference
from xds_server.objects.tidegate import GROUP, ExposedService, Exposure, GatewayParameters

KIND = "GatewayParameters"


class InvalidParametersError(Exception):
    """A parametersRef that cannot be followed: a condition tells the message."""


def class_exposure(fetch: Fetch, sources: Sources, gateway_class: GatewayClass | None) -> Exposure | None:
    """What a class says; None where it says nothing.

    :raises InvalidParametersError: its reference leads nowhere, or to what cannot be used.
    """
    ref = gateway_class.spec.parameters_ref if gateway_class else None
    if ref is None:
        return None
    return _exposure(fetch, sources, "spec.parametersRef", ref, ref.namespace)


def gateway_exposure(
    fetch: Fetch, sources: Sources, gateway: Gateway, of_class: Exposure | None, usual: Exposure
) -> Exposure:
    """What a Gateway says, completed by its class; `usual` where neither says anything.

    :raises InvalidParametersError: its own reference leads nowhere, or to what cannot be used.
    """
    infrastructure = gateway.spec.infrastructure
    own = None
    if infrastructure is not None and infrastructure.parameters_ref is not None:
        field = "spec.infrastructure.parametersRef"
        own = _exposure(fetch, sources, field, infrastructure.parameters_ref, gateway.metadata.namespace)
    return merged(of_class, own) or usual


def allowed_host_ports(operators: Exposure, of_everybody: tuple[range, ...]) -> tuple[range, ...]:
    """The nodes' ports that a frontend may have; `operators` is how it would be exposed if its author said nothing."""
    return (*of_everybody, *USUAL) if operators.type == "HostPort" else of_everybody


def merged(of_class: Exposure | None, own: Exposure | None) -> Exposure | None:
    """The own field where it is set, else the class's; annotations, labels and node ports one by one."""
    if of_class is None or own is None:
        return own or of_class
    if of_class.service is None or own.service is None:
        return replace(own, service=own.service or of_class.service)
    set_by_own = {
        field.name: _joined(getattr(of_class.service, field.name), found)
        for field in fields(ExposedService)
        if (found := getattr(own.service, field.name)) is not None
    }
    return replace(own, service=replace(of_class.service, **set_by_own))


def _joined(inherited: Any, own: Any) -> Any:
    return {**inherited, **own} if isinstance(own, dict) and inherited else own


def _exposure(
    fetch: Fetch, sources: Sources, field: str, ref: ParametersReference | LocalObjectReference, namespace: str
) -> Exposure | None:
    if (ref.group, ref.kind) != (GROUP, KIND):
        raise InvalidParametersError(
            f"{field}: no {shown(f'{ref.group}/{ref.kind}')} is read here; name a {GROUP}/{KIND}, or remove it"
        )
    if not namespace:
        raise InvalidParametersError(f"{field}.namespace: is required, since {KIND} are in namespaces; add it")
    target = ObjectRef(KIND, namespace, ref.name)
    found = fetch.get(sources.parameters, target)
    if found is None:
        raise InvalidParametersError(f"{field}: {target} does not exist; create it, or remove the reference")
    if problem := parameters_problem(found):
        raise InvalidParametersError(f"{field}: {target} {problem}")
    return found.spec.exposure


def parameters_problem(parameters: GatewayParameters) -> str:
    """What no Service could be made of, and the way out; "" where there is nothing."""
    exposure = parameters.spec.exposure
    service = exposure.service if exposure else None
    if exposure is None or service is None:
        return ""
    if exposure.type != "Service":
        return "spec.exposure.service: is for type Service; remove it, or set spec.exposure.type to Service"
    for text in service.load_balancer_source_ranges or ():
        try:
            ip_network(text)
        except ValueError:
            return f"spec.exposure.service.loadBalancerSourceRanges: {shown(text)} is no network; write 192.0.2.0/24"
    ports = [each.port for each in service.node_ports or ()]
    if len(ports) > len(set(ports)):
        return "spec.exposure.service.nodePorts: a port is there twice; remove one"
    return ""
