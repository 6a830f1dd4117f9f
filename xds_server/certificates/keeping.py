"""What of stored certificates stays and what is made anew; the same for files and for Secrets.

A store maps file names to contents, as in a `kubernetes.io/tls` Secret. What needs no change comes back equal.
An authority is followed by the next in two steps, so that no leaf is shown to who does not trust its authority yet:
first the next one is only trusted, a day later it signs, and the one before is trusted until it expires.
Must not know where stores are; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from xds_server.certificates.authority import (
    OPERATOR_LIFE,
    CertificateError,
    Pair,
    bundle,
    fits,
    hosts_of,
    is_due,
    is_of,
    issue_client,
    issue_server,
    loaded,
    new_authority,
    uris_of,
)

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITY: Final = "ca.crt"
NEXT_CERTIFICATE: Final = "next.crt"
NEXT_KEY: Final = "next.key"

RENEWED_WITH_LEFT: Final = 1 / 3
TRUSTED_BEFORE_USE: Final = timedelta(days=1)

Store = Mapping[str, bytes]


def kept_authority(store: Store, now: datetime) -> Store:
    """The authority's own store.

    :raises CertificateError: what is there is not usable. It is not replaced: whoever trusts it would be cut off.
    """
    if not store.get(CERTIFICATE) and not store.get(KEY):
        first = new_authority(now)
        return {**store, CERTIFICATE: first.certificate, KEY: first.key, AUTHORITY: first.certificate}
    current = pair(store)
    if not fits(current):
        raise CertificateError(f"{KEY} is not the key of {CERTIFICATE}: restore the authority, or delete all of it")
    trusted = store.get(AUTHORITY, b"")
    following = Pair(store.get(NEXT_CERTIFICATE, b""), store.get(NEXT_KEY, b""))
    if following.certificate and fits(following):
        if _settled(following, now) or loaded(current.certificate).not_valid_after_utc <= now:
            current, following = following, Pair(b"", b"")
    elif is_due(current.certificate, now, RENEWED_WITH_LEFT):
        following = new_authority(now)
    kept = {CERTIFICATE: current.certificate, KEY: current.key}
    if following.certificate:
        kept |= {NEXT_CERTIFICATE: following.certificate, NEXT_KEY: following.key}
    kept[AUTHORITY] = bundle((current.certificate, following.certificate, trusted), now)
    return kept


def _settled(following: Pair, now: datetime) -> bool:
    return now - loaded(following.certificate).not_valid_before_utc >= TRUSTED_BEFORE_USE


def kept_server(store: Store, authority: Store, hosts: Sequence[str], uri: str, now: datetime) -> Store:
    """The store of a server that is dialled by these names, and is a client by this identity."""

    def same(certificate: bytes) -> bool:
        return sorted(hosts) == sorted(hosts_of(certificate)) and [uri] == uris_of(certificate)

    return _kept_leaf(store, authority, same, partial(issue_server, pair(authority), hosts, now, uri=uri), now)


def kept_client(store: Store, authority: Store, uri: str, now: datetime, life: timedelta = OPERATOR_LIFE) -> Store:
    """The store of a client with an identity."""

    def same(certificate: bytes) -> bool:
        return [uri] == uris_of(certificate)

    return _kept_leaf(store, authority, same, partial(issue_client, pair(authority), uri, now, life), now)


def _kept_leaf(
    store: Store, authority: Store, same: Callable[[bytes], bool], issue: Callable[[], Pair], now: datetime
) -> Store:
    current = pair(store)
    trusted = authority[AUTHORITY]
    if not _is_good(current, trusted, same, now):
        current = issue()
    return {CERTIFICATE: current.certificate, KEY: current.key, AUTHORITY: trusted}


def _is_good(current: Pair, trusted: bytes, same: Callable[[bytes], bool], now: datetime) -> bool:
    try:
        return (
            fits(current)
            and same(current.certificate)
            and is_of(current.certificate, trusted)
            and not is_due(current.certificate, now, RENEWED_WITH_LEFT)
        )
    except CertificateError:
        return False


def pair(store: Store) -> Pair:
    return Pair(store.get(CERTIFICATE, b""), store.get(KEY, b""))
