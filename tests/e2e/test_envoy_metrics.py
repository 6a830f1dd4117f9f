"""What dashboards and alerts ask of Envoy, a real Envoy of ours answers."""

from __future__ import annotations

import json
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path

from tests.e2e.installation import Installation, installed
from tests.e2e.load import Backend, Target, answer
from tests.e2e.pki import Authority
from tests.featuretests.manifests import gateway, route, service
from tests.promql import asked, exposed
from xds_server.proxy import admin

OFFSET = 22000
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: web}
type: kubernetes.io/tls
data: """


async def test_envoy_has_what_is_asked_of_it(tmp_path: Path, envoy: Path) -> None:
    """Every envoy_ metric of dashboards and alerts is exposed after one request in plain text and one over TLS."""
    chain, key = Authority(tmp_path / "ca.pem").issue("web.example.com")
    data = json.dumps({"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key).decode()})
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    async with Backend("web", "127.91.9.1") as backend, installed(tmp_path, envoy, OFFSET) as running:
        world = gateway("GATEWAY", "web"), route("GATEWAY"), service("127.91.9.1", backend.port), SECRET + data
        running.write("web.yaml", "---".join(world))
        await running.start_control_plane()
        await running.start_envoy()
        address = _address(running)
        statuses = [
            await _status(Target(address, 80 + OFFSET, "web.example.com")),
            await _status(Target(address, 443 + OFFSET, "web.example.com", tls=trust)),
        ]
        _, exposition = await admin.ask(running.admin, "/stats/prometheus")

    assert [200, 200] == statuses
    assert set() == asked("envoy_") - exposed(exposition.decode())


def _address(running: Installation) -> str:
    output = subprocess.run(running.check, check=True, capture_output=True, text=True).stdout
    [[address]] = [entry["addresses"] for entry in json.loads(output)["addresses"]]
    return str(address)


async def _status(target: Target) -> int:
    reader, writer = await target.patiently_connect()
    writer.write(target.request(keep=False))
    status, _ = await answer(reader)
    writer.close()
    return status
