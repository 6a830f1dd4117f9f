"""Certificates: from a Secret to a key pair that Envoy will take, or to the reason why not.

Messages never hold any of a Secret's content.
"""

from __future__ import annotations

from xds_server.model.backend import Certificate, InvalidCertificate
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import Secret


def certificate(ref: ObjectRef, secret: Secret | None) -> Certificate | InvalidCertificate:
    """The checked key pair of a `kubernetes.io/tls` Secret; None is a Secret that does not exist."""
    raise NotImplementedError
