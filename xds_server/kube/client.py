"""Requests to one API server: HTTP, and nothing else.

Credentials, TLS and the connections are kubernetes-asyncio's; bodies are raw bytes, `decoded` by who asked for them.
Must not know kinds, sources or status.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from kubernetes_asyncio import client
from kubernetes_asyncio import config as kube_config
from kubernetes_asyncio.config.config_exception import ConfigException
from yaml import YAMLError

from xds_server.kube.renewal import Renewal

JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"

PLAIN: Final = "identity"
"""No compression: within a cluster it takes longer, there and here, than it saves on the way."""

MOST_CONNECTIONS: Final = 512
"""Twice what is watched at most: each watch keeps one, and a Lease must never wait for it."""

_CONNECT_S: Final = 10.0
_UNUSABLE: Final = (ConfigException, OSError, ValueError, KeyError, TypeError, AssertionError, RuntimeError, YAMLError)
"""What kubernetes-asyncio, plugins and files of credentials raise."""
_LONGEST_MESSAGE: Final = 1024

Configuration = Any
"""kubernetes-asyncio's: where the server is, and how to be believed there."""


T = TypeVar("T")


class ApiError(Exception):
    """The API server refused, or could not be asked (`status` 0).

    `reason` is that of the Status object ("Conflict", "Expired", "NotFound"), or the error's own name.
    `retry_after_s` is what the server asks for.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status, self.reason, self.message, self.retry_after_s = status, reason, message, retry_after_s


class CredentialsError(ValueError):
    """There is no usable kubeconfig or service account; the text says which was looked for."""


class _Status(msgspec.Struct):
    reason: str = ""
    message: str = ""


class Api:
    """One API server, with the connections to it."""

    def __init__(self, configuration: Configuration) -> None:
        self._client, self._configuration = client.ApiClient(configuration), configuration
        hook = configuration.refresh_api_key_hook
        self._renewal = hook if isinstance(hook, Renewal) else None
        self._generation = self._renewal.generation if self._renewal else 0
        self._retired: client.ApiClient | None = None
        self.host = str(configuration.host).rstrip("/")

    async def close(self) -> None:
        await self._client.close()
        if self._retired is not None:
            await self._retired.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_s: float = 30.0,
    ) -> bytes:
        """The body of the answer.

        :raises ApiError: any other status than 2xx, and whatever keeps the request from being answered.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        async with self._asked(method, path, params, body, content_type, timeout) as response:
            return await response.read()

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of an answer that does not end, as they come.

        :raises ApiError: as `request`, and when nothing came for `silence_s`.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silence_s)
        async with self._asked("GET", path, params, None, JSON, timeout) as response:
            yield _lines(response.content)

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: bytes | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Accept": JSON, "Accept-Encoding": PLAIN, "User-Agent": "tidegate"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            async with AsyncExitStack() as stack:
                for renewed in (False, True):
                    await self._believed(headers)
                    rest, generation = self._client.rest_client, self._generation
                    asked = rest.pool_manager.request(
                        method,
                        self.host + path,
                        params=params,
                        data=body,
                        headers=headers,
                        timeout=timeout,
                        proxy=rest.proxy,
                        server_hostname=rest.server_hostname,
                        allow_redirects=False,
                    )
                    response = await stack.enter_async_context(asked)
                    if response.status != 401 or renewed or not await self._renewed(headers, generation):
                        break
                    response.release()
                if not 200 <= response.status < 300:
                    raise _refusal(response, await response.content.read(1 << 16))
                yield response
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise ApiError(0, type(error).__name__, str(error)[:_LONGEST_MESSAGE] or "no answer in time") from error

    async def _believed(self, headers: dict[str, str]) -> None:
        """Set the token as it is now, and take connections that show the client certificate as it is now."""
        try:
            if self._renewal is not None:
                await self._renewal(self._configuration)  # without a token kubernetes-asyncio does not call it
                if self._renewal.generation != self._generation:
                    await self._reconnect(self._renewal.generation)
            await self._client.update_params_for_auth(headers, [], ["BearerToken"])
        except _UNUSABLE as error:
            raise _no_credentials(error) from error

    async def _reconnect(self, generation: int) -> None:
        """What is being answered goes on by its connection until the certificate after this one."""
        self._generation, before = generation, self._retired
        self._retired, self._client = self._client, client.ApiClient(self._configuration)
        if before is not None:
            await before.close()

    async def _renewed(self, headers: Mapping[str, str], generation: int) -> bool:
        """Whether there are other credentials than those that were refused."""
        if self._renewal is None:
            return False
        try:
            return await self._renewal.renew(self._configuration, headers.get("authorization", ""), generation)
        except _UNUSABLE as error:
            raise _no_credentials(error) from error


def _no_credentials(error: Exception) -> ApiError:
    text = str(error)[:_LONGEST_MESSAGE] or "no answer in time"
    return ApiError(0, type(error).__name__, f"the credentials cannot be renewed: {text}")


def decoded(body: bytes, type_: type[T]) -> T:
    """What an answer says.

    :raises ApiError: it is none: whatever is between here and the server may answer in its place.
    """
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.DecodeError as error:
        raise ApiError(0, "Unreadable", f"the answer cannot be read: {str(error)[:300]}") from None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; the last one counts only if it is whole."""
    parts: list[bytes] = []
    async for chunk, _ in content.iter_chunks():
        head, *more = chunk.split(b"\n")
        parts.append(head)
        for part in more:
            if line := b"".join(parts):
                yield line
            parts = [part]


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        status = _Status(message=body[:_LONGEST_MESSAGE].decode(errors="replace"))
    retry_after_s = None
    with suppress(ValueError):
        retry_after_s = float(response.headers.get("Retry-After", ""))
    return ApiError(
        response.status, status.reason or response.reason or "", status.message[:_LONGEST_MESSAGE], retry_after_s
    )


async def credentials(kubeconfig: Path | None = None, context: str | None = None) -> Configuration:
    """Of a kubeconfig file; without one those of the pod's service account, else of the user's kubeconfig.

    :raises CredentialsError: none can be used.
    """
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = MOST_CONNECTIONS
    try:
        if kubeconfig is None:
            with suppress(ConfigException):
                kube_config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
                return configuration
        named = None if kubeconfig is None else str(kubeconfig)
        renewal = Renewal(named, context)
        await renewal.load(configuration)
        configuration.refresh_api_key_hook = renewal
    except _UNUSABLE as error:
        where = kubeconfig or "the service account of a pod, or the kubeconfig of this user,"
        raise CredentialsError(f"{where} cannot be used: {str(error)[:512]}; name one by --kubeconfig") from None
    return configuration


async def backed_off(attempt: int, chance: float, longest_s: float = 30.0) -> None:
    """Wait before another attempt: half a second, doubled each time, and between half of it and all, by `chance`."""
    await asyncio.sleep(delay_s(attempt, chance, longest_s))


def delay_s(attempt: int, chance: float, longest_s: float = 30.0) -> float:
    """How long to wait before an attempt, the first being 0; `chance` is between 0 and 1."""
    return min(longest_s, 0.5 * 2.0 ** min(attempt, 16)) * (0.5 + chance / 2)
