"""Requests as a user's tools make them: to an address, with the Host and the server name that the step names."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

TIMEOUT = aiohttp.ClientTimeout(total=5)
CLIENT_ADDRESS = "127.90.1.1"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)
    """What a backend of the demo said; empty when the gateway answered itself."""

    def __str__(self) -> str:
        return f"{self.status} {self.body.get('service', 'from Envoy')}"

    @property
    def pod(self) -> str:
        return str(self.body.get("pod", ""))


class Fixed(AbstractResolver):
    """Every name is at one address: what `curl --resolve` does."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  (the signature is aiohttp's)
    ) -> list[ResolveResult]:
        own = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        flags = socket.AI_NUMERICHOST
        return [ResolveResult(hostname=host, host=self._address, port=port, family=own, proto=0, flags=flags)]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def session(
    address: str, trusted: ssl.SSLContext, source: str = CLIENT_ADDRESS
) -> AsyncIterator[aiohttp.ClientSession]:
    """`source` is the client's address, not the gateway's own: so X-Forwarded-For shows whose it is."""
    connector = aiohttp.TCPConnector(resolver=Fixed(address), local_addr=(source, 0), ssl=trusted)
    async with aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, raise_for_status=False) as opened:
        yield opened


async def get(
    opened: aiohttp.ClientSession,
    url: str,
    headers: Mapping[str, str],
) -> Answer:
    """One GET of the URL exactly as written, its redirects not followed.

    :raises OSError: there was no answer.
    """
    try:
        async with opened.get(URL(url, encoded=True), headers=headers, allow_redirects=False) as response:
            is_json = response.content_type == "application/json"
            body = await response.json() if is_json else {}
            seen = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, seen, body)
    except aiohttp.ClientError as fault:
        raise OSError(str(fault)) from fault


async def certificate(address: str, port: int, name: str, trusted: ssl.SSLContext) -> str:
    """The organisation that the presented certificate names, verified by the demo's CA.

    :raises OSError: no TLS session, or a certificate that is not valid for the name.
    """
    _, writer = await asyncio.open_connection(address, port, ssl=trusted, server_hostname=name)
    try:
        subject = writer.get_extra_info("peercert")["subject"]
    finally:
        writer.close()
    return str(dict(pair for part in subject for pair in part)["organizationName"])
