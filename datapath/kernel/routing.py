"""Where marked packets go: a rule and a table of routing that deliver them on this node, for both families.

All of it is static, idempotent, and gone after `remove`. What is here acts on the caller's network namespace.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute

from datapath.kernel import nft
from datapath.kernel.layout import MARK_MASK, MARK_TO_PROXY, ROUTE_TABLE, RULE_PREFERENCE
from datapath.kernel.sysctls import NETWORK

_RULE: Final = {
    "priority": RULE_PREFERENCE,
    "fwmark": MARK_TO_PROXY,
    "fwmask": MARK_MASK,
    "table": ROUTE_TABLE,
}
_DEFAULTS: Final[dict[socket.AddressFamily, str]] = {socket.AF_INET: "0.0.0.0/0", socket.AF_INET6: "::/0"}
_LOOSE: Final = 2
_STRICT: Final = 1
_SYSCTLS: Final = NETWORK / "ipv4/conf"
# Who replies to Envoy at a pod's address, on the way to that pod, is sent back by loopback: a process of the node from
# the node's own address, a pod of the same bridge from its own.
_ACCEPT_LOCAL: Final = _SYSCTLS / "lo/accept_local"
_IPV6: Final = Path("/proc/net/if_inet6")


def install(node4: IPv4Address | None = None, node6: IPv6Address | None = None) -> None:
    """Rules, routes and the table of nftables.

    The node's addresses are what its own processes send from to a service: without one they would send from the
    service's address.
    """
    sources = {socket.AF_INET: node4, socket.AF_INET6: node6}
    with IPRoute() as netlink:
        for family in _families():
            _present(netlink, family, sources[family])
    _ACCEPT_LOCAL.write_text("1")
    loosen("lo")
    nft.install()


def remove() -> None:
    with IPRoute() as netlink:
        for family in _families():
            while _rule_exists(netlink, family):
                netlink.rule("del", family=family, **_RULE)
            netlink.flush_routes(family=family, table=ROUTE_TABLE)
    _ACCEPT_LOCAL.write_text("0")
    nft.remove()


def installed() -> bool:
    """Whether rules, routes and the table are there; somebody else may have removed them."""
    with IPRoute() as netlink:
        routed = all(
            _rule_exists(netlink, family) and any(netlink.get_routes(family=family, table=ROUTE_TABLE))
            for family in _families()
        )
    return routed and nft.installed()


def loosen(interface: str) -> None:
    """Replies to Envoy that come from a client's address may enter where a strict check would not expect them."""
    own = _SYSCTLS / interface / "rp_filter"
    effective = max(int(file.read_text()) for file in (own, _SYSCTLS / "all" / "rp_filter"))
    if effective == _STRICT:
        own.write_text(str(_LOOSE))


def _families() -> tuple[socket.AddressFamily, ...]:
    return (socket.AF_INET, socket.AF_INET6) if _IPV6.exists() else (socket.AF_INET,)


def _present(netlink: IPRoute, family: socket.AddressFamily, source: IPv4Address | IPv6Address | None) -> None:
    if not _rule_exists(netlink, family):
        netlink.rule("add", family=family, **_RULE)
    route: dict[str, Any] = {"family": family, "dst": _DEFAULTS[family], "oif": 1, "type": "local", "scope": "host"}
    if source is not None:
        route["prefsrc"] = str(source)
    netlink.route("replace", table=ROUTE_TABLE, **route)


def _rule_exists(netlink: IPRoute, family: int) -> bool:
    return any(
        rule.get_attr("FRA_PRIORITY") == RULE_PREFERENCE and rule.get_attr("FRA_TABLE") == ROUTE_TABLE
        for rule in netlink.get_rules(family=family)
    )
