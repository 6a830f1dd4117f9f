"""Which of two objects is the older: one rule for everything that age decides.

It must not know what is decided.
"""

from __future__ import annotations

from typing import Final

UNDATED: Final = "~"
"""Sorts after every time of creation: an object without one is not older than one that has it."""


def age(created: str) -> str:
    """Sorts by `creationTimestamp`, the oldest first; those without one are the youngest, and of one age."""
    return created or UNDATED
