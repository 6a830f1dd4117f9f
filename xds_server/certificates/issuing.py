"""The service that signs the certificates of node proxies; on a port of its own, for its callers have none yet.

A caller proves by a token of its pod on which node it runs, and gets a certificate for that node and no other.
Whatever cannot be verified is refused: also when the API server, which knows tokens, does not answer.
Anybody may dial, and keeps nobody out who says nothing: a place is for a call whose token and message are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from xds_server.certificates.authority import CertificateError, Pair, fits, sign_request
from xds_server.certificates.token_review import PATH, RefusedError, bound, review
from xds_server.kube.client import Api, ApiError
from xds_server.proto.tidegate.identity.v1 import identity_pb2
from xds_server.xds.credentials import add_port, server_credentials
from xds_server.xds.identity import Node, uri

SERVICE: Final = "tidegate.identity.v1.Identity"
METHOD: Final = f"/{SERVICE}/SignNode"
ACCOUNT: Final = "tidegate-proxy"

_LONGEST_MESSAGE: Final = 16_384
_LONGEST_TOKEN: Final = 16_384
_LONGEST_NAME: Final = 256
_CALLS: Final = 32
_CALLS_OF_A_CONNECTION: Final = 4
_MUTE_CALLS: Final = 512  # with one more, the one that has been mute for the longest is ended
_MESSAGE_S: Final = 5.0
_AGE_MS: Final = 60_000
_GRACE_MS: Final = 15_000  # longer than a review
_REVIEW_S: Final = 10.0
_STOP_S: Final = 1.0

log = structlog.get_logger("identity")


@dataclass(frozen=True, slots=True)
class IssuerOptions:
    """`authority` has tls.crt and tls.key; `certificate` and `key` are the server's own. All are read when used."""

    host: str
    port: int
    certificate: Path
    key: Path
    authority: Path
    namespace: str
    trust_domain: str
    account: str = ACCOUNT


@asynccontextmanager
async def issuing(api: Api, options: IssuerOptions) -> AsyncIterator[int]:
    """Serve while the block runs; gives the port.

    :raises ListenError: the address, or the server's certificate, cannot be used.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
            ("grpc.max_metadata_size", 2 * _LONGEST_TOKEN),
            ("grpc.max_concurrent_streams", _CALLS_OF_A_CONNECTION),
            ("grpc.max_connection_age_ms", _AGE_MS),
            ("grpc.max_connection_age_grace_ms", _GRACE_MS),
            ("grpc.max_connection_idle_ms", 10_000),
        ],
    )
    # On the wire a stream of one message is a unary call; it is one that has a time to say something.
    method: Any = grpc.stream_stream_rpc_method_handler(_Issuer(api, options).sign)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"SignNode": method}),))
    port = add_port(server, options.host, options.port, server_credentials(options.certificate, options.key))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(_STOP_S)


class _Refusal(Exception):
    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Issuer:
    def __init__(self, api: Api, options: IssuerOptions) -> None:
        self._api, self._options = api, options
        self._mute: dict[asyncio.Future[Any], None] = {}
        self._calls = 0

    async def sign(self, _: Any, context: Any) -> None:
        try:
            token = _bearer(context.invocation_metadata() or ())
            request = await self._received(context)
            answer = await self._placed(request, token)
        except _Refusal as refusal:
            log.warning("certificate refused", peer=context.peer(), reason=str(refusal))
            await context.abort(refusal.code, str(refusal))
        else:
            await context.write(answer.SerializeToString())

    async def _received(self, context: Any) -> Any:
        """The message; who sends none is not waited for."""
        reading = asyncio.ensure_future(context.read())
        self._mute[reading] = None
        try:
            if len(self._mute) > _MUTE_CALLS:
                next(iter(self._mute)).cancel()
            await asyncio.wait({reading}, timeout=_MESSAGE_S)
        finally:
            del self._mute[reading]
            answered = not reading.cancel() and not reading.cancelled()
        if not answered:
            raise _Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message came in {_MESSAGE_S:g} s: send a request")
        message = reading.result()
        if message is grpc.aio.EOF:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message: send a request")
        try:
            return identity_pb2.SignNodeRequest.FromString(message)
        except DecodeError:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "the message is not a request for a node") from None

    async def _placed(self, request: Any, token: str) -> Any:
        if self._calls >= _CALLS:
            raise _Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_CALLS} requests are looked at: try again")
        self._calls += 1
        try:
            return await self._signed(request, token)
        finally:
            self._calls -= 1

    async def _signed(self, request: Any, token: str) -> Any:
        options = self._options
        try:
            answer = await self._reviewed(token)
            who = bound(answer, options.namespace, options.account)
        except RefusedError as error:
            raise _Refusal(grpc.StatusCode.UNAUTHENTICATED, str(error)) from None
        if request.node != who.node:
            raise _Refusal(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the token is of a pod on {who.node!r}, and the request for {request.node[:_LONGEST_NAME]!r}: "
                "a proxy gets the certificate of its own node",
            )
        try:
            authority = self._authority()
        except (OSError, CertificateError):
            text = f"the authority in {options.authority} cannot be used: run `tidegate certificates`"
            raise _Refusal(grpc.StatusCode.UNAVAILABLE, text) from None
        identity = uri(options.trust_domain, Node(who.node))
        try:
            certificate = sign_request(authority, request.certificate_request, identity, datetime.now(UTC))
        except CertificateError as error:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        log.info("certificate signed", node=who.node, pod=who.pod[:_LONGEST_NAME])
        return identity_pb2.SignNodeResponse(certificate=certificate)

    async def _reviewed(self, token: str) -> bytes:
        try:
            return await self._api.request("POST", PATH, body=review(token), timeout_s=_REVIEW_S)
        except ApiError as error:
            # Its message may be about what we may not do: for our log, and not for a caller who has proved nothing.
            log.warning("token not reviewed", status=error.status, reason=error.reason, message=error.message)
            raise _Refusal(grpc.StatusCode.UNAVAILABLE, "the API server did not review the token: try again") from None

    def _authority(self) -> Pair:
        folder = self._options.authority
        pair = Pair((folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes())
        if not fits(pair):
            raise CertificateError("tls.key is not that of tls.crt")
        return pair


def _bearer(metadata: Any) -> str:
    try:
        return _token(metadata)
    except RefusedError as error:
        raise _Refusal(grpc.StatusCode.UNAUTHENTICATED, str(error)) from None


def _token(metadata: Any) -> str:
    found = [value for key, value in metadata if key == "authorization"]
    if len(found) != 1 or not isinstance(found[0], str):
        raise RefusedError("the call has no token: send one as `authorization: Bearer TOKEN`")
    scheme, _, token = found[0].partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= _LONGEST_TOKEN or not token.isascii() or " " in token:
        raise RefusedError("the call has no usable token: send one as `authorization: Bearer TOKEN`")
    return token


class SignError(Exception):
    """No certificate came; the text says from where, and why."""


Signer = Callable[[bytes], Awaitable[bytes]]
"""A certificate for a request; raises `SignError`."""


def remote_signer(address: str, server_name: str, authority: Path, token: Path, node: str) -> Signer:
    """Asks the service; files are read at each call, for they are replaced while we run."""

    def read() -> tuple[bytes, str]:
        try:
            trusted, bearer = authority.read_bytes(), token.read_text().strip()
        except OSError as error:
            raise SignError(f"{authority} or {token} cannot be read: {error}") from None
        except UnicodeDecodeError:
            bearer = ""
        if not bearer or not bearer.isascii() or not bearer.isprintable() or " " in bearer:
            raise SignError(f"{token} holds no token: mount one of a service account there")
        return trusted, bearer

    async def signed(request: bytes) -> bytes:
        trusted, bearer = read()
        try:
            return await called(request, trusted, bearer)
        except grpc.aio.AioRpcError as error:
            raise SignError(f"{address}: {error.code().name}: {(error.details() or '')[:1024]}") from None

    async def called(request: bytes, trusted: bytes, bearer: str) -> bytes:
        trust = grpc.ssl_channel_credentials(trusted)
        options = [("grpc.ssl_target_name_override", server_name), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(address, trust, options=options) as channel:
            sign: Any = channel.unary_unary(
                METHOD, identity_pb2.SignNodeRequest.SerializeToString, identity_pb2.SignNodeResponse.FromString
            )
            answer = await sign(
                identity_pb2.SignNodeRequest(node=node, certificate_request=request),
                metadata=(("authorization", f"Bearer {bearer}"),),
                timeout=30.0,
            )
            return bytes(answer.certificate)

    return signed
