"""What is seen for a while."""

from __future__ import annotations

from datapath.awhile import Awhile


def test_it_lasts_from_the_first_look_that_sees_it_to_the_last() -> None:
    """One look is no while; what is not seen once begins anew."""
    awhile, lasted = Awhile(), []
    for now, seen in enumerate((True, True, True, False, True, True)):
        awhile.look(float(now), seen=seen)
        lasted.append(awhile.lasts_s)

    assert [0, 1, 2, 0, 0, 1] == lasted
