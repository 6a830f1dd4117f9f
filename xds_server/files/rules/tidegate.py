"""What the API server checks of our own kinds across fields."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from xds_server.files.problems import Finding
from xds_server.files.rules.names import Findings, is_address
from xds_server.objects import tidegate


def address_pool(obj: tidegate.LoadBalancerIPPool) -> Findings:
    for at, block in enumerate(obj.spec.blocks):
        for finding in _block(block):
            yield finding.below("spec", "blocks", at)


def _block(block: tidegate.AddressBlock) -> Findings:
    if bool(block.cidr) == bool(block.start):
        yield Finding((), "needs either cidr, or start", "set one of them")
    if block.stop and not block.start:
        yield Finding(("stop",), "needs a start", "add the first address of the range")
    if block.cidr and not _is_network(block.cidr):
        yield Finding(("cidr",), f"{block.cidr!r} is no network", "write it as 192.0.2.0/24 or 2001:db8::/112")
    ends = [(field, text) for field, text in (("start", block.start), ("stop", block.stop)) if text]
    for field, text in ends:
        if not is_address(text):
            yield Finding((field,), f"{text!r} is no IP address", "write it as 192.0.2.10 or 2001:db8::a")
    if len(ends) == 2 and all(is_address(text) for _, text in ends):
        first, last = ip_address(block.start), ip_address(block.stop)
        if first.version != last.version:
            yield Finding(("stop",), "is of another address family than start", "use one block for each family")
        elif int(first) > int(last):
            yield Finding(("stop",), "is before start", "exchange them")


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
