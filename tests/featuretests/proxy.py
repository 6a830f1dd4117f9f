"""A client of delta ADS that behaves as Envoy does: it follows references, acknowledges, and remembers what it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.rpc.status_pb2 import Status

from xds_server.explain.explain import explain
from xds_server.explain.request import Request
from xds_server.explain.result import Result
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    DATAPATH,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    Resource,
    ResourceKey,
)

WILDCARD = (CLUSTER, LISTENER)
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


Dial = Callable[[], grpc.aio.Channel]


class Proxy:
    """`held` is what it was sent and did not refuse; `refuses` decides what it refuses, with which words.

    A second `run` is another stream, to which it brings along what it holds.
    """

    def __init__(
        self,
        dial: Dial,
        references: Callable[[ResourceKey], tuple[ResourceKey, ...]],
        node: str,
        types: tuple[str, ...] = WILDCARD,
    ) -> None:
        self.dial, self._references, self._node, self._types = dial, references, node, types
        self.held: dict[ResourceKey, Resource] = {}
        self.refuses: Callable[[ResourceKey], str] = lambda _: ""
        self.refused: list[ResourceKey] = []
        self.responses: list[DeltaDiscoveryResponse] = []
        self.changed = asyncio.Event()
        self._wanted: dict[str, set[str]] = {}
        self._requests: asyncio.Queue[DeltaDiscoveryRequest] = asyncio.Queue()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until the test holds; it is tried again whenever `changed` is set."""
        async with asyncio.timeout(20):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def run(self) -> None:
        self._wanted, self._requests = {}, asyncio.Queue()
        async with self.dial() as channel:
            call = channel.stream_stream(
                METHOD,
                request_serializer=DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=DeltaDiscoveryResponse.FromString,
            )(self._outgoing())
            for type_url in self._types:
                request = DeltaDiscoveryRequest(node=Node(id=self._node), type_url=type_url)
                if type_url in DATAPATH:
                    request.resource_names_subscribe.append("*")
                request.initial_resource_versions.update(self._versions(type_url))
                self._requests.put_nowait(request)
            if self.held:
                self._follow()
            async for response in call:
                await self._take(response)

    def ask(self, method: str, url: str, **headers: str) -> Result:
        """What a request would meet, by what this proxy holds."""
        pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        [result] = explain(self.held, Request(method, url, pairs))
        return result

    def _versions(self, type_url: str) -> dict[str, str]:
        return {key.name: found.version for key, found in self.held.items() if key.type_url == type_url}

    async def _outgoing(self) -> AsyncIterator[DeltaDiscoveryRequest]:
        while True:
            yield await self._requests.get()

    async def _take(self, response: Any) -> None:
        self.responses.append(response)
        fault = ""
        for found in response.resources:
            key = ResourceKey(response.type_url, found.name)
            if why := self.refuses(key):
                fault = why
                self.refused.append(key)
        if not fault:
            for found in response.resources:
                key = ResourceKey(response.type_url, found.name)
                body = found.resource.value
                self.held[key] = Resource(*key, body, found.version, self._references(key))
            for name in response.removed_resources:
                self.held.pop(ResourceKey(response.type_url, name), None)
        answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if fault:
            answer.error_detail.CopyFrom(Status(code=3, message=fault))
        self._requests.put_nowait(answer)
        self._follow()
        self.changed.set()

    def _follow(self) -> None:
        """Subscribe to what the held resources refer to, and no longer to what they do not."""
        wanted: dict[str, set[str]] = {CLUSTER_LOAD_ASSIGNMENT: set(), ROUTE_CONFIGURATION: set(), SECRET: set()}
        for key in self.held:
            for type_url, name in self._references(key):
                if type_url in wanted:
                    wanted[type_url].add(name)
        wanted[VIRTUAL_HOST] = {name for name in wanted[ROUTE_CONFIGURATION] if name.endswith("/vhds")}
        for type_url, names in wanted.items():
            before = self._wanted.get(type_url, set())
            if names == before:
                continue
            first = type_url not in self._wanted
            self._wanted[type_url] = names
            for name in before - names:
                self.held.pop(ResourceKey(type_url, name), None)
            request = DeltaDiscoveryRequest(type_url=type_url)
            if first:
                request.initial_resource_versions.update(self._versions(type_url))
            request.resource_names_subscribe.extend(sorted(names - before))
            request.resource_names_unsubscribe.extend(sorted(before - names))
            self._requests.put_nowait(request)


@asynccontextmanager
async def connected(
    socket: str,
    references: Callable[[ResourceKey], tuple[ResourceKey, ...]],
    node: str = "n1",
    types: tuple[str, ...] = WILDCARD,
) -> AsyncIterator[Proxy]:
    """A proxy whose stream lasts as long as the context; with types of the datapath, a node's daemon."""
    options = [("grpc.default_authority", "localhost")]
    proxy = Proxy(lambda: grpc.aio.insecure_channel(socket, options=options), references, node, types)
    task = asyncio.ensure_future(proxy.run())
    try:
        yield proxy
    finally:
        task.cancel()
        await asyncio.wait({task})
