"""The certificate of a node's proxy, in a directory that Envoy watches: had before it starts, renewed at half its life.

Certificate and key change together, by one rename, as the kubelet does it: a reader sees both old or both new.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import structlog

from xds_server.certificates.authority import (
    CertificateError,
    Pair,
    fits,
    is_due,
    is_of,
    loaded,
    new_key,
    new_request,
    uris_of,
)
from xds_server.certificates.directory import replace
from xds_server.certificates.issuing import Signer, SignError
from xds_server.kube.client import delay_s

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"

_DATA: Final = "..data"
_LONGEST_WAIT_S: Final = 30.0
_RENEWED_WITH_LEFT: Final = 1 / 2

log = structlog.get_logger("identity")


def read(directory: Path) -> Pair | None:
    try:
        return Pair((directory / CERTIFICATE).read_bytes(), (directory / KEY).read_bytes())
    except OSError:
        return None


def write(directory: Path, pair: Pair) -> None:
    """Put a pair in the place of the one before, or leave that one as it is.

    :raises OSError: it cannot be written; nothing of it is left.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = (directory / _DATA).readlink().name if (directory / _DATA).is_symlink() else ""
    new = directory / f"..{loaded(pair.certificate).serial_number:x}"
    try:
        _place(directory, new, pair)
    except OSError:
        if before != new.name:
            shutil.rmtree(new, ignore_errors=True)
        raise
    if before and before != new.name:
        shutil.rmtree(directory / before, ignore_errors=True)


def _place(directory: Path, new: Path, pair: Pair) -> None:
    new.mkdir(mode=0o700, exist_ok=True)
    replace(new / CERTIFICATE, pair.certificate)
    replace(new / KEY, pair.key)
    link = directory / f"{_DATA}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(new.name)
    for name in (CERTIFICATE, KEY):
        if not (directory / name).is_symlink():
            (directory / name).unlink(missing_ok=True)
            (directory / name).symlink_to(f"{_DATA}/{name}")
    link.replace(directory / _DATA)


def is_usable(pair: Pair | None, uri: str, now: datetime) -> bool:
    """Whether the server would still let us in with it."""
    return pair is not None and _is_ours(pair, uri) and loaded(pair.certificate).not_valid_after_utc > now


def is_renewed(pair: Pair | None, uri: str, now: datetime) -> bool:
    """Whether it is time for the next one."""
    return pair is None or not _is_ours(pair, uri) or is_due(pair.certificate, now, _RENEWED_WITH_LEFT)


async def renew(directory: Path, uri: str, sign: Signer) -> None:
    """Get a certificate for a new key, and put both in place.

    :raises SignError: it is refused, or nobody answers.
    :raises CertificateError: what came is not what was asked for.
    :raises OSError: it cannot be written.
    """
    key = new_key()
    pair = Pair(await sign(new_request(key)), key)
    if not _is_ours(pair, uri):
        raise CertificateError(f"the control plane signed something else than {uri} for the key of the request")
    write(directory, pair)
    log.info("certificate renewed", uri=uri, until=loaded(pair.certificate).not_valid_after_utc.isoformat())


async def obtain(directory: Path, uri: str, sign: Signer, chance: Callable[[], float] = random.random) -> None:
    """Return once there is a usable certificate; one that is left from before will do."""
    attempt = 0
    while not is_usable(read(directory), uri, datetime.now(UTC)):
        if await _tried(directory, uri, sign):
            return
        await asyncio.sleep(delay_s(attempt, chance(), _LONGEST_WAIT_S))
        attempt += 1


async def keep(
    directory: Path,
    uri: str,
    sign: Signer,
    trusted: Path,
    every_s: float = 60.0,
    chance: Callable[[], float] = random.random,
) -> NoReturn:
    """Renew in time, for ever: a failure is told and tried again, while the certificate that works stays.

    One that none of the trusted authorities has signed is renewed too: an authority that was made anew does not know
    it. Where others sign than are trusted, as with a server's certificate from elsewhere, that is tried ever more
    seldom.
    It ends by nothing but cancellation: it runs beside Envoy, which is not to stop for it.
    """
    attempt = foreign = 0
    while True:
        pair = read(directory)
        due = is_renewed(pair, uri, datetime.now(UTC))
        foreign = foreign + 1 if not due and is_foreign(pair, trusted) else 0
        failed = (due or _is_time(foreign)) and not await _tried(directory, uri, sign)
        attempt = attempt + 1 if failed else 0
        foreign -= bool(foreign and failed)
        await asyncio.sleep(delay_s(attempt, chance(), every_s) if attempt else every_s * (0.5 + chance() / 2))


def is_foreign(pair: Pair | None, trusted: Path) -> bool:
    """Whether none of the authorities in a file has signed it; not so while they cannot be read."""
    try:
        return pair is not None and not is_of(pair.certificate, trusted.read_bytes())
    except (OSError, ValueError):
        return False


def _is_time(rounds: int) -> bool:
    """In rounds 1, 2, 4, ... 64, 128, 192, ..."""
    return rounds > 0 and (rounds & (rounds - 1) == 0 or rounds % 64 == 0)


async def _tried(directory: Path, uri: str, sign: Signer) -> bool:
    try:
        await renew(directory, uri, sign)
    except (SignError, CertificateError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"{directory} cannot be written: {error.strerror or type(error).__name__}: free its disk, or change it"
    except Exception as error:  # noqa: BLE001  # its text may hold the token
        reason = f"a defect of Tidegate, {type(error).__name__}: report it"
    else:
        return True
    log.warning("no certificate", uri=uri, reason=reason)
    return False


def _is_ours(pair: Pair, uri: str) -> bool:
    with suppress(CertificateError):
        return fits(pair) and [uri] == uris_of(pair.certificate)
    return False
