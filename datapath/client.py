"""The stream to the control plane: dialled, read, answered, dialled again. What it means is `discovery`'s.

What is read goes on while an answer waits for the kernel.

Certificates are read anew at each connection.
Must not know: what is done with what is held.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import DecodeError

from datapath.discovery import LARGEST, Answer, Discovery, Key
from xds_server.proxy.bootstrap import ClientTls
from xds_server.proxy.process import delay_s

METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_HEALTHY_AFTER_S: Final = 30.0
_LONGEST_DETAIL: Final = 512
_LONGEST_WORD: Final = 512
"""Of those that are said back to the server."""
_MOST_UNREAD: Final = 1024
"""Answers that wait to be read: of responses that come one by one, each has its own."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", LARGEST),
    # Without pings a control plane that vanished would go unnoticed: the stream is idle for hours between changes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Each stream dials for itself: a channel of before would keep the certificates of before.
    ("grpc.use_local_subchannel_pool", 1),
)

log = structlog.get_logger("discovery")


class CannotDial(OSError):
    """The text names the file, and what to do."""


class Unusable(ValueError):
    """The text says what the server did."""


Dial = Callable[[], grpc.aio.Channel]


def dial(server: str, tls: ClientTls | None) -> grpc.aio.Channel:
    """:raises CannotDial: a file of `tls` cannot be read."""
    if server.startswith("unix:"):
        return grpc.aio.insecure_channel(server, options=[*_OPTIONS, ("grpc.default_authority", "localhost")])
    if tls is None:
        return grpc.aio.insecure_channel(server, options=_OPTIONS)
    try:
        authority, key, chain = (path.read_bytes() for path in (tls.trusted_ca, tls.private_key, tls.certificate))
    except OSError as error:
        raise CannotDial(f"{error.filename}: {error.strerror}: renew the node's certificate") from None
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    return grpc.aio.secure_channel(
        server, credentials, options=[*_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name)]
    )


@dataclass(slots=True, eq=False)
class Stream:
    """What is known of it, for people: times are of the event loop."""

    since: float = 0.0
    failures: int = 0
    """In a row."""
    fault: str = ""
    """Why the last one ended, until the next one is answered."""
    responses: int = 0
    accepted_at: float | None = None
    refused_at: float | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    """Names and reasons of the last refusal."""


class Client:
    """`changed` is called after each response that said something new; it is answered when that is `settled`."""

    def __init__(
        self,
        discovery: Discovery,
        dial: Dial,
        changed: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.stream = Stream()
        self._discovery, self._dial, self._changed, self._chance = discovery, dial, changed, chance
        self._requests: asyncio.Queue[Any] = asyncio.Queue()
        self._channel: grpc.aio.Channel | None = None

    @property
    def connected(self) -> bool:
        """Also where the server has nothing to say."""
        return self._channel is not None and self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def run(self) -> NoReturn:
        """Stay connected until cancelled."""
        clock = asyncio.get_running_loop().time
        stream = self.stream
        while True:
            stream.since = clock()
            try:
                await self._live()
                stream.fault = "the server ended it"
            except grpc.aio.AioRpcError as error:
                stream.fault = f"{error.code().name}: {(error.details() or '')[:_LONGEST_DETAIL]}"
            except (CannotDial, Unusable) as error:
                stream.fault = str(error)
            # A server that ends old streams, so that its replicas share them, is no failure.
            stream.failures = 1 if clock() - stream.since > _HEALTHY_AFTER_S else stream.failures + 1
            wait_s = delay_s(stream.failures, self._chance())
            log.warning("stream ended", fault=stream.fault, failures=stream.failures, again_in_s=round(wait_s, 1))
            await asyncio.sleep(wait_s)

    async def _live(self) -> None:
        self._requests = asyncio.Queue()
        for request in self._discovery.hello():
            self._requests.put_nowait(request)
        async with self._dial() as self._channel:
            call: Any = self._channel.stream_stream(
                METHOD, request_serializer=DeltaDiscoveryRequest.SerializeToString
            )()
            # A task of ours: gRPC would be closing a generator of requests while it still waits for the next one.
            writing = asyncio.ensure_future(self._write(call))
            try:
                while (octets := await call.read()) is not grpc.aio.EOF:
                    self._take(_decoded(octets))
                    if self._requests.qsize() > _MOST_UNREAD:
                        raise Unusable("the server reads no answers")
            finally:
                writing.cancel()
                await asyncio.wait({writing})

    async def _write(self, call: Any) -> None:
        """Until the stream ends, of which the reader says why."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await call.write(await self._requests.get())

    def settled(self, responses: int, types: Collection[str], failed: Mapping[Key, str]) -> None:
        """As `Discovery.settle`, said to the server."""
        for answer in self._discovery.settle(responses, types, failed):
            self._answer(answer)

    def tell(self, unserved: Iterable[str]) -> None:
        """Say which addresses the node should serve and does not, now and on each stream to come."""
        self._discovery.unserved = tuple(unserved)
        self._requests.put_nowait(self._discovery.describe())

    def _take(self, response: Any) -> None:
        stream = self.stream
        answer = self._discovery.receive(response)
        if stream.fault:
            log.info("stream answered", failures=stream.failures)
        stream.fault = ""
        stream.responses += 1
        if response.resources or response.removed_resources or answer.waits:
            self._changed()
        if not answer.waits:
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        stream, request = self.stream, answer.request
        now = asyncio.get_running_loop().time()
        if request.HasField("error_detail"):
            stream.refused_at, stream.refused = now, answer.refused
            log.warning("resources refused", type=request.type_url, detail=request.error_detail.message[:4096])
        elif request.response_nonce:
            stream.accepted_at = now
        self._requests.put_nowait(request)


def _decoded(octets: bytes) -> Any:
    """Ours to do: gRPC gives nothing for what it cannot decode.

    :raises Unusable: it is none, or a word of it is too long.
    """
    try:
        response = DeltaDiscoveryResponse.FromString(octets)
    except DecodeError:
        raise Unusable("the server sent what is no DeltaDiscoveryResponse") from None
    if max(len(response.nonce), len(response.type_url)) > _LONGEST_WORD:
        raise Unusable(f"the server sent a nonce or a type of more than {_LONGEST_WORD} characters")
    return response
