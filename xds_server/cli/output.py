"""Standard output that may not be read, or not any more, while the event loop goes on.

A thread writes, and nobody waits for it at the end: neither a full pipe nor a stopped terminal keeps a process alive.
It writes to the descriptor, for what Python buffers would be flushed at the end, and that may block.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress


class OutputClosedError(Exception):
    """Its reader has gone, as `| head` goes."""


async def write(descriptor: int, data: bytes) -> None:
    """Wait until all has been written.

    :raises OutputClosedError: nobody will ever read it.
    :raises OSError: it cannot be written.
    """
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()

    def settle(error: OSError | None) -> None:
        if written.done():
            return
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(OutputClosedError() if isinstance(error, BrokenPipeError) else error)

    def run() -> None:
        error = _write_all(descriptor, data)
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="output", daemon=True).start()
    await written


def write_last(descriptor: int, data: bytes, longest_s: float = 0.5) -> None:
    """Write at the end of everything, without an event loop; give up when nobody takes it."""
    thread = threading.Thread(target=_write_all, args=(descriptor, data), name="output", daemon=True)
    thread.start()
    thread.join(longest_s)


def _write_all(descriptor: int, data: bytes) -> OSError | None:
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError as error:
        return error
    return None
