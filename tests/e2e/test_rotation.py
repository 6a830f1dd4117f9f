"""A real Envoy of `tidegate proxy` while certificates and the authority change under it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.featuretests.token_reviews import Reviews, answer, reviewing
from xds_server.certificates import renewal
from xds_server.certificates.authority import Pair, issue_server, loaded, new_authority, sign_request
from xds_server.certificates.directory import replace
from xds_server.certificates.issuing import IssuerOptions, Signer, issuing, remote_signer
from xds_server.cli.bootstrap import write_sources
from xds_server.cli.proxy import Settings, proxy
from xds_server.proxy import admin
from xds_server.proxy.bootstrap import ClientTls
from xds_server.xds.credentials import MutualTls
from xds_server.xds.server import ServerSettings, serving
from xds_server.xds.streams import Client, Streams

URI = "spiffe://tidegate.local/node/node-a"
NOW = datetime.now(UTC)


@dataclass
class Node:
    """The files of a control plane and of a node, and the streams between them."""

    directory: Path
    streams: Streams = field(default_factory=Streams)
    connected: list[str] = field(default_factory=list)
    port: int = 0
    control: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self.streams.on_connected = self._connected
        self.streams.open()
        for name in ("authority", "server", "trust"):
            (self.directory / name).mkdir()

    def _connected(self, client: Client, **_: bool) -> None:
        self.connected.append(client.node)

    def trust(self, *authorities: Pair) -> None:
        replace(self.directory / "trust/ca.crt", b"".join(each.certificate for each in authorities))

    def sign_by(self, authority: Pair) -> None:
        """Node certificates and the server's own are this authority's from now on."""
        for folder, pair in (("authority", authority), ("server", issue_server(authority, ["localhost"], NOW))):
            replace(self.directory / folder / "tls.key", pair.key)
            replace(self.directory / folder / "tls.crt", pair.certificate)

    @property
    def listen(self) -> MutualTls:
        server = self.directory / "server"
        return MutualTls(
            "127.0.0.1", self.port, server / "tls.crt", server / "tls.key", self.directory / "trust/ca.crt"
        )

    async def serve(self) -> None:
        address = await self.control.enter_async_context(serving(self.streams, self.listen, ServerSettings(stop_s=0)))
        self.port = int(address.rpartition(":")[2])

    async def restart(self) -> None:
        """End every stream, and serve again at the same address."""
        await self.control.aclose()
        await self.serve()

    def peers(self) -> list[object]:
        return [stream["peer"] for stream in self.streams.debug()]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


async def until_loaded(socket: Path, *wanted: int) -> None:
    """Wait until Envoy has all of these certificates in its TLS contexts, by their numbers."""
    async with asyncio.timeout(30):
        while True:
            _, body = await admin.ask(socket, "/certs")
            found = {
                int(part["serial_number"], 16)
                for each in json.loads(body)["certificates"]
                for part in (*each.get("ca_cert", []), *each.get("cert_chain", []))
            }
            if found.issuperset(wanted):
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(node: Node, envoy: Path) -> AsyncIterator[Signer]:
    """A control plane that signs, and the proxy of node-a; gives what signs for it."""
    reviews = Reviews()
    reviews.answers["token"] = answer()
    (node.directory / "token").write_text("token\n")
    state, server, trust = node.directory / "state", node.directory / "server", node.directory / "trust/ca.crt"
    state.mkdir(mode=0o700)
    options = IssuerOptions(
        "127.0.0.1", 0, server / "tls.crt", server / "tls.key", node.directory / "authority",
        "tidegate-system", "tidegate.local",
    )  # fmt: skip
    async with reviewing(reviews) as api, issuing(api, options) as port, node.control:
        await node.serve()
        folder = state / "certificate"
        tls = ClientTls(folder / "tls.crt", folder / "tls.key", trust, "localhost", state / "sources")
        settings = Settings(
            node="node-a", xds=("127.0.0.1", node.port), tls=tls, identity=URI, issuer=f"127.0.0.1:{port}",
            token=node.directory / "token", metrics=None, state=state, zone="", envoy=envoy, concurrency=1, drain_s=0,
        )  # fmt: skip
        write_sources(tls)
        life = asyncio.ensure_future(proxy(settings))
        try:
            yield remote_signer(f"127.0.0.1:{port}", "localhost", trust, settings.token, "node-a")
        finally:
            life.cancel()
            await asyncio.wait({life})


def serial(path: Path) -> int:
    return loaded(path.read_bytes()).serial_number


async def test_certificates_and_authority_change_under_a_stream(tmp_path: Path, envoy: Path) -> None:
    """The stream outlives new client and server certificates and both steps of a new authority; the next uses the new.

    At the end only the new authority is trusted by either side, so a stream could not be opened with anything old.
    """
    old, new = new_authority(NOW), new_authority(NOW)
    node = Node(tmp_path)
    node.trust(old)
    node.sign_by(old)
    certificate, socket = tmp_path / "state/certificate", tmp_path / "state/admin.sock"
    async with running(node, envoy) as sign:
        await until(lambda: node.connected == ["node-a"])
        await admin.ready(socket)
        [first] = node.peers()
        await until_loaded(socket, serial(certificate / "tls.crt"), loaded(old.certificate).serial_number)

        await renewal.renew(certificate, URI, sign)
        await until_loaded(socket, serial(certificate / "tls.crt"))
        node.trust(old, new)
        await until_loaded(socket, loaded(new.certificate).serial_number)
        node.sign_by(new)
        await renewal.renew(certificate, URI, sign)
        await until_loaded(socket, serial(certificate / "tls.crt"))
        node.trust(new)
        async with asyncio.timeout(30):
            while str(loaded(old.certificate).serial_number) in str(await admin.ask(socket, "/certs")):
                await asyncio.sleep(0.05)

        assert ([first], ["node-a"]) == (node.peers(), node.connected)
        await node.restart()
        await until(lambda: len(node.connected) == 2)
        await until(lambda: bool(node.peers()))
        [second] = node.peers()
        assert first != second


async def test_an_authority_made_anew_needs_no_restart(
    tmp_path: Path, envoy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever deletes the authority and has it made anew finds the proxies connected again, by new certificates."""
    monkeypatch.setattr(renewal, "keep", partial(renewal.keep, every_s=0.2))
    old, new = new_authority(NOW), new_authority(NOW)
    node = Node(tmp_path)
    node.trust(old)
    node.sign_by(old)
    async with running(node, envoy):
        await until(lambda: node.connected == ["node-a"])
        node.sign_by(new)
        node.trust(new)
        await node.restart()
        await until(lambda: node.connected == ["node-a"] * 2)


@pytest.mark.parametrize("left", ["usable", "expired"])
async def test_a_proxy_starts_with_what_it_has(tmp_path: Path, left: str) -> None:
    """A control plane that is away keeps no node from starting that has a certificate; another waits for it."""
    authority, asked = new_authority(NOW), asyncio.Event()

    async def away(_: bytes) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def there(request: bytes) -> bytes:
        return sign_request(authority, request, URI, NOW)

    if left == "usable":
        await renewal.renew(tmp_path / "c", URI, there)
    waiting = asyncio.ensure_future(renewal.obtain(tmp_path / "c", URI, away))
    if left == "usable":
        async with asyncio.timeout(20):
            await waiting
    else:
        async with asyncio.timeout(20):
            await asked.wait()
        waiting.cancel()
    await asyncio.wait({waiting})

    assert (left == "expired") == asked.is_set()
