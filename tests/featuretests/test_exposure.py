"""What `tidegate` says of frontends that are not at an address of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

MANIFESTS = """
apiVersion: tidegate.dev/v1alpha1
kind: GatewayParameters
metadata: {name: nodes}
spec: {exposure: {type: Service, service: {type: NodePort, ipFamilies: [IPv4]}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: tidegate
  infrastructure: {parametersRef: {group: tidegate.dev, kind: GatewayParameters, name: nodes}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata:
  name: tidegate-gateway-web
  labels: {app.kubernetes.io/managed-by: tidegate}
  ownerReferences: [{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, name: web, uid: a, controller: true}]
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
"""


def said(*arguments: str) -> str:
    return subprocess.run(["tidegate", *arguments], capture_output=True, text=True, check=True).stdout


def test_addresses_and_explanations_are_as_clients_see_them(tmp_path: Path) -> None:
    """The node's address and port, whatever Envoy binds behind them; the URL has the listener's port."""
    (tmp_path / "world.yaml").write_text(MANIFESTS)
    [frontend] = json.loads(said("check", "-f", str(tmp_path), "-o", "json"))["addresses"]
    explained = json.loads(said("explain", "-f", str(tmp_path), "GET", "http://a.example/", "-o", "json"))["results"]

    assert (["127.0.0.1"], [30080]) == (frontend["addresses"], frontend["ports"])
    assert [("Gateway/default/web", "127.0.0.1 port 30080")] == [
        (each["parent"], each["address"]) for each in explained
    ]
