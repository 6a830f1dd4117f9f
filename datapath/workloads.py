"""Asks the kernel where the pods of this node are, and says when that may have changed.

By the node's routes: whatever made the pod's link, its address is routed there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_address
from typing import Any, Final, NoReturn

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkError

from datapath.resources import Address
from datapath.topology import Role, Topology

_GROUPS: Final = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
    | rtnl.RTMGRP_TC
)
UNANSWERED: Final = (OSError, NetlinkError)
"""What asking may end with."""

# By what Linux calls the hardware of a link: Ethernet, loopback; what has neither carries bare packets.
_ROLES: Final = {1: Role.NETWORK, 772: Role.HOST}
_UNICAST: Final = 1
_LOOPBACK: Final = 1
"""Its ifindex."""
# Of documentation: whatever the node sends from to there, it sends from to others.
_SOMEWHERE: Final = ("192.0.2.1", "2001:db8::1")
_HOST_SCOPE: Final = 254
_LINK_SCOPE: Final = 253


async def survey(pods: Iterable[Address], devices: Collection[str], addresses: Collection[Address]) -> Topology:
    """`devices` and `addresses` as configured; none for those that are found."""
    async with AsyncIPRoute() as netlink:
        dumped = [link async for link in await netlink.get_links()]
        links = {link["index"]: link.get_attr("IFLA_IFNAME") for link in dumped}
        kinds = {link["index"]: _ROLES.get(link["ifi_type"], Role.TUNNEL) for link in dumped}
        routes = [route async for route in await netlink.get_default_routes()]
        outward, problems = _outward(links, routes, devices)
        found = [_address(message) async for message in await netlink.get_addr()]
        sources = [await _source(netlink, somewhere) for somewhere in _SOMEWHERE]
        own = _own([pair for pair in found if pair is not None], outward, addresses, sources)
        behind = {pod: await _link_of(netlink, pod) for pod in sorted(pods, key=str) if pod not in own}
    return Topology(
        pods={pod: ifindex for pod, ifindex in behind.items() if ifindex and ifindex not in outward},
        addresses=own,
        devices={ifindex: kinds[ifindex] for ifindex in (*outward, _LOOPBACK) if ifindex in kinds},
        links=links,
        problems=problems,
    )


async def watch(changed: Callable[[], None]) -> NoReturn:
    """Call whenever a link, address, route or filter has changed; also once at the beginning, for what came before."""
    async with AsyncIPRoute() as netlink:
        await netlink.bind(groups=_GROUPS)
        changed()
        while True:
            async for _ in netlink.get():
                changed()


async def _link_of(netlink: Any, pod: Address) -> int | None:
    """None for a pod of another node, which is behind a gateway, and for one that shares the node's addresses."""
    try:
        [route] = await netlink.route("get", dst=str(pod))
    except (NetlinkError, ValueError):
        return None
    if route["type"] != _UNICAST or route.get_attr("RTA_GATEWAY") or route.get_attr("RTA_VIA"):
        return None
    ifindex: int | None = route.get_attr("RTA_OIF")
    return ifindex


async def _source(netlink: Any, destination: str) -> Address | None:
    try:
        [route] = await netlink.route("get", dst=destination)
    except (NetlinkError, ValueError):
        return None
    text = route.get_attr("RTA_PREFSRC")
    return ip_address(text) if text else None


def _outward(
    links: dict[int, str], routes: Iterable[Any], devices: Collection[str]
) -> tuple[dict[int, str], tuple[str, ...]]:
    if not devices:
        indexes = {index for route in routes for index in _indexes(route)}
        return {index: links[index] for index in sorted(indexes) if index in links}, ()
    found = {index: name for index, name in links.items() if name in devices}
    missing = sorted(set(devices) - set(found.values()))
    return found, tuple(f"there is no link {name}: correct `devices`" for name in missing)


def _indexes(route: Any) -> list[int]:
    """Of one way, or of several."""
    several = route.get_attr("RTA_MULTIPATH") or ()
    single = route.get_attr("RTA_OIF")
    return [index for index in (single, *(hop["oif"] for hop in several)) if index and index != _LOOPBACK]


def _address(message: Any) -> tuple[Address, int] | None:
    """With its link; not one that only the node itself, or its neighbours, reach it by."""
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if not text or message["scope"] in {_HOST_SCOPE, _LINK_SCOPE}:
        return None
    return ip_address(text), message["index"]


def _own(
    found: list[tuple[Address, int]],
    outward: Collection[int],
    configured: Collection[Address],
    sources: Collection[Address | None],
) -> dict[Address, int]:
    """What the node sends from first, then those of links that lead off it: the first is one that others reach."""
    known = dict(found)
    if configured:
        return {address: known.get(address, 0) for address in configured}

    def order(pair: tuple[Address, int]) -> tuple[bool, bool, int, bytes]:
        address, ifindex = pair
        return address not in sources, ifindex not in outward, address.version, address.packed

    return dict(sorted(found, key=order))
