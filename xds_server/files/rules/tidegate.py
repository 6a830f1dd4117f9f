"""What the API server checks of our own kinds across fields: the validations of deploy/chart/crds, in Python.

What it lets pass is not refused here either: the object's conditions tell of that, there as here.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from xds_server.files.problems import Finding
from xds_server.files.rules.names import Findings, is_address
from xds_server.objects import tidegate


def address_pool(obj: tidegate.LoadBalancerIPPool) -> Findings:
    for at, block in enumerate(obj.spec.blocks):
        for finding in _block(block):
            yield finding.below("spec", "blocks", at)


def cilium_pool(obj: tidegate.CiliumLoadBalancerIPPool) -> Findings:
    """Of a pool of Cilium's the API server looks at the form of networks alone."""
    for at, block in enumerate(obj.spec.blocks):
        for finding in _cidr(block.cidr):
            yield finding.below("spec", "blocks", at)


def _block(block: tidegate.AddressBlock) -> Findings:
    if bool(block.cidr) == bool(block.start):
        yield Finding((), "needs either cidr, or start", "set one of them")
    if block.stop and not block.start:
        yield Finding(("stop",), "needs a start", "add the first address of the range")
    yield from _cidr(block.cidr)
    ends = [(field, text) for field, text in (("start", block.start), ("stop", block.stop)) if text]
    for field, text in ends:
        if not is_address(text):
            yield Finding((field,), f"{text!r} is no IP address", "write it as 192.0.2.10 or 2001:db8::a")
    if len(ends) == 2 and all(is_address(text) for _, text in ends):
        first, last = ip_address(block.start), ip_address(block.stop)
        if first.version != last.version:
            yield Finding(("stop",), "is of another address family than start", "use one block for each family")


def _cidr(text: str) -> Findings:
    if text and not _is_network(text):
        yield Finding(("cidr",), f"{text!r} is no network", "write it as 192.0.2.0/24 or 2001:db8::/112")


def gateway_parameters(obj: tidegate.GatewayParameters) -> Findings:
    exposure = obj.spec.exposure
    if exposure is None or exposure.service is None:
        return
    if exposure.type != "Service":
        hint = "remove it, or set spec.exposure.type to Service"
        yield Finding(("spec", "exposure", "service"), "is for type Service", hint)
    for finding in _service(exposure.service):
        yield finding.below("spec", "exposure", "service")


def _service(service: tidegate.ExposedService) -> Findings:
    yield from _of_another_type(service)
    if len(service.ip_families or ()) > 1 and service.ip_family_policy == "SingleStack":
        hint = "use ipFamilyPolicy PreferDualStack or RequireDualStack"
        yield Finding(("ipFamilies",), "two families are more than SingleStack allows", hint)
    for at, text in enumerate(service.load_balancer_source_ranges or ()):
        if not _is_network(text):
            yield Finding(("loadBalancerSourceRanges", at), f"{text!r} is no network", "write it as 192.0.2.0/24")
    for key in service.labels or {}:
        if key.startswith(("tidegate.dev/", "gateway.networking.k8s.io/")):
            yield Finding(("labels", key), "says who owns the Service, and is not yours to set", "use another prefix")


def _of_another_type(service: tidegate.ExposedService) -> Findings:
    change = "remove it, or change the type"
    of_load_balancers = {
        "loadBalancerClass": service.load_balancer_class,
        "loadBalancerSourceRanges": service.load_balancer_source_ranges,
        "allocateLoadBalancerNodePorts": service.allocate_load_balancer_node_ports,
    }
    for field, value in of_load_balancers.items():
        if value is not None and service.type not in (None, "LoadBalancer"):
            yield Finding((field,), "is for type LoadBalancer", change)
    if service.type == "ClusterIP" and service.node_ports:
        yield Finding(("nodePorts",), "a ClusterIP has none", "remove them, or use type NodePort")
    if service.type == "ClusterIP" and service.external_traffic_policy is not None:
        yield Finding(("externalTrafficPolicy",), "is for types LoadBalancer and NodePort", change)


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
