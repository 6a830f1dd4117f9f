"""The API server as the source of objects: every kind that is installed, and what they refer to.

Nothing is loaded before every kind was listed once, and everything that they refer to was asked for (X15): what was
missing then would be taken from proxies that serve it.
After that the API server may be away for as long as it likes: what was read stays, and is served.
When it is back all kinds are listed anew, and put at once when the last of them is there, or after a while:
a route that moved to a Service of the time of the outage must not come before that Service.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

import structlog

from xds_server.kube.client import ApiError
from xds_server.kube.discovery import Discovery
from xds_server.kube.held import Changes, Held, Models
from xds_server.kube.kinds import KINDS, Kind
from xds_server.kube.observed import Observed
from xds_server.kube.outliving import OUTLIVE, Outliving
from xds_server.kube.referenced import Referenced, Sink
from xds_server.kube.reflector import Link, Reflector
from xds_server.model.refs import ObjectRef

log = structlog.get_logger(__name__)

TOGETHER_S: Final = 5.0
"""So long a kind that was listed after an outage waits for the others."""

MOST_ROUNDS: Final = 32
"""So often new references are answered for before anything is loaded: who edits without end must not hold it up."""


class Controller(Sink, Protocol):
    """`load` is the first commit, of all that was listed."""

    async def load(self) -> None: ...
    def commit(self) -> None: ...


class KubernetesSource:
    """`observed` is what the server last said of objects whose status is ours to write.

    `on_observed` tells of changes of these, and of all objects of kinds of which some are ours to make.

    `wanted` are the Secrets and ConfigMaps that what was put refers to; call `refer` when they may have changed.
    """

    def __init__(
        self,
        link: Link,
        controller: Controller,
        wanted: Callable[[], Iterable[ObjectRef]],
        kinds: Iterable[Kind] = KINDS,
    ) -> None:
        self._link, self._controller, self._wanted = link, controller, wanted
        self.observed: dict[ObjectRef, Observed] = {}
        self.on_observed: Callable[[ObjectRef], None] = lambda ref: None
        self.synced = asyncio.Event()
        self._followed = {kind.kind: _Followed(kind, self, link) for kind in kinds}
        self._discovery = Discovery(link, kinds, self._read_by)
        self._tasks = asyncio.TaskGroup()
        self._referenced = Referenced(link, controller, self._tasks.create_task)
        self._listed = asyncio.Event()
        self._behind: set[str] = set()
        self._waiting: dict[str, Models] = {}
        self._release: asyncio.TimerHandle | None = None

    async def run(self, loaded: Callable[[], None]) -> None:
        """Put everything, call `loaded`, and follow, until cancelled."""
        async with self._tasks:
            self._tasks.create_task(self._discovery.run())
            await self._listed.wait()
            await self._refer_to_all()
            self.synced.set()  # before `loaded`: its commit may call `refer`
            loaded()
            log.info("source is synced", objects=sum(self.sizes().values()))

    async def _refer_to_all(self) -> None:
        """Commit until all that is referred to was answered for: answers bring references, and so do edits."""
        await self._controller.load()
        before: frozenset[ObjectRef] | None = None
        for _ in range(MOST_ROUNDS):
            wanted = frozenset(self._wanted())
            if wanted == before:
                return
            before = wanted
            self._referenced.want(wanted)
            await self._referenced.answered()
            self._controller.commit()

    def refer(self) -> None:
        """Follow what is referred to now."""
        if self.synced.is_set():
            self._referenced.want(self._wanted())

    def awaited(self) -> str:
        """What keeps this from being loaded, by kinds; "" once it is, for good."""
        if self.synced.is_set():
            return ""
        awaited = sorted(kind for kind, followed in self._followed.items() if not followed.synced)
        if not awaited:
            numbers = Counter(ref.kind for ref in self._referenced.unanswered())
            awaited = [f"{number} of {kind}" for kind, number in sorted(numbers.items())]
        return f"waiting for the API server: {', '.join(awaited) or 'the first commit'}"

    def objects(self) -> list[str]:
        """Some of the objects that keep this from being loaded."""
        return [] if self.synced.is_set() else [str(ref) for ref in self._referenced.unanswered()[:20]]

    def ages(self) -> dict[str, float]:
        """By kind, how long ago the server last said something; of kinds that it has."""
        own = {kind: each.reflector.age_s for kind, each in self._followed.items() if each.task is not None}
        return own | self._referenced.ages()

    def remark(self) -> str:
        """The ages in words, the oldest first: what is served may be so old, which is no reason not to serve it."""
        ages = sorted(self.ages().items(), key=lambda entry: (-entry[1], entry[0]))
        kept = [
            f"{kind}: served no more; addresses stay with who has them: {', '.join(names[:8])}"
            for kind, followed in self._followed.items()
            if (names := followed.kept())
        ]
        return "\n".join([*(f"{kind}: last heard of {age_s:.0f} s ago" for kind, age_s in ages), *kept])

    def sizes(self) -> dict[str, int]:
        return {kind: len(each.held.known) for kind, each in self._followed.items()} | self._referenced.sizes()

    def undecodable(self) -> dict[str, int]:
        return {kind: len(each.held.undecodable) for kind, each in self._followed.items()}

    # --- what the kinds tell ------------------------------------------------------------------------------------------

    def _read_by(self, kind: Kind, version: str) -> None:
        """Read a kind by another version, or drop it; the objects stay from one version to the next."""
        followed = self._followed[kind.kind]
        if followed.task is not None:
            followed.task.cancel()
            followed.task = None
        if version:
            followed.task = self._tasks.create_task(followed.reflector.run(version))
        else:
            followed.listed(followed.held.clear())

    def listed(self, kind: str, changes: Changes) -> None:
        was_behind = kind in self._behind
        self._behind.discard(kind)
        self._tell(kind, changes)
        if was_behind or kind in self._waiting:
            self._waiting.setdefault(kind, {}).update(changes.models)
            if self._behind:
                self._release = self._release or asyncio.get_running_loop().call_later(TOGETHER_S, self._catch_up)
            else:
                self._catch_up()
        else:
            self._controller.apply(changes.models)
        if all(followed.synced for followed in self._followed.values()):
            self._listed.set()

    def changed(self, kind: str, changes: Changes) -> None:
        self._tell(kind, changes)
        if kind in self._waiting:
            self._waiting[kind].update(changes.models)
        else:
            self._controller.apply(changes.models)

    def apply(self, models: Models) -> None:
        self._controller.apply(models)

    def spawn(self, doing: Coroutine[Any, Any, None]) -> object:
        return self._tasks.create_task(doing)

    def lost(self, kind: str) -> None:
        if self.synced.is_set():
            self._behind.add(kind)

    def refused(self, error: ApiError) -> None:
        if error.status == 404:
            self._discovery.poke()

    def _catch_up(self) -> None:
        """Put what was listed after an outage, of all kinds at once."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        together: dict[ObjectRef, Any | None] = {}
        for models in self._waiting.values():
            together |= models
        self._waiting.clear()
        log.info("source is back", changes=len(together), behind=sorted(self._behind))
        self._controller.apply(together)

    def _tell(self, kind: str, changes: Changes) -> None:
        for ref, error in changes.undecodable.items():
            log.error("object cannot be read and stays as it was", object=str(ref), error=error)
            self._link.stats.undecodable[kind] += 1
        for ref in changes.observed:
            self.on_observed(ref)


class _Followed:
    """One kind."""

    def __init__(self, kind: Kind, source: KubernetesSource, link: Link) -> None:
        self.held = Held(kind, source.observed)
        self.reflector = Reflector(link, self.held, self)
        self.task: asyncio.Task[None] | None = None
        self.synced = False
        self._kind, self._source = kind.kind, source
        self._outliving = Outliving(kind, link, source.apply, source.spawn) if kind.kind in OUTLIVE else None

    def listed(self, changes: Changes) -> None:
        self.synced = True
        self._source.listed(self._kind, self._passed(changes))

    def changed(self, changes: Changes) -> None:
        self._source.changed(self._kind, self._passed(changes))

    def _passed(self, changes: Changes) -> Changes:
        return changes if self._outliving is None else changes._replace(models=self._outliving.passed(changes.models))

    def kept(self) -> list[str]:
        """Objects that are gone with the kind, and yet count."""
        return sorted(ref.name for ref in self._outliving.kept) if self._outliving is not None else []

    def lost(self) -> None:
        self._source.lost(self._kind)

    def refused(self, error: ApiError) -> None:
        self._source.refused(error)
