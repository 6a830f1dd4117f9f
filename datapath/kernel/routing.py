"""Where marked packets go: a rule and a table of routing that deliver them on this node, for both families.

All of it is static, idempotent, and gone after `remove`. What is here acts on the caller's network namespace.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, NamedTuple

from pyroute2 import IPRoute

from datapath.kernel import nft
from datapath.kernel.layout import MARK_MASK, MARK_TO_PROXY, ROUTE_TABLE, RULE_PREFERENCE
from datapath.kernel.netlink import Netlink, attribute, attributes
from datapath.kernel.sysctls import NETWORK, Write

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
IPV6: Final = Path("/proc/net/if_inet6")
"""There where the kernel has it."""
_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
# What would make a rule be for less than all that has its mark.
_SELECTORS: Final = (
    "FRA_SRC",
    "FRA_DST",
    "FRA_IIFNAME",
    "FRA_OIFNAME",
    "FRA_IP_PROTO",
    "FRA_SPORT_RANGE",
    "FRA_DPORT_RANGE",
)
_INVERTED: Final = 2
_ROUTE: Final = "=BBBBBBBBI"
_GET_ROUTE: Final = 26
_LOCAL: Final = 2
_SOURCE, _TABLE = 7, 15


class Installed(NamedTuple):
    """What was put there: the sources of the routes, and the table of nftables as the kernel then had it."""

    node4: IPv4Address | None
    node6: IPv6Address | None
    table: bytes


def install(
    node4: IPv4Address | None = None, node6: IPv6Address | None = None, write: Write = Path.write_text
) -> Installed:
    """Rules, routes and the table of nftables.

    The node's addresses are what its own processes send from to a service: without one they would send from the
    service's address.
    """
    with IPRoute() as netlink:
        for family, source in _sources(node4, node6):
            _present(netlink, family, source)
    write(_ACCEPT_LOCAL, "1")
    loosen("lo", write)
    nft.install()
    return Installed(node4, node6, nft.dumped())


def remove() -> None:
    """Settings stay: who has written them knows what they were."""
    with IPRoute() as netlink:
        for family, _ in _sources(None, None):
            for rule in _own_rules(netlink, family):
                _delete(netlink, family, rule)
            netlink.flush_routes(family=family, table=ROUTE_TABLE)
    nft.remove()


def lacks(installed: Installed) -> list[str]:
    """What of it is not as it was put there: somebody else has removed or changed it."""
    found = []
    with IPRoute() as netlink:
        for family, source in _sources(installed.node4, installed.node6):
            name = _NAMES[family]
            rules = _own_rules(netlink, family)
            if len(rules) != 1 or not _is_right(rules[0]):
                found.append(f"{name} rule {RULE_PREFERENCE}")
            if not _is_routed(family, source):
                found.append(f"{name} route of table {ROUTE_TABLE}")
    if _ACCEPT_LOCAL.read_text().strip() != "1":
        found.append("accept_local of lo")
    if not installed.table or nft.dumped() != installed.table:
        found.append(f"nftables inet {nft.TABLE}")
    return found


def loosen(interface: str, write: Write = Path.write_text) -> bool:
    """Replies to Envoy that come from a client's address may enter where a strict check would not expect them.

    Whether the check was strict; a link that has gone has none.
    """
    own = _SYSCTLS / interface / "rp_filter"
    with suppress(FileNotFoundError):
        effective = max(int(file.read_text()) for file in (own, _SYSCTLS / "all" / "rp_filter"))
        if effective == _STRICT:
            write(own, str(_LOOSE))
            return True
    return False


def _sources(
    node4: IPv4Address | None, node6: IPv6Address | None
) -> list[tuple[socket.AddressFamily, IPv4Address | IPv6Address | None]]:
    """By family, of those that the kernel has."""
    four, six = (socket.AF_INET, node4), (socket.AF_INET6, node6)
    return [four, six] if IPV6.exists() else [four]


def _present(netlink: IPRoute, family: socket.AddressFamily, source: IPv4Address | IPv6Address | None) -> None:
    own = _own_rules(netlink, family)
    right = [rule for rule in own if _is_right(rule)]
    for rule in [rule for rule in own if not _is_right(rule)] + right[1:]:
        _delete(netlink, family, rule)
    if not right:
        netlink.rule("add", family=family, **_RULE)
    route: dict[str, Any] = {"family": family, "dst": _DEFAULTS[family], "oif": 1, "type": "local", "scope": "host"}
    if source is not None:
        route["prefsrc"] = str(source)
    netlink.route("replace", table=ROUTE_TABLE, **route)


def _own_rules(netlink: IPRoute, family: int) -> list[Any]:
    """By where they are and where they lead, whatever else somebody has made of them."""
    return [
        rule
        for rule in netlink.get_rules(family=family)
        if rule.get_attr("FRA_PRIORITY") == RULE_PREFERENCE and rule.get_attr("FRA_TABLE") == ROUTE_TABLE
    ]


def _is_right(rule: Any) -> bool:
    selected = rule.get_attr("FRA_FWMARK"), rule.get_attr("FRA_FWMASK")
    narrowed = any(rule.get_attr(name) for name in _SELECTORS) or rule["src_len"] or rule["dst_len"]
    return selected == (MARK_TO_PROXY, MARK_MASK) and not narrowed and not rule["flags"] & _INVERTED


def _delete(netlink: IPRoute, family: int, rule: Any) -> None:
    place = {"priority": RULE_PREFERENCE, "table": ROUTE_TABLE}
    named = (("fwmark", "FRA_FWMARK"), ("fwmask", "FRA_FWMASK"), ("iifname", "FRA_IIFNAME"), ("oifname", "FRA_OIFNAME"))
    found = {name: rule.get_attr(attribute) for name, attribute in named if rule.get_attr(attribute)}
    netlink.rule("del", family=family, **place, **found)


def _is_routed(family: int, source: IPv4Address | IPv6Address | None) -> bool:
    """The kernel is asked for our table alone: others may have very many."""
    request = struct.pack(_ROUTE, family, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(_TABLE, struct.pack("=I", ROUTE_TABLE))
    with Netlink(socket.NETLINK_ROUTE, strict=True) as netlink:
        try:
            told = netlink.dump(_GET_ROUTE, request)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
    for message in told:
        _, length, _, _, _, _, _, kind, _ = struct.unpack_from(_ROUTE, message)
        found = attributes(message[struct.calcsize(_ROUTE) :])
        if kind == _LOCAL and not length and found.get(_SOURCE) == (source.packed if source else None):
            return True
    return False
