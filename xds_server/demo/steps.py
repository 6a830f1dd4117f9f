"""What the walk-through asks, and what must be seen: one row a request, named as in the list of what must work."""

from __future__ import annotations

import operator
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from xds_server.demo import client, echo

SHARED = "Ingress/default/basic-ingress"
DEDICATED = "Ingress/default/dedicated-ingress"
FOREIGN = "Ingress/default/nginx-ingress"
PATH_TYPES = "Ingress/default/multiple-path-types"
GATEWAY = "Gateway/default/my-gateway"
TLS_GATEWAY = "Gateway/default/tls-gateway"
PASSTHROUGH = "Gateway/default/passthrough-gateway"

# Where each is reached; who starts the walk-through waits until all of them listen.
DOORS = ((SHARED, 80), (DEDICATED, 80), (GATEWAY, 80), (TLS_GATEWAY, 443), (PASSTHROUGH, 443))

DRAWS = 400
# Five standard deviations of 400 draws at one half: less often than once in a million runs.
TOLERANCE = 13


@dataclass(frozen=True, slots=True)
class World:
    """What the requests are sent to."""

    address_of: Callable[[str], str | None]
    """The address of `Gateway/default/web` or `Ingress/default/web`; None when it is not served."""
    port_offset: int
    directory: Path
    """The manifests that are served; the steps of `edits` rewrite them."""
    trusted: ssl.SSLContext
    source: str = client.CLIENT_ADDRESS
    """Where the requests come from."""

    def address(self, parent: str) -> str:
        address = self.address_of(parent)
        if address is None:
            raise LookupError(f"{parent} has no address")
        return address

    def port(self, port: int) -> int:
        return port + self.port_offset


Show = Callable[[client.Answer, World], str]
Run = Callable[[World], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    asked: str
    at: str
    expected: str
    run: Run
    agrees: Callable[[str, str], bool] = field(default=operator.eq)


def plainly(answer: client.Answer, _: World) -> str:
    return str(answer)


def get(
    name: str,
    parent: str,
    url: str,
    expected: str,
    *,
    headers: Mapping[str, str] | None = None,
    show: Show = plainly,
) -> Step:
    """One GET: the URL's host is the Host header and the server name, the parent's address is where it is sent."""
    said = "".join(f" -H '{key}: {value}'" for key, value in (headers or {}).items())
    return Step(name, f"GET {url}{said}", parent, expected, fetched(parent, url, headers or {}, show))


def fetched(
    parent: str,
    url: str,
    headers: Mapping[str, str],
    show: Show = plainly,
) -> Run:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")

    async def run(world: World) -> str:
        port = world.port(443 if scheme == "https" else 80)
        async with client.session(world.address(parent), world.trusted, world.source) as opened:
            answer = await client.get(opened, f"{scheme}://{host}:{port}{slash}{path}", {"Host": host, **headers})
            return show(answer, world)

    return run


def envoys_headers(answer: client.Answer, world: World) -> str:
    took = answer.headers.get("x-envoy-upstream-service-time", "")
    whom = answer.body.get("headers", {}).get("x-forwarded-for")
    return ", ".join(
        (
            f"server: {answer.headers.get('server')}",
            f"upstream service time: {'in ms' if took.isdigit() else took or 'missing'}",
            f"X-Forwarded-For: {'the client' if whom == world.source else whom}",
        ),
    )


def presented(parent: str, host: str) -> Run:
    async def run(world: World) -> str:
        try:
            return await client.certificate(world.address(parent), world.port(443), host, world.trusted)
        except (ssl.SSLError, ConnectionError):
            return "no TLS session"

    return run


def whose(parent: str) -> Run:
    """Whether an Ingress is at the shared address."""

    async def run(world: World) -> str:
        return "the shared one" if world.address(parent) == world.address(SHARED) else "its own"

    return run


async def foreign_address(world: World) -> str:
    return world.address_of(FOREIGN) or "none"


def said(method: str) -> Run:
    async def run(world: World) -> str:
        target = f"{world.address(GATEWAY)}:{world.port(80)}"
        try:
            reply = await echo.say(target, "grpc.example.com", method, "hello")
        except grpc.aio.AioRpcError as status:
            return str(status.code().name)
        return f"{reply.service} heard {reply.message}"

    return run


async def websocket(world: World) -> str:
    host = "websocket.example.com"
    url = f"http://{host}:{world.port(80)}/"
    async with (
        client.session(world.address(GATEWAY), world.trusted, world.source) as opened,
        opened.ws_connect(url, headers={"Host": host}) as socket,
    ):
        await socket.send_str("hello")
        return await socket.receive_str(timeout=5)


async def shares(world: World) -> str:
    host = "reviews.example.com"
    url = f"http://{host}:{world.port(80)}/reviews/1"
    async with client.session(world.address(GATEWAY), world.trusted, world.source) as opened:
        pods = Counter([(await client.get(opened, url, {"Host": host})).pod for _ in range(DRAWS)])
    return ", ".join(f"{pod} {100 * pods[pod] // DRAWS} %" for pod in sorted(pods))


def near(expected: str, seen: str) -> bool:
    """The same names, each with a share that chance explains."""

    def parts(text: str) -> dict[str, int]:
        return {pod: int(share) for pod, share in re.findall(r"(\S+) (\d+) %", text)}

    wanted, found = parts(expected), parts(seen)
    return wanted.keys() == found.keys() and all(abs(wanted[pod] - found[pod]) <= TOLERANCE for pod in wanted)


BOOKINFO = "http://bookinfo.example.com"
PATHS = "http://pathtypes.example.com"
PLAIN = "http://gateway.example.com"

STEPS: tuple[Step, ...] = (
    get("W2", SHARED, f"{BOOKINFO}/", "200 productpage"),
    get("W2", SHARED, f"{BOOKINFO}/details/1", "200 details"),
    get("W2", SHARED, f"{BOOKINFO}/ratings", "404 productpage"),
    get(
        "W3",
        SHARED,
        f"{BOOKINFO}/details/1",
        "server: envoy, upstream service time: in ms, X-Forwarded-For: the client",
        show=envoys_headers,
    ),
    get("W5", DEDICATED, "http://dedicated.example.com/", "200 webpod"),
    Step("W5", "its address", DEDICATED, "its own", whose(DEDICATED)),
    get("W5", SHARED, "http://dedicated.example.com/", "200 productpage"),
    Step("W6", "its address", FOREIGN, "none", foreign_address),
    get("W6", SHARED, "http://left-to-nginx.example.com/", "200 productpage"),
    Step("W4", "its address", PATH_TYPES, "the shared one", whose(PATH_TYPES)),
    get("W9", PATH_TYPES, f"{PATHS}/exact", "200 exactpath"),
    get("W9", PATH_TYPES, f"{PATHS}/exact/more", "200 prefixpath"),
    get("W9", PATH_TYPES, f"{PATHS}/prefix", "200 prefixpath2"),
    get("W9", PATH_TYPES, f"{PATHS}/prefix/more", "200 prefixpath2"),
    get("W9", PATH_TYPES, f"{PATHS}/prefixed", "200 prefixpath"),
    get("W9", PATH_TYPES, f"{PATHS}/impl", "200 implpath"),
    get("W9", PATH_TYPES, f"{PATHS}/implementation", "200 implpath2"),
    get("W9", PATH_TYPES, f"{PATHS}/", "200 prefixpath"),
    get("W10", GATEWAY, f"{PLAIN}/details/1", "200 details"),
    get("W10", GATEWAY, f"{PLAIN}/", "404 from Envoy"),
    get("W10", GATEWAY, f"{PLAIN}/?great=example", "200 productpage", headers={"magic": "foo"}),
    Step("W11", "the certificate for webpod.cilium.rocks", TLS_GATEWAY, "tls-gateway",
         presented(TLS_GATEWAY, "webpod.cilium.rocks")),
    get("W11", TLS_GATEWAY, "https://bookinfo.cilium.rocks/details/1", "200 details"),
    get("W11", TLS_GATEWAY, "https://bookinfo.cilium.rocks/", "404 from Envoy"),
    get("W11", TLS_GATEWAY, "https://webpod.cilium.rocks/", "200 webpod"),
    get("W11", TLS_GATEWAY, "https://bookinfo.cilium.rocks/details/1", "421 from Envoy",
        headers={"Host": "webpod.cilium.rocks"}),
    get("W11", TLS_GATEWAY, "https://webpod.cilium.rocks/", "421 from Envoy",
        headers={"Host": "bookinfo.cilium.rocks"}),
    Step("W11", "the certificate for other.cilium.rocks", TLS_GATEWAY, "no TLS session",
         presented(TLS_GATEWAY, "other.cilium.rocks")),
    Step("W12", "the certificate for nginx.cilium.rocks", PASSTHROUGH, "my-nginx",
         presented(PASSTHROUGH, "nginx.cilium.rocks")),
    get("W12", PASSTHROUGH, "https://nginx.cilium.rocks/", "200 my-nginx"),
    get("W12", PASSTHROUGH, "https://nginx-v1alpha2.cilium.rocks/", "200 my-nginx"),
    Step("gRPC", f"{echo.SAY} 'hello'", GATEWAY, "grpc-echo heard hello", said(echo.SAY)),
    Step("gRPC", f"/{echo.SERVICE}/Shout, which no route names", GATEWAY, "UNIMPLEMENTED",
         said(f"/{echo.SERVICE}/Shout")),
    Step("WebSocket", "ws://websocket.example.com/ 'hello'", GATEWAY, "websocket-echo heard hello", websocket),
    Step("weights", f"{DRAWS} times GET http://reviews.example.com/reviews/1", GATEWAY,
         "reviews-v1 50 %, reviews-v2 30 %, reviews-v3 20 %", shares, near),
)  # fmt: skip
