"""Renewal beside Envoy: whatever goes wrong with it, Envoy and the certificate that works are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from xds_server.certificates.authority import issue_server, new_authority, sign_request
from xds_server.certificates.issuing import SignError, remote_signer
from xds_server.certificates.renewal import is_foreign, is_usable, keep, read, renew

NOW = datetime.now(UTC)
URI = "spiffe://tidegate.local/node/n1"
AUTHORITY = new_authority(NOW)


async def sign(request: bytes) -> bytes:
    return sign_request(AUTHORITY, request, URI, NOW)


async def kept(directory: Path, turns: Iterator[BaseException | None]) -> None:
    """Keep a certificate until there is one; each request takes a turn, and fails as that says."""

    async def signed(request: bytes) -> bytes:
        failure = next(turns, None)
        if failure is not None:
            raise failure
        return await sign(request)

    trusted = directory.with_name("ca.crt")
    keeping = asyncio.ensure_future(keep(directory, URI, signed, trusted, 0.001, lambda: 0.0))
    async with asyncio.timeout(20):
        while not keeping.done() and not is_usable(read(directory), URI, NOW):
            await asyncio.sleep(0)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def passed(turns: int) -> None:
    """Let everybody else have this many turns."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_a_disk_that_takes_nothing_is_told_and_tried_again(tmp_path: Path) -> None:
    """Once it takes files again there is a certificate: here a file is in the way, and goes."""
    directory = tmp_path / "certificate"
    directory.write_text("in the way")

    def turns() -> Iterator[None]:
        yield from (None, None)
        directory.unlink()

    with capture_logs() as logs:
        await kept(directory, turns())

    assert ["no certificate"] * 2 + ["certificate renewed"] == [entry["event"] for entry in logs]
    assert all(f"{directory} cannot be written" in entry["reason"] for entry in logs[:2])


@pytest.mark.parametrize("failure", [ValueError, RuntimeError, SignError, asyncio.InvalidStateError])
async def test_no_failure_of_a_signer_ends_the_renewal(tmp_path: Path, failure: type[Exception]) -> None:
    """What was not foreseen is told by its type alone: its text may hold the token."""
    failures: list[BaseException] = [failure("CANARY")] * 3
    with capture_logs() as logs:
        await kept(tmp_path / "certificate", iter(failures))

    assert ["no certificate"] * 3 + ["certificate renewed"] == [entry["event"] for entry in logs]
    assert (failure is SignError) == ("CANARY" in str(logs))


async def test_a_new_authority_is_followed(tmp_path: Path) -> None:
    """A certificate that is not due is renewed when its authority is trusted no more, and the new one then stays."""
    made_anew, trusted, requests = new_authority(NOW), tmp_path / "ca.crt", 0
    trusted.write_bytes(AUTHORITY.certificate)
    await renew(tmp_path / "certificate", URI, sign)

    async def signed(request: bytes) -> bytes:
        nonlocal requests
        requests += 1
        # A signer learns of the new authority later than we do, as each mount is refreshed on its own.
        return sign_request(made_anew if requests > 2 else AUTHORITY, request, URI, NOW)

    keeping = asyncio.ensure_future(keep(tmp_path / "certificate", URI, signed, trusted, 0.0, lambda: 0.0))
    await passed(20)
    assert 0 == requests
    trusted.write_bytes(made_anew.certificate)
    async with asyncio.timeout(20):
        while is_foreign(read(tmp_path / "certificate"), trusted):
            await asyncio.sleep(0)
    await passed(20)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping

    assert 3 == requests


async def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """The pair of before is whole and in place, and nothing of the new one is left to fill the disk."""
    directory = tmp_path / "certificate"
    await renew(directory, URI, sign)
    before = read(directory)
    (directory / "..data.new").mkdir()
    there = sorted(directory.iterdir())

    with pytest.raises(OSError, match=r"data\.new"):
        await renew(directory, URI, sign)

    assert (before, there) == (read(directory), sorted(directory.iterdir()))


@pytest.mark.parametrize("token", ["two\nlines", "Bearér", "\x00", ""])
async def test_a_token_that_cannot_be_sent_is_said_without_it(tmp_path: Path, token: str) -> None:
    """By its file."""
    (tmp_path / "token").write_text(f"{token}{'CANARY' if token else ''}")
    (tmp_path / "ca.crt").write_bytes(issue_server(AUTHORITY, ["localhost"], NOW).certificate)
    signed = remote_signer("127.0.0.1:1", "localhost", tmp_path / "ca.crt", tmp_path / "token", "n1")

    with pytest.raises(SignError, match="token holds no token") as error:
        await signed(b"")

    assert "CANARY" not in str(error.value)
