"""The demo's servers, asked without a gateway in between."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from xds_server.demo import client, echo
from xds_server.demo.backends import BACKENDS, EXAMPLE, Backend, serve_backends


def beside(backend: Backend) -> Backend:
    """The same server at an address that a running demo does not use."""
    return replace(backend, address=backend.address.replace("127.90.0.", "127.90.2."))


SERVERS = {backend.service: beside(backend) for backend in BACKENDS}


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, Backend]]:
    async with AsyncExitStack() as stack:
        await serve_backends(stack, backends=tuple(beside(backend) for backend in BACKENDS))
        yield SERVERS


@pytest.fixture
def trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=EXAMPLE / "tls/ca.crt")


async def test_a_backend_says_what_it_saw(servers: dict[str, Backend], trusted: ssl.SSLContext) -> None:
    """The answer names the pod, the method, the path as sent, and the headers."""
    at = servers["details"]
    async with client.session(at.address, trusted) as session:
        answer = await client.get(session, f"http://details:{at.port}/details/1?q=%2F", {"X-Seen": "yes"})

    assert (200, "details-v1", "GET", "/details/1?q=%2F") == (
        answer.status,
        answer.pod,
        answer.body["method"],
        answer.body["path"],
    )
    assert "yes" == answer.body["headers"]["x-seen"]


async def test_an_application_answers_404_itself(servers: dict[str, Backend], trusted: ssl.SSLContext) -> None:
    """What a gateway must not mistake for its own: the application's 404 names the application."""
    at = servers["productpage"]
    async with client.session(at.address, trusted) as session:
        assert "404 productpage" == str(await client.get(session, f"http://p:{at.port}/ratings", {}))


async def test_the_tls_server_has_its_own_certificate(servers: dict[str, Backend], trusted: ssl.SSLContext) -> None:
    """What passthrough must show is the certificate of the server behind."""
    at = servers["my-nginx"]

    assert "my-nginx" == await client.certificate(at.address, at.port, "nginx.cilium.rocks", trusted)


async def test_the_websocket_echoes(servers: dict[str, Backend], trusted: ssl.SSLContext) -> None:
    """A text comes back with who heard it."""
    at = servers["websocket-echo"]
    async with (
        client.session(at.address, trusted) as session,
        session.ws_connect(f"http://ws:{at.port}/") as socket,
    ):
        await socket.send_str("hello")

        assert "websocket-echo heard hello" == await socket.receive_str()


async def test_the_grpc_server_answers_and_describes_itself(servers: dict[str, Backend]) -> None:
    """The echo names its pod, and reflection lists the service."""
    at = servers["grpc-echo"]
    target = f"{at.address}:{at.port}"
    reply = await echo.say(target, "grpc.example.com", echo.SAY, "hello")
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]  # of either channel
        stream = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        listed = [service.name async for answer in stream for service in answer.list_services_response.service]

    assert ("hello", "grpc-echo-v1") == (reply.message, reply.pod)
    assert echo.SERVICE in listed
