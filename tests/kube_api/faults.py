"""What the server does wrong on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none; `message` must never matter."""

    status: int
    reason: str = ""
    retry_after_s: str = ""
    message: str = "scripted"


@dataclass(frozen=True, slots=True)
class Stale:
    """A list as it was so many versions ago, or at the beginning."""

    behind: int


Fault = (
    Refusal
    | Stale
    | Literal["cut", "lose", "silent", "babble", "duplicate", "reorder", "gone", "error", "older"]
    | None
)


class Broken(Exception):
    """The connection is to be cut."""
