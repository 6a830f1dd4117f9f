"""`tidegate identity`: the certificate of a node for who has no token himself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from structlog.testing import capture_logs

from tests.featuretests.test_issuing import GOOD, Issuer, running
from xds_server.certificates.authority import Pair, fits, is_of, new_authority
from xds_server.certificates.issuing import remote_signer
from xds_server.cli.identity import Settings, copy, identity
from xds_server.xds import identity as identities

URI = "spiffe://tidegate.local/node/node-a"


def settings(issuer: Issuer, directory: Path, *, once: bool) -> Settings:
    trusted, token = directory / "mounted.crt", directory / "token"
    trusted.write_bytes(issuer.authority.certificate)
    token.write_text(GOOD)
    sign = remote_signer(f"127.0.0.1:{issuer.port}", "localhost", trusted, token, "node-a")
    return Settings(URI, directory / "kept", trusted, sign, once)


async def test_it_ends_once_there_is_all_that_the_daemon_needs(tmp_path: Path) -> None:
    """A certificate of the node with its key, and the authority of the server, in one folder."""
    async with running(tmp_path / "issuer") as issuer:
        given = settings(issuer, tmp_path, once=True)
        given.directory.mkdir()
        await identity(given)
        pair = Pair(*((given.directory / name).read_bytes() for name in ("tls.crt", "tls.key")))

    assert identities.Node("node-a") == identities.identity(pair.certificate, "tidegate.local")
    assert fits(pair)
    assert is_of(pair.certificate, (given.directory / "ca.crt").read_bytes())


async def test_what_is_left_from_before_will_do(tmp_path: Path) -> None:
    """A pod that comes while no control plane answers has the certificate of the pod before."""
    async with running(tmp_path / "issuer") as issuer:
        given = settings(issuer, tmp_path, once=True)
        given.directory.mkdir()
        await identity(given)
    before = (given.directory / "tls.crt").read_bytes()
    await identity(given)

    assert before == (given.directory / "tls.crt").read_bytes()


async def test_it_goes_on_until_it_is_told_to_end(tmp_path: Path) -> None:
    """Without `once` it renews for as long as it runs."""
    async with running(tmp_path / "issuer") as issuer:
        given = settings(issuer, tmp_path, once=False)
        given.directory.mkdir()
        task = asyncio.ensure_future(identity(given))
        async with asyncio.timeout(20):
            while not (given.directory / "tls.crt").exists():
                await asyncio.sleep(0.01)
        running_still = not task.done()
        task.cancel()
        await asyncio.wait({task})

    assert (True, True) == (running_still, task.cancelled())


def test_the_copy_of_the_authority_follows_it(tmp_path: Path) -> None:
    """An authority that is replaced is copied again; one that cannot be read leaves the copy, and is told."""
    trusted, kept = tmp_path / "mounted.crt", tmp_path / "ca.crt"
    authority = new_authority(datetime.now(UTC)).certificate
    trusted.write_bytes(b"before")
    copy(trusted, tmp_path)
    trusted.write_bytes(authority)
    copy(trusted, tmp_path)
    trusted.unlink()
    with capture_logs() as logs:
        copy(trusted, tmp_path)

    assert authority == kept.read_bytes()
    assert ["authority not read"] == [line["event"] for line in logs]
