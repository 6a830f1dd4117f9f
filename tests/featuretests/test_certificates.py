"""`tidegate certificates`: files, and Secrets of an API server on which somebody else is quicker."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio import client

from xds_server.certificates.authority import is_of, uris_of
from xds_server.certificates.keeping import Store, kept_authority, kept_server
from xds_server.certificates.kubernetes import kept_bundle, kept_ends, kept_secret
from xds_server.cli import main
from xds_server.kube.client import Api, ApiError

NOW = datetime.now(UTC)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*.*") if p.is_file()}


def test_files_are_made_once_and_are_their_owners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run writes nothing and says so."""
    command = ["certificates", "--directory", str(tmp_path / "c"), "--node", "n1", "--operator", "alice"]
    assert 0 == main(command)
    first = contents(tmp_path / "c")
    assert 0 == main(command)

    assert first == contents(tmp_path / "c")
    assert 4 == capsys.readouterr().out.count(": unchanged")
    assert {0o600} == {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "c").rglob("*.*") if p.is_file()}
    assert ["spiffe://tidegate.local/node/n1"] == uris_of(first["node-n1/tls.crt"])
    assert is_of(first["operator-alice/tls.crt"], first["xds-server/ca.crt"])


@pytest.mark.parametrize("wrong", [["--node", "A/b"], ["--operator", ".."], ["--trust-domain", "A b"]])
def test_a_name_that_cannot_be_one_is_said(
    tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By its flag, before anything is written."""
    assert 2 == main(["certificates", "--directory", str(tmp_path / "c"), *wrong])
    assert wrong[0] in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


class Objects:
    """An API server's rules of creating and replacing; `rival` acts once, before the next write."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.version = 0
        self.rival: dict[str, Any] | None = None

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        stored = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        self.objects[path] = stored
        return stored

    async def handle(self, request: web.BaseRequest) -> web.Response:
        if request.method == "GET":
            found = self.objects.get(request.path)
            return web.json_response(found) if found else web.json_response({"reason": "NotFound"}, status=404)
        body = json.loads(await request.read())
        path = request.path if request.method == "PUT" else f"{request.path}/{body['metadata']['name']}"
        if self.rival is not None:
            self.put(path, self.rival)
            self.rival = None
        there = self.objects.get(path)
        wanted = body["metadata"].get("resourceVersion")
        if (request.method == "POST" and there) or (there and there["metadata"]["resourceVersion"] != wanted):
            return web.json_response({"reason": "Conflict"}, status=409)
        self.writes.append(f"{request.method} {path}")
        return web.json_response(self.put(path, body), status=201)


@asynccontextmanager
async def api_of(objects: Objects) -> AsyncIterator[Api]:
    runner = web.ServerRunner(web.Server(objects.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    api = Api(configuration)
    try:
        yield api
    finally:
        await api.close()
        await runner.cleanup()


async def ensured(api: Api) -> tuple[Store, Store, list[str]]:
    authority, first = await kept_secret(api, "ns", "ca", partial(kept_authority, now=NOW))
    second = await kept_bundle(api, "ns", "ca", authority["ca.crt"])
    server, third = await kept_secret(
        api,
        "ns",
        "server",
        partial(kept_server, authority=authority, hosts=["x"], uri="spiffe://tidegate.local/controller/x", now=NOW),
    )
    return authority, server, [first, second, third]


async def test_secrets_are_written_once() -> None:
    """Three writes, then none; labels and data of others stay as they are."""
    objects = Objects()
    async with api_of(objects) as api:
        first = await ensured(api)
        again = await ensured(api)

    assert (["created"] * 3, ["unchanged"] * 3) == (first[2], again[2])
    assert first[:2] == again[:2]
    assert 3 == len(objects.writes)
    assert "kubernetes.io/tls" == objects.objects["/api/v1/namespaces/ns/secrets/ca"]["type"]


async def test_two_at_once_agree() -> None:
    """Whoever comes second takes the authority that is there, and makes no other."""
    objects = Objects()
    async with api_of(objects) as api:
        results = await asyncio.gather(*(ensured(api) for _ in range(5)))

    assert 1 == len({result[0]["tls.crt"] for result in results})
    assert 1 == len({result[1]["tls.crt"] for result in results})
    assert 3 == len(objects.writes)


async def test_a_write_in_between_is_read_again() -> None:
    """A conflict is no error: the object is compared as it is now."""
    objects, other = Objects(), Objects()
    async with api_of(other) as api:
        await ensured(api)
    path = "/api/v1/namespaces/ns/secrets/ca"
    objects.rival = other.objects[path]
    async with api_of(objects) as api:
        authority, done = await kept_secret(api, "ns", "ca", partial(kept_authority, now=NOW))

    assert ("unchanged", []) == (done, objects.writes)
    assert authority["tls.crt"]


async def test_an_object_that_never_rests_is_said() -> None:
    """After some attempts the error names the object."""

    def restless(store: Store) -> Store:
        objects.rival = {"metadata": {"name": "ca"}, "data": {}}
        return kept_authority(store, NOW)

    objects = Objects()
    async with api_of(objects) as api:
        with pytest.raises(ApiError, match="secrets/ca changes all the time"):
            await kept_secret(api, "ns", "ca", restless)


async def test_until_when_certificates_hold_is_beside_what_proxies_trust() -> None:
    """Neither of the two entries takes the other away, and what is the same is not written."""
    objects = Objects()
    async with api_of(objects) as api:
        done = [await kept_bundle(api, "ns", "ca", b"pem")]
        done += [await kept_ends(api, "ns", "ca", {"tidegate-operator-a": NOW}) for _ in range(2)]
        done.append(await kept_bundle(api, "ns", "ca", b"pem"))

    assert ["created", "renewed", "unchanged", "unchanged"] == done
    [found] = objects.objects.values()
    assert {"ca.crt": "pem", "ends.json": json.dumps({"tidegate-operator-a": NOW.isoformat().replace("+00:00", "Z")},
                                                     separators=(",", ":"))} == found["data"]  # fmt: skip
