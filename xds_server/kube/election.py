"""Who leads: the rules of a Lease, as questions to the API server and what their answers mean; pure.

    a holder renews every 5 s, and leads for 10 s after it asked for the last renewal that it got
    anybody may take a Lease that has not changed for 15 s by his own clock

So a leader has stopped for 5 s before anybody else may begin, whatever their clocks show: no time in a Lease is ever
compared with a clock, only intervals are, and those of two machines differ by far less than a third.
Renewals every 5 s leave room for two that fail, and cost 12 writes a minute.
Must not know HTTP or a clock; times are seconds of one that never goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import inf
from typing import Final, Literal, NamedTuple

from msgspec import Struct

DURATION_S: Final = 15.0
DEADLINE_S: Final = 10.0
RENEW_S: Final = 5.0
RETRY_S: Final = 2.0
"""How often who does not lead looks, and who could not renew tries again."""
TIMEOUT_S: Final = 2.0
"""An answer that takes longer is none: a silent server must leave time for another attempt before the deadline."""

Clock = Callable[[], float]


class LeaseSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(NamedTuple):
    resource_version: str
    spec: LeaseSpec


class Read(NamedTuple):
    """Ask for the Lease."""


class Write(NamedTuple):
    """Ask to put a Lease in the place of this version; "" to create it."""

    resource_version: str
    spec: LeaseSpec


Question = Read | Write
Answer = Lease | Literal["absent", "conflict", "failed"]
"""The Lease as it is now, or after the write; or that there is none, somebody was faster, or nobody answered."""

Attempt = Generator[Question, Answer, float]


class Election:
    """What one candidate knows; `term` counts the times that it began to lead."""

    def __init__(self, identity: str, clock: Clock, written_time: Callable[[], str]) -> None:
        self.identity, self._clock, self._written_time = identity, clock, written_time
        self.term = 0
        self._lease: Lease | None = None
        self._known = False
        self._unchanged_since = 0.0
        self._leads_until = -inf

    @property
    def remaining_s(self) -> float:
        """For how long this one leads whatever happens; 0 while it does not."""
        return max(0.0, self._leads_until - self._clock())

    @property
    def leads(self) -> bool:
        return self.remaining_s > 0.0

    def attempt(self) -> Attempt:
        """Renew, take, or look; returns how long to wait before the next attempt."""
        if not (self._known and self._ours):
            answer = yield Read()
            if answer in {"failed", "conflict"}:
                return RETRY_S
            self._observe(answer if isinstance(answer, Lease) else None)
        if not self._may_take:
            return RETRY_S
        sent_at = self._clock()
        answer = yield Write(self._lease.resource_version if self._lease else "", self._renewed())
        if not isinstance(answer, Lease):
            self._known = False  # it may have been written all the same
            return RETRY_S
        if not self.leads:
            self.term += 1
        self._observe(answer)
        self._leads_until = sent_at + DEADLINE_S
        return RENEW_S

    def release(self) -> Attempt:
        """Stop to lead at once, and then let the others know."""
        led, self._leads_until = self.leads, -inf
        if led and self._lease is not None:
            spec = self._lease.spec
            free = LeaseSpec(None, 1, spec.acquire_time, self._written_time(), spec.lease_transitions)
            yield Write(self._lease.resource_version, free)
        self._known = False
        return RETRY_S

    @property
    def _ours(self) -> bool:
        return self._lease is not None and self._lease.spec.holder_identity == self.identity

    @property
    def _may_take(self) -> bool:
        if self._lease is None or self._ours or not self._lease.spec.holder_identity:
            return True
        duration_s = self._lease.spec.lease_duration_seconds or DURATION_S
        return self._clock() >= self._unchanged_since + duration_s

    def _observe(self, lease: Lease | None) -> None:
        before = self._lease.spec if self._lease else None
        if lease is None or before != lease.spec:
            self._unchanged_since = self._clock()
        self._lease, self._known = lease, True

    def _renewed(self) -> LeaseSpec:
        now = self._written_time()
        spec = self._lease.spec if self._lease else LeaseSpec()
        acquired, transitions = spec.acquire_time, spec.lease_transitions or 0
        if not self._ours:
            acquired, transitions = now, transitions + (self._lease is not None)
        return LeaseSpec(self.identity, int(DURATION_S), acquired, now, transitions)
