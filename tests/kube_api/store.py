"""What the server has: objects of kinds, their versions, and all that has happened to them."""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import yaml

from xds_server.kube.kinds import KINDS, REFERENCED

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

PATIENCE_S: Final = 30  # of a test that fails; none waits for it otherwise
LIVE: Final = "2026-01-01T00:00:00Z"


class Served(NamedTuple):
    kind: str
    group: str
    versions: tuple[str, ...]
    plural: str
    namespaced: bool = True


DEFAULT: Final = (
    *(Served(kind.kind, kind.group, kind.versions, kind.plural, kind.namespaced) for kind in (*KINDS, *REFERENCED)),
    Served("Lease", "coordination.k8s.io", ("v1",), "leases"),
)


class Entry(NamedTuple):
    """What happened to one object; `before` is the version that it replaces."""

    version: int
    type: str
    plural: str
    object: Object
    before: Object | None = None


class Store:
    """Whoever waits for a change is woken by each."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.version = 100
        self._served = {kind.plural: kind for kind in served}
        self._objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._log: list[Entry] = []
        self._compacted = 0
        self._ending: set[str] = set()
        self._waiting: set[asyncio.Event] = set()

    def apply(self, *manifests: str | Object) -> None:
        for manifest in manifests:
            for found in yaml.safe_load_all(manifest) if isinstance(manifest, str) else [manifest]:
                if found:
                    self._apply(copy.deepcopy(found))

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self._delete(self._plural(kind), (namespace, name))

    def object(self, kind: str, namespace: str, name: str) -> Object | None:
        found = self._objects[self._plural(kind)].get((namespace, name))
        return copy.deepcopy(found)

    def objects(self, kind: str) -> list[Object]:
        return [copy.deepcopy(found) for _, found in sorted(self._objects[self._plural(kind)].items())]

    def set_status(self, kind: str, namespace: str, name: str, status: Object) -> None:
        plural = self._plural(kind)
        self._put(plural, self._objects[plural][namespace, name] | {"status": status})

    def serve(self, kind: Served) -> None:
        """Install a kind, or change its versions, which are listed by preference."""
        self._served[kind.plural] = kind
        self._wake()

    def end(self, plural: str) -> None:
        """Begin to remove a kind: nothing of it can be made any more, and its objects go; it is still served."""
        self._ending.add(plural)
        for key in list(self._objects[plural]):
            self._delete(plural, key)
        self._wake()

    def unserve(self, plural: str) -> None:
        """Remove a kind with its objects; its watches end."""
        self.end(plural)
        self._ending.discard(plural)
        del self._served[plural]
        self._wake()

    def compact(self) -> None:
        """Forget what watches could begin with: all that are to resume must list."""
        self._compacted = self.version

    def bookmark(self) -> None:
        for plural in self._served:
            self._log.append(Entry(self.version, "BOOKMARK", plural, {}))
        self._wake()

    @property
    def plurals(self) -> frozenset[str]:
        """Of the kinds that there are."""
        return frozenset(self._served)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self._change()

    def _plural(self, kind: str) -> str:
        return next(served.plural for served in self._served.values() if served.kind == kind)

    def _apply(self, found: Object) -> None:
        plural = self._plural(found["kind"])
        metadata = found.setdefault("metadata", {})
        if self._served[plural].namespaced:
            metadata.setdefault("namespace", "default")
        before = self._objects[plural].get(key_of(found))
        if before is not None and "status" in before:
            found.setdefault("status", before["status"])
        self._put(plural, found)

    def _put(self, plural: str, found: Object) -> Object:
        found = copy.deepcopy(found)
        key = key_of(found)
        before = self._objects[plural].get(key)
        own = before["metadata"] if before else {}
        metadata = found["metadata"]
        metadata["uid"] = own.get("uid", f"uid-{self.version + 1}")
        metadata["creationTimestamp"] = own.get("creationTimestamp") or metadata.get("creationTimestamp") or LIVE
        metadata["generation"] = own.get("generation", 1)
        metadata["resourceVersion"] = own.get("resourceVersion", "")
        if before is not None:
            if before == found:
                return found
            if before.get("spec") != found.get("spec"):
                metadata["generation"] += 1
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self._objects[plural][key] = found
        self._record(Entry(self.version, "MODIFIED" if before else "ADDED", plural, found, before))
        return found

    def _delete(self, plural: str, key: Key) -> Object:
        before = self._objects[plural].pop(key)
        self.version += 1
        gone = copy.deepcopy(before)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._record(Entry(self.version, "DELETED", plural, gone, before))
        return gone

    def _record(self, entry: Entry) -> None:
        self._log.append(entry)
        self._wake()

    def _at(self, plural: str, version: int) -> dict[Key, Object]:
        if version >= self.version:
            return self._objects[plural]
        found: dict[Key, Object] = {}
        for entry in self._log:
            if entry.plural == plural and entry.version <= version:
                if entry.type == "DELETED":
                    found.pop(key_of(entry.object), None)
                elif entry.type != "BOOKMARK":
                    found[key_of(entry.object)] = entry.object
        return found

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def _change(self) -> None:
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)


def key_of(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]
