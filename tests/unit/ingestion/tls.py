"""Key pairs for tests, and the Secrets that hold them."""

from __future__ import annotations

import datetime
from base64 import b64encode
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

CURVES: dict[str, ec.EllipticCurve] = {
    curve.name: curve for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
}
START = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@cache
def key(kind: str = "secp256r1", which: int = 0) -> Key:
    """A key of a curve, of "rsa" and a size, or "ed25519"; `which` tells several of one kind apart."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(CURVES[kind])


@cache
def chain(
    kind: str = "secp256r1",
    which: int = 0,
    name: str = "a.example.com",
    days: int = 36500,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> bytes:
    found = key(kind, which)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(found.public_key())
        .serial_number(7)
        .not_valid_before(START)
        .not_valid_after(START + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(found, None if kind == "ed25519" else hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


@cache
def private(kind: str = "secp256r1", which: int = 0, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key(kind, which).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def secret(
    name: str,
    namespace: str = "default",
    crt: bytes | None = None,
    key: bytes | None = None,
    type_: str = "kubernetes.io/tls",
) -> str:
    crt, key = chain() if crt is None else crt, private() if key is None else key
    return f"""
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
type: {type_}
data: {{tls.crt: "{b64encode(crt).decode()}", tls.key: "{b64encode(key).decode()}"}}
"""
