"""Tells the replica that leads what the Envoys of this one say: all of it, and then what changes.

While it is not known who leads, or nobody listens, nothing is kept but which Envoys there are.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import structlog
from cryptography import x509

from xds_server.kube.client import delay_s
from xds_server.model.delivery import NodeRef
from xds_server.relay import message
from xds_server.relay.listening import METHOD
from xds_server.relay.words import Outbox, Said, Words

GATHER_S: Final = 0.1
"""At most one request in this time, the first at once: as the controller gathers changes before a commit."""
_LONGEST_WAIT_S: Final = 5.0
_ANSWER_S: Final = 10.0
_KEEPALIVE_MS: Final = 10_000
_LONGEST_ANSWER: Final = 64 * 1024 * 1024  # a batch of the longest names and details, in characters of four bytes

log = structlog.get_logger("relay")


class Speech(Protocol):
    """Whose Envoys they are: the controller."""

    def connected_here(self) -> list[NodeRef]: ...
    def words(self, of: NodeRef) -> Words | None: ...
    def carry(self, of: NodeRef, known: Words) -> None: ...
    def handed_over(self, of: NodeRef) -> None: ...


@dataclass(frozen=True, slots=True)
class Files:
    """The server's own certificate, which is a client's too, and who signs those of other replicas."""

    certificate: Path
    key: Path
    authority: Path

    def channel(self, address: str) -> grpc.aio.Channel:
        """The other end must have a certificate for the name that ours is for: replicas share it, nobody else has it.

        :raises OSError: a file cannot be read.
        :raises ValueError: the certificate is none, or has no DNS name.
        """
        chain = self.certificate.read_bytes()
        credentials = grpc.ssl_channel_credentials(self.authority.read_bytes(), self.key.read_bytes(), chain)
        options = [
            ("grpc.ssl_target_name_override", _dns_name(chain)),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", _LONGEST_ANSWER),
        ]
        return grpc.aio.secure_channel(address, credentials, options=options)


def _dns_name(chain: bytes) -> str:
    extensions = x509.load_pem_x509_certificate(chain).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("the certificate has no subject alternative names") from None
    found = names.get_values_for_type(x509.DNSName)
    if not found:
        raise ValueError("the certificate has no DNS name")
    return found[0]


class _EndedError(Exception):
    """The other end listens no more; the text says why."""


class Telling:
    """`follow` says whom to tell; `touch` which Envoys have something new."""

    def __init__(self, speech: Speech, files: Files, chance: Callable[[], float] = random.random) -> None:
        self._speech, self._files, self._chance = speech, files, chance
        self._address = ""
        self._moved, self._news = asyncio.Event(), asyncio.Event()
        self._outbox: Outbox | None = None
        self.told = 0
        self.up_to_date = asyncio.Event()

    @property
    def address(self) -> str:
        """Of who is told, "" for nobody."""
        return self._address

    def follow(self, address: str) -> None:
        """Tell that one, "" for nobody: this one leads, or nobody does that can be dialled."""
        if address != self._address:
            self._address = address
            self._moved.set()

    def touch(self, envoys: Iterable[NodeRef]) -> None:
        """Of these there may be something new to tell."""
        if self._outbox is None:
            return
        for envoy in envoys:
            self._outbox.touch(envoy)
        if len(self._outbox):
            self.up_to_date.clear()
            self._news.set()

    async def run(self) -> None:
        """Tell whoever is to be told, until cancelled."""
        attempt = 0
        while True:
            self._moved.clear()
            address = self._address
            moved = asyncio.ensure_future(self._moved.wait())
            telling = asyncio.ensure_future(self._told(address)) if address else None
            try:
                await asyncio.wait({moved, telling} if telling else {moved}, return_when=asyncio.FIRST_COMPLETED)
                if telling is not None and telling.done():
                    attempt = 0 if telling.result() else attempt + 1
                    await asyncio.wait({moved}, timeout=delay_s(attempt, self._chance(), _LONGEST_WAIT_S))
                else:
                    attempt = 0
            finally:
                ending = [task for task in (moved, telling) if task is not None]
                for task in ending:
                    task.cancel()
                await asyncio.wait(ending)

    async def _told(self, address: str) -> bool:
        """Tell until that ends; whether anything was heard."""
        before = self.told
        try:
            async with self._files.channel(address) as channel:
                await self._tell(channel)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError, _EndedError) as error:
            reason = error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
            log.info("leader hears nothing", address=address, reason=reason[:256])
        except (OSError, ValueError) as error:
            log.warning("leader not dialled", address=address, error=f"{type(error).__name__}: {error}"[:256])
        except Exception:  # a defect of ours is not to end the control plane, which serves on
            log.exception("not told", address=address)
        finally:
            self._outbox = None
            self.up_to_date.clear()
        return self.told > before

    async def _tell(self, channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(METHOD)()
        ended = asyncio.ensure_future(call.code())
        outbox = self._outbox = Outbox(self._speech.connected_here(), self._speech.words)
        try:
            while True:
                self._news.clear()
                said = outbox.take()
                if said:
                    await call.write(message.request(said))
                    await self._answer(call, outbox)
                    for each in said:
                        if each.gone:
                            self._speech.handed_over(each.envoy)
                    self.told += len(said)
                if len(outbox):
                    await asyncio.sleep(0)
                    continue
                self.up_to_date.set()
                await self._something(ended)
        finally:
            ended.cancel()
            call.cancel()

    async def _answer(self, call: Any, outbox: Outbox) -> None:
        """Take what the other end knew besides, until that is nothing; it is not told more than it has taken."""
        while carried := await self._carried(call):
            for known in carried:
                if outbox.carry(known):
                    self._speech.carry(known.envoy, known.words)

    async def _carried(self, call: Any) -> list[Said]:
        async with asyncio.timeout(_ANSWER_S):
            raw = await call.read()
        if raw is grpc.aio.EOF:
            raise _EndedError(f"{(await call.code()).name}: {await call.details()}")
        return message.read_response(raw)

    async def _something(self, ended: asyncio.Future[Any]) -> None:
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({news, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if ended.done():
            raise _EndedError(f"it ended the call: {ended.result()}")
        await asyncio.sleep(GATHER_S)
