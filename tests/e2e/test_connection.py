"""What a proxy says of its connection to the control plane, while that is away, a stranger, and there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from xds_server.certificates.authority import NODE_LIFE, Pair, issue_client, issue_server, new_authority
from xds_server.cli.bootstrap import write_sources
from xds_server.proxy.bootstrap import BootstrapOptions, ClientTls, XdsHost, bootstrap
from xds_server.proxy.connection import Connected, Disconnected, diagnosis, watch
from xds_server.proxy.process import EnvoyOptions, supervise
from xds_server.xds.credentials import InsecureLoopback, Listen, MutualTls
from xds_server.xds.server import ServerSettings, serving
from xds_server.xds.streams import Streams

NOW = datetime.now(UTC)
OURS, THEIRS = new_authority(NOW), new_authority(NOW)
URI = "spiffe://tidegate.local/node/a"


def files(directory: Path, name: str, pair: Pair, trusted: Pair) -> tuple[Path, Path, Path]:
    """Certificate, key and authority, as files."""
    folder = directory / name
    folder.mkdir()
    paths = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
    for path, content in zip(paths, (pair.certificate, pair.key, trusted.certificate), strict=True):
        path.write_bytes(content)
    return paths


def server(directory: Path, port: int = 0, authority: Pair = OURS, trusted: Pair = OURS, age: int = 0) -> MutualTls:
    pair = issue_server(authority, ["localhost"], NOW - timedelta(days=age))
    return MutualTls("127.0.0.1", port, *files(directory, f"server{len(list(directory.iterdir()))}", pair, trusted))


def client(directory: Path, name: str = "localhost") -> ClientTls:
    pair = issue_client(OURS, URI, NOW, NODE_LIFE)
    return ClientTls(*files(directory, "client", pair, OURS), name, directory / "sources")


@asynccontextmanager
async def listening(listen: Listen) -> AsyncIterator[int]:
    streams = Streams()
    streams.open()
    async with serving(streams, listen, ServerSettings(stop_s=0)) as address:
        yield int(address.rpartition(":")[2])


def a_stranger(directory: Path) -> Listen:
    return server(directory, authority=THEIRS)


def one_that_refuses_us(directory: Path) -> Listen:
    return server(directory, trusted=THEIRS)


def an_expired_one(directory: Path) -> Listen:
    return server(directory, age=100)


def one_without_tls(_: Path) -> Listen:
    return InsecureLoopback("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("made", "name", "said"),
    [
        (a_stranger, "localhost", "is not of the authority in {ca}"),
        (one_that_refuses_us, "localhost", "refuses the certificate {certificate}"),
        (an_expired_one, "localhost", "has expired"),
        (server, "other.example", "is not for the name other.example"),
        (one_without_tls, "localhost", "speaks no TLS"),
        (server, "localhost", "answers, and Envoy has no stream to it: it says nothing of it"),
    ],
)
async def test_each_cause_has_words_of_its_own(
    tmp_path: Path, made: Callable[[Path], Listen], name: str, said: str
) -> None:
    """The file or the name that is in the way is named, and what to do."""
    tls = client(tmp_path, name)
    async with listening(made(tmp_path)) as port:
        found = await asyncio.to_thread(diagnosis, "127.0.0.1", port, tls, tmp_path / "no.log")

    assert said.format(ca=tls.trusted_ca, certificate=tls.certificate) in found.reason
    assert found.way_out


def test_a_name_or_port_where_nobody_is(tmp_path: Path) -> None:
    """They are told apart: the one is for the DNS, the other for the control plane."""
    tls = client(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert f"nothing listens on 127.0.0.1:{port}" == diagnosis("127.0.0.1", port, tls, tmp_path / "no.log").reason
    assert "the name nowhere.invalid cannot be resolved" in diagnosis("nowhere.invalid", 1, tls, tmp_path).reason


async def test_a_connection_is_told_when_it_comes_and_goes(tmp_path: Path, envoy: Path) -> None:
    """Each cause once, however long it lasts: nobody there, our certificate refused, connected, nobody there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told: asyncio.Queue[Connected | Disconnected] = asyncio.Queue()
    tls, heard = client(tmp_path), list[str]()
    write_sources(tls)
    (tmp_path / "e").mkdir()
    options = EnvoyOptions(
        binary=envoy,
        bootstrap=bootstrap(BootstrapOptions("a", XdsHost("127.0.0.1", port, tls), tmp_path / "e/admin")),
        admin=tmp_path / "e/admin",
        directory=tmp_path / "e",
        concurrency=1,
    )

    async def hears(words: str) -> None:
        async with asyncio.timeout(60):
            heard.append(getattr(await told.get(), "reason", "connected"))
            while heard[-1] == "connected" != words:  # to who refuses it Envoy is connected until it hears of that
                heard.append(getattr(await told.get(), "reason", "connected"))
        assert words in heard[-1]

    diagnose = partial(diagnosis, "127.0.0.1", port, tls, tmp_path / "e/envoy.log")
    async with AsyncExitStack() as stack:
        for life in (supervise(options, lambda _: None), watch(options.admin, diagnose, told.put_nowait, 0.05, 0.05)):
            task = asyncio.ensure_future(life)
            stack.push_async_callback(asyncio.wait, {task})
            stack.callback(task.cancel)
        await hears("nothing listens")
        async with listening(server(tmp_path, port, trusted=THEIRS)):
            await hears("refuses the certificate")
        await hears("nothing listens")
        async with listening(server(tmp_path, port)):
            await hears("connected")
        await hears("nothing listens")

    assert told.empty()
