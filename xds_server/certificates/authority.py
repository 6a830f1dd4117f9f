"""The mesh's certificate authority and what it signs, as PEM.

Keys are of P-256. Each leaf has one identity: the one URI of a node or an operator, or a server's names; replicas of
the control plane, which are clients of each other too, have both.
Must not know where certificates are kept, nor who asks for them; the time is an argument.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=90)
NODE_LIFE: Final = timedelta(hours=24)
OPERATOR_LIFE: Final = timedelta(days=90)

LONGEST_REQUEST: Final = 8192

_BACKDATED: Final = timedelta(minutes=5)
"""Clocks of nodes differ."""


class CertificateError(ValueError):
    """A certificate, key or request that cannot be used; the text says which and why, never what is in a key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def new_authority(now: datetime, name: str = "Tidegate") -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} {now:%Y-%m-%dT%H:%M:%SZ}")])
    builder = (
        _builder(subject, subject, key.public_key(), now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _private(key))


def new_key() -> bytes:
    return _private(ec.generate_private_key(ec.SECP256R1()))


def issue_server(
    authority: Pair, hosts: Sequence[str], now: datetime, life: timedelta = SERVER_LIFE, uri: str = ""
) -> Pair:
    """A certificate of a server, for the names and addresses that clients dial; with a URI, of a client too."""
    names = [_general_name(host) for host in hosts]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH]
    if uri:
        names.append(x509.UniformResourceIdentifier(uri))
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return _issue(authority, names, usages, now, life)


def issue_client(authority: Pair, uri: str, now: datetime, life: timedelta) -> Pair:
    """A certificate of a client, whose identity is a URI."""
    return _issue(authority, [x509.UniformResourceIdentifier(uri)], [ExtendedKeyUsageOID.CLIENT_AUTH], now, life)


def new_request(key: bytes) -> bytes:
    """A request for a certificate; it proves that the key is there, and asks for no name."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_loaded_key(key), hashes.SHA256()).public_bytes(Encoding.PEM)


def sign_request(authority: Pair, request: bytes, uri: str, now: datetime, life: timedelta = NODE_LIFE) -> bytes:
    """The certificate of a client for the key of a request; whatever else the request asks for is left out.

    :raises CertificateError: it is no request, not signed by its own key, or of another kind of key.
    """
    if len(request) > LONGEST_REQUEST:
        raise CertificateError(f"a certificate request has at most {LONGEST_REQUEST} bytes, this one {len(request)}")
    try:
        read = x509.load_pem_x509_csr(request)
        public, proved = read.public_key(), read.is_signature_valid
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the certificate request cannot be read: {type(error).__name__}; send PEM") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise CertificateError("the certificate request is not for a key of the curve P-256: make one of that")
    if not proved:
        raise CertificateError("the certificate request is not signed by its own key")
    names = [x509.UniformResourceIdentifier(uri)]
    return _pem(_signed(authority, public, names, [ExtendedKeyUsageOID.CLIENT_AUTH], now, life))


def is_due(certificate: bytes, now: datetime, left: float) -> bool:
    """Whether less than a part of a certificate's life is left, or nothing of it is to be used yet."""
    read = loaded(certificate)
    life = read.not_valid_after_utc - read.not_valid_before_utc
    return now < read.not_valid_before_utc or read.not_valid_after_utc - now < life * left


def is_of(certificate: bytes, authorities: bytes) -> bool:
    """Whether one of the authorities has signed a certificate."""
    read = loaded(certificate)
    for authority in x509.load_pem_x509_certificates(authorities):
        try:
            read.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def fits(pair: Pair) -> bool:
    """Whether the key is that of the certificate."""
    try:
        return _loaded_key(pair.key).public_key() == loaded(pair.certificate).public_key()
    except CertificateError:
        return False


def hosts_of(certificate: bytes) -> list[str]:
    """The names and addresses that a server's certificate is for."""
    names = _alternatives(certificate)
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def uris_of(certificate: bytes) -> list[str]:
    return list(_alternatives(certificate).get_values_for_type(x509.UniformResourceIdentifier))


def _alternatives(certificate: bytes) -> x509.SubjectAlternativeName:
    try:
        return loaded(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def bundle(certificates: Iterable[bytes], now: datetime) -> bytes:
    """Authorities to be trusted, each once, in this order, without those that have expired."""
    kept: dict[bytes, None] = {}
    for text in certificates:
        for certificate in x509.load_pem_x509_certificates(text) if text.strip() else []:
            if certificate.not_valid_after_utc > now:
                kept[_pem(certificate)] = None
    return b"".join(kept)


def loaded(certificate: bytes) -> x509.Certificate:
    """The first certificate of a PEM text.

    :raises CertificateError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError:
        raise CertificateError("the certificate is not PEM: make it anew, or restore it") from None


def _issue(
    authority: Pair,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    now: datetime,
    life: timedelta,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_pem(_signed(authority, key.public_key(), names, usages, now, life)), _private(key))


def _signed(
    authority: Pair,
    public: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    usages: Sequence[x509.ObjectIdentifier],
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    issuer, key = loaded(authority.certificate), _loaded_key(authority.key)
    until = min(now + life, issuer.not_valid_after_utc)
    builder = (
        _builder(x509.Name([]), issuer.subject, public, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        # Critical, because the subject is empty.
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise CertificateError(f"{host[:256]!r} is neither a DNS name nor an address") from None


def _loaded_key(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        read = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the private key cannot be read: {type(error).__name__}") from None
    if not isinstance(read, ec.EllipticCurvePrivateKey):
        raise CertificateError("the private key is not one of an elliptic curve: use one of P-256")
    return read


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
