"""S9: who gets the certificate of a node, over real TLS and gRPC; the API server's reviews of tokens are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from tests.featuretests.token_reviews import Reviews, answer, extra, reviewing
from xds_server.certificates import issuing as service
from xds_server.certificates.authority import Pair, fits, is_of, issue_server, new_authority, new_key, new_request
from xds_server.certificates.issuing import METHOD, IssuerOptions, SignError, issuing, remote_signer
from xds_server.proto.tidegate.identity.v1 import identity_pb2
from xds_server.xds.identity import Node, identity

NOW = datetime.now(UTC)
GOOD = "token-of-node-a"


@dataclass
class Issuer:
    reviews: Reviews
    port: int
    authority: Pair
    directory: Path

    async def sign(self, node: str = "node-a", request: bytes | None = None, metadata: Any = None) -> bytes:
        trust = grpc.ssl_channel_credentials(self.authority.certificate)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", trust, options=options) as channel:
            call: Any = channel.unary_unary(METHOD)
            message = identity_pb2.SignNodeRequest(
                node=node, certificate_request=new_request(new_key()) if request is None else request
            )
            answered = await call(
                message.SerializeToString(),
                metadata=(("authorization", f"Bearer {GOOD}"),) if metadata is None else metadata,
                timeout=20,
            )
            return identity_pb2.SignNodeResponse.FromString(answered).certificate

    async def mute(self, stack: AsyncExitStack, calls: int = 1) -> list[Any]:
        """Calls of a connection that say no more than who calls, and that in the form of a proxy."""
        trust = grpc.ssl_channel_credentials(self.authority.certificate)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        channel = await stack.enter_async_context(
            grpc.aio.secure_channel(f"127.0.0.1:{self.port}", trust, options=options)
        )
        await channel.channel_ready()
        method: Any = channel.stream_stream(METHOD)
        return [method(metadata=(("authorization", f"Bearer {GOOD}"),)) for _ in range(calls)]

    async def refused(self, **fields: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.sign(**fields)
        return error.value.code(), error.value.details() or ""


@asynccontextmanager
async def running(directory: Path, api_server: str = "") -> AsyncIterator[Issuer]:
    authority = new_authority(NOW)
    server = issue_server(authority, ["localhost"], NOW)
    for folder, pair in (("ca", authority), ("server", server)):
        (directory / folder).mkdir(parents=True)
        (directory / folder / "tls.crt").write_bytes(pair.certificate)
        (directory / folder / "tls.key").write_bytes(pair.key)
    reviews = Reviews()
    reviews.answers[GOOD] = answer()
    options = IssuerOptions(
        host="127.0.0.1",
        port=0,
        certificate=directory / "server/tls.crt",
        key=directory / "server/tls.key",
        authority=directory / "ca",
        namespace="tidegate-system",
        trust_domain="tidegate.local",
    )
    async with reviewing(reviews, api_server) as api, issuing(api, options) as port:
        yield Issuer(reviews, port, authority, directory)


async def test_a_proxy_gets_the_certificate_of_its_node(tmp_path: Path) -> None:
    """For its own key, by the authority; the API server was asked for our audience."""
    key = new_key()
    async with running(tmp_path) as issuer:
        certificate = await issuer.sign(request=new_request(key))
        [asked] = issuer.reviews.asked

    assert Node("node-a") == identity(certificate, "tidegate.local")
    assert fits(Pair(certificate, key))
    assert is_of(certificate, issuer.authority.certificate)
    assert ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", ["tidegate"], GOOD) == (
        asked["method"], asked["path"], asked["spec"]["audiences"], asked["spec"]["token"],
    )  # fmt: skip


NODE_NAME = "authentication.kubernetes.io/node-name"
POD_NAME = "authentication.kubernetes.io/pod-name"

TOKENS: dict[str, tuple[Any, str]] = {
    "unknown or expired": (answer(authenticated=False), "not valid"),
    "an error": ({"status": {"error": "token has expired"}}, "not valid"),
    "no status": ({}, "not valid"),
    "another audience": (answer(audiences=["https://kubernetes.default.svc"]), "not for the audience"),
    "the API server's audience": (answer(audiences=[]), "not for the audience"),
    "another account": (answer(username="system:serviceaccount:tidegate-system:default"), "must be of"),
    "another namespace": (answer(username="system:serviceaccount:evil:tidegate-proxy"), "must be of"),
    "a user": (answer(username="tidegate-proxy"), "must be of"),
    "an administrator": (answer(username="system:admin"), "must be of"),
    "no pod": (answer(extra={NODE_NAME: ["node-a"]}), "not bound to a pod"),
    "two pods": (answer(extra=extra() | {POD_NAME: ["a", "b"]}), "not bound to a pod"),
    "no node": (answer(extra={POD_NAME: ["p"]}), "does not tell the node"),
    "two nodes": (answer(extra=extra() | {NODE_NAME: ["node-a", "node-b"]}), "does not tell the node"),
    "an empty node": (answer(extra=extra(node="")), "does not tell the node"),
    "a node with a slash": (answer(extra=extra(node="node-a/../b")), "does not tell the node"),
    "no extra": (answer(extra={}), "not bound to a pod"),
    "junk": (b"<html>", "cannot be understood"),
    "a list": (b"[]", "cannot be understood"),
    "words for a truth": ({"status": {"authenticated": "true"}}, "cannot be understood"),
}


@pytest.mark.parametrize("token", sorted(TOKENS))
async def test_a_token_that_is_not_a_proxys_gets_nothing(tmp_path: Path, token: str) -> None:
    """Whatever is missing of a valid token, for us, of a proxy's pod on a node, is said, and the answer is no."""
    told, text = TOKENS[token]
    async with running(tmp_path) as issuer:
        issuer.reviews.answers[GOOD] = told
        code, details = await issuer.refused()

    assert (grpc.StatusCode.UNAUTHENTICATED, True) == (code, text in details), details


@pytest.mark.parametrize("node", ["node-b", "", "NODE-A", "node-a.example", "node-a/x", "x" * 10_000])
async def test_a_proxy_gets_no_other_nodes_certificate(tmp_path: Path, node: str) -> None:
    """The node is the token's, whatever the request says; both are named."""
    async with running(tmp_path) as issuer:
        code, details = await issuer.refused(node=node)

    assert (grpc.StatusCode.PERMISSION_DENIED, True) == (code, "'node-a'" in details and repr(node[:256]) in details)


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", GOOD),),
        (("authorization", "Bearer "),),
        (("authorization", "Basic " + GOOD),),
        (("authorization", f"Bearer {GOOD} {GOOD}"),),
        (("authorization", f"Bearer {GOOD}"), ("authorization", f"Bearer {GOOD}")),
        (("x-authorization", f"Bearer {GOOD}"),),
    ],
)
async def test_a_call_without_one_token_is_not_even_reviewed(tmp_path: Path, metadata: Any) -> None:
    """The API server is asked about tokens, not about noise."""
    async with running(tmp_path) as issuer:
        code, _ = await issuer.refused(metadata=metadata)

        assert (grpc.StatusCode.UNAUTHENTICATED, []) == (code, issuer.reviews.asked)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_an_api_server_that_refuses_us_lets_nobody_in(tmp_path: Path, status: int) -> None:
    """Without its word there is no certificate; what it said is for our log."""
    async with running(tmp_path) as issuer:
        issuer.reviews.answers[GOOD] = status
        with capture_logs() as logs:
            code, details = await issuer.refused()

    assert (grpc.StatusCode.UNAVAILABLE, False) == (code, "as told" in details)
    assert [status] == [entry["status"] for entry in logs if entry["event"] == "token not reviewed"]


async def test_an_api_server_that_is_silent_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A review that does not come in time is none."""
    monkeypatch.setattr(service, "_REVIEW_S", 0.2)
    async with running(tmp_path) as issuer:
        issuer.reviews.silent = True
        code, _ = await issuer.refused()

    assert grpc.StatusCode.UNAVAILABLE == code


async def test_an_api_server_that_is_down_lets_nobody_in(tmp_path: Path) -> None:
    """Nobody at its address: refused, to be tried again."""
    async with running(tmp_path, "http://127.0.0.1:1") as issuer:
        code, _ = await issuer.refused()

    assert (grpc.StatusCode.UNAVAILABLE, []) == (code, issuer.reviews.asked)


@pytest.mark.parametrize("request_", [b"", b"junk", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END"])
async def test_what_is_no_request_is_said(tmp_path: Path, request_: bytes) -> None:
    """Also to who may have a certificate."""
    async with running(tmp_path) as issuer:
        code, details = await issuer.refused(request=request_)

    assert (grpc.StatusCode.INVALID_ARGUMENT, True) == (code, "certificate request" in details)


async def test_the_service_is_all_that_there_is_on_its_port(tmp_path: Path) -> None:
    """No reflection, no discovery, and a long message is refused before it is read."""
    async with running(tmp_path) as issuer:
        trust = grpc.ssl_channel_credentials(issuer.authority.certificate)
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        codes = []
        async with grpc.aio.secure_channel(f"127.0.0.1:{issuer.port}", trust, options=options) as channel:
            for method in (
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "/tidegate.identity.v1.Identity/Other",
            ):
                call: Any = channel.unary_unary(method)
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await call(b"", timeout=20)
                codes.append(error.value.code())
        too_long, _ = await issuer.refused(request=b"x" * 100_000)

    assert [grpc.StatusCode.UNIMPLEMENTED] * 3 == codes
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == too_long


async def test_who_says_nothing_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 strangers with a connection each, and one with 40 calls: a proxy gets its certificate, and all of them end."""
    monkeypatch.setattr(service, "_MESSAGE_S", 2.0)
    async with running(tmp_path) as issuer, AsyncExitStack() as stack:
        mute = [call for _ in range(40) for call in await issuer.mute(stack)]
        mute += await issuer.mute(stack, calls=40)
        certificate = await issuer.sign()
        [asked] = issuer.reviews.asked
        codes = [await call.code() for call in mute[:40]]
        details = {await call.details() for call in mute[:40]}

    assert Node("node-a") == identity(certificate, "tidegate.local")
    assert GOOD == asked["spec"]["token"]
    assert ([grpc.StatusCode.DEADLINE_EXCEEDED] * 40, {"no message came in 2 s: send a request"}) == (codes, details)


async def test_of_many_mute_calls_the_oldest_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for those who say nothing is bounded, and who comes last is not shut out by it."""
    monkeypatch.setattr(service, "_MUTE_CALLS", 3)
    monkeypatch.setattr(service, "_MESSAGE_S", 3600.0)
    async with running(tmp_path) as issuer, AsyncExitStack() as stack:
        mute = [call for _ in range(8) for call in await issuer.mute(stack)]
        ended = [asyncio.ensure_future(call.code()) for call in mute]
        async with asyncio.timeout(20):
            while sum(each.done() for each in ended) < 5:
                await asyncio.wait({each for each in ended if not each.done()}, return_when=asyncio.FIRST_COMPLETED)
        codes = {each.result() for each in ended if each.done()}

        assert Node("node-a") == identity(await issuer.sign(), "tidegate.local")
    assert {grpc.StatusCode.DEADLINE_EXCEEDED} == codes
    await asyncio.gather(*ended)


async def test_a_connection_ends_by_its_age_whatever_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that says nothing does not keep its connection past the grace."""
    monkeypatch.setattr(service, "_MESSAGE_S", 3600.0)
    monkeypatch.setattr(service, "_AGE_MS", 100)
    monkeypatch.setattr(service, "_GRACE_MS", 100)
    async with running(tmp_path) as issuer, AsyncExitStack() as stack, asyncio.timeout(20):
        [call] = await issuer.mute(stack)

        assert grpc.StatusCode.UNAVAILABLE == await call.code()


@pytest.mark.parametrize("message", [None, b"\xff junk"])
async def test_a_call_without_a_request_is_said(tmp_path: Path, message: bytes | None) -> None:
    """None at all, or something else."""
    async with running(tmp_path) as issuer, AsyncExitStack() as stack:
        [call] = await issuer.mute(stack)
        if message is not None:
            await call.write(message)
        await call.done_writing()

        assert grpc.StatusCode.INVALID_ARGUMENT == await call.code()


async def test_neither_token_nor_key_is_logged(tmp_path: Path) -> None:
    """S17: of a call that succeeds, one that is refused, and the client's side of both."""
    canary = "CANARY-TOKEN"
    (tmp_path / "token").write_text(canary)
    async with running(tmp_path) as issuer:
        (tmp_path / "ca.crt").write_bytes(issuer.authority.certificate)
        sign = remote_signer(f"127.0.0.1:{issuer.port}", "localhost", tmp_path / "ca.crt", tmp_path / "token", "node-a")
        with capture_logs() as logs:
            with pytest.raises(SignError) as refused:
                await sign(new_request(new_key()))
            issuer.reviews.answers[canary] = answer()
            certificate = await sign(new_request(new_key()))

    assert Node("node-a") == identity(certificate, "tidegate.local")
    assert "CANARY" not in f"{logs}{refused.value}"
    assert "BEGIN" not in f"{logs}{refused.value}"
    assert ["certificate refused", "certificate signed"] == [entry["event"] for entry in logs]
