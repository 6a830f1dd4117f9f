"""Ingresses from manifest to a real Envoy: what comes back for each request."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.e2e.translated import ADDRESS, OFFSET, Backend, ask
from tests.envoy_validate import running
from tests.unit.ingestion import tls
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.objects import core, networking
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings

STRUCTS = {
    "Ingress": networking.Ingress,
    "Service": core.Service,
    "EndpointSlice": core.EndpointSlice,
    "ConfigMap": core.ConfigMap,
    "Secret": core.Secret,
}
BACKENDS = ("details", "productpage", "exactpath", "prefixpath", "prefixpath2", "implpath", "implpath2", "canary")
CHAIN = tls.chain(name="secure.example")

MANIFESTS = """
kind: Ingress
metadata: {name: basic-ingress}
spec:
  rules:
  - http:
      paths:
      - {path: /details, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}
      - {path: /, pathType: Prefix, backend: {service: {name: productpage, port: {name: http}}}}
---
kind: Ingress
metadata: {name: multiple-path-types}
spec:
  rules:
  - host: pathtypes.example.com
    http:
      paths:
      - {path: /exact, pathType: Exact, backend: {service: {name: exactpath, port: {number: 80}}}}
      - {path: /, pathType: Prefix, backend: {service: {name: prefixpath, port: {number: 80}}}}
      - {path: /prefix, pathType: Prefix, backend: {service: {name: prefixpath2, port: {number: 80}}}}
      - {path: /impl, pathType: ImplementationSpecific, backend: {service: {name: implpath, port: {number: 80}}}}
      - {path: /impl.+, pathType: ImplementationSpecific, backend: {service: {name: implpath2, port: {number: 80}}}}
---
kind: Ingress
metadata: {name: wildcard}
spec: {rules: [{host: "*.wild.example", http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata:
  name: rewritten
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /new/$2
    nginx.ingress.kubernetes.io/upstream-vhost: up.example
spec: {rules: [{host: rewritten.example, http: {paths: [
  {path: "/app(/|$)(.*)", pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata:
  name: headers
  annotations:
    nginx.ingress.kubernetes.io/custom-headers: default/headers
    nginx.ingress.kubernetes.io/app-root: /home
    nginx.ingress.kubernetes.io/proxy-body-size: 1k
    nginx.ingress.kubernetes.io/denylist-source-range: 203.0.113.0/24
spec: {rules: [{host: headers.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: ConfigMap
metadata: {name: headers}
data: {X-Percent: "100% %REQ(authorization)%"}
---
kind: Ingress
metadata: {name: denied, annotations: {nginx.ingress.kubernetes.io/whitelist-source-range: 203.0.113.0/24}}
spec: {rules: [{host: denied.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata: {name: guarded, annotations: {nginx.ingress.kubernetes.io/auth-url: "https://auth.example"}}
spec: {rules: [{host: guarded.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata: {name: moved, annotations: {nginx.ingress.kubernetes.io/permanent-redirect: "https://new.example:8443$request_uri"}}
spec: {rules: [{host: moved.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata: {name: stable}
spec: {rules: [{host: canary.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata:
  name: canary
  annotations:
    nginx.ingress.kubernetes.io/canary: "true"
    nginx.ingress.kubernetes.io/canary-by-header: x-canary
    nginx.ingress.kubernetes.io/canary-by-cookie: try
    nginx.ingress.kubernetes.io/canary-weight: "30"
spec: {rules: [{host: canary.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: canary, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata: {name: broken}
spec: {rules: [{host: broken.example, http: {paths: [
  {path: "/[", pathType: ImplementationSpecific, backend: {service: {name: details, port: {number: 80}}}},
  {path: /gone, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}},
  {path: /good, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata: {name: forced, annotations: {nginx.ingress.kubernetes.io/force-ssl-redirect: "true"}}
spec: {rules: [{host: forced.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}]}
---
kind: Ingress
metadata: {name: secured}
spec:
  tls:
  - {hosts: [secure.example, "*.deep.example"], secretName: secured}
  - {hosts: [gone.deep.example], secretName: gone}
  rules:
  - {host: secure.example, http: {paths: [
      {path: /, pathType: Prefix, backend: {service: {name: details, port: {number: 80}}}}]}}
  - {host: a.deep.example, http: {paths: [
      {path: /, pathType: Prefix, backend: {service: {name: productpage, port: {number: 80}}}}]}}
  - {host: gone.deep.example, http: {paths: [
      {path: /, pathType: Prefix, backend: {service: {name: productpage, port: {number: 80}}}}]}}
---
kind: Ingress
metadata: {name: passed, annotations: {ingress.cilium.io/tls-passthrough: enabled}}
spec: {rules: [{host: passed.example, http: {paths: [
  {path: /, pathType: Prefix, backend: {service: {name: ending, port: {number: 443}}}}]}}]}
"""


def of_backend(backend: Backend, port: int = 80) -> str:
    return f"""
kind: Service
metadata: {{name: {backend.name}}}
spec: {{ports: [{{name: http, port: {port}}}]}}
---
kind: EndpointSlice
metadata: {{name: {backend.name}, labels: {{kubernetes.io/service-name: {backend.name}}}}}
addressType: IPv4
endpoints: [{{addresses: [127.0.0.1]}}]
ports: [{{name: http, port: {backend.server_port}}}]
"""


@pytest.fixture(scope="module")
def _served(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = Settings(
        undeclared_classes=("cilium",),
        pool=(f"{ADDRESS}/32",),
        allow_local_endpoints=True,
        loadbalancer_mode="shared",
    )
    pipeline = Pipeline.declare(settings, TranslationSettings(port_offset=OFFSET))
    with ExitStack() as stack:
        backends = [stack.enter_context(Backend(name).serving()) for name in BACKENDS]
        ending = stack.enter_context(Backend("ending").serving())
        ending.socket = server_context(tmp_path_factory.mktemp("ending")).wrap_socket(ending.socket, server_side=True)
        written = [MANIFESTS, *map(of_backend, backends), of_backend(ending, 443), tls.secret("secured", crt=CHAIN)]
        for document in yaml.safe_load_all("---".join(written)):
            kind, metadata = document["kind"], {"namespace": "default", **document["metadata"]}
            if kind == "Ingress":
                document["spec"]["ingressClassName"] = "cilium"
            value = msgspec.convert({**document, "metadata": metadata}, STRUCTS[kind])
            pipeline.put(ObjectRef(kind, "default", metadata["name"]), value)
        pipeline.graph.commit()
        assert {} == dict(pipeline.graph.faults)
        stack.enter_context(running(envoy, pipeline.resources, tmp_path_factory.mktemp("ingress")))
        yield


def server_context(directory: Path) -> ssl.SSLContext:
    """TLS of a backend that ends it by itself, with a certificate that Envoy has never seen."""
    (directory / "crt").write_bytes(tls.chain(which=1, name="passed.example"))
    (directory / "key").write_bytes(tls.private(which=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "crt", directory / "key")
    return context


def ask_tls(sni: str, host: str = "") -> tuple[bytes, int, str]:
    """The certificate, the status and the backend of one request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((ADDRESS, 443 + OFFSET)) as plain,
        context.wrap_socket(plain, server_hostname=sni) as secure,
    ):
        secure.sendall(f"GET / HTTP/1.1\r\nhost: {host or sni}\r\nconnection: close\r\n\r\n".encode())
        response = HTTPResponse(secure)
        response.begin()
        return secure.getpeercert(binary_form=True) or b"", response.status, response.headers.get("x-backend", "")


pytestmark = pytest.mark.usefixtures("_served")


@pytest.mark.parametrize(
    ("path", "backend"),
    [("/", "productpage"), ("/details/1", "details"), ("/detailsx", "productpage"), ("/ratings", "productpage")],
)
def test_bookinfo(path: str, backend: str) -> None:
    """W2: prefixes by segment, "/" for the rest."""
    assert backend == ask(path, host="any.example").headers["x-backend"]


@pytest.mark.parametrize(
    ("path", "backend"),
    [
        ("/exact", "exactpath"),
        ("/exact/", "prefixpath"),
        ("/exact?query=1", "exactpath"),
        ("/prefix", "prefixpath2"),
        ("/prefix/", "prefixpath2"),
        ("/prefix/deeper", "prefixpath2"),
        ("/prefixed", "prefixpath"),
        ("/impl", "implpath"),
        ("/implementation", "implpath2"),
        ("/", "prefixpath"),
        ("/a/../impl", "implpath"),
        ("//impl", "implpath"),
    ],
)
def test_path_types(path: str, backend: str) -> None:
    """W9: Exact before regular expression before prefix, on the normalised path."""
    assert backend == ask(path, host="pathtypes.example.com").headers["x-backend"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.wild.example", 200),
        ("A.Wild.Example:80", 200),
        ("a.b.wild.example", 404),
    ],
)
def test_a_wildcard_host_covers_one_label(host: str, expected: int) -> None:
    """Kubernetes: a wildcard covers one label, whatever the case and port of the Host header."""
    assert expected == ask("/", host=host).status


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/app", "/new/"), ("/app/", "/new/"), ("/app/page?q=1", "/new/page?q=1"), ("/APP/x", "/new/x")],
)
def test_a_rewritten_path_reaches_the_backend(path: str, expected: str) -> None:
    """rewrite-target replaces the whole path, keeps the query, and upstream-vhost is the backend's Host."""
    answer = ask(path, host="rewritten.example")

    assert expected == answer.seen["path"]
    assert ["up.example"] == answer.seen_headers["host"]


def test_custom_headers_are_literal() -> None:
    """S4: a per cent sign in a header's value is a per cent sign."""
    answer = ask("/", {"authorization": "CANARY"}, host="headers.example", method="POST")

    assert 302 == answer.status
    assert "/home" in answer.location

    answer = ask("/home", {"authorization": "CANARY"}, host="headers.example")

    assert "100% %REQ(authorization)%" == answer.headers["x-percent"]


def test_a_large_body_is_refused() -> None:
    """proxy-body-size: more than the limit answers 413."""
    assert 200 == ask("/x", host="headers.example", method="POST", body=b"a" * 1024).status
    assert 413 == ask("/x", host="headers.example", method="POST", body=b"a" * 1025).status


@pytest.mark.parametrize("host", ["denied.example", "guarded.example"])
def test_protection_answers_403(host: str) -> None:
    """S16: neither a client outside the allow list nor anybody where authentication cannot be given gets through."""
    assert 403 == ask("/", host=host).status


def test_a_redirect_keeps_path_and_query() -> None:
    """permanent-redirect with $request_uri."""
    answer = ask("/a?b=c", host="moved.example")

    assert (301, "https://new.example:8443/a?b=c") == (answer.status, answer.location)


def test_forced_https_is_308() -> None:
    """The redirect keeps host, path and query; with a port offset it leads to our shifted port."""
    answer = ask("/a?b=c", host="forced.example")

    assert (308, f"https://forced.example:{443 + OFFSET}/a?b=c") == (answer.status, answer.location)


def test_a_canary() -> None:
    """Header, then cookie, then weight: about 30 of 100."""

    def backend(**headers: str) -> str:
        return ask(
            "/", {name.replace("_", "-"): value for name, value in headers.items()}, host="canary.example"
        ).headers["x-backend"]

    assert "canary" == backend(x_canary="always")
    assert "details" == backend(x_canary="never", cookie="try=always")
    assert "canary" == backend(cookie="a=b; try=always; c=d")
    shares = Counter(backend() for _ in range(600))
    assert 120 < shares["canary"] < 240


@pytest.mark.parametrize(("path", "expected"), [("/[", 500), ("/gone", 500), ("/good", 200), ("/other", 404)])
def test_a_broken_path_harms_no_other(path: str, expected: int) -> None:
    """S5: a refused pattern and a missing Service answer 500, their neighbours live, and Envoy takes it all."""
    assert expected == ask(path, host="broken.example").status


@pytest.mark.parametrize(
    ("sni", "host", "status", "backend"),
    [
        ("secure.example", "", 200, "details"),
        ("a.deep.example", "", 200, "productpage"),
        ("b.deep.example", "", 404, ""),
        ("secure.example", "a.deep.example", 421, ""),
        ("a.deep.example", "gone.deep.example", 421, ""),
        ("gone.deep.example", "", 421, ""),
    ],
)
def test_https(sni: str, host: str, status: int, backend: str) -> None:
    """S8: each TLS host has its certificate and its routes; no other name is answered on its connections."""
    certificate, *answer = ask_tls(sni, host)

    assert ssl.PEM_cert_to_DER_cert(CHAIN.decode()) == certificate
    assert [status, backend] == answer


def test_a_host_without_tls_is_not_served_over_https() -> None:
    """A connection whose SNI nobody serves is closed."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask_tls("canary.example")


def test_http_of_a_host_with_tls_is_redirected() -> None:
    """308 where HTTPS is served; plain HTTP goes on where the Secret is missing."""
    assert 308 == ask("/", host="secure.example").status
    assert 308 == ask("/", host="passed.example").status
    assert 200 == ask("/", host="gone.deep.example").status


def test_passthrough_shows_the_backends_own_certificate() -> None:
    """W12 for Ingress: the backend ends TLS, beside hosts whose TLS ends here."""
    certificate, status, backend = ask_tls("passed.example")

    assert ssl.PEM_cert_to_DER_cert(tls.chain(which=1, name="passed.example").decode()) == certificate
    assert (200, "ending") == (status, backend)
