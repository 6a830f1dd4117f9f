"""Records of the kernel's ring for whoever asks, with the names of what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from datapath.kernel.events import Events
from datapath.kernel.layout import Direction, Event, Reason

_WAITING: Final = 4096
"""Records that a slow reader may be behind; older ones are dropped, and he is told how many."""


class Flows:
    """The one reader of the ring; it reads only while somebody listens."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._readers: set[asyncio.Queue[Event]] = set()
        self.dropped = 0

    async def listen(self) -> AsyncGenerator[Event, None]:
        """From now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_WAITING)
        with self._reading(queue):
            while True:
                yield await queue.get()

    @contextmanager
    def _reading(self, queue: asyncio.Queue[Event]) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        if not self._readers:
            for _ in self._events.read():  # of before
                pass
            loop.add_reader(self._events.fileno(), self._take)
        self._readers.add(queue)
        try:
            yield
        finally:
            self._readers.discard(queue)
            if not self._readers:
                loop.remove_reader(self._events.fileno())

    def _take(self) -> None:
        for event in self._events.read():
            for queue in self._readers:
                if queue.full():
                    self.dropped += 1
                    queue.get_nowait()
                queue.put_nowait(event)


def record(event: Event, link: Callable[[int], str]) -> dict[str, Any]:
    """For machines; `link` names an ifindex."""
    return {
        "time_ns": event.time_ns,
        "reason": _word(Reason, event.reason),
        "direction": _word(Direction, event.direction),
        "protocol": {6: "tcp", 17: "udp"}.get(event.protocol, str(event.protocol)),
        "source": str(event.source),
        "source_port": event.source_port,
        "destination": str(event.destination),
        "destination_port": event.destination_port,
        "link": link(event.ifindex) if event.ifindex else "",
        "suppressed": event.suppressed,
    }


def text(found: dict[str, Any]) -> str:
    """For people."""
    ends = [
        _endpoint(found["source"], found["source_port"]),
        _endpoint(found["destination"], found["destination_port"]),
    ]
    where = f" at {found['link']}" if found["link"] else ""
    more = f" ({found['suppressed']} more were not told)" if found["suppressed"] else ""
    reason, direction = found["reason"], found["direction"]
    return f"{found['time_ns'] / 1e9:.6f} {reason} {direction} {found['protocol']} {' -> '.join(ends)}{where}{more}"


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _word(words: type[Reason | Direction], number: int) -> str:
    """A newer program may have words of its own."""
    try:
        return words(number).name.lower()
    except ValueError:
        return str(number)
