"""A real Envoy, under supervision."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiohttp
import pytest
import re2
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from xds_server.proxy import admin
from xds_server.proxy.bootstrap import (
    MAX_REGEX_PROGRAM_SIZE,
    BootstrapOptions,
    ClientTls,
    XdsHost,
    XdsSocket,
    bootstrap,
)
from xds_server.proxy.process import EnvoyOptions, Event, Exited, Ready, Restarting, Started, supervise

DEADLINE_S = 60
NETWORK_FILTERS = "type.googleapis.com/envoy.extensions.filters.network"


@pytest.fixture
def options(tmp_path: Path, envoy: Path) -> EnvoyOptions:
    """An Envoy that needs no control plane to be ready: its dynamic configuration is taken out."""
    document = json.loads(bootstrap(BootstrapOptions("test", XdsSocket(tmp_path / "xds"), tmp_path / "admin")))
    del document["dynamic_resources"]
    return EnvoyOptions(
        binary=envoy,
        bootstrap=json.dumps(document),
        admin=tmp_path / "admin",
        directory=tmp_path / "envoy",
        concurrency=1,
    )


E = TypeVar("E", Started, Ready, Exited, Restarting)


class Next(Protocol):
    async def __call__(self, kind: type[E]) -> E: ...


@asynccontextmanager
async def supervised(options: EnvoyOptions) -> AsyncIterator[Next]:
    """A running Envoy, and a way to wait for the next event of a kind."""
    events: asyncio.Queue[Event] = asyncio.Queue()

    async def next_of(kind: type[E]) -> E:
        async with asyncio.timeout(DEADLINE_S):
            while not isinstance(event := await events.get(), kind):
                pass
            return event

    life = asyncio.create_task(supervise(options, events.put_nowait, chance=lambda: 0.0))
    try:
        yield next_of
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


@contextmanager
def watched(pid: int) -> Iterator[asyncio.Event]:
    """Set when the process has ended, by the kernel's word."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        yield ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "xds",
    [XdsSocket(Path("/run/xds.sock")), XdsHost("127.0.0.1", 18000), XdsHost("::1", 18000), "tls"],
    ids=["socket", "ipv4", "ipv6", "tls"],
)
def test_envoy_accepts_the_bootstrap(envoy: Path, tmp_path: Path, xds: XdsSocket | XdsHost | str) -> None:
    """Every form of the bootstrap passes Envoy's own validation, without a warning."""
    if isinstance(xds, str):
        xds = XdsHost("localhost", 18000, certificate(tmp_path))
    config = tmp_path / "envoy.json"
    config.write_text(bootstrap(BootstrapOptions("test", xds, tmp_path / "admin", metrics=("127.0.0.1", 9102))))

    judged = subprocess.run(
        [envoy, "--mode", "validate", "--log-level", "warning", "--config-path", config],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (judged.returncode, judged.stderr)


@pytest.mark.parametrize(("larger", "accepted"), [(0, True), (1, False)])
def test_regular_expressions_end_where_the_bootstrap_says(
    envoy: Path,
    options: EnvoyOptions,
    tmp_path: Path,
    larger: int,
    accepted: bool,
) -> None:
    """S5: the largest program that the control plane lets through is the largest that Envoy compiles."""
    pattern = "a" * (MAX_REGEX_PROGRAM_SIZE + larger - re2.compile("").programsize)
    assert MAX_REGEX_PROGRAM_SIZE + larger == re2.compile(pattern).programsize
    document = json.loads(options.bootstrap)
    document["static_resources"]["listeners"] = [routes({"safe_regex": {"regex": pattern}})]
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(document))

    judged = subprocess.run([envoy, "--mode", "validate", "--config-path", config], capture_output=True, check=False)

    assert accepted == (judged.returncode == 0)
    assert accepted == (b"max program size of" not in judged.stderr)


async def test_it_serves_and_ends_with_its_supervisor(options: EnvoyOptions) -> None:
    """Started, ready, and gone when supervision ends; its admin socket is for its owner alone."""
    async with supervised(options) as next_of:
        started = await next_of(Started)
        await next_of(Ready)

        assert await admin.is_ready(options.admin)
        assert 0o600 == options.admin.stat().st_mode & 0o777
        assert is_alive(started.pid)

    assert not is_alive(started.pid)


async def test_a_killed_envoy_is_started_again(options: EnvoyOptions) -> None:
    """A crash is seen, waited for and repaired, with the signal and the count told."""
    async with supervised(options) as next_of:
        first = await next_of(Ready)
        os.kill(first.pid, signal.SIGKILL)
        exited, restarting = await next_of(Exited), await next_of(Restarting)
        second, ready = await next_of(Started), await next_of(Ready)

    assert (first.pid, -signal.SIGKILL) == (exited.pid, exited.code)
    assert Restarting(in_s=0.1, failures=1) == restarting
    assert (1, second.pid) == (second.restarts, ready.pid)


async def test_a_bad_bootstrap_is_told_in_envoys_words(options: EnvoyOptions) -> None:
    """An Envoy that cannot start says why in the event, and is tried again more slowly each time."""
    bad = EnvoyOptions(options.binary, '{"no_such_field": 1}', options.admin, options.directory)
    async with supervised(bad) as next_of:
        exited = await next_of(Exited)
        delays = [(await next_of(Restarting)).in_s for _ in range(3)]

    assert 1 == exited.code
    assert "no_such_field" in exited.last_words
    assert [0.1, 0.2, 0.4] == delays


async def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """A stop ends within its bound, whatever the process does."""
    deaf = tmp_path / "deaf"
    heard = tmp_path / "heard"
    os.mkfifo(heard)
    deaf.write_text(f"#!/bin/sh\ntrap '' TERM\necho deaf > {heard}\nwhile :; do read -r _ < {heard}; done\n")
    deaf.chmod(0o755)
    options = EnvoyOptions(deaf, "{}", tmp_path / "admin", tmp_path / "state", stop_s=0.1)
    async with supervised(options) as next_of:
        started = await next_of(Started)
        await asyncio.to_thread(heard.read_text)

    assert not is_alive(started.pid)


async def test_a_killed_supervisor_leaves_no_orphan(tmp_path: Path, options: EnvoyOptions) -> None:
    """The kernel ends Envoy with the process that started it, however that ended."""
    (tmp_path / "bootstrap.json").write_text(options.bootstrap)
    script = f"""
import asyncio, pathlib
from xds_server.proxy.process import EnvoyOptions, Ready, supervise
at = pathlib.Path({str(tmp_path)!r})
text = (at / "bootstrap.json").read_text()
options = EnvoyOptions(pathlib.Path({str(options.binary)!r}), text, at / "admin", at / "envoy", concurrency=1)
asyncio.run(supervise(options, lambda event: isinstance(event, Ready) and print(event.pid, flush=True)))
"""
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert supervisor.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        pid = int(await supervisor.stdout.readline())
    with watched(pid) as ended:
        assert not ended.is_set()
        supervisor.kill()
        await supervisor.wait()

        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()


async def test_a_drained_stop_lets_the_request_in_flight_finish(options: EnvoyOptions) -> None:
    """Who asked to stop waits for clients; the request under way is answered, and then Envoy ends."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(text="whole")

    port = unused_port()
    async with served(slow) as backend, asyncio.timeout(DEADLINE_S):
        document = json.loads(options.bootstrap)
        document["static_resources"] |= tunnel(port, backend)
        draining = replace(options, bootstrap=json.dumps(document), drain_s=DEADLINE_S)
        life = asyncio.create_task(supervise(draining, lambda _: None))
        await admin.ready(options.admin)
        async with aiohttp.ClientSession() as session:
            asked = asyncio.create_task(text_of(session, f"http://127.0.0.1:{port}/"))
            await arrived.wait()
            life.cancel()
            _, waiting = await asyncio.wait([life], timeout=0.5)
            release.set()

            assert {life} == waiting
            assert "whole" == await asked
        await asyncio.wait([life])


async def test_metrics_are_all_that_the_metrics_listener_gives(options: EnvoyOptions, tmp_path: Path) -> None:
    """S11: the two paths answer GET; the rest of the admin interface is 404, writes above all."""
    port = unused_port()
    document = json.loads(
        bootstrap(
            BootstrapOptions("test", XdsSocket(tmp_path / "xds"), options.admin, metrics=("0.0.0.0", port)),
        ),
    )
    del document["dynamic_resources"]
    asked = [
        ("GET", "/ready", 200),
        ("GET", "/stats/prometheus", 200),
        ("GET", "/stats/prometheus?usedonly", 200),
        ("POST", "/stats/prometheus", 404),
        ("GET", "/", 404),
        ("GET", "/config_dump", 404),
        ("GET", "/certs", 404),
        ("GET", "/ready/../config_dump", 404),
        ("GET", "/ready%2f..%2fconfig_dump", 404),
        ("POST", "/quitquitquit", 404),
        ("POST", "/ready", 404),
        ("HEAD", "/ready", 404),
        ("PUT", "/stats/prometheus", 404),
        ("DELETE", "/ready", 404),
        ("OPTIONS", "/ready", 404),
        ("POST", "/drain_listeners", 404),
        ("POST", "/healthcheck/fail", 404),
        ("GET", "/stats", 404),
        ("GET", "/stats/", 404),
        ("GET", "/stats/prometheus/../../config_dump", 404),
        ("GET", "/stats/prometheus/", 404),
        ("GET", "/READY", 404),
        ("GET", "//ready", 404),
        ("GET", "/listeners", 404),
        ("GET", "/server_info", 404),
        ("GET", "/memory", 404),
        ("GET", "/runtime", 404),
        ("GET", "/clusters", 404),
    ]
    with_metrics = EnvoyOptions(
        options.binary,
        json.dumps(document),
        options.admin,
        options.directory,
        concurrency=1,
    )
    async with supervised(with_metrics) as next_of, aiohttp.ClientSession() as session:
        await next_of(Ready)
        seen = [
            (method, path, await status(session, method, f"http://127.0.0.1:{port}{path}")) for method, path, _ in asked
        ]

    assert asked == seen


async def status(session: aiohttp.ClientSession, method: str, url: str) -> int:
    async with session.request(method, URL(url, encoded=True)) as response:
        await response.read()
        return response.status


async def text_of(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        return await response.text()


@asynccontextmanager
async def served(handler: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> AsyncIterator[int]:
    """The port of a server that answers by the handler."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def routes(match: dict[str, Any]) -> dict[str, Any]:
    """A listener with one route."""
    manager = {
        "@type": f"{NETWORK_FILTERS}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "routes",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": match, "direct_response": {"status": 200}}]},
            ],
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    return {
        "name": "routes",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def tunnel(port: int, backend: int) -> dict[str, list[dict[str, Any]]]:
    """Static resources that carry TCP from one loopback port to another."""

    def at(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    proxy = {
        "@type": f"{NETWORK_FILTERS}.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tunnel",
        "cluster": "backend",
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(backend)}}]}]
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "backend", "endpoints": endpoints},
    }
    chain = {"filters": [{"name": "tcp_proxy", "typed_config": proxy}]}
    return {"clusters": [cluster], "listeners": [{"name": "tunnel", "address": at(port), "filter_chains": [chain]}]}


def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def certificate(directory: Path) -> ClientTls:
    """A self-signed certificate that serves as its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private_key = directory / "tls.crt", directory / "tls.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return ClientTls(chain, private_key, chain, "localhost")
