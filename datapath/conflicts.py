"""Announced addresses that somebody else on the link says are his: defended once, then left to him for long (pure).

"If this is not the first conflict the host has seen, and the time recorded for the previous conflicting ARP packet is
recent, then the host MUST immediately cease using this address." — RFC 5227, section 2.4 (b)
Another node of ours gives an address up when it hears of it once; who says it again is no node of ours.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from datapath.kernel.layout import AnswerKey

CALM_S: Final = 600.0
"""After so long without another one a conflict is a first one."""
LEFT_S: Final = 60.0
MOST_LEFT_S: Final = 3600.0
"""So long an address is left alone after a second conflict; twice as long after each that follows, up to an hour."""


class Leave(Enum):
    """Whether an address may be taken."""

    YES = "yes"
    UNLESS_USED = "unless somebody answers for it"
    NO = "no"


class _Conflict(NamedTuple):
    times: int
    at: float


class Conflicts:
    """`now` is of any clock that only goes on."""

    def __init__(self) -> None:
        self._found: dict[AnswerKey, _Conflict] = {}

    def add(self, key: AnswerKey, now: float) -> None:
        before = self._found.get(key)
        again = before is not None and now - before.at <= _left_s(before.times) + CALM_S
        self._found[key] = _Conflict(before.times + 1 if before and again else 1, now)

    def leave(self, key: AnswerKey, now: float) -> Leave:
        found = self._found.get(key)
        if found is None or found.times == 1:
            return Leave.YES
        return Leave.UNLESS_USED if now - found.at >= _left_s(found.times) else Leave.NO

    def keep(self, keys: set[AnswerKey]) -> None:
        """Forget all others."""
        self._found = {key: found for key, found in self._found.items() if key in keys}


def _left_s(times: int) -> float:
    return 0.0 if times < 2 else min(LEFT_S * 2 ** min(times - 2, 10), MOST_LEFT_S)
