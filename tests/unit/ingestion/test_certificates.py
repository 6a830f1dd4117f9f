"""S15: what of a Secret Envoy takes, and what is said of the rest."""

# ruff: noqa: E501  # a manifest on one line reads better than one broken by Python

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.ingestion import tls
from xds_server.ingestion.certificates import MAX_CHAIN, MAX_PEM, certificate, is_consistent
from xds_server.model.backend import Certificate, InvalidCertificate
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import Secret
from xds_server.objects.meta import ObjectMeta

REF = ObjectRef("Secret", "default", "pair")


def made(crt: bytes | None, key: bytes | None, type_: str = "kubernetes.io/tls") -> Certificate | InvalidCertificate:
    entries = {"tls.crt": crt, "tls.key": key}
    data = {name: b64encode(value).decode() for name, value in entries.items() if value is not None}
    return certificate(REF, Secret(metadata=ObjectMeta(name="pair", namespace="default"), type=type_, data=data))


def message(found: Certificate | InvalidCertificate) -> str:
    assert isinstance(found, InvalidCertificate)
    return found.message


@pytest.mark.parametrize("kind", ["secp256r1", "secp384r1", "secp521r1", "rsa2048", "rsa3072"])
def test_key_pairs_that_envoy_takes_pass(kind: str) -> None:
    """S15: a key pair of a kind that Envoy takes comes out as it went in."""
    expected = Certificate(REF, tls.chain(kind), tls.private(kind))

    assert expected == made(tls.chain(kind), tls.private(kind))


@pytest.mark.parametrize(
    ("crt", "key", "expected"),
    [
        (None, tls.private(), "has no tls.crt"),
        (tls.chain(), None, "has no tls.key"),
        (b"", tls.private(), "tls.crt is empty"),
        (tls.chain(), b" \n", "tls.key is empty"),
        (b"junk", tls.private(), "tls.crt holds something that is no PEM certificate"),
        (tls.chain() + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", tls.private(), "no PEM certificate"),
        (tls.chain(), b"junk", "tls.key is no PEM private key"),
        (tls.chain(), tls.private(which=1), "is not the key of the first certificate"),
        (tls.chain(which=1) + tls.chain(), tls.private(), "is not the key of the first certificate"),
        (tls.chain(), tls.private(password=b"secret"), "tls.key is encrypted"),
        (tls.chain("rsa1024"), tls.private("rsa1024"), "RSA key of 1024 bits"),
        (tls.chain("secp256k1"), tls.private("secp256k1"), "curve secp256k1"),
        (tls.chain("ed25519"), tls.private("ed25519"), "neither an RSA nor an ECDSA key"),
        (tls.chain() * (MAX_CHAIN + 1), tls.private(), f"holds {MAX_CHAIN + 1} certificates"),
        (tls.chain() + b"\n" * MAX_PEM, tls.private(), f"longer than {MAX_PEM} bytes"),
        (tls.chain(), b"\n" * (1 << 20) + tls.private(), f"longer than {MAX_PEM} bytes"),
    ],
)  # fmt: skip
def test_bad_key_pairs_are_told(crt: bytes | None, key: bytes | None, expected: str) -> None:
    """S15: what Envoy would refuse is refused here, and the message says why."""
    assert expected in message(made(crt, key))


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def test_a_certificate_that_must_be_stapled_is_told() -> None:
    """S15: Envoy refuses it without an OCSP response, which nobody gives it here."""
    chain = tls.chain(extensions=(x509.TLSFeature([x509.TLSFeatureType.status_request]),))

    assert "must be stapled" in message(made(chain, tls.private()))


@pytest.mark.parametrize(("kind", "signs", "passes"), [
    ("secp256r1", False, False),
    ("secp256r1", True, True),
    ("rsa2048", False, True),
])  # fmt: skip
def test_an_ecdsa_key_must_be_allowed_to_sign(kind: str, *, signs: bool, passes: bool) -> None:
    """S15: Envoy refuses an ECDSA certificate whose key usage lacks digitalSignature, and takes an RSA one."""
    found = made(tls.chain(kind, extensions=(usage(signs=signs),)), tls.private(kind))

    assert passes == isinstance(found, Certificate)
    assert passes or "without digitalSignature" in message(found)


@pytest.mark.parametrize("part", ["d", "dmp1", "dmq1", "iqmp", "p"])
def test_an_rsa_key_whose_parts_do_not_fit_is_told(part: str) -> None:
    """S15: a key that somebody put together from two is refused here, not by Envoy."""
    key = tls.key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    parts = {name: getattr(numbers, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
    parts[part] += 2
    broken = rsa.RSAPrivateNumbers(**parts, public_numbers=numbers.public_numbers)

    assert not is_consistent(broken)
    assert is_consistent(numbers)


def test_a_secret_of_another_type_is_not_a_certificate() -> None:
    """Only Secrets of type kubernetes.io/tls are read."""
    assert "is not of type kubernetes.io/tls" == message(made(tls.chain(), tls.private(), "Opaque"))


def test_a_secret_that_does_not_exist_is_told() -> None:
    """A missing Secret is an outcome, not an error."""
    assert InvalidCertificate(REF, "does not exist") == certificate(REF, None)


def test_an_expired_certificate_is_served() -> None:
    """S15: expiry is for the client to judge: a Gateway that stops answering helps nobody."""
    assert isinstance(made(tls.chain(days=1), tls.private()), Certificate)


def test_data_that_is_not_base64_is_told() -> None:
    """A Secret written by hand may hold anything."""
    metadata = ObjectMeta(name="pair", namespace="default")
    found = Secret(metadata=metadata, type="kubernetes.io/tls", data={"tls.crt": "%%%", "tls.key": "AA"})

    assert "tls.crt is not base64" == message(certificate(REF, found))


def test_string_data_counts_before_data() -> None:
    """`stringData` overwrites `data`, as the API server has it."""
    metadata = ObjectMeta(name="pair", namespace="default")
    entries = {"tls.crt": tls.chain().decode(), "tls.key": tls.private().decode()}
    found = Secret(metadata=metadata, type="kubernetes.io/tls", data={"tls.crt": "%%%"}, string_data=entries)

    assert isinstance(certificate(REF, found), Certificate)


def test_no_message_or_repr_holds_content() -> None:
    """S17: neither a message nor a repr of a certificate has any part of its key or chain."""
    canary = b"CANARY-of-a-secret"
    shown = [
        repr(made(tls.chain(), tls.private())),
        repr(made(canary, tls.private())),
        repr(made(tls.chain(), canary)),
        repr(made(tls.chain(), tls.private(which=1))),
    ]

    assert not [text for text in shown if "CANARY" in text or "BEGIN" in text or tls.private().decode()[40:60] in text]
