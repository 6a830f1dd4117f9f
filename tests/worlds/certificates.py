"""Key pairs for Secrets, good and bad, made once per session: the data of each by what is odd about it."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey
NOW: Final = datetime.now(UTC)
GOOD: Final = ("rsa", "p256")


@cache
def key_pairs() -> dict[str, dict[str, str]]:
    """`data` of a kubernetes.io/tls Secret, base64 as the API server gives it."""
    rsa_key, p256 = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    chain, rsa_chain = certificate(p256), certificate(rsa_key)
    p256_pem = private(p256)
    return {
        "rsa": data(rsa_chain, private(rsa_key)),
        "p256": data(chain, p256_pem),
        "p384": pair(ec.generate_private_key(ec.SECP384R1())),
        "p521": pair(ec.generate_private_key(ec.SECP521R1())),
        "p224": pair(ec.generate_private_key(ec.SECP224R1())),
        "secp256k1": pair(ec.generate_private_key(ec.SECP256K1())),
        "ed25519": pair(ed25519.Ed25519PrivateKey.generate()),
        "rsa-1024": pair(rsa.generate_private_key(65537, 1024)),
        "rsa-1536": pair(rsa.generate_private_key(65537, 1536)),
        "rsa-exponent-3": pair(rsa.generate_private_key(3, 2048)),
        "dsa": pair(dsa.generate_private_key(2048)),
        "pkcs1": data(rsa_chain, private(rsa_key, PrivateFormat.TraditionalOpenSSL)),
        "sec1": data(chain, private(p256, PrivateFormat.TraditionalOpenSSL)),
        "sec1-with-parameters": data(
            chain,
            b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
            + private(p256, PrivateFormat.TraditionalOpenSSL),
        ),
        "openssh": data(chain, private(p256, PrivateFormat.OpenSSH)),
        "encrypted": data(chain, private(p256, encryption=BestAvailableEncryption(b"secret"))),
        "encrypted-pkcs1": data(
            rsa_chain, private(rsa_key, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))
        ),
        "mismatch": data(chain, private(rsa_key)),
        "same-kind-mismatch": data(chain, private(ec.generate_private_key(ec.SECP256R1()))),
        "expired": data(certificate(p256, ends=NOW - timedelta(days=1)), p256_pem),
        "not-yet-valid": data(certificate(p256, begins=NOW + timedelta(days=1)), p256_pem),
        "twice": data(chain + chain, p256_pem),
        "long-chain": data(chain * 200, p256_pem),
        "chain-with-junk": data(chain + certificate(rsa_key) + JUNK, p256_pem),
        "text-around": data(b"subject: a\n" + chain + b"the end\n", b"a key\n" + p256_pem + b"\n\nends\n"),
        "no-newline-at-end": data(chain.strip(), p256_pem.strip()),
        "crlf": data(chain.replace(b"\n", b"\r\n"), p256_pem.replace(b"\n", b"\r\n")),
        "key-before-certificate": data(p256_pem + chain, p256_pem),
        "certificate-after-key": data(chain, p256_pem + chain),
        "two-keys": data(chain, p256_pem + private(rsa_key)),
        "odd-key-first": data(chain, private(rsa_key) + p256_pem),
        "swapped": data(p256_pem, chain),
        "unicode-names": data(certificate(p256, name="münchen.example"), p256_pem),
        "no-names": data(certificate(p256, name=""), p256_pem),
        "address-only": data(certificate(p256, name="", other=x509.IPAddress(ip_address("192.0.2.1"))), p256_pem),
        "uri-only": data(certificate(p256, name="", other=x509.UniformResourceIdentifier("spiffe://a/b")), p256_pem),
        "mail-only": data(certificate(p256, name="", other=x509.RFC822Name("a@example.com")), p256_pem),
        "id-only": data(certificate(p256, name="", other=x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))), p256_pem),
        "nul": data(chain + b"\0", p256_pem + b"\0"),
        "der": data(x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER), p256_pem),
        "truncated": data(chain[:-40], p256_pem),
        "junk": data(JUNK, JUNK),
        "not-pem": data(b"certificate", b"key"),
        "empty": {"tls.crt": "", "tls.key": ""},
        "no-key": {"tls.crt": b64encode(chain).decode()},
        "no-certificate": {"tls.key": b64encode(p256_pem).decode()},
        "nothing": {},
        "not-base64": {"tls.crt": "=", "tls.key": "%%"},
    }


JUNK: Final = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def data(chain: bytes, key: bytes) -> dict[str, str]:
    return {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key).decode()}


def pair(key: PrivateKey) -> dict[str, str]:
    return data(certificate(key), private(key))


def private(
    key: PrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def certificate(
    key: PrivateKey,
    name: str = "*.example.com",
    begins: datetime = NOW - timedelta(days=2),
    ends: datetime = NOW + timedelta(days=30),
    other: x509.GeneralName | None = None,
) -> bytes:
    """Signed by its own key; `name` is the one in the subject and, when it is ASCII, the alternative one."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(min(begins, ends - timedelta(days=1)))
        .not_valid_after(max(ends, begins + timedelta(days=1)))
    )
    if other is None and name and name.isascii():
        other = x509.DNSName(name)
    if other is not None:
        made = made.add_extension(x509.SubjectAlternativeName([other]), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return made.sign(key, algorithm).public_bytes(Encoding.PEM)
