"""How our processes end: by a signal, in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable


def until_signalled(main: Callable[[], Awaitable[None]]) -> None:
    """Run until it ends, or until SIGTERM or SIGINT cancels it, which is a clean stop."""

    async def cancellable() -> None:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    asyncio.run(cancellable())
