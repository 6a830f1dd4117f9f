"""Asks the kernel where the pods of this node are, and says when that may have changed.

By the node's routes: whatever made the pod's link, its address is routed there.
Where the route leads to a bridge, which is several pods' way, or to the node itself, from where somebody else's program
takes it further, the pod's link is the one whose other end has the pod's address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, NoReturn

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkError

from datapath.kernel import peers
from datapath.kernel.peers import Peer
from datapath.ports import Pod, Port, seated
from datapath.resources import Address
from datapath.topology import Problem, Role, Topology

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
# Whose other end is a link, too.
_PAIRS: Final = frozenset({"veth", "netkit"})
_ITSELF: Final = 0
"""In the place of a link: the next hop of a route is an address of the node."""
# A link that is down leads nowhere: as kube-ipvs0, to which kube-proxy gives the address of every Service.
_UP: Final = 1
_IPVS: Final = "kube-ipvs0"
_UNICAST: Final = 1
_LOOPBACK: Final = 1
"""Its ifindex."""
# Of documentation: whatever the node sends from to there, it sends from to others.
_SOMEWHERE: Final = ("192.0.2.1", "2001:db8::1")
_HOST_SCOPE: Final = 254
_LINK_SCOPE: Final = 253


async def survey(
    pods: Iterable[Pod],
    held: Mapping[Address, int],
    before: Collection[int],
    devices: Collection[str],
    addresses: Collection[Address],
) -> Topology:
    """`held` has the links that pods had before, and `before` are those that led off the node.

    `devices` and `addresses` are as configured, if they are.
    """
    async with AsyncIPRoute() as netlink:
        dumped = [link async for link in await netlink.get_links()]
        links = {link["index"]: link.get_attr("IFLA_IFNAME") for link in dumped}
        kinds = {link["index"]: _ROLES.get(link["ifi_type"], Role.TUNNEL) for link in dumped}
        routes = [route async for route in await netlink.get_default_routes()]
        masters = {link["index"]: link.get_attr("IFLA_MASTER") or 0 for link in dumped}
        outward, problems = _outward(links, routes, devices, before)
        up = {link["index"] for link in dumped if link["flags"] & _UP}
        told = [message async for message in await netlink.get_addr() if message["index"] in up]
        found, of_links = _addresses(told, of_links=False), _addresses(told, of_links=True)
        sources = [await _source(netlink, somewhere) for somewhere in _SOMEWHERE]
        own = _own(found, outward, addresses, sources)
        near = {address for address, _ in found}
        behind = [pod for pod in pods if pod and own.keys().isdisjoint(pod)]
        ways = {address: await _way(netlink, address, near) for pod in sorted(behind, key=str) for address in pod}
    bridges = {link["index"] for link in dumped if _kind(link) == "bridge"}
    pairs = {link["index"]: end for link in dumped if (end := _end(link)) is not None}
    ends = {index: end for index, end in pairs.items() if index not in outward}
    direct = {pod: way for pod, way in ways.items() if way is not None and way not in {*bridges, *outward, _ITSELF}}
    sought: dict[int, list[Pod]] = {}
    for pod in behind:
        candidates = [way for address in pod if (way := ways[address]) is not None and way not in ends]
        for way in candidates[:1]:
            sought.setdefault(way if way in bridges else _ITSELF, []).append(pod)
    asked = {port: end.peer for port, end in pairs.items() if (end.at in sought if port in ends else devices)}
    there = await asyncio.to_thread(peers.addresses, asked)
    ports = {port: Port(end.at, there[port]) for port, end in ends.items() if port in there}
    seats = seated(sought, ports, held, outward)
    misnamed = {pod[0]: port for port in there.keys() - ports for pod in behind if not there[port].isdisjoint(pod)}
    return Topology(
        pods={**direct, **seats.pods},
        strangers=seats.strangers,
        bridges=seats.bridges,
        lost=tuple(lost for lost in seats.lost if lost.address not in {*direct, *misnamed}),
        addresses=own,
        link_addresses=dict(of_links),
        devices={ifindex: kinds[ifindex] for ifindex in (*outward, _LOOPBACK) if ifindex in kinds},
        links=links,
        problems=(
            *problems,
            *(() if addresses or not devices else beside(outward, masters, routes, links)),
            *_misnamed(misnamed, links),
            *_homeless(addresses, own),
            *_of_kube_proxy(links.values()),
            *_unrouted(behind, ways),
        ),
    )


async def watch(changed: Callable[[], None]) -> NoReturn:
    """Call whenever a link, address, route or filter has changed; also once at the beginning, for what came before."""
    async with AsyncIPRoute() as netlink:
        await netlink.bind(groups=_GROUPS)
        changed()
        while True:
            async for _ in netlink.get():
                changed()


class _End(NamedTuple):
    """The node's end of a link into another namespace; `at` is the bridge that it is a port of, or 0."""

    at: int
    peer: Peer


def _end(link: Any) -> _End | None:
    netns, peer = link.get_attr("IFLA_LINK_NETNSID"), link.get_attr("IFLA_LINK")
    if _kind(link) not in _PAIRS or netns is None or not peer:
        return None
    return _End(link.get_attr("IFLA_MASTER") or 0, Peer(netns, peer))


def _kind(link: Any) -> str | None:
    found: str | None = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    return found


async def _way(netlink: Any, pod: Address, near: Collection[Address]) -> int | None:
    """The link that leads to a pod, or _ITSELF; None for a pod of another node, which is behind a gateway."""
    try:
        [route] = await netlink.route("get", dst=str(pod))
    except (NetlinkError, ValueError):
        return None
    if route["type"] != _UNICAST or route.get_attr("RTA_VIA"):
        return None
    gateway = route.get_attr("RTA_GATEWAY")
    if gateway:
        return _ITSELF if ip_address(gateway) in near else None
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
    links: dict[int, str], routes: Iterable[Any], devices: Collection[str], before: Collection[int]
) -> tuple[dict[int, str], tuple[Problem, ...]]:
    """Without a default route those of the last one: who is reached by neighbours alone is reached still."""
    indexes = {index for route in routes for index in _indexes(route)} & links.keys()
    if not devices:
        found = {index: links[index] for index in sorted(indexes or links.keys() & set(before))}
        return found, () if indexes else (_no_way(found.values()),)
    found = {index: name for index, name in links.items() if name in devices}
    missing = sorted(set(devices) - set(found.values()))
    return found, tuple(
        (f"there is no link {name}: correct `devices`", "the configuration names it") for name in missing
    )


def beside(
    outward: Mapping[int, str], masters: Mapping[int, int], routes: Iterable[Any], links: Mapping[int, str]
) -> tuple[Problem, ...]:
    """Of `devices` that are beside the default routes: so it may be meant where the node's addresses are named, too."""
    indexes = {index for route in routes for index in _indexes(route)} & links.keys()
    if not (outward and indexes) or not indexes.isdisjoint(_with_masters(outward, masters)):
        return ()
    names = ", ".join(links[index] for index in sorted(indexes))
    what = f"no link in `devices` leads off this node: default routes are by {names}"
    way = "name it, leave `devices` out, or, if so it is to be, name the node's addresses there in `addresses`"
    return ((what, f"nothing that comes there is served: {way}"),)


def _with_masters(outward: Iterable[int], masters: Mapping[int, int]) -> set[int]:
    """Those links, and all that they are ports of: a port of a bond may be one of a bridge by that."""
    found: set[int] = set()
    ahead = set(outward)
    while ahead:
        found |= ahead
        # Links that change while they are told may seem to be ports of each other, or of one that is not told.
        ahead = {masters.get(index, 0) for index in ahead} - found
    return found


def _misnamed(pods: Mapping[Address, int], links: Mapping[int, str]) -> tuple[Problem, ...]:
    return tuple(
        (
            f"`devices` names {links[ifindex]}, which is the link of pod {address}",
            "leave it out: until then nothing of this pod is steered",
        )
        for address, ifindex in sorted(pods.items(), key=str)
    )


def _unrouted(pods: Iterable[Pod], ways: Mapping[Address, int | None]) -> tuple[Problem, ...]:
    """Pods of this node that no link of it leads to."""
    found = [pod[0] for pod in pods if all(ways[address] is None for address in pod)]
    return tuple(
        (
            f"pod {address} has no link: no route of this node leads to it, or by the gateway of others",
            "until one does, nothing of it is steered: see what its network plugin says",
        )
        for address in sorted(found, key=str)
    )


def _no_way(kept: Collection[str]) -> Problem:
    goes_on = f"the last that did stay so ({', '.join(kept)})" if kept else "nothing from outside is served"
    return "no link leads off this node: it has no default route", f"{goes_on}: add the route, or name `devices`"


def _of_kube_proxy(links: Collection[str]) -> tuple[Problem, ...]:
    if _IPVS not in links:
        return ()
    what = f"kube-proxy is in mode IPVS ({_IPVS}): it takes what is led to Envoy at the address of a Service"
    return ((what, "routes of Services do not hold on this node: run kube-proxy in mode nftables or iptables"),)


def _indexes(route: Any) -> list[int]:
    """Of one way, or of several."""
    several = route.get_attr("RTA_MULTIPATH") or ()
    single = route.get_attr("RTA_OIF")
    return [index for index in (single, *(hop["oif"] for hop in several)) if index and index != _LOOPBACK]


def _addresses(messages: Iterable[Any], *, of_links: bool) -> list[tuple[Address, int]]:
    """With their links: those that all reach the node by, or its neighbours alone; none that only it itself does."""
    return [
        (ip_address(text), message["index"])
        for message in messages
        if message["scope"] != _HOST_SCOPE
        and (message["scope"] == _LINK_SCOPE) == of_links
        and (text := message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
    ]


def _homeless(configured: Iterable[Address], own: Collection[Address]) -> tuple[Problem, ...]:
    return tuple(
        (f"no link of this node has {address}", "correct `addresses`, which names it, or give a link that address")
        for address in configured
        if address not in own
    )


def _own(
    found: list[tuple[Address, int]],
    outward: Collection[int],
    configured: Collection[Address],
    sources: Collection[Address | None],
) -> dict[Address, int]:
    """What the node sends from first, then those of links that lead off it: the first is one that others reach."""
    known = dict(found)
    if configured:
        return {address: known[address] for address in configured if address in known}

    def order(pair: tuple[Address, int]) -> tuple[bool, bool, int, bytes]:
        address, ifindex = pair
        return address not in sources, ifindex not in outward, address.version, address.packed

    return dict(sorted(found, key=order))
