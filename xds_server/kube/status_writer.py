"""Makes the status of objects what it should be: looks at those that may differ, and writes those that do.

Who leads writes, and nobody else. There is no queue: what is kept is which objects to look at, and each look compares
what is desired now with what was last observed. So a write that comes back as a change is looked at and found equal,
a restart finds everything equal, and whoever begins to lead looks at everything.
What cannot be written waits by itself, longer each time, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog

from xds_server.kube.client import JSON_PATCH, Api, ApiError, decoded, delay_s
from xds_server.kube.kinds import BY_KIND, Kind
from xds_server.kube.observed import Observed
from xds_server.kube.pending import Pending
from xds_server.kube.quarrels import Quarrels
from xds_server.kube.status_stats import StatusStats
from xds_server.model.refs import ObjectRef
from xds_server.status.collections import DesiredStatus
from xds_server.status.merge import Merged, merged

log = structlog.get_logger(__name__)

PARALLEL: Final = 8
SOFT_S: Final = 1.5
"""Counts and messages of one object are written at most once in this time, the first at once: while 1,000 routes are
created in half a minute, their Gateway is written 20 times, and never wrong for longer."""
PATIENCE_S: Final = 30.0
"""A Gateway that was programmed stays so for this long while Envoys are not heard: Envoy's own back-off is at most
this, so that all of them are back after a restart of ours, and a lone one that changes replicas is not noticed."""
LONGEST_REFUSED_S: Final = 300.0
TIMEOUT_S: Final = 10.0
_LOOKS: Final = 64  # between which others have their turn on the loop
_FAILURES: Final = PARALLEL  # so many in a row are the server's, not the objects'


class Leadership(Protocol):
    """`term` counts how often it was gained; `remaining_s` is for how long it is certain."""

    @property
    def leads(self) -> bool: ...
    @property
    def term(self) -> int: ...
    @property
    def remaining_s(self) -> float: ...


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    uid: str = ""
    generation: int = 0


class _Object(msgspec.Struct):
    metadata: _Metadata
    status: msgspec.Raw = msgspec.Raw()


class _Write(NamedTuple):
    desired: DesiredStatus
    base: Observed
    status: bytes
    soft: bool


def rfc3339() -> str:
    """As a condition has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class StatusWriter:
    """One for each replica. `observe` and `commit` say what may differ; `run` does the rest, until cancelled.

    `desired` and `observed` are read whenever an object is looked at, and must be complete before `run` is called:
    an object that nobody desires anything of loses what we wrote into its status.
    """

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        desired: Mapping[ObjectRef, DesiredStatus],
        observed: Mapping[ObjectRef, Observed],
        controller: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], str] = rfc3339,
    ) -> None:
        self._api, self._leadership, self._desired, self._observed = api, leadership, desired, observed
        self._controller, self._clock, self._now = controller, clock, now
        self.stats = StatusStats()
        self._pending = Pending()
        self._wake = asyncio.Event()
        self._term = 0
        self._newer: dict[ObjectRef, Observed] = {}  # what the API server answered, until it is observed
        self._stale: set[ObjectRef] = set()  # what is observed is known to be old
        self._attempts: dict[ObjectRef, int] = {}
        self._told: dict[ObjectRef, str] = {}  # why it could not be written, as logged
        self._quarrels = Quarrels()
        self._softly_at: dict[ObjectRef, float] = {}
        self._unheard_since: dict[ObjectRef, float] = {}
        self._addresses: dict[ObjectRef, tuple[str, ...]] = {}  # of Ingresses of ours
        self._failures, self._paused_until = 0, 0.0

    @property
    def pending(self) -> int:
        """How many objects are to be looked at, or are being written."""
        return len(self._pending)

    def gained(self) -> None:
        """The leadership, perhaps."""
        self._wake.set()

    def observe(self, ref: ObjectRef) -> None:
        """The API server said something new of it."""
        self._want(ref)

    def commit(self, refs: Iterable[ObjectRef]) -> None:
        """Something else is desired of these: what was refused before may be taken now."""
        for ref in refs:
            if ref in self._told:
                self._pending.forgive(ref)
            self._want(ref)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                if self._follow():
                    await self._look(tasks)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_s()):
                        await self._wake.wait()

    def _want(self, ref: ObjectRef) -> None:
        if not self._term or _kind(ref) is None:
            return  # who begins to lead looks at all
        self._pending.want(ref, self._clock())
        self._wake.set()

    def _follow(self) -> bool:
        """Whether this one leads; with each new term everything is looked at."""
        if not self._leadership.leads:
            self._term = 0
            self._pending.clear()
            return False
        if self._term != self._leadership.term:
            self._term = self._leadership.term
            self._pending.clear()
            self._unheard_since.clear()
            for ref in self._observed:
                self._want(ref)
        return True

    def _idle_s(self) -> float | None:
        """How long nothing can be due; None until something is wanted."""
        if not self._term:
            return None
        next_at = self._pending.next_at()
        if next_at is None or self._pending.busy >= PARALLEL:
            return None
        return max(next_at, self._paused_until) - self._clock()

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Look at all that are due, and begin to write those that differ."""
        looks = 0
        while self._pending.busy < PARALLEL and self._clock() >= self._paused_until and self._leadership.leads:
            ref = self._pending.take(self._clock())
            if ref is None:
                return
            if ref in self._stale:
                tasks.create_task(self._guarded(ref, self._reread(ref)))
                continue
            try:
                write = self._difference(ref)
            except Exception:  # a defect of ours with one object is not to end the control plane
                log.exception("status not merged", object=str(ref))
                self._failed(ref)
                write = None
            if write is None:
                self._pending.done(ref)
            else:
                tasks.create_task(self._guarded(ref, self._write(write)))
            looks += 1
            if looks % _LOOKS == 0:
                await asyncio.sleep(0)

    def _difference(self, ref: ObjectRef) -> _Write | None:
        """What is to be written of an object now; None also if it is to be looked at later."""
        observed = self._newest(ref)
        if observed is None:
            self._forget(ref)
            return None  # once it is observed, it is looked at
        now = self._clock()
        desired = self._desired.get(ref) or DesiredStatus(ref, ())
        patient = now < self._unheard_since.get(ref, now) + PATIENCE_S
        result = self._merged(observed, desired, patient=patient)
        if result.held:
            self._pending.want(ref, self._unheard_since.setdefault(ref, now) + PATIENCE_S)
        else:
            self._unheard_since.pop(ref, None)
        if result.status is None:
            self._settled(ref, desired)
            return None
        softly = self._softly_at.get(ref, now - SOFT_S) + SOFT_S if result.soft else now
        earliest = max(softly, self._quarrels.until(ref, desired, now))
        if now < earliest:
            self._pending.want(ref, earliest)
            return None
        return _Write(desired, observed, result.status, result.soft)

    def _merged(self, observed: Observed, desired: DesiredStatus, *, patient: bool) -> Merged:
        written = self._addresses.get(desired.object, ())
        return merged(
            observed.status, desired, controller=self._controller, now=self._now(), patient=patient, written=written
        )

    def _settled(self, ref: ObjectRef, desired: DesiredStatus) -> None:
        """It is as desired: whatever was wrong is no more."""
        self._attempts.pop(ref, None)
        self._told.pop(ref, None)
        self._pending.forgive(ref)
        if desired.addresses and ref.kind == "Ingress":
            self._addresses[ref] = desired.addresses
        elif desired.addresses is not None:
            self._addresses.pop(ref, None)

    def _newest(self, ref: ObjectRef) -> Observed | None:
        """What is observed, or what the API server answered us since."""
        seen, newer = self._observed.get(ref), self._newer.get(ref)
        same = seen is not None and newer is not None and seen.uid == newer.uid
        if same and seen and newer and _older(seen.resource_version, newer.resource_version):
            return newer._replace(version=seen.version)
        self._newer.pop(ref, None)
        return seen

    def _forget(self, ref: ObjectRef) -> None:
        """It is gone, or not there yet."""
        for kept in (self._newer, self._attempts, self._told, self._softly_at, self._unheard_since):
            kept.pop(ref, None)
        self._quarrels.forget(ref)
        self._addresses.pop(ref, None)
        self._stale.discard(ref)
        self._pending.forgive(ref)

    # --- what is asked of the API server ------------------------------------------------------------------------------

    async def _guarded(self, ref: ObjectRef, asked: Awaitable[None]) -> None:
        try:
            await asked
        except ApiError as error:
            self._refused(ref, error)
        except Exception:  # as above
            log.exception("status not written", object=str(ref))
            self._failed(ref)
        else:
            self._failures = 0
        finally:
            self._pending.done(ref)
            self._wake.set()

    async def _write(self, write: _Write) -> None:
        ref, base = write.desired.object, write.base
        if not self._leadership.leads:
            return
        kind = BY_KIND[ref.kind]
        # Not PUT: of an Ingress, the API server would take labels and annotations from the body too, which has none.
        # A version that is no longer the object's makes it a conflict, and so does another object of the name.
        operations = (
            {"op": "replace", "path": "/metadata/resourceVersion", "value": base.resource_version},
            {"op": "add", "path": "/status", "value": msgspec.Raw(write.status)},
        )
        path, body = f"{kind.object_path(base.version, ref)}/status", msgspec.json.encode(operations)
        answer = await self._api.request("PATCH", path, body=body, content_type=JSON_PATCH, timeout_s=self._timeout_s())
        self._count(ref, "written")
        took = self._took(ref, base.version, decoded(answer, _Object))
        if self._merged(took, write.desired, patient=True).status is not None:
            # An older definition drops what it does not know: writing it again would change nothing.
            self._tell(ref, "dropped", "the API server keeps less than was written: install the newest CRDs")
            self._postpone(ref)
            return
        now = self._clock()
        self._quarrels.wrote(ref, write.desired, now)
        if write.soft:
            self._softly_at[ref] = now
        else:
            self._softly_at.pop(ref, None)
        self._want(ref)  # something else may be desired by now, or nothing is left to do

    async def _reread(self, ref: ObjectRef) -> None:
        """After a conflict: what the API server has, and not what was observed, decides what is written next."""
        seen = self._observed.get(ref)
        if seen is None:
            self._forget(ref)
            return
        kind = BY_KIND[ref.kind]
        body = await self._api.request("GET", kind.object_path(seen.version, ref), timeout_s=self._timeout_s())
        found = decoded(body, _Object)
        self._stale.discard(ref)
        desired = self._desired.get(ref)
        generation = max((verdict.generation for verdict in desired.verdicts), default=0) if desired else 0
        if found.metadata.uid != seen.uid or found.metadata.generation > generation > 0:
            return  # the verdict is on another object, or an older one: the new one is about to be observed
        self._took(ref, seen.version, found)
        self._pending.forgive(ref)
        self._want(ref)

    def _took(self, ref: ObjectRef, version: str, found: _Object) -> Observed:
        metadata = found.metadata
        took = self._newer[ref] = Observed(version, metadata.resource_version, metadata.uid, bytes(found.status))
        return took

    def _timeout_s(self) -> float:
        """No request outlives the leadership."""
        return min(TIMEOUT_S, max(self._leadership.remaining_s, 0.1))

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _refused(self, ref: ObjectRef, error: ApiError) -> None:
        now, chance = self._clock(), random.random()  # noqa: S311  # spreads attempts
        match error.status:
            case 409:
                self._count(ref, "conflict")
                self._stale.add(ref)
                self._pending.back_off(ref, now + delay_s(self._attempt(ref), chance))
            case 404:
                # The API server says so: there is nothing to write to, and if it comes back, it is observed.
                self._count(ref, "gone")
                self._forget(ref)
            case 0 | 401 | 429 | 500 | 502 | 503 | 504:
                self._count(ref, "failed")
                self._failures += 1
                delay = max(delay_s(self._attempt(ref), chance), min(error.retry_after_s or 0.0, LONGEST_REFUSED_S))
                self._pending.back_off(ref, now + delay)
                if self._failures % _FAILURES == 0:
                    pause = delay_s(self._failures // _FAILURES, chance)
                    self._paused_until = max(self._paused_until, now + pause)
                    log.warning("status cannot be written", failures=self._failures, error=str(error)[:512])
            case _:
                self._count(ref, "refused")
                self._tell(ref, f"{error.status} {error.reason}", str(error)[:512])
                self._postpone(ref)

    def _failed(self, ref: ObjectRef) -> None:
        self._count(ref, "failed")
        self._postpone(ref)

    def _postpone(self, ref: ObjectRef) -> None:
        """Trying soon again would change nothing."""
        chance = random.random()  # noqa: S311  # spreads attempts
        self._pending.back_off(ref, self._clock() + delay_s(self._attempt(ref) + 4, chance, LONGEST_REFUSED_S))

    def _attempt(self, ref: ObjectRef) -> int:
        """How many attempts went wrong before this one."""
        self._attempts[ref] = self._attempts.get(ref, -1) + 1
        return self._attempts[ref]

    def _tell(self, ref: ObjectRef, reason: str, error: str) -> None:
        """Once for each object and reason."""
        if self._told.get(ref) != reason:
            self._told[ref] = reason
            log.warning("status refused", object=str(ref), error=error)

    def _count(self, ref: ObjectRef, result: str) -> None:
        self.stats.writes[ref.kind, result] += 1


def _kind(ref: ObjectRef) -> Kind | None:
    kind = BY_KIND.get(ref.kind)
    return kind if kind is not None and kind.writes_status else None


def _older(version: str, than: str) -> bool:
    """Versions of one resource are numbers that grow, by the conventions of the API since Kubernetes 1.35."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
