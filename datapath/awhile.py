"""What is seen again and again, and for how long: what passes by itself is nothing to act upon.

Must not know clocks.
"""

from __future__ import annotations


class Awhile:
    """`lasts_s` is for how long it was seen at each look, up to the last one; 0 where that did not see it."""

    def __init__(self) -> None:
        self.lasts_s = 0.0
        self._since: float | None = None

    def look(self, now: float, *, seen: bool) -> None:
        self._since = None if not seen else now if self._since is None else self._since
        self.lasts_s = 0.0 if self._since is None else now - self._since
