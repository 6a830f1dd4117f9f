"""Counters of the streams, for the metrics to read; keys are types that are served, so their number is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from xds_server.xds.events import Accepted, Divided, Event, Ignored, Rejected, Stale, Unserved

Counts = Counter[str]


@dataclass(slots=True)
class StreamStats:
    pushes: Counts = field(default_factory=Counter)
    """Responses written, by type."""
    sent_bytes: Counts = field(default_factory=Counter)
    acks: Counts = field(default_factory=Counter)
    nacks: Counts = field(default_factory=Counter)
    """Requests that refused something, by type."""
    rejected: Counts = field(default_factory=Counter)
    """Resource versions that were found to be the cause, by type."""
    stale: Counts = field(default_factory=Counter)
    ignored: int = 0
    """Requests for types that nothing is served of."""
    refused: int = 0
    """Streams ended because a request could not be understood."""
    displaced: int = 0
    """Streams ended because their node opened as many as it may have since."""
    unauthenticated: int = 0
    """Calls of peers that are nobody here."""
    forbidden: int = 0
    """Calls of peers to methods that are not for them, and streams of nodes that said they were another."""
    unserved: int = 0
    """What was named on streams for which it does not exist: secrets that they serve nothing with, others' pods."""
    gates_opened: int = 0
    """Times that something was sent although what it refers to had not been accepted in time."""
    streams: Counts = field(default_factory=Counter)
    """Streams open now, by variant."""

    def count(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Accepted():
                    self.acks[event.type_url] += 1
                case Divided():
                    self.nacks[event.type_url] += 1
                case Rejected():
                    self.nacks[event.type_url] += 1
                    self.rejected[event.type_url] += 1
                case Stale():
                    self.stale[event.type_url] += 1
                case Ignored():
                    self.ignored += 1
                case Unserved():
                    self.unserved += event.number
                case _:
                    pass

    def wrote(self, type_url: str, size: int) -> None:
        self.pushes[type_url] += 1
        self.sent_bytes[type_url] += size
