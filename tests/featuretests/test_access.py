"""S9: every method of the ADS server, and everybody who may or may not call it, over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from envoy.service.discovery.v3 import discovery_pb2 as discovery
from envoy.service.status.v3 import csds_pb2
from grpc_health.v1 import health_pb2

from xds_server.app import ControlPlane
from xds_server.certificates.authority import Pair, issue_client, issue_server, loaded, new_authority
from xds_server.config import Config
from xds_server.model.resource import CLUSTER, resource
from xds_server.relay.listening import Listening
from xds_server.xds import csds, health, reflection
from xds_server.xds.credentials import MutualTls, UnixSocket
from xds_server.xds.identity import Named, Node, NotAnIdentityError, Operator, Replica, parsed, uri
from xds_server.xds.server import ADS, RELAY, ServerSettings, Services, handlers, serving
from xds_server.xds.streams import Streams

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
QUICK = ServerSettings(stop_s=0)
NODE_A = "spiffe://tidegate.local/node/node-a"
NODE_B = "spiffe://tidegate.local/node/node-b"
OPERATOR = "spiffe://tidegate.local/operator/alice"
REPLICA = "spiffe://tidegate.local/controller/tidegate-xds"
UNKNOWN = "/no.such.Service/Method"

OK = grpc.StatusCode.OK
DENIED = grpc.StatusCode.PERMISSION_DENIED
STRANGER = grpc.StatusCode.UNAUTHENTICATED
NO_HANDSHAKE = grpc.StatusCode.UNAVAILABLE


def relay(streams: Streams) -> Services:
    """What a control plane adds to the server."""
    made = ControlPlane(Config())
    return Listening(made.controller, streams.number).handlers()


SERVED = {**handlers(Streams(), QUICK, UnixSocket(Path("s"))), **relay(Streams())}
ALL_METHODS = sorted(f"/{service}/{method}" for service, methods in SERVED.items() for method in methods)
EVERY_METHOD = pytest.mark.parametrize("method", [*ALL_METHODS, UNKNOWN])
BOTH = pytest.mark.parametrize("method", [m for m in ALL_METHODS if ADS in m])


def client(authority: Pair, *names: x509.GeneralName, purpose: Any = ExtendedKeyUsageOID.CLIENT_AUTH,
           begins: timedelta = -HOUR, ends: timedelta = HOUR) -> Pair:  # fmt: skip
    """A certificate that the authority would not make: any names, dates and purpose."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(loaded(authority.certificate).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer: Any = load_pem_private_key(authority.key, None)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM), private)


def spiffe(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def self_signed() -> Pair:
    """The right name, by nobody's word."""
    stranger = new_authority(NOW)
    return issue_client(stranger, NODE_A, NOW, HOUR)


STRANGERS: dict[str, tuple[Callable[[Pair], Pair | None], grpc.StatusCode]] = {
    "no certificate": (lambda _: None, NO_HANDSHAKE),
    "another authority": (lambda _: self_signed(), NO_HANDSHAKE),
    "an authority's own certificate": (lambda _: new_authority(NOW), NO_HANDSHAKE),
    "expired": (lambda ca: client(ca, spiffe(NODE_A), ends=timedelta(minutes=-1)), NO_HANDSHAKE),
    "not valid yet": (lambda ca: client(ca, spiffe(NODE_A), begins=timedelta(minutes=30)), NO_HANDSHAKE),
    "a server's certificate": (lambda ca: issue_server(ca, ["localhost"], NOW), NO_HANDSHAKE),
    "a server with a node's name": (
        lambda ca: client(ca, spiffe(NODE_A), purpose=ExtendedKeyUsageOID.SERVER_AUTH),
        NO_HANDSHAKE,
    ),
    "no names": (client, STRANGER),
    "a DNS name alone": (lambda ca: client(ca, x509.DNSName("node-a")), STRANGER),
    "a DNS name that reads as an identity": (lambda ca: client(ca, x509.DNSName(NODE_A)), STRANGER),
    "two identities": (lambda ca: client(ca, spiffe(NODE_A), spiffe(NODE_B)), STRANGER),
    "an identity twice": (lambda ca: client(ca, spiffe(NODE_A), spiffe(NODE_A)), STRANGER),
    "another trust domain": (lambda ca: client(ca, spiffe("spiffe://example.org/node/node-a")), STRANGER),
    "an unknown role": (lambda ca: client(ca, spiffe("spiffe://tidegate.local/ns/x/sa/y")), STRANGER),
    "no role": (lambda ca: client(ca, spiffe("spiffe://tidegate.local")), STRANGER),
    "https": (lambda ca: client(ca, spiffe("https://tidegate.local/node/node-a")), STRANGER),
}
EVERY_STRANGER = pytest.mark.parametrize("who", sorted(STRANGERS))


class Server:
    """An ADS server with mutual TLS, and channels to it."""

    def __init__(self, address: str, authority: Pair, streams: Streams) -> None:
        self.address, self.authority, self.streams = address, authority, streams

    def channel(self, pair: Pair | None) -> grpc.aio.Channel:
        certificate, key = (pair.certificate, pair.key) if pair else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.certificate, key, certificate)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(self.address, credentials, options=options)

    def known(self, identity: str) -> grpc.aio.Channel:
        return self.channel(issue_client(self.authority, identity, NOW, HOUR))


@asynccontextmanager
async def running(directory: Path, settings: ServerSettings = QUICK) -> AsyncIterator[Server]:
    authority = new_authority(NOW)
    pair = issue_server(authority, ["localhost"], NOW)
    files = (directory / "tls.crt", directory / "tls.key", directory / "ca.crt")
    for path, content in zip(files, (pair.certificate, pair.key, authority.certificate), strict=True):
        path.write_bytes(content)
    streams = Streams()
    streams.open()
    async with serving(streams, MutualTls("127.0.0.1", 0, *files), settings, relay(streams)) as address:
        yield Server(address, authority, streams)


async def outcome(channel: grpc.aio.Channel, method: str, node: str = "node-a") -> tuple[grpc.StatusCode, str]:
    """How a call ends, and the text; or OK once it has begun to be answered.

    The client library loses the status of a call that ends in the middle of a write: then the call is made again.
    """
    while (ended := await _outcome(channel, method, node))[0] is grpc.StatusCode.INTERNAL:
        pass
    return ended


async def _outcome(channel: grpc.aio.Channel, method: str, node: str) -> tuple[grpc.StatusCode, str]:
    delta = "Delta" in method
    ads = method.startswith(f"/{ADS}/")
    message: Any = (discovery.DeltaDiscoveryRequest if delta else discovery.DiscoveryRequest)(type_url=CLUSTER)
    message.node.id = node
    call: Any = channel.stream_stream(method)()
    try:
        await call.write(message.SerializeToString() if ads else b"")
        if not ads:
            await call.done_writing()
        async with asyncio.timeout(20):
            await call.read()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return await call.code(), await call.details()
    if call.done():
        return await call.code(), await call.details()
    call.cancel()
    return OK, ""


@EVERY_METHOD
@EVERY_STRANGER
async def test_no_method_is_for_a_stranger(tmp_path: Path, method: str, who: str) -> None:
    """A certificate that names nobody here is refused by TLS or before the method, which is never reached."""
    made, expected = STRANGERS[who]
    async with running(tmp_path) as server, server.channel(made(server.authority)) as channel:
        if method == UNKNOWN and expected is STRANGER:
            expected = grpc.StatusCode.UNIMPLEMENTED

        assert expected == (await outcome(channel, method))[0]
        assert [] == server.streams.debug()
        assert {} == {k: v for k, v in server.streams.stats.streams.items() if v}
        assert (expected is STRANGER) == bool(server.streams.stats.unauthenticated)


@EVERY_METHOD
async def test_no_method_is_plaintext(tmp_path: Path, method: str) -> None:
    """The port with TLS has nothing else."""
    async with running(tmp_path) as server, grpc.aio.insecure_channel(server.address) as channel:
        assert NO_HANDSHAKE == (await outcome(channel, method))[0]


def test_every_method_has_a_row_in_the_tests_of_roles() -> None:
    """A service that is added is looked at here, or it is for nobody."""
    assert {ADS, csds.SERVICE, health.SERVICE, RELAY, reflection.V1, reflection.V1ALPHA} == set(SERVED)


OF_A_NODE = (ADS, csds.SERVICE, health.SERVICE)
OF_AN_OPERATOR = (csds.SERVICE, health.SERVICE, reflection.V1, reflection.V1ALPHA)


@EVERY_METHOD
@pytest.mark.parametrize(
    ("identity", "services"), [(NODE_A, OF_A_NODE), (OPERATOR, OF_AN_OPERATOR), (REPLICA, (RELAY,))]
)
async def test_each_role_has_its_methods(tmp_path: Path, method: str, identity: str, services: tuple[str, ...]) -> None:
    """A proxy is configured, and sees its health and status; an operator looks, and is never handed a configuration.

    A replica tells what its proxies said, and asks for nothing.
    """
    expected = OK if method.strip("/").partition("/")[0] in services else DENIED
    if method == UNKNOWN:
        expected = grpc.StatusCode.UNIMPLEMENTED
    async with running(tmp_path) as server, server.known(identity) as channel:
        code, text = await outcome(channel, method)

        assert expected == code, text
        assert (expected is DENIED) == bool(server.streams.stats.forbidden)
        assert (expected is DENIED) == (f"{method} is not for the " in text)


@BOTH
@pytest.mark.parametrize("node", ["node-b", "node-a.example", "NODE-A", "node-a/pod", "*"])
async def test_a_node_speaks_for_itself_only(tmp_path: Path, method: str, node: str) -> None:
    """The id of another node ends the stream with both names, and it is counted."""
    async with running(tmp_path) as server, server.known(NODE_A) as channel:
        code, text = await outcome(channel, method, node)

        assert (DENIED, True, True) == (code, repr(node) in text, "'node-a'" in text)
        assert server.streams.stats.forbidden


async def test_a_node_sees_itself_alone_and_an_operator_all(tmp_path: Path) -> None:
    """Client status is narrowed to the caller's own stream, whatever it asks for."""
    request = csds_pb2.ClientStatusRequest().SerializeToString()
    seen: dict[str, list[str]] = {}
    async with running(tmp_path) as server, server.known(NODE_A) as a, server.known(NODE_B) as b:
        calls = []
        for channel, name in ((a, "node-a"), (b, "node-b")):
            message = discovery.DeltaDiscoveryRequest(type_url=CLUSTER)
            message.node.id = name
            call: Any = channel.stream_stream(f"/{ADS}/DeltaAggregatedResources")()
            await call.write(message.SerializeToString())
            await call.read()
            calls.append(call)
        async with server.known(OPERATOR) as people:
            for who, channel in (("a", a), ("b", b), ("people", people)):
                fetch: Any = channel.unary_unary(f"/{csds.SERVICE}/FetchClientStatus")
                answer = csds_pb2.ClientStatusResponse.FromString(await fetch(request))
                seen[who] = sorted(config.node.id for config in answer.config)
        for call in calls:
            call.cancel()

    assert {"a": ["node-a"], "b": ["node-b"], "people": ["node-a", "node-b"]} == seen


def first(method: str, node: str) -> bytes:
    message: Any = (discovery.DeltaDiscoveryRequest if "Delta" in method else discovery.DiscoveryRequest)()
    message.type_url, message.node.id = CLUSTER, node
    return bytes(message.SerializeToString())


@BOTH
async def test_one_node_does_not_take_the_places_of_others(tmp_path: Path, method: str) -> None:
    """With 8 places of 10 a node opens 20 streams: the oldest end and are told why; the newest, and others', stay."""
    async with running(tmp_path, ServerSettings(streams=10, stop_s=0)) as server, server.known(NODE_A) as channel:
        calls: list[Any] = []
        for number in range(20):
            call: Any = channel.stream_stream(method)()
            calls.append(call)
            await call.write(first(method, "node-a"))
            await call.read()
            if number >= 8:
                async with asyncio.timeout(20):
                    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await calls[number - 8].code()
        text = await calls[0].details()
        async with server.known(NODE_B) as other:
            assert (OK, "") == await outcome(other, method, "node-b")

        assert [False] * 8 == [call.done() for call in calls[-8:]]
        assert "the node 'node-a' has opened 8 streams since, which is its limit" == text
        assert 12 == server.streams.stats.displaced


STATUS = csds_pb2.ClientStatusRequest().SerializeToString()
SHORT = csds_pb2.ClientStatusRequest(exclude_resource_contents=True).SerializeToString()


async def fetched(channel: grpc.aio.Channel, request: bytes = STATUS) -> tuple[grpc.StatusCode, str]:
    fetch: Any = channel.unary_unary(f"/{csds.SERVICE}/FetchClientStatus")
    call = fetch(request)
    return await call.code(), await call.details()


async def test_a_node_asks_for_its_status_once_at_a_time(tmp_path: Path) -> None:
    """While one call is open, another of the node is refused; others, and people, are answered."""
    async with running(tmp_path) as server, server.known(NODE_A) as a, server.known(NODE_B) as b:
        call: Any = a.stream_stream(f"/{csds.SERVICE}/StreamClientStatus")()
        await call.write(STATUS)
        await call.read()
        second, other = await fetched(a), await fetched(b)
        async with server.known(OPERATOR) as people:
            person = await fetched(people)
        await call.done_writing()
        ended = await call.code()

        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "a call of this node is being answered: one at a time") == second
        assert [OK] * 4 == [other[0], person[0], ended, (await fetched(a))[0]]


async def test_a_status_is_not_longer_than_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way out is in the text, and is one."""
    monkeypatch.setattr(csds, "_LONGEST_ANSWER", 10_000)
    async with running(tmp_path) as server, server.known(NODE_A) as channel:
        server.streams.publish({(found := resource(CLUSTER, "big", b"x" * 10_000)).key: found})
        method = f"/{ADS}/DeltaAggregatedResources"
        call: Any = channel.stream_stream(method)()
        await call.write(first(method, "node-a"))
        await call.read()
        code, text = await fetched(channel)

        assert (grpc.StatusCode.RESOURCE_EXHAUSTED, True) == (code, "set exclude_resource_contents" in text)
        assert OK == (await fetched(channel, SHORT))[0]


async def test_others_have_their_turn_while_a_status_is_made() -> None:
    """Of 3 streams that have 1,000 resources each: after each few hundred of them."""
    streams = Streams()
    streams.publish({(r := resource(CLUSTER, f"c{n}", b"x")).key: r for n in range(1000)})
    for _ in range(3):
        request = discovery.DeltaDiscoveryRequest(type_url=CLUSTER)
        request.node.id = "node-a"
        streams.receive(streams.connect(delta=True), request)
    fetch: Any = csds.handlers(streams, lambda _: None)["FetchClientStatus"].unary_unary
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(others())
    answer = await fetch(csds_pb2.ClientStatusRequest(), None)
    task.cancel()

    assert [1000] * 3 == [len(config.generic_xds_configs) for config in answer.config]
    assert 11 == turns


async def test_health_is_told_to_both(tmp_path: Path) -> None:
    """Also by its content."""
    async with running(tmp_path) as server:
        for identity in (NODE_A, OPERATOR):
            async with server.known(identity) as channel:
                check: Any = channel.unary_unary(f"/{health.SERVICE}/Check")
                answer = health_pb2.HealthCheckResponse.FromString(await check(b""))
                assert health_pb2.HealthCheckResponse.SERVING == answer.status


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///node/a",
        "spiffe://tidegate.local/node",
        "spiffe://tidegate.local/node/",
        "spiffe://tidegate.local/node/a/",
        "spiffe://tidegate.local/node/a/b",
        "spiffe://tidegate.local//node/a",
        "spiffe://tidegate.local/node//a",
        "spiffe://tidegate.local/node/..",
        "spiffe://tidegate.local/node/a%2fb",
        "spiffe://tidegate.local/node/a?x=1",
        "spiffe://tidegate.local/node/a#x",
        "spiffe://tidegate.local/node/A",
        "spiffe://tidegate.local/node/a\n",
        "spiffe://tidegate.local/node/ä",
        "spiffe://tidegate.local/Node/a",
        "spiffe://tidegate.local/nodes/a",
        "spiffe://tidegate.local:443/node/a",
        "spiffe://user@tidegate.local/node/a",
        "spiffe://TIDEGATE.local/node/a",
        "spiffe://tidegate.local.evil/node/a",
        "spiffe://evil/spiffe://tidegate.local/node/a",
        "SPIFFE://tidegate.local/node/a",
        "xspiffe://tidegate.local/node/a",
        "spiffe://tidegate.local/operator/",
        "spiffe://tidegate.local/operator/.",
        "spiffe://tidegate.local/operator/a/b",
        "spiffe://tidegate.local/controller/",
        "spiffe://tidegate.local/controller/A",
        "spiffe://tidegate.local/controller/a/b",
        "spiffe://tidegate.local/controllers/a",
        "spiffe://tidegate.local/node/" + "a" * 300,
        "spiffe://tidegate.local/node/" + "a" * 30000,
    ],
)
def test_what_is_nearly_an_identity_is_none(text: str) -> None:
    """Compared byte for byte: nothing is trimmed, decoded or folded; the error quotes it, cut."""
    with pytest.raises(NotAnIdentityError) as error:
        parsed(text, "tidegate.local")

    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "who",
    [Node("node-a"), Node("ip-10-0-0-1.eu.internal"), Operator("Alice_B"), Operator("x"), Replica("tidegate-xds")],
)
def test_an_identity_is_read_as_it_is_written(who: Named) -> None:
    """In any trust domain."""
    assert who == parsed(uri("mesh.example.org", who), "mesh.example.org")
