"""The example's manifests against the servers that the demo starts for them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from xds_server.demo.backends import BACKENDS, EXAMPLE, Backend, knows


def objects(kind: str) -> Iterator[dict[str, Any]]:
    for path in sorted(EXAMPLE.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == kind:
                yield document


def service_of(endpoint_slice: dict[str, Any]) -> str:
    return str(endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"])


def test_every_endpoint_has_its_server() -> None:
    """The demo starts a server at each address and port that an EndpointSlice names, and at no other."""
    named = {
        (address, port["port"])
        for endpoint_slice in objects("EndpointSlice")
        for endpoint in endpoint_slice["endpoints"]
        for address in endpoint["addresses"]
        for port in endpoint_slice["ports"]
    }

    assert named == {(backend.address, backend.port) for backend in BACKENDS}


def test_every_service_port_leads_to_a_slice() -> None:
    """A Service's target port is the port of its EndpointSlice, under the same name."""
    services = {
        (service["metadata"]["name"], port["name"], port["targetPort"])
        for service in objects("Service")
        for port in service["spec"]["ports"]
    }
    slices = {
        (service_of(endpoint_slice), port["name"], port["port"])
        for endpoint_slice in objects("EndpointSlice")
        for port in endpoint_slice["ports"]
    }

    assert services == slices


def test_addresses_are_loopback() -> None:
    """The example works on a machine without a network."""
    assert [] == [backend.address for backend in BACKENDS if not backend.address.startswith("127.")]


@pytest.mark.parametrize(
    ("path", "known"),
    [("/", True), ("/details", True), ("/details/1", True), ("/detailsmore", False), ("/ratings", False)],
)
def test_an_application_knows_its_own_paths(path: str, known: bool) -> None:
    """Each application answers its paths by segment, and 404 to the others."""
    assert known == knows(Backend("details", "127.0.0.1", 1, serves=("/details",)), path)


def certificates() -> dict[str, tuple[bytes, bytes]]:
    [secret] = objects("Secret")
    tls = EXAMPLE / "tls"
    return {
        "tls-gateway": (base64.b64decode(secret["data"]["tls.crt"]), base64.b64decode(secret["data"]["tls.key"])),
        "my-nginx": ((tls / "nginx.crt").read_bytes(), (tls / "nginx.key").read_bytes()),
    }


@pytest.mark.parametrize("owner", ["tls-gateway", "my-nginx"])
def test_certificates_are_the_demo_authoritys_and_outlive_us(owner: str) -> None:
    """Both certificates fit their keys, come from the demo's CA, name their owner and are valid for decades."""
    chain, key = certificates()[owner]
    certificate = x509.load_pem_x509_certificate(chain)
    authority = x509.load_pem_x509_certificate((EXAMPLE / "tls/ca.crt").read_bytes())

    certificate.verify_directly_issued_by(authority)
    assert load_pem_private_key(key, None).public_key() == certificate.public_key()
    assert [owner] == [n.value for n in certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
    assert datetime.now(UTC) + timedelta(days=365 * 20) < certificate.not_valid_after_utc


def test_committed_keys_say_what_they_are(project: Path) -> None:
    """A key in the repository is in one of the two files that say that it protects nothing."""
    readme = (EXAMPLE / "tls/README.md").read_text()
    holders = [path for path in EXAMPLE.rglob("*") if path.is_file() and "PRIVATE KEY" in path.read_text()]

    assert ["examples/bookinfo/tls/nginx.key"] == [str(path.relative_to(project)) for path in holders]
    assert "never use them" in readme
    assert (EXAMPLE / "tls-secret.yaml").read_text().startswith("# A demonstration key: public")
