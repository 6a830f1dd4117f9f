"""Who a request says that it is, for as long as a process runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from kubernetes_asyncio.config.config_exception import ConfigException

from tests.kube_api import KubeApi, Refusal
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
