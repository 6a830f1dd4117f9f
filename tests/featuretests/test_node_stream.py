"""The node daemon's stream, over real gRPC."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from datapath.client import Client, dial
from datapath.discovery import LARGEST, Discovery, types
from datapath.resources import SERVICE, WORKLOADS
from tests.featuretests.ads import Ads, serving
from tests.unit.datapath.wire import response, service
from xds_server.proxy.bootstrap import ClientTls

GOOD = service(("10.0.0.1", 80, ""), backends=[("10.1.0.1", 8080, 1)])
BAD = service(("127.0.0.1", 80, ""))


class Changes:
    """In the place of the kernel, which has everything at once, unless it is `slow`."""

    def __init__(self) -> None:
        self.event, self.number = asyncio.Event(), 0
        self.client: Client | None = None
        self.slow: tuple[str, ...] = ()

    def __call__(self) -> None:
        self.number += 1
        self.event.set()
        assert self.client is not None
        self.client.settled(self.number, types("n1").keys() - {*self.slow}, {})


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[None]:
    task = asyncio.ensure_future(client.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def client_of(socket: Path, discovery: Discovery) -> tuple[Client, Changes]:
    changes = Changes()
    changes.client = Client(discovery, lambda: dial(f"unix:{socket}", None), changes, chance=lambda: 0.0)
    return changes.client, changes


async def test_it_acknowledges_what_it_can_use_and_refuses_the_rest_by_name(tmp_path: Path) -> None:
    """The good one of a response is held although the bad one is refused."""
    ads, discovery = Ads(), Discovery("n1")
    client, changes = client_of(tmp_path / "xds", discovery)
    async with serving(tmp_path / "xds", ads), connected(client):
        await ads.until(3)
        await ads.say(response(("a", GOOD), ("b", BAD), nonce="1"))
        refusal = (await ads.until(4))[-1]
        await ads.say(response(removed=["b"], nonce="2"))
        acceptance = (await ads.until(5))[-1]

        assert client.connected

    assert ("1", True) == (refusal.response_nonce, refusal.error_detail.message.startswith("b: frontends[0].address"))
    assert ("2", False) == (acceptance.response_nonce, acceptance.HasField("error_detail"))
    assert {(SERVICE, "a")} == set(discovery.held)
    assert ({"b"}, 2) == (set(client.stream.refused), changes.number)


async def test_a_slow_kernel_does_not_stall_the_stream(tmp_path: Path) -> None:
    """While services are written, what is said of pods is read, and answered; then the services are."""
    ads, discovery = Ads(), Discovery("n1")
    client, changes = client_of(tmp_path / "xds", discovery)
    changes.slow = (SERVICE,)
    async with serving(tmp_path / "xds", ads), connected(client):
        await ads.until(3)
        await ads.say(response(("a", GOOD), nonce="1"))
        await ads.say(response(type_url=WORKLOADS, nonce="2"))
        first = (await ads.until(4))[-1].response_nonce
        client.settled(2, {SERVICE}, {})
        second = (await ads.until(5))[-1].response_nonce

    assert ("2", "1") == (first, second)


async def test_a_new_stream_says_what_is_held(tmp_path: Path) -> None:
    """After the server went away, nothing is forgotten, and what it has in addition is taken."""
    discovery = Discovery("n1")
    client, changes = client_of(tmp_path / "xds", discovery)
    first, second = Ads(), Ads()
    async with connected(client):
        async with serving(tmp_path / "xds", first):
            await first.until(3)
            await first.say(response(("a", GOOD), version="7"))
            await first.until(4)
        assert {(SERVICE, "a")} == set(discovery.held)
        async with serving(tmp_path / "xds", second):
            hello = (await second.until(3))[0]
            changes.event.clear()
            await second.say(response(("c", GOOD)))
            await changes.event.wait()

    assert {"a": "7"} == dict(hello.initial_resource_versions)
    assert {(SERVICE, "a"), (SERVICE, "c")} == set(discovery.held)


async def test_the_end_of_a_stream_leaves_no_complaint(tmp_path: Path) -> None:
    """However often a server goes away while requests are awaited, asyncio has nothing to say of it."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    client, _ = client_of(tmp_path / "xds", Discovery("n1"))
    async with connected(client):
        for _ in range(20):
            ads = Ads()
            async with serving(tmp_path / "xds", ads):
                await ads.until(3)
                await ads.say(response(("a", GOOD)))
                await ads.until(4)
            client.stream.failures = 0  # or it would be waited for ever longer
            gc.collect()

    assert [] == complaints


async def test_a_server_that_is_away_is_told_and_dialled_again(tmp_path: Path) -> None:
    """The fault stays until it is answered."""
    client, changes = client_of(tmp_path / "xds", Discovery("n1"))
    ads = Ads()
    async with connected(client):
        async with asyncio.timeout(20):
            while not client.stream.failures:
                await asyncio.sleep(0)
        fault = client.stream.fault
        async with serving(tmp_path / "xds", ads):
            await ads.until(3)
            await ads.say(response())
            await changes.event.wait()

    assert fault.startswith("UNAVAILABLE")
    assert "" == client.stream.fault


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"\xff\xff\xff\xff not a protobuf", "the server sent what is no DeltaDiscoveryResponse"),
        (
            response(nonce="x" * 1000).SerializeToString(),
            "the server sent a nonce or a type of more than 512 characters",
        ),
        (bytes(LARGEST + 1), "RESOURCE_EXHAUSTED: "),
    ],
    ids=["nonsense", "nonce", "size"],
)
async def test_a_response_that_cannot_be_taken_ends_its_stream_alone(tmp_path: Path, octets: bytes, fault: str) -> None:
    """It is told, nothing of it is held, and the server is dialled again."""
    ads, discovery = Ads(), Discovery("n1")
    client, changes = client_of(tmp_path / "xds", discovery)
    async with serving(tmp_path / "xds", ads), connected(client):
        await ads.until(3)
        # Of one that is too large the stream may end before all of it is written.
        await asyncio.gather(ads.write(octets), return_exceptions=True)
        await ads.until(3, streams=2)
        told = client.stream.fault, client.stream.failures, changes.number
        await ads.say(response(("a", GOOD)))
        await ads.until(4, streams=2)

    assert (True, 1, 0) == (told[0].startswith(fault), *told[1:])
    assert ("", {(SERVICE, "a")}) == (client.stream.fault, set(discovery.held))


async def test_a_server_that_reads_no_answer_is_left(tmp_path: Path) -> None:
    """What is to be said to it would be kept for it without an end."""
    ads, bad = Mute(), [(f"s{number}", BAD) for number in range(20)]
    client, _ = client_of(tmp_path / "xds", Discovery("n1"))
    ads.says = response(*bad).SerializeToString()
    async with serving(tmp_path / "xds", ads), connected(client), asyncio.timeout(60):
        while not client.stream.failures:
            await asyncio.sleep(0)

    assert "the server reads no answers" == client.stream.fault


class Mute(Ads):
    """It says the same again and again, and hears nothing."""

    says = b""

    async def handle(self, _: Any, context: Any) -> None:
        while True:
            await context.write(self.says)


async def test_certificates_are_read_at_each_connection(tmp_path: Path) -> None:
    """One that is missing is a fault that names it, and no end of the daemon."""
    files = ClientTls(tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "ca.crt", "xds")
    client = Client(Discovery("n1"), lambda: dial("127.0.0.1:1", files), lambda: None, chance=lambda: 0.0)
    async with connected(client), asyncio.timeout(20):
        while not client.stream.failures:
            await asyncio.sleep(0)

    assert f"{tmp_path / 'ca.crt'}: No such file or directory: renew the node's certificate" == client.stream.fault
