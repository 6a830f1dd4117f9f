"""The collector of cyclic garbage, which finds next to none in what is built here, and walks all of it for that."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 10_000
"""So many new objects are looked at together, a millisecond or less; by 700, Python's own number, lists of 50,000
objects are walked again and again while they are read."""


def let_stay() -> None:
    """What is there now stays to the end of the process; what comes is looked at less often."""
    gc.freeze()
    gc.set_threshold(YOUNG)


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the collector away from what is being built.

    It would walk all of that again and again, half the time of a commit of 10,000 routes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def for_good() -> Iterator[None]:
    """What is built stays to the end of the process: the collector does not look at it, then or later."""
    with without_collector():
        yield
        gc.freeze()
