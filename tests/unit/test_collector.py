"""What the collector of cyclic garbage is kept from."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from xds_server.collector import YOUNG, for_good, let_stay


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def is_looked_at(found: object) -> bool:
    return any(found is each for each in gc.get_objects())


def test_what_is_built_for_good_is_never_looked_at() -> None:
    """Neither while it is built nor afterwards, when the collector is on again."""
    with for_good():
        built: list[list[int]] = [[]]
        on = gc.isenabled()

    assert not on
    assert gc.isenabled()
    assert not is_looked_at(built)
    assert is_looked_at([built])


def test_what_comes_later_is_looked_at_less_often() -> None:
    """So that what is read in large numbers is not walked again and again."""
    here: list[list[int]] = [[]]
    let_stay()

    assert not is_looked_at(here)
    assert YOUNG == gc.get_threshold()[0]
