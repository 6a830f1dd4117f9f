"""Certificates: from a Secret to a key pair that Envoy will take, or to the reason why not.

Messages never hold any of a Secret's content.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from xds_server.graph import Collection, Fetch, NotYet
from xds_server.ingestion.grants import Grants, permitted
from xds_server.ingestion.sources import Settings, Sources
from xds_server.ingestion.wanted import unread
from xds_server.model.backend import Certificate, InvalidCertificate
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import Secret
from xds_server.objects.gateway import SecretObjectReference

Checked = Collection[ObjectRef, Certificate | InvalidCertificate]

E = TypeVar("E", bound=x509.ExtensionType)

MAX_CHAIN: Final = 16
MAX_PEM: Final = 64 * 1024
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""The curves of server certificates that Envoy 1.40 takes."""


class Unusable(Exception):  # an outcome, not an error of ours
    """A Secret cannot serve TLS; the text tells why without any of its content."""


def certificate(ref: ObjectRef, secret: Secret | None) -> Certificate | InvalidCertificate:
    """The checked key pair of a `kubernetes.io/tls` Secret; None is a Secret that does not exist.

    An expired certificate passes: Envoy serves it, and taking it away would not make anything safer.
    """
    if secret is None:
        return InvalidCertificate(ref, "does not exist")
    try:
        return checked(ref, secret)
    except Unusable as reason:
        return InvalidCertificate(ref, str(reason))


def looked_up(fetch: Fetch, sources: Sources, settings: Settings, ref: ObjectRef) -> Certificate | InvalidCertificate:
    """The key pair of a Secret that something refers to."""
    if unread(fetch, sources, settings, ref):
        return InvalidCertificate(ref, "is not read yet", unread=True)
    secret = fetch.get(sources.secrets, ref)
    why = fetch.get(sources.absent, ref) if secret is None else None
    return InvalidCertificate(ref, why) if why else certificate(ref, secret)


def checked(ref: ObjectRef, secret: Secret) -> Certificate:
    if secret.type != "kubernetes.io/tls":
        raise Unusable("is not of type kubernetes.io/tls")
    chain, key = pem(secret, "tls.crt"), pem(secret, "tls.key")
    public, leaf = strong_key(key), leaf_of(chain)
    if public != public_half(leaf):
        raise Unusable("tls.key is not the key of the first certificate in tls.crt")
    check_extensions(leaf)
    return Certificate(ref, chain, key)


def pem(secret: Secret, name: str) -> bytes:
    """A bounded entry of a Secret; `stringData` wins over `data`, as the API server has it."""
    if name in secret.string_data:
        found = secret.string_data[name].encode()
    elif name in secret.data:
        try:
            found = b64decode("".join(secret.data[name].split()), validate=True)
        except (Base64Error, ValueError):
            raise Unusable(f"{name} is not base64") from None
    else:
        raise Unusable(f"has no {name}")
    if not found.strip():
        raise Unusable(f"{name} is empty")
    if len(found) > MAX_PEM:
        raise Unusable(f"{name} is longer than {MAX_PEM} bytes")
    return found


def leaf_of(chain: bytes) -> x509.Certificate:
    """The first certificate of a chain whose every part can be read."""
    try:
        found = x509.load_pem_x509_certificates(chain)
    except (ValueError, UnsupportedAlgorithm):
        raise Unusable("tls.crt holds something that is no PEM certificate") from None
    if len(found) > MAX_CHAIN:
        raise Unusable(f"tls.crt holds {len(found)} certificates; {MAX_CHAIN} are allowed")
    if not named(found[0]):
        raise Unusable(
            "the first certificate of tls.crt has neither a common name nor alternative names; Envoy needs one"
        )
    return found[0]


def named(leaf: x509.Certificate) -> bool:
    """Whether the certificate has a name of a kind that Envoy reads; it refuses those that have none."""
    if leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
        return True
    names = extension(leaf, x509.SubjectAlternativeName) or ()
    return any(isinstance(name, x509.DNSName | x509.IPAddress | x509.UniformResourceIdentifier) for name in names)


def check_extensions(leaf: x509.Certificate) -> None:
    """Envoy refuses a certificate that asks for more than it is given here, or may not do what TLS has it do."""
    features = extension(leaf, x509.TLSFeature)
    if features is not None and x509.TLSFeatureType.status_request in features:
        raise Unusable(
            "the first certificate of tls.crt must be stapled (its TLS feature status_request), and no OCSP responses"
            " are stapled here; have one issued without must-staple"
        )
    usage = extension(leaf, x509.KeyUsage)
    # TLS only ever signs with an ECDSA key; of RSA keys the library that Envoy uses does not ask.
    elliptic = isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    if usage is not None and elliptic and not usage.digital_signature:
        raise Unusable(
            "the first certificate of tls.crt has a key usage without digitalSignature, which an ECDSA key needs"
        )


def extension(leaf: x509.Certificate, kind: type[E]) -> E | None:
    """The extension of a kind; None where there is none, or none that can be read."""
    try:
        return leaf.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def strong_key(key: bytes) -> bytes:
    """The public half of a private key that Envoy takes, as DER."""
    try:
        # Testing the factors for primality takes 0.2 s for 4096 bits; what Envoy would refuse is checked below.
        found = load_pem_private_key(key, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise Unusable("tls.key is encrypted; store it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unusable("tls.key is no PEM private key") from None
    if isinstance(found, rsa.RSAPrivateKey):
        if not MIN_RSA_BITS <= found.key_size <= MAX_RSA_BITS:
            raise Unusable(f"tls.key is an RSA key of {found.key_size} bits; use {MIN_RSA_BITS} to {MAX_RSA_BITS}")
        if not is_consistent(found.private_numbers()):
            raise Unusable("tls.key is an RSA key whose parts do not fit together")
    elif not isinstance(found, ec.EllipticCurvePrivateKey):
        raise Unusable("tls.key is neither an RSA nor an ECDSA key")
    elif found.curve.name not in CURVES:
        raise Unusable(f"tls.key is on curve {found.curve.name}; use one of {', '.join(sorted(CURVES))}")
    return found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def is_consistent(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the parts of an RSA key belong together, as TLS libraries check when they load one."""
    n, e = key.public_numbers.n, key.public_numbers.e
    p, q, d = key.p, key.q, key.d
    if p * q != n or min(p, q) < 3 or e < 3:
        return False
    fits = (d * e) % (p - 1) == 1 and (d * e) % (q - 1) == 1
    return fits and (key.dmp1, key.dmq1) == (d % (p - 1), d % (q - 1)) and (key.iqmp * q) % p == 1


def public_half(leaf: x509.Certificate) -> bytes:
    try:
        return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise Unusable("the first certificate of tls.crt has a key of an unknown kind") from None


# --- references -------------------------------------------------------------------------------------------------------


def certificate_target(ref: ObjectRef, secret: SecretObjectReference) -> ObjectRef | None:
    if (secret.group, secret.kind) != ("", "Secret"):
        return None
    return ObjectRef("Secret", secret.namespace or ref.namespace, secret.name)


def usable_certificate(
    fetch: Fetch, grants: Grants, checked: Checked, ref: ObjectRef, secret: SecretObjectReference
) -> ObjectRef | tuple[str, str]:
    """The Secret of a reference that may be used and can be, or the reason and message why not.

    The grant is checked before existence, so that nobody learns what there is in another namespace.

    :raises NotYet: nobody has looked whether there is one.
    """
    target = certificate_target(ref, secret)
    if target is None:
        return "", f"certificate {secret.name} is a {secret.group}/{secret.kind}; only Secrets are read"
    if not permitted(fetch, grants, ref, target):
        return "RefNotPermitted", f"{target}: no ReferenceGrant there allows Gateways of namespace {ref.namespace}"
    found = fetch.get(checked, target)
    if isinstance(found, Certificate):
        return target
    if found is not None and found.unread:
        raise NotYet
    return "", f"{target}: {found.message}" if found else f"{target} does not exist"
