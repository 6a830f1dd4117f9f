"""How the daemon ends."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack

from datapath.app import work_at_hand


async def test_what_a_thread_uses_is_closed_when_it_is_done() -> None:
    """Who awaited its work was cancelled, and it goes on: a descriptor that is closed is soon another file's."""
    told: list[str] = []
    begun, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()
        told.append("done")

    async with AsyncExitStack() as stack:
        stack.callback(told.append, "closed")
        await stack.enter_async_context(work_at_hand())
        working = asyncio.ensure_future(asyncio.to_thread(work))
        await begun.wait()
        working.cancel()
        await asyncio.wait({working})
        loop.call_soon(may_end.set)

    may_end.set()
    assert ["done", "closed"] == told
