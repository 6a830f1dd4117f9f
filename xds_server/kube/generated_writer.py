"""Makes the objects that are generated what they should be: creates, changes and removes those that are ours.

Who leads writes, and nobody else. Each look compares what is desired now with what the API server has now, so that
nothing is written twice, nor after a restart. An object of somebody else's under a name of ours is never touched.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

import msgspec
import structlog

from xds_server.kube.client import APPLY, Api, ApiError, delay_s
from xds_server.kube.kinds import BY_KIND
from xds_server.kube.observed import Observed
from xds_server.kube.pending import Pending
from xds_server.kube.status_writer import Leadership
from xds_server.model.generated import Generated
from xds_server.model.refs import ObjectRef

log = structlog.get_logger(__name__)

MANAGER: Final = "tidegate"
OURS: Final = ("app.kubernetes.io/managed-by", "tidegate")
DIGEST: Final = "tidegate.dev/applied"
"""An annotation that tells what was applied: a field that is not wanted any more is seen by it."""

KINDS: Final = ("Service", "EndpointSlice")
PARALLEL: Final = 4
TIMEOUT_S: Final = 10.0
INVALID: Final = 422
LONGEST_S: Final = 60.0
_PAGE: Final = 500

Object = dict[str, Any]


class GeneratedWriter:
    """One for each replica. `commit` says what may differ; `run` does the rest, until cancelled.

    `desired` and `observed` are read whenever an object is looked at, and must be complete before `run` is called.
    """

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        desired: Mapping[ObjectRef, Generated],
        observed: Mapping[ObjectRef, Observed],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._leadership, self._desired, self._observed = api, leadership, desired, observed
        self._clock = clock
        self._pending = Pending()
        self._wake = asyncio.Event()
        self.term = 0
        """Of the leadership in which what is there was listed; 0 without."""
        self._known: set[ObjectRef] = set()  # ours, as far as the API server said
        self._attempts: dict[ObjectRef, int] = {}
        self.refused: dict[ObjectRef, str] = {}
        """Why an object is not as it should be."""

    @property
    def pending(self) -> int:
        """How many objects are to be looked at, or are being written."""
        return len(self._pending)

    def gained(self) -> None:
        """The leadership, perhaps."""
        self._wake.set()

    def commit(self, refs: Iterable[ObjectRef]) -> None:
        """Something else is desired of these, or they have changed; those of others are passed over."""
        if not self.term:
            return  # who begins to lead looks at all
        for ref in refs:
            if ref in self._desired or ref in self._known:
                self._pending.forgive(ref)
                self._pending.want(ref, self._clock())
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                if await self._follow():
                    while self._pending.busy < PARALLEL and (ref := self._pending.take(self._clock())) is not None:
                        tasks.create_task(self._guarded(ref))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_s()):
                        await self._wake.wait()

    def _idle_s(self) -> float | None:
        if not self._leadership.leads:
            return None
        if not self.term:
            return 1.0  # what is there could not be listed
        next_at = self._pending.next_at()
        return None if next_at is None or self._pending.busy >= PARALLEL else next_at - self._clock()

    async def _follow(self) -> bool:
        """Whether this one leads and knows what is there; with each new term everything is looked at."""
        if not self._leadership.leads:
            self.term = 0
            self._pending.clear()
            return False
        term = self._leadership.term
        if self.term != term:
            self.term = 0
            try:
                self._known = {ref for kind in KINDS for ref in await self._listed(kind)}
            except ApiError as error:
                log.warning("generated objects not listed", error=str(error)[:300])
                return False
            self.term = term
            for ref in {*self._known, *self._desired}:
                self._pending.want(ref, self._clock())
        return True

    async def _listed(self, name: str) -> list[ObjectRef]:
        """All of a kind that are labelled as ours."""
        kind, found, more = BY_KIND[name], list[ObjectRef](), ""
        while True:
            params = {"labelSelector": "=".join(OURS), "limit": str(_PAGE), **({"continue": more} if more else {})}
            body = await self._api.request("GET", kind.collection_path(kind.versions[0]), params=params)
            page = msgspec.json.decode(body)
            for item in page.get("items") or ():
                found.append(ObjectRef(name, item["metadata"]["namespace"], item["metadata"]["name"]))
            more = page.get("metadata", {}).get("continue", "")
            if not more:
                return found

    async def _guarded(self, ref: ObjectRef) -> None:
        try:
            await self._settle(ref)
        except ApiError as error:
            self._tell(ref, f"{error.reason}: {error.message}")
            self._back_off(ref)
        except Exception:  # a defect of ours with one object is not to end the control plane
            log.exception("generated object not written", object=str(ref))
            self._back_off(ref)
        else:
            self._attempts.pop(ref, None)
        finally:
            self._pending.done(ref)
            self._wake.set()

    def _back_off(self, ref: ObjectRef) -> None:
        attempt = self._attempts[ref] = self._attempts.get(ref, -1) + 1
        chance = random.random()  # noqa: S311  # spreads attempts
        self._pending.back_off(ref, self._clock() + delay_s(attempt, chance, LONGEST_S))

    async def _settle(self, ref: ObjectRef) -> None:
        kind = BY_KIND[ref.kind]
        path = kind.object_path(kind.versions[0], ref)
        found, wanted = await self._get(path), self._desired.get(ref)
        if found is not None and found["metadata"].get("labels", {}).get(OURS[0]) != OURS[1]:
            self._known.discard(ref)
            if wanted is not None:
                self._tell(ref, "it is somebody else's, and is left alone: delete or rename it")
            return
        if found is not None:
            self._known.add(ref)  # also where the answer to what made it was lost: it is ours to remove
        if wanted is None:
            if found is not None and self._leadership.leads:
                await self._delete(path, found)
            self._known.discard(ref)
            self.refused.pop(ref, None)
            return
        manifest = self._manifest(wanted)
        if manifest is None or (found is not None and covers(found, manifest)):
            self.refused.pop(ref, None)
            return
        if self._leadership.leads:
            params = {"fieldManager": MANAGER, "force": "true"}
            body = msgspec.json.encode(manifest)
            try:
                await self._api.request(
                    "PATCH", path, params=params, body=body, content_type=APPLY, timeout_s=self._timeout_s()
                )
            except ApiError as error:
                if error.status == INVALID and found is not None:
                    await self._delete(path, found)  # a field that never changes does: the next attempt makes it anew
                raise
            self._known.add(ref)
            self.refused.pop(ref, None)

    def _manifest(self, wanted: Generated) -> Object | None:
        """What is applied; nothing where it stays, nor while the owner is not observed: he is about to be removed."""
        if not wanted.manifest:
            return None
        manifest: Object = msgspec.json.decode(wanted.manifest)
        metadata = manifest["metadata"]
        if wanted.owner is not None:
            observed = self._observed.get(wanted.owner)
            if observed is None:
                return None
            kind = BY_KIND[wanted.owner.kind]
            metadata["ownerReferences"] = [
                {
                    "apiVersion": f"{kind.group}/{observed.version}",
                    "kind": wanted.owner.kind,
                    "name": wanted.owner.name,
                    "uid": observed.uid,
                    "controller": True,
                }
            ]
        metadata.setdefault("annotations", {})[DIGEST] = blake2b(wanted.manifest, digest_size=8).hexdigest()
        return manifest

    async def _get(self, path: str) -> Object | None:
        try:
            found: Object = msgspec.json.decode(await self._api.request("GET", path, timeout_s=self._timeout_s()))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def _delete(self, path: str, found: Object) -> None:
        """The very object that was looked at, and no other of its name."""
        body = msgspec.json.encode({"preconditions": {"uid": found["metadata"].get("uid", "")}})
        try:
            await self._api.request("DELETE", path, body=body, timeout_s=self._timeout_s())
        except ApiError as error:
            if error.status != 404:
                raise

    def _timeout_s(self) -> float:
        """No request outlives the leadership."""
        return min(TIMEOUT_S, max(self._leadership.remaining_s, 0.1))

    def _tell(self, ref: ObjectRef, why: str) -> None:
        if self.refused.get(ref) != why[:300]:
            self.refused[ref] = why[:300]
            log.warning("generated object not written", object=str(ref), error=why[:300])


def covers(found: Any, wanted: Any) -> bool:
    """Whether an object has all that is wanted; the API server adds what it decides itself."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(name in found and covers(found[name], of) for name, of in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(covers(one, of) for one, of in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)
