"""S17: a planted key is on the wire to the proxy that serves it, and nowhere else."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse

from tests.e2e.pki import Authority
from tests.featuretests.mesh import Mesh
from tests.featuretests.mesh import mesh as running
from xds_server import admin, log
from xds_server.cli.report import conditions, report
from xds_server.model.resource import SECRET, ResourceKey

SERVED = ResourceKey(SECRET, "secret/default/good")
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: tidegate
  listeners:
  - {name: good, port: 443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: good}]}}
  - {name: bad, port: 443, protocol: HTTPS, hostname: b.example.com, tls: {certificateRefs: [{name: bad}]}}
"""


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    yield stream
    log.configure()


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with running(tmp_path) as found:
        yield found


def secret(name: str, chain: bytes, key: bytes) -> str:
    data = {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key).decode()}
    metadata = {"name": name, "annotations": {"note": "x"}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    )


def needles(key: bytes) -> list[str]:
    """Parts of a key that nothing else contains: of its PEM, of its bytes as base64, as hex."""
    body = "".join(key.decode().splitlines()[1:-1])
    return [body[20:60], b64encode(key).decode()[40:80], key[60:90].hex()]


async def test_a_key_shows_nowhere_but_on_the_wire(mesh: Mesh, logged: io.StringIO, tmp_path: Path) -> None:
    """A good key and one that does not fit its certificate: neither is in logs, metrics, dumps, conditions or CSDS."""
    authority = Authority(tmp_path / "ca.pem")
    chain, key = authority.issue("a.example.com")
    _, other = authority.issue("b.example.com")
    mesh.proxy.refuses = lambda found: key.decode() if found.type_url == SECRET else ""
    await mesh.apply(GATEWAY, secret("good", chain, key), secret("bad", chain, other))
    await mesh.until(lambda: bool(mesh.plane.pipeline.feedback.rejections))
    mesh.proxy.refuses = lambda _: ""
    await mesh.replace(2, secret("good", *authority.issue("a.example.com")))
    await mesh.proxy.until(lambda: SERVED in mesh.proxy.held)
    await mesh.replace(2, secret("good", chain, key))
    await mesh.proxy.until(lambda: needles(key)[0].encode() in mesh.proxy.held[SERVED].body.replace(b"\n", b""))
    await mesh.replace(3, secret("bad", chain, other)[:-40])

    said = await everything_said(mesh) + logged.getvalue()

    assert [] == [needle for private in (key, other) for needle in needles(private) if needle in said]
    assert "resource rejected" in said


async def everything_said(mesh: Mesh) -> str:
    """All pages, the reports, what CSDS answers, and the text of every value that a traceback could print."""
    plane = mesh.plane
    rows = conditions(plane.pipeline)
    parts = [json.dumps(report(plane.pipeline, rows, plane.scan.problems, plane.scan.notices, 0))]
    async with admin.serve("127.0.0.1:0", plane.metrics, plane.probes()) as address, aiohttp.ClientSession() as session:
        pages = ["/metrics", "/debug/collections", "/debug/streams"]
        pages += [f"/debug/collections/{collection.name}" for collection in plane.pipeline.graph.collections]
        for page in pages:
            async with session.get(f"http://{address}{page}") as response:
                parts.append(await response.text())
    parts.append(await csds(plane.config.state / "xds.sock"))
    parts += [repr(dict(plane.pipeline.sources.secrets)), repr(dict(plane.pipeline.ingested.certificates))]
    parts.append(repr(dict(plane.pipeline.resources)))
    return "\n".join(parts)


async def csds(socket: Path) -> str:
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        call = channel.unary_unary(
            "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
            request_serializer=ClientStatusRequest.SerializeToString,
            response_deserializer=ClientStatusResponse.FromString,
        )
        async with asyncio.timeout(10):
            return str(await call(ClientStatusRequest()))
