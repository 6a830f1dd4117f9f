"""Which announced addresses are left to somebody else, and for how long."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from datapath.announcement import asking, gratuitous
from datapath.asking import says
from datapath.conflicts import CALM_S, LEFT_S, MOST_LEFT_S, Conflicts, Leave
from datapath.kernel.layout import AnswerKey

KEY = AnswerKey(ip_address("198.51.100.80"), 2)
MAC = bytes.fromhex("020000000c03")


def after(*times: float) -> Conflicts:
    found = Conflicts()
    for at in times:
        found.add(KEY, at)
    return found


def test_an_address_is_defended_once() -> None:
    """A second conflict soon after is left alone, and asked about before it is taken again."""
    twice = after(0, 1)

    assert Leave.YES is after(0).leave(KEY, 0)
    assert [Leave.NO, Leave.NO, Leave.UNLESS_USED] == [twice.leave(KEY, at) for at in (1, LEFT_S, 1 + LEFT_S)]


def test_it_is_left_for_longer_each_time_up_to_an_hour() -> None:
    """Whoever has it is asked ever more seldom."""
    found, at, waits = Conflicts(), 0.0, []
    for _ in range(12):
        found.add(KEY, at)
        waited = next(s for s in (0, *(LEFT_S * 2**n for n in range(6)), MOST_LEFT_S)
                      if found.leave(KEY, at + s) is not Leave.NO)  # fmt: skip
        waits.append(waited)
        at += waited

    assert [0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600] == waits


def test_a_conflict_long_after_is_a_first_one() -> None:
    """As is one of an address that was not ours meanwhile."""
    forgotten = after(0, 1)
    forgotten.keep(set())

    assert Leave.YES is after(0, CALM_S + 1).leave(KEY, CALM_S + 1)
    assert Leave.YES is forgotten.leave(KEY, 1)


@pytest.mark.parametrize("address", ["198.51.100.80", "2001:db8:9::80"])
def test_who_asks_says_nothing(address: str) -> None:
    """Only who announces or answers says that an address is his, and of no other."""
    own, other = ip_address(address), ip_address("2001:db8:9::81" if ":" in address else "198.51.100.81")

    assert [True, False] == [says(gratuitous(each, MAC), own) for each in (own, other)]
    assert not says(asking(own, MAC), own)
