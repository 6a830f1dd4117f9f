"""Answers for addresses on the links of this node, and tells those who are there when that begins.

The kernel answers, with or without a daemon. It gives an address up when another node says that it has it now.
It is taken back once; from who says it again it is not, but for long after, and if nobody answers for it then.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fcntl import ioctl
from ipaddress import IPv6Address
from struct import pack
from typing import Final, NoReturn

import re2
import structlog

from datapath.announcement import gratuitous, solicited_node_mac
from datapath.asking import in_use
from datapath.conflicts import Conflicts, Leave
from datapath.kernel.layout import Answer, AnswerKey, MacKey, NodeAddress
from datapath.reconciler import Table
from datapath.resources import Address, Announcement

TIMES: Final = 3
"""So often is an address announced: who is there may miss one of them."""
INTERVAL_S: Final = 0.5

_ETHERNET: Final = 1
_ADD_MULTICAST: Final = 0x8931  # SIOCADDMULTI
_REMOVE_MULTICAST: Final = 0x8932  # SIOCDELMULTI

log = structlog.get_logger("announcing")


def answers(
    announcements: Iterable[Announcement], devices: Mapping[int, str], macs: Mapping[int, bytes]
) -> Mapping[AnswerKey, Answer]:
    """What the kernel is to answer: each address on the links off the node in whose name a pattern is found, or on all.

    A link without an address in `macs` has no neighbours.
    """
    return {
        AnswerKey(found.address, ifindex): Answer(macs[ifindex])
        for found in announcements
        for ifindex, name in devices.items()
        if ifindex in macs and (not found.interfaces or any(re2.search(each, name) for each in found.interfaces))
    }


def mac_entries(macs: Mapping[int, bytes]) -> dict[MacKey, NodeAddress]:
    """Of the node's links, some of which may share one: the lowest number has it."""
    return {MacKey(found): NodeAddress(ifindex) for ifindex, found in sorted(macs.items(), reverse=True)}


def mac(link: str) -> bytes | None:
    """None for a link without Ethernet, or one that is gone."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as found, suppress(OSError):
        found.bind((link, 0))
        _, _, _, kind, address = found.getsockname()
        if kind == _ETHERNET:
            return bytes(address)
    return None


class Announcing:
    """`devices` gives the links off the node, by ifindex."""

    def __init__(
        self,
        table: Table[AnswerKey, Answer],
        devices: Callable[[], Mapping[int, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table, self._devices, self._clock = table, devices, clock
        self._conflicts = Conflicts()
        self._held = {key for key, _ in table.items()}
        self.contested: frozenset[AnswerKey] = frozenset()
        """What is not answered although it is to be, since somebody else has it."""
        self._given: dict[AnswerKey, Answer] = dict(table.items())
        self._left: dict[AnswerKey, int] = {}
        self._begun: deque[AnswerKey] = deque()
        """What a thread has begun to answer, for the event loop to take."""
        self._more = asyncio.Event()

    def reconcile(self, desired: Mapping[AnswerKey, Answer], *, told_now: bool) -> None:
        """What was given up stays so, unless a server tells it now, on a stream that lives: `desired` may be old."""
        actual = dict(self._table.items())
        gone = [key for key in actual if key not in desired]
        self._table.delete_all(gone)
        for key in gone:
            _group(_REMOVE_MULTICAST, self._devices().get(key.ifindex), key.address)
        self._conflicts.keep(set(desired))
        for key in sorted((self._held - actual.keys()) & desired.keys(), key=str):
            self._conflicts.add(key, self._clock())
        wanted = {
            key: answer for key, answer in desired.items() if actual.get(key) != answer and (told_now or key in actual)
        }
        begins = {key: answer for key, answer in wanted.items() if key in actual or self._may_take(key, answer)}
        self._held = (actual.keys() & desired.keys()) | begins.keys()
        self._contest(frozenset(wanted.keys() - begins.keys()))
        for key in begins:
            _group(_ADD_MULTICAST, self._devices().get(key.ifindex), key.address)
        self._table.put_all(begins.items())
        self._given = dict(desired)
        self._begun.extend(begins)
        if begins:
            log.info("addresses taken over", addresses=sorted({str(key.address) for key in begins}))

    def _may_take(self, key: AnswerKey, answer: Answer) -> bool:
        now, link = self._clock(), self._devices().get(key.ifindex)
        leave = self._conflicts.leave(key, now)
        if leave is not Leave.UNLESS_USED or link is None or key.address is None:
            return leave is Leave.YES
        if in_use(link, key.address, answer.mac):
            self._conflicts.add(key, now)
            return False
        return True

    def _contest(self, contested: frozenset[AnswerKey]) -> None:
        new = sorted({str(key.address) for key in contested - self.contested})
        if new:
            log.warning("addresses left to somebody else on the link", addresses=new)
        self.contested = contested

    def wake(self) -> None:
        """Of the event loop, while `reconcile` may be called in a thread."""
        self._take()
        if self._left:
            self._more.set()

    async def run(self) -> NoReturn:
        """Announce what begins to be answered, some times each."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._left:
                self.announce()
                await asyncio.sleep(INTERVAL_S)

    def announce(self) -> None:
        """Send one announcement of each address that has some left."""
        self._take()
        links = self._devices()
        for key in tuple(self._left):
            self._left[key] -= 1
            if not self._left[key]:
                del self._left[key]
            answer = self._given.get(key)
            if answer is not None and key.address is not None and key.ifindex in links:
                _send(links[key.ifindex], gratuitous(key.address, answer.mac))

    def _take(self) -> None:
        while self._begun:
            self._left[self._begun.popleft()] = TIMES


def leave_groups(keys: Iterable[AnswerKey]) -> None:
    """Of all that was announced: what links were told to take in outlives us."""
    links = dict(socket.if_nameindex())
    for key in keys:
        _group(_REMOVE_MULTICAST, links.get(key.ifindex), key.address)


def _group(operation: int, link: str | None, address: Address | None) -> None:
    """IPv6 asks on a group of Ethernet, which a link takes in only where it was told to; that outlives us, too."""
    if link is None or not isinstance(address, IPv6Address):
        return
    request = pack("16sH6s", link.encode(), 0, solicited_node_mac(address)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as any_socket, suppress(OSError):  # it may be there
        ioctl(any_socket, operation, request)


def _send(link: str, frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        try:
            opened.bind((link, 0))
            opened.send(frame)
        except OSError as error:
            log.warning("not announced", link=link, error=error.strerror)


def macs(devices: Mapping[int, str]) -> Iterator[tuple[int, bytes]]:
    for ifindex, name in devices.items():
        found = mac(name)
        if found is not None:
            yield ifindex, found
