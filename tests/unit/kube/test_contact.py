"""How long is waited, and who is woken."""

from __future__ import annotations

import asyncio

import pytest

from xds_server.kube.client import ApiError
from xds_server.kube.contact import Contact, ContentError

AWAY = ApiError(0, "ClientConnectorError", "refused")


class Clock:
    """Sleeps last until the test ends them; `asked` are their lengths."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.long = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        if seconds > 1:
            await self.long.wait()


async def test_waits_grow_and_retry_after_lengthens_them() -> None:
    """Half a second doubled each time, between half of it and all of it by chance; never longer than two minutes."""
    clock = Clock()
    clock.long.set()
    contact = Contact(clock.sleep, lambda: 0.0)
    for attempt in range(9):
        await contact.pause(attempt, ApiError(500, "", ""))
    await contact.pause(0, ApiError(429, "", "", 7.0))
    await contact.pause(0, ApiError(503, "", "", 1e9))
    await contact.pause(0, ContentError("Stale", ""))

    assert [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 7.0, 120.0, 0.25] == clock.asked


async def test_who_finds_the_server_back_wakes_the_others() -> None:
    """Who waits for an unreachable server need not wait to the end, but waits for the shortest time always."""
    clock = Clock()
    contact = Contact(clock.sleep, lambda: 0.0)
    waiting = [asyncio.ensure_future(contact.pause(9, AWAY)) for _ in range(3)]
    while len(clock.asked) < 6:
        await asyncio.sleep(0)
    assert [0.25] * 3 == [seconds for seconds in clock.asked if seconds < 1]
    contact.answered()
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)


async def test_a_server_that_refuses_is_not_away() -> None:
    """Answers to others do not shorten the wait of who was refused."""
    clock = Clock()
    contact = Contact(clock.sleep, lambda: 0.0)
    refused = asyncio.ensure_future(contact.pause(9, ApiError(500, "", "")))
    while not clock.asked:
        await asyncio.sleep(0)
    contact.answered()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not refused.done()
    clock.long.set()
    await refused


@pytest.mark.parametrize("tick", range(12))
async def test_a_cancellation_is_never_swallowed(tick: int) -> None:
    """Who waits again and again ends when cancelled, at whatever moment that is, also while the server comes back."""
    clock = Clock()
    contact = Contact(clock.sleep, lambda: 0.0)

    async def follow() -> None:
        while True:
            await contact.pause(9, AWAY)

    following = asyncio.ensure_future(follow())
    while len(clock.asked) < 2:
        await asyncio.sleep(0)
    contact.answered()
    for _ in range(tick):
        await asyncio.sleep(0)
    following.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    ended = following.done()
    following.cancel()
    await asyncio.wait({following})

    assert ended
