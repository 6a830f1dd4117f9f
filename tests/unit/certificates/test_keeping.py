"""What of stored certificates is renewed, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from xds_server.certificates.authority import (
    CertificateError,
    Pair,
    fits,
    hosts_of,
    is_of,
    issue_client,
    issue_server,
    loaded,
    new_authority,
    new_key,
    new_request,
    sign_request,
    uris_of,
)
from xds_server.certificates.keeping import Store, kept_authority, kept_client, kept_server, pair
from xds_server.certificates.renewal import is_renewed, is_usable, read, write
from xds_server.xds.identity import Node, Replica, identity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTS = ["tidegate-xds", "10.0.0.1"]
URI = "spiffe://tidegate.local/node/n1"
REPLICA = "spiffe://tidegate.local/controller/tidegate-xds"


def authority(now: datetime = NOW) -> Store:
    return kept_authority({}, now)


def test_a_replica_is_a_server_and_a_client() -> None:
    """One certificate for both, and one of a release that had none of the identity is made anew."""
    ca = authority()
    before = issue_server(pair(ca), HOSTS, NOW)
    old: Store = {"tls.crt": before.certificate, "tls.key": before.key, "ca.crt": ca["ca.crt"]}
    made = kept_server(old, ca, HOSTS, REPLICA, NOW)["tls.crt"]

    assert (sorted(HOSTS), Replica("tidegate-xds")) == (sorted(hosts_of(made)), identity(made, "tidegate.local"))


def test_what_is_not_due_stays() -> None:
    """0 writes: each store comes back equal, until a third of its life is left."""
    ca = authority()
    server, client = kept_server({}, ca, HOSTS, REPLICA, NOW), kept_client({}, ca, URI, NOW)

    for days in (0, 1, 59):
        now = NOW + days * DAY
        assert ca == kept_authority(ca, now)
        assert server == kept_server(server, ca, HOSTS, REPLICA, now)
        assert client == kept_client(client, ca, URI, now)
    assert server != kept_server(server, ca, HOSTS, REPLICA, NOW + 61 * DAY)
    assert client != kept_client(client, ca, URI, NOW + 61 * DAY)


@pytest.mark.parametrize("broken", ["other names", "another key", "junk", "another authority"])
def test_a_leaf_that_does_not_serve_is_made_anew(broken: str) -> None:
    """By names, key, form or signer."""
    ca = authority()
    server = kept_server({}, ca, HOSTS, REPLICA, NOW)
    other = kept_server({}, authority(), HOSTS, REPLICA, NOW)
    spoilt: Store = {
        "other names": kept_server({}, ca, ["elsewhere"], REPLICA, NOW),
        "another key": {**server, "tls.key": other["tls.key"]},
        "junk": {**server, "tls.crt": b"junk"},
        "another authority": other,
    }[broken]
    made = kept_server(spoilt, ca, HOSTS, REPLICA, NOW)

    assert sorted(HOSTS) == sorted(hosts_of(made["tls.crt"]))
    assert is_of(made["tls.crt"], ca["ca.crt"])
    assert fits(pair(made))


def test_an_authority_is_followed_by_one_that_is_trusted_first() -> None:
    """Nobody is shown a leaf of an authority that was not in the bundle a day before, and the old one stays in it."""
    old = authority()
    server = kept_server({}, old, HOSTS, REPLICA, NOW)
    due = NOW + 2440 * DAY
    trusted = kept_authority(old, due)
    assert trusted == kept_authority(trusted, due + DAY / 2)
    assert old["tls.crt"] == trusted["tls.crt"]
    assert 2 == len(x509.load_pem_x509_certificates(trusted["ca.crt"]))
    signing = kept_authority(trusted, due + DAY)
    assert signing == kept_authority(signing, due + 2 * DAY)

    assert trusted["next.crt"] == signing["tls.crt"]
    assert "next.key" not in signing
    late = kept_server(server, signing, HOSTS, REPLICA, due + DAY)
    assert is_of(late["tls.crt"], signing["tls.crt"])
    assert is_of(kept_client({}, trusted, URI, due)["tls.crt"], signing["ca.crt"])
    assert signing["tls.crt"] == kept_authority(signing, NOW + 3700 * DAY)["ca.crt"]


def test_an_authority_that_cannot_be_used_is_not_replaced() -> None:
    """Who trusts it would be cut off: a person decides."""
    ca = authority()
    with pytest.raises(CertificateError, match="restore the authority"):
        kept_authority({**ca, "tls.key": authority()["tls.key"]}, NOW)
    with pytest.raises(CertificateError, match=r"tls\.key"):
        kept_authority({**ca, "tls.crt": b""}, NOW)


def test_a_request_gives_its_key_and_nothing_else() -> None:
    """Names, usages and lives that a request asks for are left out."""
    ca, key = new_authority(NOW), new_key()
    certificate = sign_request(ca, new_request(key), URI, NOW)

    assert fits(Pair(certificate, key))
    assert ([URI], [], Node("n1")) == (
        uris_of(certificate),
        hosts_of(certificate),
        identity(certificate, "tidegate.local"),
    )
    assert NOW + DAY == loaded(certificate).not_valid_after_utc


@pytest.mark.parametrize("request_", [b"", b"junk", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"x" * 9000])
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    """Whatever it is, the answer is an error of ours."""
    with pytest.raises(CertificateError, match="request"):
        sign_request(new_authority(NOW), request_, URI, NOW)


def test_a_request_is_signed_by_its_own_key() -> None:
    """Who asks has the key: a certificate for a key of somebody else's cannot be had."""
    text = new_request(new_key())
    lines = text.decode().splitlines()
    spoilt = lines[-2][:8] + ("A" if lines[-2][8] != "A" else "B") + lines[-2][9:]

    with pytest.raises(CertificateError, match=r"not signed by its own key|cannot be read"):
        sign_request(new_authority(NOW), "\n".join([*lines[:-2], spoilt, lines[-1], ""]).encode(), URI, NOW)


def test_no_leaf_outlives_its_authority() -> None:
    """At the end of an authority's life its leaves end with it."""
    ca = new_authority(NOW)
    end = loaded(ca.certificate).not_valid_after_utc

    assert end == loaded(issue_server(ca, HOSTS, end - DAY).certificate).not_valid_after_utc


def test_a_pair_changes_by_one_rename(tmp_path: Path) -> None:
    """Both files go through one link: there is no moment with the key of one and the certificate of the other."""
    directory = tmp_path / "certificate"
    ca = new_authority(NOW)
    for _ in range(3):
        made = issue_client(ca, URI, NOW, DAY)
        write(directory, made)
        assert made == read(directory)
        assert 1 == len([path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()])
    assert ["..data/tls.crt", "..data/tls.key"] == [str((directory / n).readlink()) for n in ("tls.crt", "tls.key")]
    assert 0o600 == (directory / "tls.key").stat().st_mode & 0o777


def test_a_node_renews_at_half_its_life() -> None:
    """And goes on with what it has until that expires."""
    made = issue_client(new_authority(NOW), URI, NOW, DAY)
    seen = [(is_usable(made, URI, NOW + at * DAY), is_renewed(made, URI, NOW + at * DAY)) for at in (0, 0.4, 0.6, 1.1)]

    assert [(True, False), (True, False), (True, True), (False, True)] == seen
    assert (False, True) == (is_usable(made, URI + "2", NOW), is_renewed(made, URI + "2", NOW))
    assert (False, True) == (is_usable(None, URI, NOW), is_renewed(None, URI, NOW))
