"""Who a request says that it is, for as long as a process runs."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from kubernetes_asyncio.config.config_exception import ConfigException

from tests.kube_api import KubeApi, Refusal
from xds_server.certificates.authority import issue_client, issue_server, loaded, new_authority
from xds_server.kube.client import Api, ApiError, Configuration, CredentialsError, credentials

PATH = "/api/v1/services"
LIVE = "2999-01-01T00:00:00Z"
PLUGIN = """
printf x >> "$0.runs"
token=t$(wc -c < "$0.runs" | tr -d ' ')
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",' \
  '"status": {"token": "'$token'", "expirationTimestamp": "EXPIRY"}}'
"""


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        yield kube


def plugin(kube: KubeApi, directory: Path, expiry: str = LIVE) -> Path:
    """A kubeconfig whose plugin says t1, t2, t3 and so on."""
    script = directory / "plugin"
    script.write_text(PLUGIN.replace("EXPIRY", expiry))
    path = kube.kubeconfig(directory / "kubeconfig")
    content = yaml.safe_load(path.read_text())
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": [str(script)]}
    content["users"][0]["user"] = {"exec": run}
    path.write_text(yaml.safe_dump(content))
    return path


def tokens(kube: KubeApi) -> list[str]:
    return [asked.authorization.removeprefix("Bearer ") for asked in kube.requests]


async def test_a_token_that_is_refused_is_loaded_again(kube: KubeApi, tmp_path: Path) -> None:
    """The request is repeated once with the next token, and who asked does not notice."""
    api = Api(await credentials(plugin(kube, tmp_path)))
    await api.request("GET", PATH)
    kube.script("services", "list", Refusal(401, "Unauthorized"))
    await api.request("GET", PATH)
    kube.script("services", "watch", Refusal(401, "Unauthorized"))
    with pytest.raises(ApiError, match="401 Unauthorized"):  # that soon after, no plugin is run
        async with api.stream(PATH, params={"watch": "1"}, silence_s=30):
            pass
    await api.close()

    assert ["t1", "t1", "t2", "t2"] == tokens(kube)


async def test_lists_come_as_they_are(kube: KubeApi, tmp_path: Path) -> None:
    """Neither side spends its time on compression."""
    api = Api(await credentials(kube.kubeconfig(tmp_path / "kubeconfig")))
    await api.request("GET", PATH)
    await api.close()

    assert ["identity"] == [asked.encoding for asked in kube.requests]


async def test_a_token_is_loaded_again_before_it_expires(kube: KubeApi, tmp_path: Path) -> None:
    """Where the plugin says when that is; one that gives none but expired ones is not run for each request."""
    api = Api(await credentials(plugin(kube, tmp_path, "2020-01-01T00:00:00Z")))
    for _ in range(3):
        await api.request("GET", PATH)
    await api.close()

    assert ["t2"] * 3 == tokens(kube)


async def test_a_plugin_that_fails_later_is_an_error_of_the_request(kube: KubeApi, tmp_path: Path) -> None:
    """It ends nothing: whoever asks tries again, as when the server is away."""
    api = Api(await credentials(plugin(kube, tmp_path)))
    (tmp_path / "plugin").write_text("exit 3")
    kube.script("services", "list", Refusal(401, "Unauthorized"))
    with pytest.raises(ApiError, match="credentials cannot be renewed: exec: process returned 3") as failed:
        await api.request("GET", PATH)
    await api.close()

    assert 0 == failed.value.status


@pytest.mark.parametrize("error", [ConfigException("empty"), ValueError("odd"), PermissionError("closed"), KeyError(1)])
async def test_a_token_file_that_cannot_be_read_is_an_error_of_the_request(kube: KubeApi, error: Exception) -> None:
    """A service account's token is read again each minute; what is wrong then ends no process."""

    def hook(_: Configuration) -> None:
        raise error

    configuration = kube.configuration()
    configuration.api_key["BearerToken"] = "Bearer t"
    configuration.refresh_api_key_hook = hook
    api = Api(configuration)
    with pytest.raises(ApiError) as failed:
        await api.request("GET", PATH)
    await api.close()

    assert (0, type(error).__name__) == (failed.value.status, failed.value.reason)


@pytest.mark.parametrize("content", ["a: [", "text", "clusters: 3", ""])
async def test_what_is_no_kubeconfig_is_told_by_its_path(tmp_path: Path, content: str) -> None:
    """Whatever the file holds, the message names it and the flag."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)

    with pytest.raises(CredentialsError, match=rf"(?s){path} cannot be used: .*; name one by --kubeconfig"):
        await credentials(path)


CERTIFYING = """
printf x >> "$0.runs"
cat "$0.$(wc -c < "$0.runs" | tr -d ' ').json"
"""


@asynccontextmanager
async def certified(directory: Path, *lives: timedelta) -> AsyncIterator[tuple[Path, list[int], set[int]]]:
    """A server that asks for certificates, and a plugin that gives one after the other.

    Gives the kubeconfig, the serial number of each request, and those numbers that are refused.
    """
    now = datetime.now(UTC)
    authority = new_authority(now - timedelta(days=1))
    own = issue_server(authority, ["127.0.0.1"], now)
    for name, content in (("ca", authority.certificate), ("crt", own.certificate), ("key", own.key)):
        (directory / name).write_bytes(content)
    for number, life in enumerate(lives, 1):
        pair = issue_client(authority, "spiffe://a/operator/b", now, life)
        status = {"clientCertificateData": pair.certificate.decode(), "clientKeyData": pair.key.decode()}
        credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        (directory / f"plugin.{number}.json").write_text(json.dumps(credential))
    (directory / "plugin").write_text(CERTIFYING)
    asked, refused = list[int](), set[int]()

    async def answer(request: web.Request) -> web.Response:
        peer = request.transport.get_extra_info("peercert") if request.transport else {}
        asked.append(int(peer["serialNumber"], 16))
        return web.json_response({}, status=401 if asked[-1] in refused else 200)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(directory / "crt", directory / "key")
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    cluster = {"server": f"https://127.0.0.1:{runner.addresses[0][1]}", "certificate-authority": str(directory / "ca")}
    run = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": [str(directory / "plugin")]}
    written = {
        "apiVersion": "v1", "kind": "Config", "current-context": "a", "clusters": [{"name": "a", "cluster": cluster}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "users": [{"name": "a", "user": {"exec": run}}],
    }  # fmt: skip
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(written))
    try:
        yield path, asked, refused
    finally:
        await runner.cleanup()


async def test_a_client_certificate_is_loaded_again_when_it_is_refused(tmp_path: Path) -> None:
    """By a connection of its own: one that is open shows the old one for as long as it lasts."""
    hour = timedelta(hours=1)
    async with certified(tmp_path, hour, hour) as (kubeconfig, asked, refused):
        api = Api(await credentials(kubeconfig))
        await api.request("GET", PATH)
        refused.add(asked[0])
        await api.request("GET", PATH)
        await api.request("GET", PATH)
        await api.close()

    first, second = sorted(set(asked), key=asked.index)
    assert [first, first, second, second] == asked


async def test_a_client_certificate_is_loaded_again_before_it_expires(tmp_path: Path) -> None:
    """Its own end says when."""
    async with certified(tmp_path, timedelta(seconds=20), timedelta(hours=1)) as (kubeconfig, asked, _):
        api = Api(await credentials(kubeconfig))
        for _ in range(2):
            await api.request("GET", PATH)
        await api.close()

    plugged = json.loads((tmp_path / "plugin.2.json").read_text())["status"]["clientCertificateData"]
    assert [loaded(plugged.encode()).serial_number] * 2 == asked
