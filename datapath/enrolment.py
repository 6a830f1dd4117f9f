"""Whose an address is: known in the kernel only while its link is that of the pod which the control plane names.

An address may be another pod's before the control plane says so: it has moved to another link, and the name is still
that of the pod before. What comes from there has no identity until the pod has another one, or none.
That the link of before is gone says nothing: it goes with the pod of before, and with the sandbox of one that is made
again. The kernel does not tell the two apart, and who is believed too early has the rights of another.
Must not know clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from datapath.resources import Address

BELIEVED_AFTER_S: Final = 30.0
"""A pod may get another link. A control plane that has not said otherwise for so long means the pod that is there."""


class Known(NamedTuple):
    uid: str
    ifindex: int


class Enrolment:
    """`waiting` are addresses that have moved, and since when; `left_s` how long each is nobody's still."""

    def __init__(self, uids: Mapping[Address, str], links: Mapping[Address, int]) -> None:
        """As they were told, and as the kernel has them."""
        self._known = {address: Known(uids[address], link) for address, link in links.items() if address in uids}
        self.waiting: dict[Address, float] = {}
        self.left_s: Mapping[Address, float] = {}

    def take(
        self, links: Mapping[Address, int], uids: Mapping[Address, str], now: float, *, told: bool
    ) -> dict[Address, int]:
        """Those of `links` that are whose the control plane says; `told` that it would say otherwise if it knew."""
        self._known = {address: known for address, known in self._known.items() if address in uids}
        waiting, self.waiting = self.waiting, {}
        found = {}
        for address, ifindex in links.items():
            is_at = Known(uids.get(address, ""), ifindex)
            known = self._known.get(address)
            if known is not None and known.uid == is_at.uid and known.ifindex != ifindex:
                since = waiting.get(address, now)
                if not told or now - since < BELIEVED_AFTER_S:
                    self.waiting[address] = since if told else now
                    continue
            self._known[address] = is_at
            found[address] = ifindex
        self.left_s = {address: since + BELIEVED_AFTER_S - now for address, since in self.waiting.items()}
        return found
