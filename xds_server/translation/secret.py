"""Certificates for SDS. Their bytes go into the message and nowhere else (S17)."""

from __future__ import annotations

from xds_server.model.backend import Certificate
from xds_server.model.resource import SECRET, Resource, resource
from xds_server.translation import envoy, names


def secret(certificate: Certificate) -> Resource:
    name = names.secret(certificate.ref)
    message = envoy.Secret(
        name=name,
        tls_certificate=envoy.TlsCertificate(
            certificate_chain=envoy.DataSource(inline_bytes=certificate.chain),
            private_key=envoy.DataSource(inline_bytes=certificate.key),
        ),
    )
    return resource(SECRET, name, envoy.serialised(message))
