"""What another replica tells, said again here as if its Envoys were connected to this one.

It is kept besides: an Envoy may have accepted what this replica has yet to read from the API server, or what was
deleted and came again.
Must not know how it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from xds_server.model.delivery import NodeRef
from xds_server.model.resource import INTERCEPTED, LISTENER, ResourceKey
from xds_server.relay.words import Said, Words, after, carried
from xds_server.xds.streams import Client


class Ears(Protocol):
    """Who is told what Envoys say: the controller."""

    def connected(self, client: Client, *, resumed: bool, remote: bool = False) -> None: ...
    def subscribed(self, client: Client, type_url: str, *, wildcard: bool) -> None: ...
    def accepted(self, client: Client, type_url: str, versions: Mapping[str, str]) -> None: ...
    def rejected(self, client: Client, type_url: str, name: str, version: str, detail: str) -> None: ...
    def retracted(self, client: Client, accepted: Iterable[ResourceKey], refused: Iterable[ResourceKey]) -> None: ...
    def late(self, client: Client, tables: Iterable[str], *, late: bool) -> None: ...
    def gone(self, client: Client) -> None: ...
    def words_of(self, client: Client) -> Words | None: ...


class Inbox:
    """Of one stream from another replica; `number` gives each Envoy one that no stream has."""

    def __init__(self, ears: Ears, number: Callable[[], int]) -> None:
        self._ears, self._number = ears, number
        self._clients: dict[NodeRef, Client] = {}
        self._told: dict[NodeRef, Words] = {}
        self._by_resource: dict[ResourceKey, set[NodeRef]] = {}

    def __len__(self) -> int:
        """How many Envoys it is about."""
        return len(self._clients)

    def take(self, news: Iterable[Said]) -> list[Said]:
        """Say it here, and give back what is known besides of those that began."""
        found = []
        for said in news:
            before = self._told.get(said.envoy)
            now = after(before, said)
            self._file(said.envoy, before, now)
            if now is None or said.began:
                self._leave(said.envoy)
            if now is None:
                continue
            client = self._clients.get(said.envoy)
            if client is None:
                client = self._clients[said.envoy] = Client(said.envoy.node, self._number())
                self._ears.connected(client, resumed=now.resumed, remote=True)
                known = self._ears.words_of(client)
                if known is not None and (more := carried(said.envoy, known, now)):
                    found.append(more)
                    self._file(said.envoy, now, after(now, more))  # it counts as told, there too
            self._say(client, said, now)
        return found

    def published(self, keys: Iterable[ResourceKey]) -> None:
        """These resources are there now: what was said of them may not have counted before."""
        for key in keys:
            for envoy in self._by_resource.get(key, ()):
                self._repeat(self._clients[envoy], self._told[envoy], [key])

    def end(self) -> None:
        """Nothing more will come: its Envoys are gone, or will be told of by another stream."""
        for envoy in tuple(self._clients):
            self._leave(envoy)
        self._told.clear()
        self._by_resource.clear()

    def _leave(self, envoy: NodeRef) -> None:
        client = self._clients.pop(envoy, None)
        if client is not None:
            self._ears.gone(client)

    def _say(self, client: Client, said: Said, now: Words) -> None:
        ears, new = self._ears, said.words
        type_url, wildcard = (INTERCEPTED, True) if new.services else (LISTENER, new.listeners)
        ears.subscribed(client, type_url, wildcard=wildcard)
        ears.retracted(client, said.unaccepted, said.unrefused)
        self._repeat(client, now, {**new.accepted, **new.refused})
        ears.late(client, said.caught_up, late=False)
        ears.late(client, new.late, late=True)

    def _repeat(self, client: Client, words: Words, keys: Iterable[ResourceKey]) -> None:
        """An acceptance ends a refusal, so it comes first: both together are of two versions."""
        for key in keys:
            version, refusal = words.accepted.get(key), words.refused.get(key)
            if version is not None:
                self._ears.accepted(client, key.type_url, {key.name: version})
            if refusal is not None:
                self._ears.rejected(client, *key, *refusal)
            if key.name in words.late:
                self._ears.late(client, [key.name], late=True)

    def _file(self, envoy: NodeRef, before: Words | None, now: Words | None) -> None:
        if now is None:
            self._told.pop(envoy, None)
        else:
            self._told[envoy] = now
        old, new = _keys(before), _keys(now)
        for key in old - new:
            holders = self._by_resource[key]
            holders.discard(envoy)
            if not holders:
                del self._by_resource[key]
        for key in new - old:
            self._by_resource.setdefault(key, set()).add(envoy)


def _keys(words: Words | None) -> set[ResourceKey]:
    return {*words.accepted, *words.refused} if words is not None else set()
