"""Makes the objects that are generated what they should be: creates, changes and removes those that are ours.

Who leads writes, and nobody else. Each look compares what is desired now with what the API server has now, so that
nothing is written twice, nor after a restart. An object of somebody else's under a name of ours is never touched,
nor is one that only has our label: that, anybody may set.
"""

from __future__ import annotations

import asyncio
import copy
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

import msgspec
import structlog

from xds_server.kube.client import APPLY, Api, ApiError, decoded, delay_s
from xds_server.kube.kinds import BY_KIND, Kind
from xds_server.kube.observed import Observed
from xds_server.kube.pending import Pending
from xds_server.kube.quarrels import Quarrels
from xds_server.kube.status_writer import Leadership
from xds_server.model.generated import Generated
from xds_server.model.refs import ObjectRef

log = structlog.get_logger(__name__)

MANAGER: Final = "tidegate"
OURS: Final = ("app.kubernetes.io/managed-by", "tidegate")
DIGEST: Final = "tidegate.dev/applied"
"""An annotation that tells what was applied: a field that is not wanted any more is seen by it."""
_NAME: Final = re.compile(r"tidegate-(gateway-|ingress)")  # the beginning of all that is generated

KINDS: Final = tuple(kind.kind for kind in BY_KIND.values() if kind.generated)
PARALLEL: Final = 4
TIMEOUT_S: Final = 10.0
INVALID: Final = 422
LONGEST_S: Final = 60.0
_PAGE: Final = 500

Object = dict[str, Any]


class _Name(msgspec.Struct):
    name: str
    namespace: str


class _Item(msgspec.Struct):
    metadata: _Name


class _PageMetadata(msgspec.Struct):
    proceed: str = msgspec.field(name="continue", default="")


class _Listed(msgspec.Struct):
    metadata: _PageMetadata
    items: list[_Item] | None = None


class GeneratedWriter:
    """One for each replica. `commit` and `observe` say what may differ; `run` does the rest, until cancelled.

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
        self._quarrels = Quarrels()
        self._wake = asyncio.Event()
        self.term = 0
        """Of the leadership in which what is there was listed; 0 without."""
        self._list_at, self._list_attempt = 0.0, 0
        self._known: set[ObjectRef] = set()  # ours, as far as the API server said
        self._attempts: dict[ObjectRef, int] = {}
        self.refused: dict[ObjectRef, str] = {}
        """Why an object is not as it should be."""
        self.on_refused: Callable[[ObjectRef, str], None] = lambda ref, why: None
        """Is told of each change of `refused`; "" is no more."""

    @property
    def pending(self) -> int:
        """How many objects are to be looked at, or are being written."""
        return len(self._pending)

    def gained(self) -> None:
        """The leadership, perhaps."""
        self._wake.set()

    def commit(self, refs: Iterable[ObjectRef]) -> None:
        """Something else is desired of these: what was refused before may be taken now."""
        for ref in refs:
            self._pending.forgive(ref)
            self.observe(ref)

    def observe(self, ref: ObjectRef) -> None:
        """The API server said something new of it; those of others are passed over."""
        if self.term and (ref in self._desired or ref in self._known or ref in self.refused):
            self._pending.want(ref, self._clock())
            self._wake.set()  # without a term, who begins to lead looks at all

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
            return self._list_at - self._clock()
        next_at = self._pending.next_at()
        return None if next_at is None or self._pending.busy >= PARALLEL else next_at - self._clock()

    async def _follow(self) -> bool:
        """Whether this one leads and knows what is there; with each new term everything is looked at."""
        if not self._leadership.leads:
            self.term, self._list_at, self._list_attempt = 0, 0.0, 0
            self._pending.clear()
            for ref in list(self.refused):
                self._tell(ref, "")  # whoever leads knows
            return False
        term = self._leadership.term
        if self.term != term:
            self.term = 0
            if self._clock() < self._list_at:
                return False
            try:
                self._known = {ref for kind in KINDS for ref in await self._listed(kind)}
            except ApiError as error:
                self._not_listed(str(error))
                return False
            except Exception:  # a defect of ours is not to end the control plane
                log.exception("generated objects not listed")
                self._not_listed("a defect of ours")
                return False
            self.term, self._list_attempt = term, 0
            for ref in {*self._known, *self._desired}:
                self._pending.want(ref, self._clock())
        return True

    def _not_listed(self, why: str) -> None:
        attempt, chance = self._list_attempt, random.random()  # noqa: S311  # spreads attempts
        self._list_at, self._list_attempt = self._clock() + delay_s(attempt, chance, LONGEST_S), attempt + 1
        if not attempt & (attempt - 1):  # 0, 1, 2, 4, 8: an outage fills no log
            log.warning("generated objects not listed", error=why[:300], attempt=attempt)

    async def _listed(self, name: str) -> list[ObjectRef]:
        """All of a kind that are labelled as ours."""
        kind, found, more = BY_KIND[name], list[ObjectRef](), ""
        while True:
            params = {"labelSelector": "=".join(OURS), "limit": str(_PAGE), **({"continue": more} if more else {})}
            body = await self._api.request("GET", kind.collection_path(kind.versions[0]), params=params)
            page = decoded(body, _Listed)
            found += (ObjectRef(name, item.metadata.namespace, item.metadata.name) for item in page.items or ())
            more = page.metadata.proceed
            if not more:
                return found

    async def _guarded(self, ref: ObjectRef) -> None:
        try:
            await self._settle(ref)
        except ApiError as error:
            self._postpone(ref, f"{error.reason}: {error.message}")
        except Exception:  # a defect of ours with one object is not to end the control plane
            log.exception("generated object not written", object=str(ref))
            self._postpone(ref, "a defect of ours: see the log")
        else:
            self._attempts.pop(ref, None)
        finally:
            self._pending.done(ref)
            self._wake.set()

    def _postpone(self, ref: ObjectRef, why: str) -> None:
        attempt = self._attempts[ref] = self._attempts.get(ref, -1) + 1
        self._tell(ref, why)
        chance = random.random()  # noqa: S311  # spreads attempts
        self._pending.back_off(ref, self._clock() + delay_s(attempt, chance, LONGEST_S))

    async def _settle(self, ref: ObjectRef) -> None:
        kind = BY_KIND[ref.kind]
        path = kind.object_path(kind.versions[0], ref)
        found, wanted = await self._get(path), self._desired.get(ref)
        if found is not None and not is_ours(ref, found):
            self._known.discard(ref)
            foreign = "it is somebody else's, and is left alone: delete or rename it"
            self._tell(ref, "" if wanted is None else foreign)
            return
        if found is not None:
            self._known.add(ref)  # also where the answer to what made it was lost: it is ours to remove
        if wanted is None:
            if found is not None and self._leadership.leads:
                await self._delete(path, found)
            self._known.discard(ref)
            self._quarrels.forget(ref)
            self._tell(ref, "")
            return
        manifest, now = self._manifest(wanted), self._clock()
        if manifest is None or (found is not None and covers(found, manifest)):
            self._tell(ref, "")
        elif found is not None and found["metadata"].get("deletionTimestamp"):
            self._tell(ref, "it is being removed, and is made anew once it is gone")
        elif now < (earliest := self._quarrels.until(ref, wanted.manifest, now)):
            self._pending.want(ref, earliest)
        elif self._leadership.leads:
            await self._apply(kind, ref, manifest, found)
            self._quarrels.wrote(ref, wanted.manifest, self._clock())

    async def _apply(self, kind: Kind, ref: ObjectRef, manifest: Object, found: Object | None) -> None:
        path, params = kind.object_path(kind.versions[0], ref), {"fieldManager": MANAGER, "force": "true"}
        body, timeout_s = msgspec.json.encode(manifest), self._timeout_s()
        try:
            await self._api.request("PATCH", path, params=params, body=body, content_type=APPLY, timeout_s=timeout_s)
        except ApiError as error:
            if error.status != INVALID or found is None or not differs_for_life(found, manifest):
                raise
            await self._try(kind, ref, manifest, found)
            if self._leadership.leads:
                await self._delete(path, found)
                await self._api.request(
                    "PATCH", path, params=params, body=body, content_type=APPLY, timeout_s=self._timeout_s()
                )
        self._known.add(ref)
        self._tell(ref, "")

    async def _try(self, kind: Kind, ref: ObjectRef, manifest: Object, found: Object) -> None:
        """Whether it could be made anew: under a name that it does not keep, and without what the old one still has.

        :raises ApiError: it could not, so that the old one must stay.
        """
        tried = copy.deepcopy(manifest)
        tried["metadata"]["name"] = f"tidegate-try-{blake2b(ref.name.encode(), digest_size=8).hexdigest()}"
        taken = {port.get("nodePort") for port in found["spec"].get("ports") or ()}
        for port in tried["spec"]["ports"]:
            if port.get("nodePort") in taken:
                port.pop("nodePort", None)
        path = kind.collection_path(kind.versions[0], ref.namespace)
        params = {"dryRun": "All", "fieldManager": MANAGER}
        await self._api.request(
            "POST", path, params=params, body=msgspec.json.encode(tried), timeout_s=self._timeout_s()
        )

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
            found = decoded(await self._api.request("GET", path, timeout_s=self._timeout_s()), Object)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(found.get("metadata"), dict):
            raise ApiError(0, "Unreadable", "the answer is no object")
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
        """Why it is not as it should be; "" where it is."""
        why = why[:300]
        if self.refused.get(ref, "") == why:
            return
        if why:
            self.refused[ref] = why
            log.warning("generated object not written", object=str(ref), error=why)
        else:
            del self.refused[ref]
        self.on_refused(ref, why)


def is_ours(ref: ObjectRef, found: Object) -> bool:
    """Whether we made an object: by its name, its label, its annotation, and the API server's record of who applied it.

    Whoever copies one takes the label and the annotation along, and neither the name nor the record.
    """
    metadata = found["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    applied = {(by.get("manager"), by.get("operation")) for by in metadata.get("managedFields") or ()}
    marked = labels.get(OURS[0]) == OURS[1] and DIGEST in annotations
    return marked and (MANAGER, "Apply") in applied and _NAME.match(ref.name) is not None


def differs_for_life(found: Object, wanted: Object) -> bool:
    """Whether what is wanted is another value of a field that a Service never changes."""
    if wanted["kind"] != "Service":
        return False
    old, new = found["spec"], wanted["spec"]
    before, after = list(old.get("ipFamilies") or ()), list(new.get("ipFamilies") or ())
    balanced = old.get("type") == new.get("type") == "LoadBalancer"
    return (
        (balanced and old.get("loadBalancerClass") != new.get("loadBalancerClass"))
        or (old.get("clusterIP") == "None") != (new.get("clusterIP") == "None")
        or (bool(before and after) and before[0] != after[0])
    )


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
