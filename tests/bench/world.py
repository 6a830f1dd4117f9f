"""The world that is measured: applications of a Service, an EndpointSlice and an HTTPRoute with its own hostname."""

from __future__ import annotations

import base64
import os
from pathlib import Path

NAMESPACE = "bench"
PORT = 80
OFFSET = 20_000
CONTROL = "gateway/bench/web"
"""The name of the Gateway in names of resources."""

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: bench}}
spec:
  gatewayClassName: tidegate
  addresses:
  - {{value: {address}}}
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
"""

TLS_GATEWAY = """\
  - name: https
    port: 443
    protocol: HTTPS
    hostname: secure.bench.example
    tls:
      certificateRefs:
      - name: secure
"""

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {{name: secure, namespace: bench}}
type: kubernetes.io/tls
data:
  tls.crt: {certificate}
  tls.key: {key}
"""

APPLICATION = """\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: bench
spec:
  ports:
  - name: http
    port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: bench
  labels:
    kubernetes.io/service-name: {name}
addressType: IPv4
ports:
- name: http
  port: {port}
endpoints:
{endpoints}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
  namespace: bench
spec:
  parentRefs:
  - name: web
  hostnames:
  - {name}.bench.example
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set:
        - name: x-revision
          value: "{revision}"
    backendRefs:
    - name: {name}
      port: 80
"""


def address(number: int) -> str:
    """Where a Gateway listens; as long for every number, and another one in every process."""
    return f"127.{100 + number}.{100 + os.getpid() % 100}.1"


def pool(number: int) -> str:
    """The pool that its address is from."""
    return f"{address(number)[:-1]}0/24"


def name(number: int) -> str:
    return f"app-{number:05}"


def hostname(number: int) -> str:
    return f"{name(number)}.bench.example"


def cluster(number: int) -> str:
    """The name of its cluster and of its endpoints."""
    return f"{NAMESPACE}/{name(number)}/80/http"


def application(number: int, backend: int, *, revision: str = "0000", endpoints: int = 2) -> str:
    """Endpoints are loopback addresses at the port of the backend; the route's answers bear the revision."""
    addresses = "\n".join(f"- addresses: [127.0.0.{at + 1}]" for at in range(endpoints))
    return APPLICATION.format(name=name(number), port=backend, endpoints=addresses, revision=revision)


def path(directory: Path, number: int) -> Path:
    return directory / f"{name(number)}.yaml"


def write(directory: Path, count: int, backend: int, number: int) -> Path:
    """A manifest a file, as teams have them, behind the address of that number; returns the directory."""
    directory.mkdir()
    (directory / "gateway.yaml").write_text(GATEWAY.format(address=address(number)))
    for each in range(count):
        path(directory, each).write_text(application(each, backend))
    return directory


def write_tls(directory: Path, certificate: bytes, key: bytes) -> None:
    """Give the Gateway a listener with a certificate."""
    gateway = directory / "gateway.yaml"
    edit(gateway, gateway.read_text() + TLS_GATEWAY)
    write_secret(directory, certificate, key)


def write_secret(directory: Path, certificate: bytes, key: bytes) -> None:
    encoded = [base64.b64encode(part).decode() for part in (certificate, key)]
    edit(directory / "secret.yaml", SECRET.format(certificate=encoded[0], key=encoded[1]))


def edit(file: Path, text: str) -> None:
    """Replace a file at once, as editors and deployment tools do."""
    fresh = file.with_name(f".{file.name}")
    fresh.write_text(text)
    fresh.replace(file)
