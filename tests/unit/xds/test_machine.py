"""Random conversations between the core and an exact model of a proxy, with messages delayed in both directions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.xds.conversation import cluster, endpoints, host, routes, thing, vhds_routes
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    VIRTUAL_HOST,
    Resource,
    ResourceKey,
)
from xds_server.xds.resources import ResourceTable
from xds_server.xds.stream import AdsStream

CLUSTERS = ("c0", "c1", "c2", "c3")
ROUTES = ("r0", "r1", "r2")
TYPES = (CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION, VIRTUAL_HOST)

contents = st.sampled_from(["1", "2", "3", "bad"])
targets = st.frozensets(st.sampled_from(CLUSTERS), max_size=3)
worlds = st.fixed_dictionaries({
    "clusters": st.dictionaries(st.sampled_from(CLUSTERS), contents),
    "routes": st.dictionaries(st.sampled_from(ROUTES), st.tuples(contents, targets)),
    "listened": st.frozensets(st.sampled_from(ROUTES)),
    "listener": contents,
    "by_host": st.frozensets(st.sampled_from(ROUTES)),
})  # fmt: skip

edits = st.dictionaries(st.sampled_from(ROUTES), st.tuples(contents, targets), min_size=1)


def refused(resource: Resource) -> bool:
    return resource.body.endswith(b"=bad")


def resources(world: Any, *, delta: bool) -> dict[ResourceKey, Resource]:
    """A world without dangling references: what is named exists. Some routes are discovered host by host."""
    found = [cluster(name, content) for name, content in world["clusters"].items()]
    found += [endpoints(name, "1") for name in world["clusters"]]
    for name, (content, to) in world["routes"].items():
        there = sorted(to.intersection(world["clusters"]))
        if delta and name in world["by_host"]:
            found.append(vhds_routes(name, world["listener"]))
            found += [host(f"{name}/{c}", f"={content}", [c]) for c in there]
            continue
        found.append(routes(name, f"{'+'.join(there)}={content}", there))
    named = sorted(set(world["listened"]).intersection(world["routes"]))
    if named:
        refs = [ResourceKey(ROUTE_CONFIGURATION, name) for name in named]
        found.append(thing(LISTENER, "web", f"{'+'.join(named)}={world['listener']}", *refs))
    return {resource.key: resource for resource in found}


def is_by_host(routes: Resource | None) -> bool:
    return routes is not None and routes.stem is not None


@dataclass
class Proxy:
    """Wants all clusters and listeners, the endpoints of its clusters and the routes of its listeners; takes a
    response as a whole or not at all.
    """

    delta: bool
    have: dict[str, dict[str, Resource]] = field(default_factory=lambda: {type_url: {} for type_url in TYPES})
    asked: dict[str, list[str]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    outbox: deque[Any] = field(default_factory=deque)

    def connect(self) -> None:
        self.outbox.clear()
        self.asked.clear()
        self.nonces.clear()
        for type_url in TYPES:
            names = self.wanted(type_url)
            by_host = type_url == VIRTUAL_HOST and any(map(is_by_host, self.have[ROUTE_CONFIGURATION].values()))
            if names or by_host or type_url in (CLUSTER, LISTENER):
                self.ask(type_url, names, first=True)

    def wanted(self, type_url: str) -> list[str]:
        if type_url == CLUSTER_LOAD_ASSIGNMENT:
            return sorted(self.have[CLUSTER])
        if type_url == ROUTE_CONFIGURATION:
            return sorted({ref.name for found in self.have[LISTENER].values() for ref in found.references})
        return []

    def ask(self, type_url: str, names: list[str], *, first: bool = False) -> None:
        if not self.delta:
            self.asked[type_url] = names
            version, nonce = self.versions.get(type_url, ""), self.nonces.get(type_url, "")
            self.send(type_url, resource_names=names, response_nonce=nonce, version_info=version)
            return
        before = self.asked.get(type_url, [])
        self.asked[type_url] = names
        self.send(
            type_url,
            resource_names_subscribe=[name for name in names if name not in before],
            resource_names_unsubscribe=[name for name in before if name not in names],
            initial_resource_versions={n: r.version for n, r in self.have[type_url].items()} if first else {},
        )

    def send(self, type_url: str, error: str = "", **fields: Any) -> None:
        kind = discovery.DeltaDiscoveryRequest if self.delta else discovery.DiscoveryRequest
        request = kind(type_url=type_url, **fields)
        request.node.id = "proxy"
        if error:
            request.error_detail.message = error
        self.outbox.append(request)

    def take(self, payload: bytes, known: dict[tuple[str, str], Resource]) -> list[Resource] | None:
        """Apply a response and answer it; returns what is new, or None when it was refused."""
        kind = discovery.DeltaDiscoveryResponse if self.delta else discovery.DiscoveryResponse
        message = kind.FromString(payload)
        bodies = [(r.resource if self.delta else r).value.decode() for r in message.resources]
        found = [known[message.type_url, body] for body in bodies]
        self.nonces[message.type_url] = message.nonce
        good = not any(map(refused, found))
        if good:
            self.versions[message.type_url] = "" if self.delta else message.version_info
            self.apply(message, found)
        error = "" if good else "refused"
        if self.delta:
            self.send(message.type_url, error, response_nonce=message.nonce)
        else:
            names = self.asked.get(message.type_url, [])
            version = self.versions.get(message.type_url, "")
            self.send(message.type_url, error, response_nonce=message.nonce, resource_names=names, version_info=version)
        return found if good else None

    def apply(self, message: Any, found: list[Resource]) -> None:
        have = self.have[message.type_url]
        if self.delta:
            for name in message.removed_resources:
                # Envoy ignores the removal of routes and endpoints, which their parents decide on.
                if message.type_url in (CLUSTER, LISTENER):
                    have.pop(name, None)
        elif message.type_url in (CLUSTER, LISTENER):
            have.clear()
        if message.type_url == VIRTUAL_HOST:
            self.apply_hosts(found, message.removed_resources)
            return
        before = dict(self.have[ROUTE_CONFIGURATION])
        everything = message.type_url in (CLUSTER, LISTENER)
        have.update((r.name, r) for r in found if everything or r.name in self.asked[message.type_url])
        for parent, child in ((CLUSTER, CLUSTER_LOAD_ASSIGNMENT), (LISTENER, ROUTE_CONFIGURATION)):
            names = self.wanted(child)
            if message.type_url == parent and names != self.asked.get(child, []):
                self.have[child] = {name: r for name, r in self.have[child].items() if name in names}
                self.ask(child, names, first=child not in self.asked)
        self.clear_hosts(before)

    def apply_hosts(self, found: list[Resource], removed: list[str]) -> None:
        for resource in found:
            if is_by_host(self.have[ROUTE_CONFIGURATION].get(resource.name.partition("/")[0])):
                self.have[VIRTUAL_HOST][resource.name] = resource
        for name in removed:
            self.have[VIRTUAL_HOST].pop(name, None)

    def clear_hosts(self, before: dict[str, Resource]) -> None:
        """A route configuration that has changed begins without hosts."""
        after = self.have[ROUTE_CONFIGURATION]
        same = {name for name, resource in after.items() if resource == before.get(name)}
        hosts = self.have[VIRTUAL_HOST]
        self.have[VIRTUAL_HOST] = {name: r for name, r in hosts.items() if name.partition("/")[0] in same}
        if any(map(is_by_host, after.values())) and VIRTUAL_HOST not in self.asked:
            self.ask(VIRTUAL_HOST, [], first=True)


class Conversation(RuleBasedStateMachine):
    delta = True

    def __init__(self) -> None:
        super().__init__()
        self.table = ResourceTable()
        self.known: dict[tuple[str, str], Resource] = {}
        self.now: dict[ResourceKey, Resource] = {}
        self.world: Any = {"clusters": {}, "routes": {}, "listened": ROUTES, "listener": "1", "by_host": ()}
        self.proxy = Proxy(self.delta)
        self.inbox: deque[bytes] = deque()
        self.refusals: set[tuple[ResourceKey, str]] = set()
        self.connect()

    def connect(self) -> None:
        self.stream = AdsStream(self.table, delta=self.delta)
        self.inbox.clear()
        self.proxy.connect()

    @rule(world=worlds)
    def change(self, world: Any) -> None:
        self.world = world
        new = resources(world, delta=self.delta)
        self.table.apply({key: new.get(key) for key in {*self.now, *new}})
        self.now = new
        self.known.update({(r.type_url, r.body.decode()): r for r in new.values()})

    @rule(world=worlds, content=contents, edits=st.lists(edits, min_size=1, max_size=2))
    def change_in_a_row(self, world: Any, content: str, edits: Any) -> None:
        """Routes change, then name clusters that may be new, and the client reads nothing: what is queued changes."""
        self.change(world)
        self.exchange()
        self.edit({name: (content, to) for name, (_, to) in world["routes"].items()})
        for edit in edits:
            self.edit(edit)

    def edit(self, routed: Any) -> None:
        new = {name: "1" for _, to in routed.values() for name in to}
        clusters, others = {**new, **self.world["clusters"]}, self.world["routes"]
        self.change({**self.world, "clusters": clusters, "routes": {**others, **routed}})
        self.server_writes()

    @rule()
    def server_reads(self) -> None:
        if self.proxy.outbox:
            self.stream.receive(self.proxy.outbox.popleft())

    @rule()
    def server_writes(self) -> None:
        self.inbox.extend(push.payload for push in self.stream.pending())

    @rule()
    def proxy_reads(self) -> None:
        if not self.inbox:
            return
        found = self.proxy.take(self.inbox.popleft(), self.known)
        for resource in found or ():
            if resource.type_url in (ROUTE_CONFIGURATION, VIRTUAL_HOST):
                self.check_references(resource)

    @rule()
    def reconnect(self) -> None:
        """The client tells what it has: the version of each resource, or one of all."""
        self.connect()

    @rule()
    def settle(self) -> None:
        """Everybody reads and writes until nothing is left; then the proxy has what the table has."""
        self.exchange()
        # What still waits could wait for ever; to let it through breaks nothing.
        for _ in range(2):
            self.stream.expire()
            self.exchange()
        self.check_rest()

    def exchange(self) -> None:
        for _ in range(500):
            before = (len(self.inbox), len(self.proxy.outbox))
            while self.proxy.outbox:
                self.server_reads()
            self.server_writes()
            if not self.inbox and not any(before):
                return
            while self.inbox:
                self.proxy_reads()
                self.what_is_used_is_there()
        pytest.fail("client and server never come to rest")

    def check_references(self, taken: Resource) -> None:
        """X40: what a new route names is there, endpoints too, unless the proxy refuses it."""
        for ref in taken.references:
            if self.is_refused(ref):
                continue
            assert ref.name in self.proxy.have[CLUSTER], f"{taken.name} came before {ref.name}"
            assert ref.name in self.proxy.have[CLUSTER_LOAD_ASSIGNMENT], f"{taken.name} came before endpoints"

    def is_refused(self, ref: ResourceKey) -> bool:
        """Some version that is or was served of it is one that the proxy refuses."""
        return any(refused(r) for (type_url, _), r in self.known.items() if r.key == ref)

    @invariant()
    def what_is_used_is_there(self) -> None:
        """X41: no cluster is taken away from a route that names it."""
        for held in self.referring():
            for ref in held.references:
                assert ref.name in self.proxy.have[CLUSTER] or self.is_refused(ref), f"{ref.name} of {held.name}"

    def referring(self) -> list[Resource]:
        return [*self.proxy.have[ROUTE_CONFIGURATION].values(), *self.proxy.have[VIRTUAL_HOST].values()]

    def check_rest(self) -> None:
        used = {ref for held in self.referring() for ref in held.references}
        for type_url in TYPES:
            have = self.proxy.have[type_url]
            served = {r.name: r for r in self.now.values() if r.type_url == type_url}
            if type_url == VIRTUAL_HOST:
                by_host = {name for name, r in self.proxy.have[ROUTE_CONFIGURATION].items() if is_by_host(r)}
                served = {name: r for name, r in served.items() if name.partition("/")[0] in by_host}
            elif type_url not in (CLUSTER, LISTENER):
                wanted = self.proxy.wanted(type_url)
                served = {name: r for name, r in served.items() if name in wanted}
            for name, resource in served.items():
                if refused(resource):
                    assert have.get(name) != resource
                else:
                    assert resource == have.get(name), f"{type_url} {name}"
            for name in have.keys() - served.keys():
                kept = self.refers_still(type_url, name, used)
                assert kept, f"{type_url} {name} is left over"
        assert not self.stream.in_flight

    def refers_still(self, type_url: str, name: str, used: set[ResourceKey]) -> bool:
        """What is gone is kept for those who use it because they refused to change."""
        if type_url in (ROUTE_CONFIGURATION, CLUSTER_LOAD_ASSIGNMENT):
            return name in self.proxy.wanted(type_url)
        if type_url == VIRTUAL_HOST:
            return not is_by_host(self.now.get(ResourceKey(ROUTE_CONFIGURATION, name.partition("/")[0])))
        refusing = any(
            refused(r) for r in self.now.values() if r.type_url in (ROUTE_CONFIGURATION, VIRTUAL_HOST, LISTENER)
        )
        return type_url == CLUSTER and (ResourceKey(type_url, name) in used or refusing)


class SotwConversation(Conversation):
    delta = False


Conversation.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink]
)
SotwConversation.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink]
)
TestDelta = Conversation.TestCase
TestSotw = SotwConversation.TestCase
