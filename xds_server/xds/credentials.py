"""Where the server listens, and who may talk to it there.

A Unix socket belongs to its owner; TCP needs client certificates, or is loopback and said to be insecure.
Every method passes `Authenticated`, whatever it is, also those that are added later.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from xds_server.xds.identity import DEFAULT_TRUST_DOMAIN, NotAnIdentityError, Owner, Peer, identity
from xds_server.xds.lock import LockedError, locked

SOCKET_MODE: Final = 0o600
_LONGEST_SOCKET_PATH: Final = 107  # of sockaddr_un on Linux, without its terminating zero


class ListenError(ValueError):
    """The server may not, or cannot, listen as asked."""


@dataclass(frozen=True, slots=True)
class UnixSocket:
    path: Path


@dataclass(frozen=True, slots=True)
class MutualTls:
    """TCP for clients whose certificate is signed by one of `client_ca` and names an identity of the trust domain.

    The files are read again when they change.
    """

    host: str
    port: int
    certificate: Path
    key: Path
    client_ca: Path
    trust_domain: str = DEFAULT_TRUST_DOMAIN


@dataclass(frozen=True, slots=True)
class InsecureLoopback:
    """Plaintext without authentication, for one's own machine: anybody on it may read all secrets."""

    host: str
    port: int


Listen = UnixSocket | MutualTls | InsecureLoopback


@contextmanager
def bound(server: grpc.aio.Server, listen: Listen) -> Iterator[str]:
    """Listen once the server starts; gives the address that clients dial, which is nobody else's while the block runs.

    gRPC removes a socket that is in its way, and its own when it stops: it must not meet that of a running server.
    """
    if not isinstance(listen, UnixSocket):
        yield _bind_tcp(server, listen)
        return
    _check_socket(listen.path)
    lock = listen.path.with_name(f"{listen.path.name}.lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
        except LockedError as error:
            raise ListenError(f"{listen.path} is served by {error}: end that, or name another socket") from None
        except OSError as error:
            raise ListenError(f"cannot make {lock}: {error.strerror}; name a socket elsewhere") from error
        yield _bind_socket(server, listen.path)


def _bind_tcp(server: grpc.aio.Server, listen: MutualTls | InsecureLoopback) -> str:
    match listen:
        case MutualTls():
            port = add_port(server, listen.host, listen.port, server_credentials(*_files(listen)))
        case InsecureLoopback():
            if not _is_loopback(listen.host):
                raise ListenError(
                    f"{listen.host} is not a loopback address: without TLS the xDS port is for 127.0.0.0/8 and ::1; "
                    "give a certificate, key and client CA to listen elsewhere"
                )
            port = add_port(server, listen.host, listen.port, None)
    return _address(listen.host, port)


def _check_socket(path: Path) -> None:
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ListenError(f"{path} is longer than {_LONGEST_SOCKET_PATH} bytes, which is what a Unix socket may have")
    if not path.parent.is_dir():
        raise ListenError(f"{path.parent} is not a directory: create it, or name another socket")
    if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
        raise ListenError(f"{path} exists and is not a socket: remove it, or name another socket")


def _bind_socket(server: grpc.aio.Server, path: Path) -> str:
    # The mode is set as the socket appears: a chmod afterwards would leave a moment for others to connect.
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(before)
    return f"unix:{path}"


def add_port(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
    """Listen once the server starts; gives the port.

    :raises ListenError: the address cannot be had.
    """
    address = _address(host, port)
    try:
        bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
    if not bound:
        raise ListenError(f"cannot listen on {address}: the address is in use, or not of this machine")
    return bound


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may change its address later


def _files(listen: MutualTls) -> tuple[Path, Path, Path]:
    return listen.certificate, listen.key, listen.client_ca


def server_credentials(certificate: Path, key: Path, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """Of files that are read again when they change; clients show certificates of `client_ca`, or none.

    :raises ListenError: they cannot be used.
    """
    return _CertificateFiles(certificate, key, client_ca).credentials()


class _CertificateFiles:
    """The files as gRPC configurations: a new one after each change that leaves them valid."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._seen = self._stamps()

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            self._changed,  # type: ignore[arg-type]  # the stub does not know that None is "no change"
            require_client_authentication=self._client_ca is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC at each handshake; None keeps what it has."""
        stamps = self._stamps()
        if stamps == self._seen:
            return None
        try:
            configuration = self._configuration()
        except ListenError:
            return None  # half written: the certificate that works stays, and the next handshake looks again
        self._seen = stamps
        return configuration

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        try:
            key, chain = self._key.read_bytes(), self._certificate.read_bytes()
            client_ca = self._client_ca.read_bytes() if self._client_ca else None
            check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            check.load_cert_chain(self._certificate, self._key, password="")
            if self._client_ca:
                check.load_verify_locations(self._client_ca)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ListenError(
                f"certificate {self._certificate}, key {self._key} or client CA {self._client_ca or '(none)'} "
                f"cannot be used: {type(error).__name__}: {getattr(error, 'strerror', None) or 'not a matching pair'}"
            ) from error
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca)

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        stamps = []
        for path in filter(None, (self._certificate, self._key, self._client_ca)):
            try:
                status = path.stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(stamps)


class StrangerError(PermissionError):
    """The call is not from somebody who may talk on this address."""


def peer_of(listen: Listen, context: Any) -> Peer:
    """Who makes a call.

    :raises StrangerError: nobody who may talk here.
    """
    return peer(listen, context.peer(), context.auth_context())


def peer(listen: Listen, address: str, auth: Mapping[str, Sequence[bytes]]) -> Peer:
    """Who makes a call that came from an address, by what the transport says of it.

    :raises StrangerError: nobody who may talk here.
    """
    match listen:
        case UnixSocket() if address.startswith("unix:"):
            return Owner()
        case InsecureLoopback() if address.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D")):
            return Owner()
        case MutualTls() if b"ssl" in auth.get("transport_security_type", ()):
            for pem in auth.get("x509_pem_cert", ()):
                try:
                    return identity(pem, listen.trust_domain)
                except NotAnIdentityError as error:
                    raise StrangerError(str(error)) from None
    raise StrangerError("a client certificate that this server trusts is required")


Permits = Callable[[str, Peer], bool]
"""Whether a method ("/service/method") is for somebody."""


class Authenticated(grpc.aio.ServerInterceptor):
    """Lets no call pass whose peer is not who may talk on this address, nor to a method that is not for that peer."""

    def __init__(self, listen: Listen, permits: Permits, on_refused: Callable[[grpc.StatusCode], None]) -> None:
        self._listen, self._permits, self._on_refused = listen, permits, on_refused

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None  # unknown method: refused by gRPC
        method = handler_call_details.method
        if handler.response_streaming:
            guarded: Any = self._stream(method, handler.stream_stream or handler.unary_stream)
            make: Any = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            guarded = self._unary(method, handler.stream_unary or handler.unary_unary)
            make = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            guarded, handler.request_deserializer, handler.response_serializer
        )
        return wrapped

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            await self._check(method, context)
            return await behaviour(request, context)

        return guarded

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await self._check(method, context)
            answer = behaviour(request, context)
            if not hasattr(answer, "__aiter__"):
                await answer
                return
            async for response in answer:
                await context.write(response)

        return guarded

    async def _check(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        try:
            found = peer_of(self._listen, context)
        except StrangerError as error:
            code, text = grpc.StatusCode.UNAUTHENTICATED, str(error)
        else:
            if self._permits(method, found):
                return
            role, name = type(found).__name__.lower(), getattr(found, "name", "")
            code, text = grpc.StatusCode.PERMISSION_DENIED, f"{method} is not for the {role} {name}"
        self._on_refused(code)
        await context.abort(code, text)
