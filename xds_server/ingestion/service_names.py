"""The Service that a frontend has, or would have: its name, which pools select by.

It must not know whether there is one.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from xds_server.ingestion.sources import Settings
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.objects.meta import Labels

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
NAME: Final = "io.kubernetes.service.name"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
TIDEGATE: Final = "tidegate"
NAMESPACE: Final = "io.kubernetes.service.namespace"

_LONGEST: Final = 63
_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def service_ref(frontend: ObjectRef, settings: Settings) -> ObjectRef:
    """Its kind is in the name: a Gateway, an Ingress and a user's Service of one name do not meet."""
    if frontend == SHARED_INGRESS:
        return ObjectRef("Service", settings.namespace, settings.ingress_service)
    return ObjectRef("Service", frontend.namespace, label(f"tidegate-{frontend.kind.lower()}-{frontend.name}"))


def label(text: str) -> str:
    """A text as a label of up to 63 characters: itself, or its beginning and its hash where it is none."""
    if len(text) <= _LONGEST and _LABEL.fullmatch(text):
        return text
    digest = blake2b(text.encode(), digest_size=5).hexdigest()
    beginning = re.sub(r"[^-a-z0-9]", "-", text)[: _LONGEST - len(digest) - 1].rstrip("-")
    return f"{beginning}-{digest}"


def selected_by(frontend: ObjectRef, labels: Labels, settings: Settings) -> Labels:
    """What pools select by: an object's own labels, and those that say which Service it has."""
    service = service_ref(frontend, settings)
    gateway = {GATEWAY_NAME: label(frontend.name)} if frontend.kind == "Gateway" else {}
    return {**labels, **gateway, NAME: service.name, NAMESPACE: service.namespace}
