"""The world of `tests.bench.world` as objects of an API server, and who creates and changes them there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from tests.bench import world
from tests.bench.kubernetes.network import ENDPOINTS

PARALLEL = 16
_CORE = f"/api/v1/namespaces/{world.NAMESPACE}/services"
_SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{world.NAMESPACE}/endpointslices"
_ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{world.NAMESPACE}/httproutes"
GATEWAY = f"/apis/gateway.networking.k8s.io/v1/namespaces/{world.NAMESPACE}/gateways/web"

FOUNDATION = f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {world.NAMESPACE}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: tidegate-system}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: tidegate}}
spec: {{controllerName: tidegate.dev/controller}}
"""


class Call(NamedTuple):
    method: str
    path: str
    body: dict[str, Any] | None = None


class Answered(NamedTuple):
    """When a call was made, and when it was answered."""

    asked: float
    answered: float


def backends(number: int, port: int) -> list[Call]:
    """The Service of an application, without an address that would have to be given out, and its EndpointSlice."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": world.name(number)},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{world.name(number)}-1",
            "labels": {"kubernetes.io/service-name": world.name(number)},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": [address]} for address in ENDPOINTS[:2]],
    }
    return [Call("POST", _CORE, service), Call("POST", _SLICES, endpoints)]


def route(number: int, revision: str = "0000") -> Call:
    """The HTTPRoute of an application."""
    header = {"set": [{"name": "x-revision", "value": revision}]}
    rule = {
        "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": header}],
        "backendRefs": [{"name": world.name(number), "port": 80}],
    }
    spec = {"parentRefs": [{"name": "web"}], "hostnames": [world.hostname(number)], "rules": [rule]}
    return Call(
        "POST",
        _ROUTES,
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": world.name(number)},
            "spec": spec,
        },
    )


def edit(number: int, revision: str) -> Call:
    """A change of a route's rules."""
    made = route(number, revision).body or {}
    return Call("PATCH", f"{_ROUTES}/{world.name(number)}", {"spec": {"rules": made["spec"]["rules"]}})


def removal(number: int) -> Call:
    return Call("DELETE", f"{_ROUTES}/{world.name(number)}")


def move(number: int, addresses: Sequence[str]) -> Call:
    """Other endpoints for an application, as a rolling restart gives it."""
    endpoints = [{"addresses": [address]} for address in addresses]
    return Call("PATCH", f"{_SLICES}/{world.name(number)}-1", {"endpoints": endpoints})


class Writer:
    """Calls the API server past its counting proxy, on connections that stay open."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def each(self, calls: Iterable[Call]) -> list[Answered]:
        """Make all calls as fast as they are answered; any may come before another."""
        return asyncio.run(self._each(calls))

    async def _each(self, calls: Iterable[Call]) -> list[Answered]:
        left, answers = iter(calls), []

        async def work() -> None:
            for call in left:
                answers.append(await one(session, call))

        async with self.session() as session, asyncio.TaskGroup() as tasks:
            for _ in range(PARALLEL):
                tasks.create_task(work())
        return answers

    def session(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(str(self._socket), limit=PARALLEL * 4)
        return aiohttp.ClientSession("http://api", connector=connector)


async def one(session: aiohttp.ClientSession, call: Call) -> Answered:
    """:raises RuntimeError: the API server refuses the call."""
    kind = "application/merge-patch+json" if call.method == "PATCH" else "application/json"
    body = None if call.body is None else msgspec.json.encode(call.body)
    asked = time.monotonic()
    async with session.request(call.method, call.path, data=body, headers={"Content-Type": kind}) as response:
        text = await response.read()
        if response.status >= 300:
            raise RuntimeError(f"{call.method} {call.path}: {response.status} {text[:300]!r}")
    return Answered(asked, time.monotonic())
