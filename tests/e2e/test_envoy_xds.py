"""A real Envoy on our ADS: small tables built with protobuf classes, both variants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    VIRTUAL_HOST,
    Resource,
    ResourceKey,
    resource,
)
from xds_server.xds.credentials import UnixSocket
from xds_server.xds.server import ServerSettings, serving
from xds_server.xds.streams import Client, Streams

ROUTES = "default/web/80"
VARIANTS = pytest.mark.parametrize("variant", ["DELTA_GRPC", "GRPC"])
DELTA = pytest.mark.parametrize("variant", ["DELTA_GRPC"])


def ads_source(target: Any) -> None:
    target.ads.SetInParent()
    target.resource_api_version = 2


def built(type_url: str, name: str, message: Any, references: Iterable[ResourceKey] = (), stem: Any = None) -> Resource:
    body = message.SerializeToString(deterministic=True)
    return resource(type_url, name, body, tuple(references), stem and stem.SerializeToString(deterministic=True))


def listener(port: int, routes: str = ROUTES, name: str = "web") -> Resource:
    hcm = hcm_pb2.HttpConnectionManager(stat_prefix="web")
    hcm.rds.route_config_name = routes
    ads_source(hcm.rds.config_source)
    hcm.http_filters.add(name="router").typed_config.Pack(router_pb2.Router())
    message = listener_pb2.Listener(name=name)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    message.filter_chains.add().filters.add(name="http").typed_config.Pack(hcm)
    return built(LISTENER, name, message, [ResourceKey(ROUTE_CONFIGURATION, routes)])


def cluster(name: str, timeout_s: float = 1.0) -> Resource:
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    message.connect_timeout.FromMilliseconds(int(timeout_s * 1000))
    ads_source(message.eds_cluster_config.eds_config)
    return built(CLUSTER, name, message, [ResourceKey(CLUSTER_LOAD_ASSIGNMENT, name)])


def endpoints(name: str, port: int) -> Resource:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    address = message.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port
    return built(CLUSTER_LOAD_ASSIGNMENT, name, message)


def virtual_host(domain: str, *, answer: str = "", to: str = "") -> Any:
    host = route_components_pb2.VirtualHost(name=f"{ROUTES}/{domain}", domains=[domain])
    route = host.routes.add()
    route.match.prefix = "/"
    if to:
        route.route.cluster = to
    else:
        route.direct_response.status = 200
        route.direct_response.body.inline_string = answer
    return host


def routes(*hosts: Any, name: str = ROUTES) -> Resource:
    message = route_pb2.RouteConfiguration(name=name, virtual_hosts=hosts)
    names = {route.route.cluster for host in hosts for route in host.routes if route.route.cluster}
    return built(ROUTE_CONFIGURATION, name, message, [ResourceKey(CLUSTER, n) for n in sorted(names)])


def vhds_routes(name: str = ROUTES, header: str = "") -> Resource:
    stem = route_pb2.RouteConfiguration(name=name)
    if header:
        added = stem.response_headers_to_add.add().header
        added.key, added.value = "x-stem", header
    message = route_pb2.RouteConfiguration()
    message.CopyFrom(stem)
    ads_source(message.vhds.config_source)
    return built(ROUTE_CONFIGURATION, name, message, stem=stem)


def hosted(host: Any) -> Resource:
    names = sorted({route.route.cluster for route in host.routes if route.route.cluster})
    return built(VIRTUAL_HOST, host.name, host, [ResourceKey(CLUSTER, name) for name in names])


def bootstrap(variant: str, xds: Path, admin: Path) -> str:
    ads = {
        "api_type": variant,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    protocol = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return json.dumps({
        "node": {"id": "envoy-1", "cluster": "test"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": ads,
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [{
            "name": "xds", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": protocol, "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
            "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"pipe": {"path": str(xds)}}}},
            ]}]},
        }]},
    })  # fmt: skip


@dataclass
class Mesh:
    """An Envoy, what it was told, and what it said of it."""

    streams: Streams
    port: int
    admin: Path
    http: aiohttp.ClientSession
    accepted: dict[tuple[str, str], str] = field(default_factory=dict)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    control: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def serve(self, xds: Path) -> None:
        self.streams.on_accepted, self.streams.on_rejected = self.on_accepted, self.on_rejected
        self.streams.open()
        await self.control.enter_async_context(serving(self.streams, UnixSocket(xds), ServerSettings(stop_s=0)))

    def on_accepted(self, _: Client, type_url: str, versions: Any) -> None:
        self.accepted.update({(type_url, name): version for name, version in versions.items()})
        self.changed.set()

    def on_rejected(self, _: Client, type_url: str, name: str, __: str, detail: str) -> None:
        self.rejected.append((type_url, name, detail))
        self.changed.set()

    def publish(self, *resources: Resource, gone: Iterable[ResourceKey] = ()) -> None:
        self.streams.publish({r.key: r for r in resources} | dict.fromkeys(gone))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_accepted(self, *resources: Resource) -> None:
        await self.until(lambda: all(self.accepted.get(r.key) == r.version for r in resources))

    async def get(self, host: str) -> tuple[int, str]:
        async with self.http.get(f"http://127.0.0.1:{self.port}/", headers={"host": host}) as response:
            return response.status, await response.text()

    async def until_answer(self, host: str, status: int, body: str | None = None) -> list[tuple[int, str]]:
        """Ask until the answer is as expected; returns the other answers seen before."""
        seen: list[tuple[int, str]] = []
        async with asyncio.timeout(20):
            while True:
                try:
                    answer = await self.get(host)
                except aiohttp.ClientError:
                    answer = (0, "")
                if answer[0] == status and body in (None, answer[1]):
                    return seen
                seen.append(answer)
                await asyncio.sleep(0.005)

    async def stats(self, pattern: str) -> dict[str, int]:
        connector = aiohttp.UnixConnector(str(self.admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://admin/stats", params={"filter": pattern}) as response,
        ):
            lines = (await response.text()).splitlines()
        return {name: int(value) for name, _, value in (line.partition(": ") for line in lines) if value.isdigit()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def mesh(envoy: Path, directory: Path, variant: str, *resources: Resource, port: int) -> AsyncIterator[Mesh]:
    admin = directory / "admin.sock"
    async with aiohttp.ClientSession() as http:
        running = Mesh(Streams(), port, admin, http)
        running.publish(*resources)
        (directory / "bootstrap.json").write_text(bootstrap(variant, directory / "xds.sock", admin))
        async with contextlib.AsyncExitStack() as control:
            running.control = control
            await running.serve(directory / "xds.sock")
            with (directory / "envoy.log").open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    str(envoy), "-c", str(directory / "bootstrap.json"), "--concurrency", "1", "--use-dynamic-base-id",
                    "--log-level", "warning", "--drain-time-s", "1", stdout=output, stderr=output,
                )  # fmt: skip
                try:
                    yield running
                finally:
                    process.kill()
                    await process.wait()


@pytest.fixture
async def backend() -> AsyncIterator[int]:
    """A server that says 200 to everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@VARIANTS
async def test_envoy_comes_up_and_follows(envoy: Path, tmp_path: Path, variant: str, backend: int) -> None:
    """A first load of all types, then a change of each, in both variants, without a refusal."""
    port = free_port()
    first = [cluster("a"), endpoints("a", backend), listener(port), routes(virtual_host("a.test", to="a"))]
    async with mesh(envoy, tmp_path, variant, *first, port=port) as running:
        await running.until_answer("a.test", 200, "ok")
        await running.until_accepted(*first)

        second = [cluster("a", 2.0), routes(virtual_host("a.test", to="a"), virtual_host("b.test", answer="b"))]
        running.publish(*second)
        await running.until_answer("b.test", 200, "b")
        await running.until_accepted(*second)

        assert (200, "ok") == await running.get("a.test")
    assert [] == running.rejected


@DELTA
async def test_envoy_takes_virtual_hosts_on_their_own(envoy: Path, tmp_path: Path, variant: str) -> None:
    """X37: hosts are added, changed and removed; a change of their route configuration loses none of them."""
    port = free_port()
    hosts = [hosted(virtual_host(f"{name}.test", answer=name)) for name in "ab"]
    async with mesh(envoy, tmp_path, variant, listener(port), vhds_routes(), *hosts, port=port) as running:
        await running.until_answer("a.test", 200, "a")
        running.publish(hosted(virtual_host("c.test", answer="c")))
        await running.until_answer("c.test", 200, "c")
        assert (200, "b") == await running.get("b.test")
        before = running.streams.stats.sent_bytes[ROUTE_CONFIGURATION]

        running.publish(hosted(virtual_host("a.test", answer="changed")))
        assert {(200, "a")} >= set(await running.until_answer("a.test", 200, "changed"))
        running.publish(gone=[ResourceKey(VIRTUAL_HOST, f"{ROUTES}/b.test")])
        await running.until_answer("b.test", 404)
        assert before == running.streams.stats.sent_bytes[ROUTE_CONFIGURATION]

        changed = vhds_routes(header="new")
        running.publish(changed)
        seen = [await running.get("a.test") for _ in range(20)]
        await running.until_accepted(changed)
        seen += [await running.get("a.test") for _ in range(20)]
    assert {(200, "changed")} == set(seen)
    assert [] == running.rejected


@DELTA
async def test_envoy_does_not_wait_for_virtual_hosts_that_do_not_exist(
    envoy: Path, tmp_path: Path, variant: str
) -> None:
    """X37: a listener without a single host answers 404 at once; Envoy's own time-out would be 15 s."""
    port = free_port()
    async with mesh(envoy, tmp_path, variant, listener(port), vhds_routes(), port=port) as running:
        await running.until(lambda: (LISTENER, "web") in running.accepted)
        async with asyncio.timeout(10):
            await running.until_answer("a.test", 404)


@DELTA
async def test_envoy_goes_over_to_virtual_host_discovery(envoy: Path, tmp_path: Path, variant: str) -> None:
    """X37: and back, while it answers: under a name of its own, so that the listener waits for what it goes over to.

    Under one name Envoy would answer 404 between the route configuration and its virtual hosts.
    """
    port = free_port()
    by_host = f"{ROUTES}/hosts"
    apart = virtual_host("a.test", answer="b")
    apart.name = f"{by_host}/a.test"
    inside = routes(virtual_host("a.test", answer="a"))
    async with mesh(envoy, tmp_path, variant, listener(port), inside, port=port) as running:
        await running.until_answer("a.test", 200, "a")

        running.publish(listener(port, by_host), vhds_routes(by_host), hosted(apart), gone=[inside.key])
        there = await running.until_answer("a.test", 200, "b")
        gone = [ResourceKey(ROUTE_CONFIGURATION, by_host), ResourceKey(VIRTUAL_HOST, apart.name)]
        running.publish(listener(port), inside, gone=gone)
        back = await running.until_answer("a.test", 200, "a")
    assert {(200, "a"), (200, "b")} >= {*there, *back}


@VARIANTS
@pytest.mark.parametrize("count", [2, 6], ids=["few", "many"])
async def test_a_bad_route_does_not_hold_up_its_neighbours(
    envoy: Path, tmp_path: Path, variant: str, count: int
) -> None:
    """X12: of several route configurations that change together, Envoy refuses one; the others apply."""
    port = free_port()
    names = [f"default/web{n}/80" for n in range(count)]
    first = [routes(virtual_host("a.test", answer="1"), name=name) for name in names]
    listeners = [listener(port if n == 0 else free_port(), name, f"web{n}") for n, name in enumerate(names)]
    async with mesh(envoy, tmp_path, variant, *listeners, *first, port=port) as running:
        await running.until_answer("a.test", 200, "1")
        await running.until_accepted(*first)
        good = [routes(virtual_host("a.test", answer="2"), name=name) for name in names]
        bad_host = virtual_host("a.test", answer="2")
        del bad_host.domains[:]
        bad = routes(bad_host, name=names[-1])
        running.publish(*good[:-1], bad)

        await running.until_answer("a.test", 200, "2")
        await running.until_accepted(*good[:-1])
        await running.until(lambda: running.rejected != [])

        assert [(ROUTE_CONFIGURATION, names[-1])] == [(type_url, name) for type_url, name, _ in running.rejected]
        assert "omains" in running.rejected[0][2]
        running.publish(good[-1])
        await running.until_accepted(good[-1])
        assert 1 == running.streams.stats.rejected[ROUTE_CONFIGURATION]
        assert not running.streams.parked()


@VARIANTS
async def test_a_bad_cluster_does_not_hold_up_its_neighbours(
    envoy: Path, tmp_path: Path, variant: str, backend: int
) -> None:
    """X12: twenty clusters come at once, one of which Envoy refuses; a route to another works."""
    port = free_port()
    clusters = [cluster(f"c{n}") for n in range(20)]
    clusters[7] = cluster("c7", -1.0)
    first = [*clusters, *(endpoints(f"c{n}", backend) for n in range(20)), listener(port)]
    async with mesh(envoy, tmp_path, variant, *first, routes(virtual_host("a.test", to="c19")), port=port) as running:
        await running.until_answer("a.test", 200, "ok")
        await running.until(lambda: running.rejected != [])
    assert [(CLUSTER, "c7")] == [(type_url, name) for type_url, name, _ in running.rejected]


@VARIANTS
async def test_clusters_are_swapped_without_a_gap(envoy: Path, tmp_path: Path, variant: str, backend: int) -> None:
    """X40, X41, X43: under load, each turn brings a new cluster and takes the last away; no request meets neither."""
    port = free_port()
    answers: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def ask(running: Mesh) -> None:
        while not done.is_set():
            answers.append(await running.get("a.test"))

    first = [cluster("c0"), endpoints("c0", backend), listener(port), routes(virtual_host("a.test", to="c0"))]
    async with mesh(envoy, tmp_path, variant, *first, port=port) as running:
        await running.until_answer("a.test", 200, "ok")
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask(running))
            for turn in range(1, 41):
                old, new = f"c{turn - 1}", f"c{turn}"
                after = [cluster(new), endpoints(new, backend), routes(virtual_host("a.test", to=new))]
                running.publish(*after, gone=[ResourceKey(CLUSTER, old), ResourceKey(CLUSTER_LOAD_ASSIGNMENT, old)])
                await running.until_accepted(*after)
            done.set()
        async with asyncio.timeout(20):
            while (await running.stats("cluster_manager.active_clusters"))["cluster_manager.active_clusters"] > 2:
                await asyncio.sleep(0.01)
        failed = await running.stats("no_cluster|upstream_cx_none_healthy|no_route")
    assert {(200, "ok")} == set(answers)
    assert {0} == set(failed.values())
    assert 0 == running.streams.stats.gates_opened


@VARIANTS
async def test_a_restarted_server_is_not_noticed(envoy: Path, tmp_path: Path, variant: str, backend: int) -> None:
    """X31, X56: another server with the same content; by delta, no cluster and no listener is sent again."""
    port = free_port()
    first = [cluster("a"), endpoints("a", backend), listener(port), routes(virtual_host("a.test", to="a"))]
    async with mesh(envoy, tmp_path, variant, *first, port=port) as running:
        await running.until_answer("a.test", 200, "ok")
        await running.until_accepted(*first)
        await running.control.aclose()
        assert (200, "ok") == await running.get("a.test")

        running.streams = Streams()
        running.publish(*first)
        running.accepted.clear()
        await running.serve(tmp_path / "xds.sock")
        await running.until_accepted(*first)
        pushes = dict(running.streams.stats.pushes)
        assert (200, "ok") == await running.get("a.test")

        gone = [ResourceKey(CLUSTER, "a"), ResourceKey(CLUSTER_LOAD_ASSIGNMENT, "a")]
        running.publish(routes(virtual_host("a.test", answer="new")), gone=gone)
        await running.until_answer("a.test", 200, "new")
    expected = (0, 0) if variant == "DELTA_GRPC" else (1, 1)
    assert expected == (pushes.get(CLUSTER, 0), pushes.get(LISTENER, 0))
    assert [] == running.rejected


@DELTA
async def test_virtual_hosts_outlive_a_restart(envoy: Path, tmp_path: Path, variant: str) -> None:
    """X31, X37: hosts that are the same are not sent again, and keep serving; one that changed meanwhile is."""
    port = free_port()
    hosts = [hosted(virtual_host(f"{name}.test", answer=name)) for name in "abc"]
    first = [listener(port), vhds_routes(), *hosts]
    async with mesh(envoy, tmp_path, variant, *first, port=port) as running:
        await running.until_answer("c.test", 200, "c")
        await running.until_accepted(*first)
        await running.control.aclose()

        running.streams = Streams()
        running.publish(*first, changed := hosted(virtual_host("b.test", answer="changed")))
        sent = hosts[0].body
        await running.serve(tmp_path / "xds.sock")
        await running.until_answer("b.test", 200, "changed")
        await running.until_accepted(changed)
        assert [(200, "a"), (200, "c")] == [await running.get("a.test"), await running.get("c.test")]
        pushed = running.streams.stats.sent_bytes[VIRTUAL_HOST]
    assert len(changed.body) < pushed < len(changed.body) + len(sent) + 200
