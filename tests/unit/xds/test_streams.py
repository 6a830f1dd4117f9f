"""All streams together: who is told of what, on streams without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest

from xds_server.model.resource import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER, Resource, ResourceKey, resource
from xds_server.xds.events import ProtocolError
from xds_server.xds.streams import Client, Connection, Streams


@dataclass
class Told:
    """What who listens was told, in order."""

    said: list[tuple[object, ...]] = field(default_factory=list)

    def streams(self) -> Streams:
        return Streams(
            on_connected=lambda client, *, resumed: self.said.append(("connected", client, resumed)),
            on_subscribed=lambda client, type_url, *, wildcard: self.said.append(("subscribed", client, wildcard)),
            on_accepted=self._accepted,
            on_rejected=lambda client, _, name, *__: self.said.append(("rejected", client, name)),
            on_gone=lambda client: self.said.append(("gone", client)),
        )

    def _accepted(self, client: Client, _: str, versions: Mapping[str, str]) -> None:
        self.said.append(("accepted", client, sorted(versions)))

    def of(self, kind: str) -> list[tuple[object, ...]]:
        return [entry[1:] for entry in self.said if entry[0] == kind]


def request(node: str = "envoy", type_url: str = CLUSTER, nonce: str = "", error: str = "") -> DeltaDiscoveryRequest:
    found = DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
    found.node.id = node
    if error:
        found.error_detail.message = error
    return found


def answer(streams: Streams, connection: Connection, error: str = "") -> None:
    """Answer all that is pending."""
    for push in list(connection.stream.pending()):
        response = DeltaDiscoveryResponse.FromString(push.payload)
        streams.receive(connection, request(type_url=response.type_url, nonce=response.nonce, error=error))


def test_a_refused_stream_says_nothing_of_its_node() -> None:
    """A first request that names a node and makes no sense is nobody's: the stream of that node is not gone."""
    told = Told()
    streams = told.streams()
    good, bad = streams.connect(delta=True), streams.connect(delta=True)
    streams.receive(good, request())
    with pytest.raises(ProtocolError):
        streams.receive(bad, request(type_url=""))
    streams.disconnect(bad)
    before = told.of("gone")
    streams.disconnect(good)
    streams.disconnect(good)

    assert ([], [(Client("envoy", 1),)]) == (before, told.of("gone"))


def test_two_streams_of_one_node_are_told_apart() -> None:
    """X51: what each accepts, refuses, and that it ends, is told with its own number."""
    told = Told()
    streams = told.streams()
    streams.publish({(found := resource(CLUSTER, "a", b"a")).key: found})
    first, second = streams.connect(delta=True), streams.connect(delta=True)
    for connection in (first, second):
        streams.receive(connection, request())
    answer(streams, first, error="no such field")
    answer(streams, second)
    streams.disconnect(first)

    one, two = Client("envoy", 1), Client("envoy", 2)
    assert [(one, "a")] == told.of("rejected")
    assert [(two, ["a"])] == told.of("accepted")
    assert [(one,)] == told.of("gone")


def test_a_number_is_not_used_again() -> None:
    """The words of a stream that ended are never taken for those of one that came later."""
    told = Told()
    streams = told.streams()
    for _ in range(3):
        connection = streams.connect(delta=True)
        streams.receive(connection, request())
        streams.disconnect(connection)

    assert [1, 2, 3] == [client.stream for [client] in told.of("gone") if isinstance(client, Client)]


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("delta", [True, False])
def test_who_brings_something_along_resumes(delta: bool, resumed: bool) -> None:
    """X31: the first request of a stream tells a new process from one that lost its connection."""
    told = Told()
    streams = told.streams()
    connection = streams.connect(delta=delta)
    versions = {"a": "1"} if resumed else {}
    first = (
        DeltaDiscoveryRequest(type_url=LISTENER, initial_resource_versions=versions)
        if delta
        else DiscoveryRequest(type_url=LISTENER, version_info="1" if resumed else "")
    )
    first.node.id = "envoy"
    streams.receive(connection, first)

    assert [(Client("envoy", 1), resumed)] == told.of("connected")
    assert [(Client("envoy", 1), True)] == told.of("subscribed")


def of(*type_urls: str) -> dict[ResourceKey, Resource]:
    return {(made := resource(type_url, "a", b"a")).key: made for type_url in type_urls}


def told_of(connection: Connection) -> list[str]:
    return [push.type_url for push in connection.stream.pending()]


def test_who_has_nothing_gets_what_is_ready_ahead_of_the_rest() -> None:
    """X15: of a type that is not ready nothing is said, not even that there is none; then it is."""
    streams = Streams()
    streams.begin(of(CLUSTER, CLUSTER_LOAD_ASSIGNMENT))
    connection = streams.connect(delta=True)
    for type_url in (CLUSTER, LISTENER):
        streams.receive(connection, request(type_url=type_url))
    ahead = told_of(connection)
    streams.publish(of(LISTENER))
    between = told_of(connection)
    connection.wake.clear()
    streams.open()

    assert ([CLUSTER], [], [LISTENER]) == (ahead, between, told_of(connection))
    assert connection.wake.is_set()


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
async def test_who_has_something_is_compared_with_all_that_there_is(delta: bool, type_url: str) -> None:
    """X15, X41: what brings something along waits until all is ready, whatever the stream has asked before."""
    streams = Streams()
    streams.begin(of(CLUSTER))
    connection = streams.connect(delta=delta)
    for first in {CLUSTER, type_url} - {type_url}:
        streams.receive(connection, brought(first, delta=delta))
    taken = asyncio.ensure_future(streams.takes(connection, brought(type_url, "1", delta=delta)))
    await asyncio.sleep(0)
    before = taken.done()
    streams.open()
    await taken

    assert not before


@pytest.mark.parametrize("delta", [True, False])
async def test_who_has_nothing_waits_for_nothing(delta: bool) -> None:
    """Nor does whoever accepts what was sent ahead."""
    streams = Streams()
    streams.begin(of(CLUSTER))
    connection = streams.connect(delta=delta)
    for version in ("", "1"):
        asked = brought(CLUSTER, version, delta=delta)
        await streams.takes(connection, asked)
        streams.receive(connection, asked)

    assert not streams.ready


def brought(type_url: str, version: str = "", *, delta: bool) -> Any:
    found = DeltaDiscoveryRequest(type_url=type_url) if delta else DiscoveryRequest(type_url=type_url)
    found.node.id = "envoy"
    if isinstance(found, DiscoveryRequest):
        found.version_info = version
    elif version:
        found.initial_resource_versions["b"] = version
    return found


async def test_streams_are_answered_from_the_first_that_is_ready() -> None:
    """That is no readiness yet: who asks whether the server is, waits for all."""
    streams = Streams()
    streams.begin(of(CLUSTER))
    await streams.begun()
    before = streams.ready
    streams.open()
    await streams.begun()
    await streams.opened()

    assert (False, True) == (before, streams.ready)
