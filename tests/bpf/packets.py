"""Packets, and what each meets: one sentence a row. The tests of this kernel and of other kernels read them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from datapath.kernel import layout
from datapath.kernel.layout import (
    MARK_MASK,
    MARK_REFUSE,
    MARK_TO_PROXY,
    AddressKey,
    NodeAddress,
    Service,
    ServiceKey,
    Workload,
)
from tests.bpf.rows.hostile import BEHIND, CLAIMS, CUT, MALFORMED, ODD, OF_LINKS, SPOOFED
from tests.bpf.rows.partial import ERRORS, FRAGMENTS
from tests.bpf.rows.passed import ANYTHING, BALANCED, NEIGHBOURS, PASSED, UNDERWAY
from tests.bpf.rows.setting import (
    BESIDE,
    LOOPBACK,
    NEIGHBOUR,
    NEIGHBOUR6,
    NODE,
    NODE6,
    NODE_LINK,
    NODE_LINK6,
    OTHER_LINK,
    POD,
    POD6,
    POD_SENDS,
    SERVICES,
    Case,
)
from tests.bpf.rows.steered import GUARDED, STEERED
from tests.bpf.stand import TC_ACT_SHOT, TC_ACT_UNSPEC, Stand

CASES = [
    *STEERED,
    *PASSED,
    *UNDERWAY,
    *ANYTHING,
    *NEIGHBOURS,
    *CLAIMS,
    *OF_LINKS,
    *ODD,
    *BEHIND,
    *SPOOFED,
    *MALFORMED,
    *BALANCED,
    *ERRORS,
    *GUARDED,
    *FRAGMENTS,
    *CUT,
]


@contextmanager
def listening() -> Iterator[tuple[int, int]]:
    """Two sockets that listen on loopback, of either family, as Envoy's do."""
    with socket.socket(socket.AF_INET) as four, socket.socket(socket.AF_INET6) as six:
        for each, address in ((four, "127.0.0.1"), (six, "::1")):
            each.bind((address, 0))
            each.listen()
        yield four.fileno(), six.fileno()


@contextmanager
def furnished(folder: Path) -> Iterator[Stand]:
    """A node with two pods, of which one is behind the link that packets come from, and an Envoy that listens."""
    with Stand(folder) as stand, listening() as fds:
        services, workloads = stand.map(layout.SERVICES), stand.map(layout.WORKLOADS)
        nodes = stand.map(layout.NODE_ADDRESSES)
        for number, ((address, at, protocol), flags) in enumerate(SERVICES.items(), 1):
            key = ServiceKey(ip_address(address) if address else None, at, protocol)
            services.put(key, Service(flags, number))
        for address, link in ((POD, LOOPBACK), (POD6, LOOPBACK), (NEIGHBOUR, OTHER_LINK), (NEIGHBOUR6, OTHER_LINK)):
            workloads.put(AddressKey(ip_address(address)), Workload(link))
        for address in (NODE, NODE6):
            nodes.put(AddressKey(ip_address(address)), NodeAddress(2))
        for address in (NODE_LINK, NODE_LINK6):
            stand.map(layout.LINK_ADDRESSES).put(AddressKey(ip_address(address)), NodeAddress(OTHER_LINK))
        for slot, fd in zip((0, layout.LISTENERS_PER_FAMILY), fds, strict=True):
            stand.listen(fd, slot)
        yield stand


def promised(case: Case) -> tuple[int, int]:
    """The action and the mark, which a verdict's name says; of what a pod says by a mark, nothing is left."""
    mark = case.mark & ~MARK_MASK if case.program in {POD_SENDS, BESIDE} else case.mark
    if case.reason.name.startswith("DROP_"):
        return TC_ACT_SHOT, mark
    if case.reason.name.startswith("STEERED"):
        return TC_ACT_UNSPEC, (mark & ~MARK_MASK) | MARK_TO_PROXY
    if case.reason.name.startswith("REFUSED_"):
        return TC_ACT_UNSPEC, (mark & ~MARK_MASK) | MARK_REFUSE
    return TC_ACT_UNSPEC, mark
