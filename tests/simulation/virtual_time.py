"""An event loop whose time passes when nothing is left to do: minutes of back-offs take a moment, each time alike.

Everything that takes part must run in this one loop, and read `loop.time`; what speaks to each other must do so by Unix
sockets, where all that was sent has arrived.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
START_S: Final = 1000.0
_STUCK_S: Final = 30.0


class VirtualTime(selectors.DefaultSelector):
    """A selector that does not wait, but says how late it has become."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            found = super().select(_STUCK_S)
            if not found:
                raise RuntimeError("nothing is left that could ever happen")
            return found
        found = super().select(0)
        if not found:
            self.now += max(timeout, 0.0)
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = VirtualTime()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
