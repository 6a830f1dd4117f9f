"""Who is at the other end of a connection, and which services that is good for.

A client certificate names one identity, in its only URI: `spiffe://<trust domain>/node/<node name>` is the proxy of a
node, `.../operator/<name>` a person or a tool, `.../controller/<name>` a replica of the control plane.
Whatever else it says counts for nothing.
Must not know gRPC, nor how a certificate was verified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

DEFAULT_TRUST_DOMAIN: Final = "tidegate.local"

NODE: Final = "node"
OPERATOR: Final = "operator"
CONTROLLER: Final = "controller"

_LONGEST_URI: Final = 2048
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?")
# A node is named as Kubernetes names it; of an operator, what a path segment of SPIFFE may have.
_NAMES: Final = {
    NODE: re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"),
    OPERATOR: re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}"),
    CONTROLLER: re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"),
}


class NotAnIdentityError(ValueError):
    """The certificate is nobody's that is known here; the text says why, and what would be."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whoever may open the Unix socket, or dial the insecure loopback port: one's own machine."""


@dataclass(frozen=True, slots=True)
class Node:
    """The proxy of a node."""

    name: str


@dataclass(frozen=True, slots=True)
class Operator:
    """A person, or a tool that reads what is going on."""

    name: str


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica of the control plane; all that share a certificate share its name."""

    name: str


Named = Node | Operator | Replica
Peer = Owner | Named

_ROLES: Final[dict[str, type[Named]]] = {NODE: Node, OPERATOR: Operator, CONTROLLER: Replica}


def is_trust_domain(text: str) -> bool:
    return _TRUST_DOMAIN.fullmatch(text) is not None


def is_node_name(text: str) -> bool:
    return _NAMES[NODE].fullmatch(text) is not None


def is_operator_name(text: str) -> bool:
    return _NAMES[OPERATOR].fullmatch(text) is not None


def uri(trust_domain: str, peer: Named) -> str:
    role = next(role for role, of in _ROLES.items() if isinstance(peer, of))
    return f"spiffe://{trust_domain}/{role}/{peer.name}"


def identity(pem: bytes, trust_domain: str) -> Named:
    """Of a client certificate whose signature and dates have been checked.

    :raises NotAnIdentityError: it has none, several, or one that is malformed or of another trust domain.
    """
    try:
        extensions = x509.load_pem_x509_certificate(pem).extensions
        uris = _alternatives(extensions).get_values_for_type(x509.UniformResourceIdentifier)
        usage = _usage(extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise NotAnIdentityError(f"the client certificate cannot be read: {type(error).__name__}") from None
    if usage is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise NotAnIdentityError("the certificate is not one of a client: its extended key usage leaves out clientAuth")
    if len(uris) != 1:
        raise NotAnIdentityError(
            f"the client certificate has {len(uris)} URIs as subject alternative names, and must have one: "
            f"spiffe://{trust_domain}/{NODE}/NAME or spiffe://{trust_domain}/{OPERATOR}/NAME"
        )
    return parsed(uris[0], trust_domain)


def parsed(text: str, trust_domain: str) -> Named:
    """The identity that a URI names, compared byte for byte: what is normalised elsewhere is not equal here.

    :raises NotAnIdentityError: it is none of this trust domain.
    """
    scheme, _, rest = text[: _LONGEST_URI + 1].partition("spiffe://")
    domain, _, path = rest.partition("/")
    role, _, name = path.partition("/")
    if len(text) > _LONGEST_URI or scheme or domain != trust_domain:
        raise NotAnIdentityError(f"{text[:256]!r} is not of the trust domain {trust_domain}: use another certificate")
    pattern = _NAMES.get(role)
    if pattern is None or pattern.fullmatch(name) is None:
        raise NotAnIdentityError(
            f"{text[:256]!r} names nobody: the path must be /{NODE}/ with a node's name, or /{OPERATOR}/ or "
            f"/{CONTROLLER}/ with a name"
        )
    return _ROLES[role](name)


def _alternatives(extensions: x509.Extensions) -> x509.SubjectAlternativeName:
    try:
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _usage(extensions: x509.Extensions) -> x509.ExtendedKeyUsage | None:
    try:
        return extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
