"""Not one request is lost while everything around it changes: real Envoy, real processes, no retries anywhere."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, installed
from tests.e2e.load import Backend, Tally, Target, load
from tests.e2e.pki import Authority

REQUESTS = 30_000
FLIPS = 30  # at least, each seen at its backend; every tenth with a control plane that is killed
OFFSET = 18000
BAD = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bad}
spec:
  parentRefs: [{name: GATEWAY}]
  rules:
  - matches: [{path: {type: RegularExpression, value: "/(unclosed"}}]
    backendRefs: [{name: nothing, port: 80}]
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: GATEWAY}
spec:
  gatewayClassName: tidegate
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, hostname: web.example.com, tls: {certificateRefs: [{name: web}]}}
"""


def secret(authority: Authority) -> str:
    chain, key = authority.issue("web.example.com")
    data = {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key).decode()}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "web"}, "data": data}
    )


def service(name: str, *backends: Backend) -> str:
    port = backends[0].port
    endpoints = "".join(f"\n- addresses: [{backend.address}]" for backend in backends)
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints:{endpoints}
"""


def route(backend: str, weight: int = 1, modified: str = "") -> str:
    filters = (
        f"""
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {{set: [{{name: x-flip, value: "{modified}"}}]}}"""
        if modified
        else ""
    )
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: GATEWAY}}]
  rules:
  - backendRefs: [{{name: {backend}, port: 80, weight: {weight}}}]{filters}
"""


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Backend("b1", "127.91.7.1"))
        others = [Backend(f"b{n}", f"127.91.7.{n}", first.port) for n in (2, 3)]
        yield [first, *[await stack.enter_async_context(backend) for backend in others]]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca.pem")


@pytest.fixture
async def installation(
    tmp_path: Path, envoy: Path, backends: list[Backend], authority: Authority
) -> AsyncIterator[Installation]:
    async with installed(tmp_path, envoy, OFFSET) as running:
        running.write("gateway.yaml", GATEWAY)
        running.write("secret.json", secret(authority))
        for name, backend in zip("abc", backends, strict=True):
            running.write(f"{name}.yaml", service(name, backend))
        running.write("route.yaml", route("a"))
        await running.start_control_plane()
        await running.start_envoy()
        yield running


def targets(installation: Installation) -> list[Target]:
    """The Gateway's plain and TLS listener."""
    output = subprocess.run(installation.check, check=True, capture_output=True, text=True).stdout
    [entry] = json.loads(output)["addresses"]
    [address] = entry["addresses"]
    trust = ssl.create_default_context(cafile=installation.directory / "ca.pem")
    return [
        Target(address, 80 + OFFSET, "any.example.com"),
        Target(address, 443 + OFFSET, "web.example.com", tls=trust),
    ]


async def reach(installation: Installation, tally: Tally, total: int) -> None:
    await installation.until(lambda: tally.total >= total or tally.failed)


async def test_no_request_is_lost_while_everything_changes(
    installation: Installation, backends: list[Backend], authority: Authority
) -> None:
    """R1, R7, R9, R10, R15: routes flip, backends come and go, certificates rotate, the control plane dies,
    bad objects arrive: 0 of 30,000 requests fail.
    """
    a, b, _ = backends
    async with load(*targets(installation)) as tally:
        step = 0
        while (tally.total < REQUESTS or step < FLIPS) and not tally.failed:
            wanted = backends[step % 3]
            before = wanted.requests
            installation.write("route.yaml", route("abc"[step % 3], modified=str(step) if step % 2 else ""))
            installation.write("a.yaml", service("a", *([a, b] if step % 2 else [a])))
            if step % 3 == 2:
                installation.write("secret.json", secret(authority))
            if step % 4 == 1:
                installation.write("bad.yaml", BAD)
            if step % 4 == 2:
                installation.write("broken.yaml", "kind: [unclosed")
            if step % 10 == 5:
                await installation.control_plane.end(signal.SIGKILL)
                await reach(installation, tally, tally.total + 300)
                await installation.start_control_plane()
            await installation.until(lambda: wanted.requests > before or tally.failed)  # noqa: B023  # awaited here
            step += 1
            await reach(installation, tally, step * REQUESTS // 60)

    assert {} == tally.failed
    assert tally.total >= REQUESTS
