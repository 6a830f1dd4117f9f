"""Requests replayed: drawn at random, sent to a real Envoy, and compared with what explain says of them."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from xds_server.explain.request import Request
from xds_server.explain.result import Result
from xds_server.translation import names

CLIENT = "127.0.0.1"
HOSTS = ("a.test", "b.a.test", "c.b.a.test", "x-y.test", "y.test", "shop.io", "a.org", "deep.y-x.test")
HEADERS = (
    *(("x-a", "one"), ("x-a", "two"), ("x-a", "ONE"), ("x-b", "two"), ("x-b", ""), ("X-B", "One")),
    *(("x-n", "-5"), ("x-n", "9"), ("x-n", "10"), ("x-n", "nine"), ("x-n", "+3")),
    *(("content-type", "application/grpc"), ("content-type", "application/grpc+proto"), ("content-type", "text/plain")),
    *(("x-envoy-retry-on", "5xx"), ("x-forwarded-proto", "https"), ("x_a", "one")),
    *(("accept", "a"), ("accept", "b")),
)
SEGMENTS = ("a", "a", "a", "b", "b", "A", "c", "7", "42", "x.y", "")
ODD_SEGMENTS = (
    *("..", ".", "%2e%2E", "..;x", ".;", "a;p=1", "a%2fb", "a%5Cb", "a\\b", "a b", "a%20b"),
    *("%61", "%zz", "a|b", "%00"),
)
QUERIES = (
    *("", "", "", "?", "?q=one", "?q=1&r=two", "?r=a%20b&q=2&q=one", "?q", "?a%20b=1"),
    "?x=/../y&q=one",
)

# What is answered before the router runs has no reliable mark of its route; preflights have none.
EARLY = ("CORS preflight", "RBAC refuses", "does not upgrade", "the path ")


# Drawing


def random_request(rng: random.Random, url: str, hosts: tuple[str, ...] = HOSTS) -> Request:
    """A request to the scheme and authority of `url`, for a host of `hosts`."""
    method = rng.choice(("GET",) * 12 + ("POST",) * 4 + ("OPTIONS",) * 3 + ("PATCH", "HEAD", "FOO"))
    headers = [("Host", random_host(rng, url, hosts)), *rng.sample(HEADERS, rng.choice((0, 0, 1, 1, 2, 3)))]
    if method == "OPTIONS":
        headers += [("Origin", rng.choice(("https://good.test", "https://a.good.test", "https://bad.test")))]
        headers += [("Access-Control-Request-Method", rng.choice(("PUT", "POST")))] * rng.randrange(2)
    if rng.random() < 0.06:
        headers += [("Connection", "Upgrade"), ("Upgrade", rng.choice(("websocket", "other")))]
    return Request(method, f"{url}{random_path(rng)}", tuple(headers), CLIENT)


def random_host(rng: random.Random, url: str, hosts: tuple[str, ...]) -> str:
    host = rng.choice(hosts)
    host = rng.choice((host, host, host, host.upper(), f"{host}."))
    return host + rng.choice(("", "", "", f":{url.rpartition(':')[2]}", ":80", ":443", ":8080"))


def random_path(rng: random.Random) -> str:
    odd = rng.random() < 0.2
    segments = [rng.choice(SEGMENTS + ODD_SEGMENTS if odd else SEGMENTS) for _ in range(rng.choice((0, 1, 2, 2, 3, 4)))]
    return "/" + "/".join(segments) + rng.choice(QUERIES)


# Sending


@dataclass(frozen=True, slots=True)
class Seen:
    status: int
    headers: dict[str, str]


def exchange(port: int, request: Request) -> Seen:
    """One request to a port of this machine, over a connection of its own, sent as it is written."""
    scheme, _, rest = request.url.partition("://")
    authority, _, path = rest.partition("/")
    lines = [f"{request.method} /{path} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((CLIENT, port), timeout=30))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "https":
            connection = stack.enter_context(over_tls(connection, authority.partition(":")[0]))
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        return head(connection)


def over_tls(connection: socket.socket, host: str) -> ssl.SSLSocket:
    return strange_tls().wrap_socket(connection, server_hostname=host)


def strange_tls() -> ssl.SSLContext:
    """TLS with whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def client_hello(host: str) -> bytes:
    """The first bytes of a TLS connection that asks for a host."""
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = strange_tls().wrap_bio(received, sent, server_hostname=host)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake ended before it began")


def first_bytes(port: int, sent: bytes) -> bytes:
    """What is answered to some bytes, empty when the connection is closed."""
    with socket.create_connection((CLIENT, port), timeout=30) as connection:
        connection.sendall(sent)
        try:
            return connection.recv(65536)
        except ConnectionResetError:
            return b""


def head(connection: socket.socket) -> Seen:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            break
        received += part
    first, *lines = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    named = (line.partition(":") for line in lines)
    return Seen(int(first.split(" ")[1]), {name: value.strip() for name, _, value in named})


# Answering


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Its port; `answer` serves one connection."""
    listening = socket.create_server((CLIENT, 0))

    def serve_one(connection: socket.socket) -> None:
        with connection:
            answer(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=serve)
    accepting.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listening.close()


def echo(name: str) -> Callable[[socket.socket], None]:
    """A backend that says who it is and what it was asked."""

    def answer(connection: socket.socket) -> None:
        received = b""
        while part := connection.recv(65536):
            received += part
            while b"\r\n\r\n" in received:
                asked, _, received = received.partition(b"\r\n\r\n")
                connection.sendall(reply(asked.decode("latin-1")))

    def reply(asked: str) -> bytes:
        first, *lines = asked.split("\r\n")
        headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
        said = [f"x-backend: {name}", f"x-path: {first.split(' ')[1]}", f"x-host: {headers['host']}"]
        if headers.get("upgrade") == "websocket":
            lines = ["HTTP/1.1 101 Switching Protocols", *said, "connection: upgrade", "upgrade: websocket"]
        else:
            lines = ["HTTP/1.1 200 OK", *said, "content-length: 0"]
        return "\r\n".join((*lines, "", "")).encode()

    return answer


def name_itself(name: str) -> Callable[[socket.socket], None]:
    """A backend of bytes that says who it is as soon as anybody says anything."""

    def answer(connection: socket.socket) -> None:
        if connection.recv(65536):
            connection.sendall(name.encode())

    return answer


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((CLIENT, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


# Comparing


def difference(explained: Result, seen: Seen) -> str:
    """Empty, or in what the two differ. A request whose fate chance decides may have any of its fates."""
    fates = [_difference(each, seen) for each in explained.alternatives or (explained,)]
    return "" if "" in fates else "; or ".join(fates)


def _difference(explained: Result, seen: Seen) -> str:
    pairs: dict[str, tuple[object, object]] = {"location": (explained.location, seen.headers.get("location", ""))}
    if explained.status is None:
        clusters = [each.cluster for each in explained.backends if each.endpoints]
        chosen = seen.headers.get("x-backend")
        pairs["cluster"] = (chosen if chosen in clusters else clusters, chosen)
        for what in ("path", "host"):
            rewrites = [each for each in explained.filters if each.startswith(f"rewrite {what} ")]
            rewrites += [each for each in explained.filters if each.startswith(f"share {chosen}: rewrite {what} ")]
            if rewrites:
                pairs[what] = (rewrites[-1].rpartition(" -> ")[2], seen.headers.get(f"x-{what}"))
    elif explained.grpc_status is not None:
        pairs["gRPC status"] = ((200, str(explained.grpc_status)), (seen.status, seen.headers.get("grpc-status")))
    else:
        pairs["status"] = (explained.status, seen.status)
    if not any(word in explained.reason for word in EARLY) and "header origin" not in explained.match:
        pairs["route"] = (names.route(explained.route) if explained.route else "", seen.headers.get("x-route", ""))
    return ", ".join(f"{what}: {said!r} but {did!r}" for what, (said, did) in pairs.items() if said != did)
