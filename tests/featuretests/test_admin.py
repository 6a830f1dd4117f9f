"""Health, readiness, metrics and dumps, over HTTP; judged by promtool and scraped by a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from xds_server import admin
from xds_server.config import ConfigError
from xds_server.metrics import Metrics, collection_sizes
from xds_server.model.resource import CLUSTER, ResourceKey
from xds_server.overview.replica import Replica, Stream, Type

SIZES = {"http_routes": 2, "resources": 7}


class Stage:
    """Probes whose answers a test sets."""

    def __init__(self) -> None:
        self.awaited, self.aged, self.metrics = "", False, Metrics()
        self.objects: list[str] = []
        self.metrics.watch(collection_sizes(lambda: SIZES))
        self.address = ""

    @property
    def probes(self) -> admin.Probes:
        return admin.Probes(
            ready=lambda: self.awaited,
            remark=lambda: "Gateway: last heard of 3 s ago" if self.aged else "",
            objects=lambda: self.objects,
            replica=lambda: Replica(tidegate="1.0", streams=(Stream(node="n1", types={CLUSTER: Type(wanted=2)}),)),
            collections=lambda: SIZES,
            collection={"http_routes": ["HTTPRoute/default/a"]}.get,
            streams=lambda: [{"node": "n1"}],
        )

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.address}{path}") as response:
            return response.status, await response.text()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    async with admin.serve("127.0.0.1:0", found.metrics, found.probes) as address:
        found.address = address
        yield found


async def test_readiness_says_what_is_awaited(stage: Stage) -> None:
    """Not ready is 503 with the reason; alive is 200 all the same."""
    stage.awaited = "waiting for the manifests"
    unready = await stage.get("/readyz")
    stage.awaited = ""

    assert (503, "waiting for the manifests\n") == unready
    assert [(200, "ok\n")] * 2 == [await stage.get(path) for path in ("/readyz", "/healthz")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/debug/collections", SIZES),
        ("/debug/collections/http_routes", ["HTTPRoute/default/a"]),
        ("/debug/streams", [{"node": "n1"}]),
    ],
)
async def test_dumps_are_json(stage: Stage, path: str, expected: Any) -> None:
    """Each dump is a JSON document."""
    status, text = await stage.get(path)

    assert (200, expected) == (status, json.loads(text))


async def test_an_unknown_collection_is_not_found(stage: Stage) -> None:
    """A name that is no collection answers 404 and says where the names are."""
    status, text = await stage.get("/debug/collections/nothing")

    assert (404, True) == (status, "/debug/collections" in text)


async def test_metrics_pass_promtool(stage: Stage) -> None:
    """`promtool check metrics` has nothing to say."""
    stage.metrics.commit_seconds.observe(0.1)
    stage.metrics.resources_changed([ResourceKey(CLUSTER, "a")])
    stage.metrics.object_changes.labels("HTTPRoute").inc()
    _, text = await stage.get("/metrics")

    promtool = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await promtool.communicate(text.encode())

    assert (0, b"") == (promtool.returncode, said)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "192.0.2.1:80", "localhost", "127.0.0.1:http"])
async def test_only_loopback_is_served(listen: str) -> None:
    """S9: the pages are for this machine alone; the error names the flag and an example."""
    with pytest.raises(ConfigError, match=rf"--admin {re.escape(listen)}: .*127\.0\.0\.1:\d+"):
        async with admin.serve(listen, Metrics(), Stage().probes):
            pass


async def test_metrics_and_probes_may_be_asked_from_elsewhere_but_nothing_else() -> None:
    """S9: the address that need not be loopback has four pages and an index of them, and no dump."""
    stage = Stage()
    async with admin.serve_metrics("0.0.0.0:0", stage.metrics, stage.probes) as address:
        stage.address = address.replace("0.0.0.0", "127.0.0.1")
        index = await stage.get("/")
        found = {path: (await stage.get(path))[0] for path in (*index[1].split(), "/debug", "/debug/streams")}

    assert (200, "/healthz\n/metrics\n/readyz\n/status\n") == index
    pages = dict.fromkeys(("/healthz", "/metrics", "/readyz", "/status"), 200)
    assert pages | {"/debug": 404, "/debug/streams": 404} == found


async def test_objects_that_are_awaited_are_named_on_this_machine_alone(stage: Stage) -> None:
    """S9: the page that may be asked from elsewhere names no object of a tenant."""
    stage.awaited, stage.objects = "waiting for 1 of Secret", ["Secret/default/pair"]
    here = await stage.get("/readyz")
    async with admin.serve_metrics("127.0.0.1:0", stage.metrics, stage.probes) as address:
        stage.address = address
        elsewhere = await stage.get("/readyz")

    assert (503, "waiting for 1 of Secret\nSecret/default/pair\n") == here
    assert (503, "waiting for 1 of Secret\n") == elsewhere


@pytest.mark.parametrize("listen", ["::1:0", "[::1]:0"])
async def test_an_ipv6_address_may_be_bare(listen: str) -> None:
    """A pod's address is put before the port as it is, with no brackets."""
    async with admin.serve_metrics(listen, Metrics(), Stage().probes) as address:
        host = address.rpartition(":")[0]

    assert "[::1]" == host


@pytest.mark.parametrize("listen", ["localhost:1", "15081", "0.0.0.0:http"])
async def test_a_bad_metrics_address_names_the_flag(listen: str) -> None:
    """The error names the flag, what was given and an example."""
    with pytest.raises(ConfigError, match=rf"--metrics {re.escape(listen)}: .*0\.0\.0\.0:15081"):
        async with admin.serve_metrics(listen, Metrics(), Stage().probes):
            pass


async def test_a_taken_address_names_the_flag(stage: Stage) -> None:
    """An address in use is an error that says what to change."""
    with pytest.raises(ConfigError, match="give another address"):
        async with admin.serve(stage.address, Metrics(), stage.probes):
            pass


async def test_a_real_prometheus_scrapes(stage: Stage, tmp_path: Path) -> None:
    """Prometheus finds the target up, and has the sizes of collections."""
    (tmp_path / "prometheus.yml").write_text(
        "scrape_configs:\n"
        f"- {{job_name: tidegate, scrape_interval: 1s, static_configs: [{{targets: ['{stage.address}']}}]}}\n"
    )
    port = await _free_port()
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while "7" != (value := await _query(session, port, 'tidegate_collection_size{collection="resources"}')):
                await asyncio.sleep(0.2)  # Prometheus scrapes when it likes
    finally:
        process.terminate()
        await process.wait()

    assert "7" == value


async def _free_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def _query(session: aiohttp.ClientSession, port: int, query: str) -> str | None:
    try:
        async with session.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}) as response:
            results = (await response.json())["data"]["result"]
    except (aiohttp.ClientError, KeyError):
        return None
    return results[0]["value"][1] if results else None
