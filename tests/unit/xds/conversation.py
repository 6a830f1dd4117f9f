"""A client that speaks both variants to the pure core, and does only what it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as discovery

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    Resource,
    ResourceKey,
    resource,
)
from xds_server.xds.events import Event
from xds_server.xds.resources import ResourceTable
from xds_server.xds.secrets import permitted
from xds_server.xds.stream import AdsStream

WHOLE = (LISTENER, CLUSTER)
NAMED = (ROUTE_CONFIGURATION, CLUSTER_LOAD_ASSIGNMENT, SECRET)
TYPES = (*WHOLE, *NAMED)


def of_types(type_urls: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("type_url", type_urls, ids=lambda url: str(url).rpartition(".")[2])


EVERY_TYPE = of_types(TYPES)
WHOLE_TYPES = of_types(WHOLE)
NAMED_TYPES = of_types(NAMED)


def thing(type_url: str, name: str, content: str = "1", *references: ResourceKey) -> Resource:
    """A resource whose body tells its name, for clients of the state of the world."""
    return resource(type_url, name, f"{name}={content}".encode(), references)


def cluster(name: str, content: str = "1") -> Resource:
    return thing(CLUSTER, name, content, ResourceKey(CLUSTER_LOAD_ASSIGNMENT, name))


def endpoints(name: str, content: str = "1") -> Resource:
    return thing(CLUSTER_LOAD_ASSIGNMENT, name, content)


def routes(name: str, content: str = "1", to: Iterable[str] = ()) -> Resource:
    return thing(ROUTE_CONFIGURATION, name, content, *(ResourceKey(CLUSTER, cluster) for cluster in to))


def vhds_routes(name: str, content: str = "1") -> Resource:
    body = f"{name}={content}".encode()
    return resource(ROUTE_CONFIGURATION, name, body + b"+vhds", (), body)


def host(name: str, content: str = "1", to: Iterable[str] = ()) -> Resource:
    return thing(VIRTUAL_HOST, name, content, *(ResourceKey(CLUSTER, cluster) for cluster in to))


def table(*resources: Resource) -> ResourceTable:
    made = ResourceTable()
    put(made, *resources)
    return made


def put(into: ResourceTable, *resources: Resource) -> int:
    return into.apply({r.key: r for r in resources})


def remove(out_of: ResourceTable, *resources: Resource) -> int:
    return out_of.apply({r.key: None for r in resources})


def _anything(*_: object) -> None:
    """All secrets are there for the client."""


@dataclass
class Reply:
    """One response, in the same terms for both variants."""

    type_url: str
    nonce: str
    resources: dict[str, str]
    removed: list[str]
    message: Any

    @property
    def names(self) -> list[str]:
        return sorted(self.resources)


@dataclass
class Client:
    table: ResourceTable
    delta: bool
    features: tuple[str, ...] = ()
    node: str = "envoy-1"
    bound_to: str | None = None
    rule: bool = False
    """Whether the rule on secrets holds: what a protocol says of a type is told without it, of secrets too."""
    stream: AdsStream = field(init=False)
    wishes: dict[str, list[str]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    nonces: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reconnect()

    def reconnect(self) -> None:
        rule = permitted if self.rule else _anything
        self.stream = AdsStream(self.table, delta=self.delta, bound_to=self.bound_to, secrets=rule)

    def request(self, type_url: str, *, nonce: str = "", error: str | None = None, **fields: Any) -> list[Event]:
        """Send exactly this."""
        kind = discovery.DeltaDiscoveryRequest if self.delta else discovery.DiscoveryRequest
        message = kind(type_url=type_url, response_nonce=nonce, **fields)
        message.node.id = self.node
        message.node.client_features.extend(self.features)
        if error is not None:
            message.error_detail.message = error
        events = self.stream.receive(message)
        self.events += events
        return events

    def ask(self, type_url: str, *names: str, initial: dict[str, str] | None = None) -> list[Reply]:
        """Wish for exactly these names, and read what comes; no names at first is everything."""
        if not self.delta:
            nonce = self.nonces.get(type_url, "")
            self.wishes[type_url] = list(names)
            self.request(type_url, resource_names=names, nonce=nonce, version_info=self.versions.get(type_url, ""))
            return self.read()
        before = self.wishes.get(type_url, [])
        self.wishes[type_url] = list(names)
        self.request(
            type_url,
            resource_names_subscribe=[name for name in names if name not in before],
            resource_names_unsubscribe=[name for name in before if name not in names],
            initial_resource_versions=initial or {},
        )
        return self.read()

    def read(self) -> list[Reply]:
        return [self.reply(push.payload) for push in self.stream.pending()]

    def ack(self, *replies: Reply) -> list[Reply]:
        for reply in replies:
            self._answer(reply, None)
        return self.read()

    def nack(self, reply: Reply, error: str = "refused") -> list[Reply]:
        self._answer(reply, error)
        return self.read()

    def load(self, *types: str, names: Iterable[str] = ()) -> list[Reply]:
        """Subscribe, and accept all that comes, until nothing more does."""
        seen: list[Reply] = []
        for type_url in types:
            seen += self.finish(self.ask(type_url, *(() if type_url in WHOLE else names)))
        return seen

    def settle(self) -> list[Reply]:
        """Read and accept until nothing more comes."""
        return self.finish(self.read())

    def finish(self, todo: list[Reply]) -> list[Reply]:
        """Accept these and all that follows."""
        seen: list[Reply] = []
        while todo:
            seen += todo
            todo = self.ack(*todo)
        return seen

    def _answer(self, reply: Reply, error: str | None) -> None:
        self.nonces[reply.type_url] = reply.nonce
        if error is None and not self.delta:
            self.versions[reply.type_url] = reply.message.version_info
        if self.delta:
            self.request(reply.type_url, nonce=reply.nonce, error=error)
            return
        version = self.versions.get(reply.type_url, "")
        names = self.wishes.get(reply.type_url, ())
        self.request(reply.type_url, nonce=reply.nonce, error=error, resource_names=names, version_info=version)

    def reply(self, payload: bytes) -> Reply:
        if self.delta:
            message = discovery.DeltaDiscoveryResponse.FromString(payload)
            found = {r.name: r.resource.value.decode() for r in message.resources}
            assert len(message.resources) == len(found)
            removed = list(message.removed_resources)
        else:
            message = discovery.DiscoveryResponse.FromString(payload)
            bodies = [_unwrapped(resource) for resource in message.resources]
            found = {body.partition("=")[0]: body for body in bodies}
            assert len(bodies) == len(found)
            removed = []
        return Reply(
            message.type_url, message.nonce, {n: b.partition("=")[2] for n, b in found.items()}, removed, message
        )


def _unwrapped(resource: Any) -> str:
    if not resource.type_url.endswith(".Resource"):
        return str(resource.value.decode())
    wrapped = discovery.Resource.FromString(resource.value)
    return str(wrapped.resource.value.decode() or f"{wrapped.name}=")
