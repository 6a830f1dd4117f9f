"""Whether the API server answers, as all who ask it know together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from xds_server.kube.client import ApiError, delay_s

LONGEST_WAIT_S: Final = 120.0
"""What a server may ask for by Retry-After."""


class ContentError(ApiError):
    """The server was reached, but what it said makes no sense."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(0, reason, message)


def is_unreachable(error: ApiError) -> bool:
    return error.status == 0 and not isinstance(error, ContentError)


class Contact:
    """Waits between attempts; whoever finds an unreachable server back ends the waits of those who found it away.

    So all kinds are read again at about the same time, and none is half a minute behind the others.
    """

    def __init__(
        self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep, chance: Callable[[], float] = random.random
    ) -> None:
        self._sleep, self.chance = sleep, chance
        self._away = False
        self._back = asyncio.Event()

    def answered(self) -> None:
        if self._away:
            self._away = False
            self._back.set()

    async def pause(self, attempt: int, error: ApiError) -> None:
        """Wait before another attempt, the first being 0."""
        if not is_unreachable(error):
            asked = min(error.retry_after_s or 0.0, LONGEST_WAIT_S)
            await self._sleep(max(asked, delay_s(attempt, self.chance())))
            return
        if not self._away:
            self._away = True
            self._back.clear()
        whole = delay_s(attempt, self.chance())
        first = min(whole, delay_s(0, self.chance()))
        await self._sleep(first)
        if whole > first:
            await self._sleep_until_back(whole - first)

    async def _sleep_until_back(self, longest_s: float) -> None:
        back = asyncio.ensure_future(self._back.wait())
        slept = asyncio.ensure_future(self._sleep(longest_s))
        try:
            await asyncio.wait({back, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.cancel()  # neither is awaited: what would be caught there may be a cancellation of ours
            slept.cancel()
