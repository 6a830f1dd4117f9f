"""Before Linux 6.6: programs as filters of the clsact qdisc of a link, beside those of others.

A filter has no pin. Ours are known by their names, and stay with the link, whoever put them there; at each hook there
is at most one. The lowest priority is asked first, and who is asked may end the walk: ours takes the lowest that nobody
has, and leaves everybody else's alone.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Final, Literal, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from datapath.kernel.netlink import Netlink, attributes

Hook = Literal["ingress", "egress"]

_PARENT: Final[Mapping[Hook, int]] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_NAME: Final = "tidegate/"
"""What the names of our filters begin with."""
_ETH_P_ALL: Final = 3
_GET_FILTER: Final = 46
_HEADER: Final = "=BxxxiIII"
_HEADER_SIZE: Final = struct.calcsize(_HEADER)
_OPTIONS: Final = 2
_BPF_NAME, _BPF_ID = 7, 11


class Filter(NamedTuple):
    priority: int
    handle: int
    protocol: int
    name: str
    """Empty for one that is no program."""
    program: int
    """The kernel's number of it."""

    @property
    def own(self) -> str | None:
        """The name of our program; None for somebody else's filter."""
        return self.name.removeprefix(_NAME) if self.name.startswith(_NAME) else None


def attach(name: str, fd: int, ifindex: int, hook: Hook) -> bool:
    """Whether a filter of ours was there, which has this program now, without a gap."""
    with IPRoute() as netlink:
        try:
            netlink.tc("add", "clsact", ifindex)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
        found = filters(ifindex, hook)
        own = next((each for each in found if each.own is not None), None)
        netlink.tc(
            "replace-filter" if own else "add-filter",
            "bpf",
            ifindex,
            own.handle if own else 1,
            fd=fd,
            name=_NAME + name,
            parent=_PARENT[hook],
            prio=own.priority if own else _free({each.priority for each in found}),
            protocol=_ETH_P_ALL,
            direct_action=True,
        )
    return own is not None


def detach(ifindex: int, hook: Hook, name: str) -> None:
    """Our filter, if it is of that program; and the qdisc, where nobody has a filter any more."""
    with IPRoute() as netlink:
        for each in filters(ifindex, hook):
            if each.own == name:
                place = {"prio": each.priority, "protocol": each.protocol, "parent": _PARENT[hook]}
                with suppress(NetlinkError):  # it may have gone meanwhile
                    netlink.tc("del-filter", "bpf", ifindex, each.handle, **place)
        if not any(filters(ifindex, hook) for hook in _PARENT):
            with suppress(NetlinkError):
                netlink.tc("del", "clsact", ifindex)


def detach_all(ifindex: int) -> None:
    """Every filter of ours."""
    for hook, found in own(ifindex):
        detach(ifindex, hook, found)


def own(ifindex: int) -> list[tuple[Hook, str]]:
    """Where we have filters, and of which program."""
    return [(hook, each.own) for hook in _PARENT for each in filters(ifindex, hook) if each.own is not None]


def before(ifindex: int, hook: Hook) -> list[str]:
    """Whose filters are asked before ours, by name or number."""
    found = filters(ifindex, hook)
    first = next((each.priority for each in found if each.own is not None), 0)
    return [each.name or f"priority {each.priority}" for each in found if each.priority < first]


def filters(ifindex: int, hook: Hook) -> list[Filter]:
    """Everybody's, in the order in which they are asked; none where there is no such link, or no qdisc."""
    request = struct.pack(_HEADER, socket.AF_UNSPEC, ifindex, 0, _PARENT[hook], 0)
    with Netlink(socket.NETLINK_ROUTE) as netlink:
        try:
            return sorted(_filters(netlink.dump(_GET_FILTER, request)))
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.EINVAL}:
                return []
            raise


def _filters(messages: list[bytes]) -> Iterator[Filter]:
    for message in messages:
        _, _, handle, _, info = struct.unpack_from(_HEADER, message)
        if not handle:  # of all filters of a priority
            continue
        options = attributes(attributes(message[_HEADER_SIZE:]).get(_OPTIONS, b""))
        name = options.get(_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace")
        program = int.from_bytes(options.get(_BPF_ID, b""), "little")
        yield Filter(info >> 16, handle, socket.ntohs(info & 0xFFFF), name, program)


def _free(taken: set[int]) -> int:
    return next(priority for priority in count(1) if priority not in taken)
