"""Records of the kernel's ring for whoever asks, with the names of what became of them; and of what the daemon ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from datapath.ageing import Aged, state
from datapath.kernel.events import Events
from datapath.kernel.layout import Direction, Event, Flow, Reason

_WAITING: Final = 4096
"""Records that a slow reader may be behind; older ones are dropped, and he is told how many."""


class Flows:
    """The one reader of the ring; it reads only while somebody listens."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._readers: set[asyncio.Queue[Event | Aged]] = set()
        self.dropped = 0

    async def listen(self) -> AsyncGenerator[Event | Aged, None]:
        """From now on."""
        queue: asyncio.Queue[Event | Aged] = asyncio.Queue(_WAITING)
        with self._reading(queue):
            while True:
                yield await queue.get()

    @contextmanager
    def _reading(self, queue: asyncio.Queue[Event | Aged]) -> Iterator[None]:
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
            self.tell(event)

    def tell(self, found: Event | Aged) -> None:
        for queue in self._readers:
            if queue.full():
                self.dropped += 1
                queue.get_nowait()
            queue.put_nowait(found)


def record(found: Event | Aged, link: Callable[[int], str]) -> dict[str, Any]:
    """For machines; `link` names an ifindex."""
    if isinstance(found, Aged):
        return {
            "time_ns": found.at_s * 1_000_000_000,
            "reason": f"aged_{state(found.progress)}",
            "direction": "daemon",
            **_ends(found.flow),
            "link": "",
            "suppressed": 0,
        }
    return {
        "time_ns": found.time_ns,
        "reason": _word(Reason, found.reason),
        "direction": _word(Direction, found.direction),
        **_ends(found),
        "link": link(found.ifindex) if found.ifindex else "",
        "suppressed": found.suppressed,
    }


def _ends(found: Event | Flow) -> dict[str, Any]:
    return {
        "protocol": {6: "tcp", 17: "udp"}.get(found.protocol, str(found.protocol)),
        "source": str(found.source),
        "source_port": found.source_port,
        "destination": str(found.destination),
        "destination_port": found.destination_port,
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
