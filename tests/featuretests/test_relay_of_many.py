"""What replicas tell each other of many Envoys with many listeners, through gRPC and its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from xds_server.model.delivery import NodeRef
from xds_server.model.resource import LISTENER, ROUTE_CONFIGURATION, ResourceKey
from xds_server.relay import message
from xds_server.relay.inbox import Inbox
from xds_server.relay.listening import Listening
from xds_server.relay.telling import Files, Telling
from xds_server.relay.words import BATCH, Said, Words
from xds_server.xds.credentials import UnixSocket
from xds_server.xds.server import ServerSettings, channel_options
from xds_server.xds.streams import Client

GRPC_TAKES: Final = 4 * 1024 * 1024
ENVOYS: Final = 40
KEYS: Final = [
    ResourceKey(kind, f"gateway/{'team' * 20}-{number}/public/443")
    for number in range(650)
    for kind in (LISTENER, ROUTE_CONFIGURATION)
]
WORDS: Final = Words(listeners=True, accepted=dict.fromkeys(KEYS, "1"))


class Leader:
    """A controller that notes what it is told, and knows all of it of each node already where `before` says so."""

    def __init__(self, before: Words | None = None) -> None:
        self.before = before
        self.accepted_by: dict[str, dict[str, set[str]]] = {}

    def connected(self, _: Client, *, resumed: bool, remote: bool = False) -> None:
        assert (resumed, remote) == (True, True)

    def accepted(self, client: Client, type_url: str, versions: Mapping[str, str]) -> None:
        self.accepted_by.setdefault(client.node, {}).setdefault(type_url, set()).update(versions)

    def words_of(self, _: Client) -> Words | None:
        return self.before

    def subscribed(self, *_: Any, **__: Any) -> None: ...
    def rejected(self, *_: Any) -> None: ...
    def retracted(self, *_: Any) -> None: ...
    def late(self, *_: Any, **__: Any) -> None: ...
    def gone(self, *_: Any) -> None: ...


class Follower:
    """A controller with Envoys that have all said the same."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self.carried: dict[str, set[ResourceKey]] = {}

    def connected_here(self) -> list[NodeRef]:
        return [NodeRef(f"node-{number}", number) for number in range(ENVOYS)]

    def words(self, of: NodeRef) -> Words | None:
        known = self.carried.get(of.node, ())
        return Words(listeners=True, accepted={**self._words.accepted, **dict.fromkeys(known, "1")})

    def carry(self, of: NodeRef, known: Words) -> None:
        self.carried.setdefault(of.node, set()).update(known.accepted)

    def handed_over(self, _: NodeRef) -> None: ...


class Here(Files):
    """A channel to a socket, with the options of one to a pod, but for the limit on what is received."""

    def __init__(self) -> None: ...

    def channel(self, address: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(address)


async def told(directory: Path, leader: Leader, follower: Follower) -> Telling:
    """All that there is to tell, from the one to the other."""
    listening = Listening(leader, count(1).__next__)
    where = UnixSocket(directory / "xds.sock")
    server = grpc.aio.server(options=channel_options(where, ServerSettings()))
    for service, methods in listening.handlers().items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))
    server.add_insecure_port(f"unix:{where.path}")
    await server.start()
    telling = Telling(follower, Here())
    telling.follow(f"unix:{where.path}")
    task = asyncio.ensure_future(telling.run())
    try:
        async with asyncio.timeout(120):
            await telling.up_to_date.wait()
        return telling
    finally:
        task.cancel()
        await asyncio.wait({task})
        await server.stop(0)


async def test_the_leader_is_told_of_many_envoys_with_many_gateways(tmp_path: Path) -> None:
    """650 listeners and as many tables of each of 40 Envoys: all of it arrives, some of them in two parts."""
    leader = Leader()
    telling = await told(tmp_path, leader, Follower(WORDS))

    names = {kind: {key.name for key in KEYS if key.type_url == kind} for kind in (LISTENER, ROUTE_CONFIGURATION)}
    assert {f"node-{number}": names for number in range(ENVOYS)} == leader.accepted_by
    assert ENVOYS < telling.told <= ENVOYS + len(KEYS) * ENVOYS // BATCH


async def test_what_the_leader_knows_besides_comes_back_whatever_its_size(tmp_path: Path) -> None:
    """Envoys that have said nothing yet to who tells of them: what comes back would be more than gRPC takes at once."""
    follower = Follower(Words(listeners=True))
    await told(tmp_path, Leader(WORDS), follower)

    each = len(message.response([Said(NodeRef("node-0", 0), words=WORDS)]))
    assert each * ENVOYS > GRPC_TAKES
    assert {f"node-{number}": set(KEYS) for number in range(ENVOYS)} == follower.carried


def test_what_the_leader_gave_back_counts_again_when_the_resource_is_published() -> None:
    """It is not told anew, for it counts as told: a listener may be deleted and come again meanwhile."""
    leader = Leader(Words(accepted={KEYS[0]: "1"}))
    inbox = Inbox(leader, count(1).__next__)
    inbox.take([Said(NodeRef("node-0", 0), began=True)])
    before = dict(leader.accepted_by)
    inbox.published(KEYS)

    assert ({}, {"node-0": {LISTENER: {KEYS[0].name}}}) == (before, leader.accepted_by)
