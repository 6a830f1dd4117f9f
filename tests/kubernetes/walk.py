"""The walk-through as a client on a node makes it: `python -m tests.kubernetes.walk KUBECONFIG`.

The example's manifests are kept applied from a folder, which the walk-through edits; addresses are those of statuses.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.kubernetes.bookinfo import REPLICAS
from tests.kubernetes.followed import Followed
from xds_server.config import DEFAULT_NAMESPACE
from xds_server.demo.backends import EXAMPLE
from xds_server.demo.steps import FOREIGN, Step, World
from xds_server.demo.walkthrough import walkthrough
from xds_server.kube.client import Api, credentials
from xds_server.kube.inspection import inspected
from xds_server.overview.findings import findings
from xds_server.overview.report import report

# Of node1: a client on it is not behind any address translation.
SOURCE: Final = "172.31.0.1"
WELL: Final = f"{REPLICAS} controllers, 2 proxies connected, 1 leads, 0 findings"
_INGRESSES: Final = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
_GATEWAYS: Final = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways"
_EVERY_S: Final = 0.05


class Addresses:
    """Of Gateways and Ingresses, as their status has them; kept, for who asks for one does not wait."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._found: dict[str, str] = {}

    def of(self, parent: str) -> str | None:
        return self._found.get(parent)

    async def run(self) -> None:
        while True:
            await self.once()
            await asyncio.sleep(_EVERY_S)

    async def once(self) -> None:
        found = {}
        for o in await self._list(_GATEWAYS):
            found[f"Gateway/default/{o['metadata']['name']}"] = [a["value"] for a in o["status"].get("addresses", ())]
        for o in await self._list(_INGRESSES):
            places = o["status"]["loadBalancer"].get("ingress", ())
            found[f"Ingress/default/{o['metadata']['name']}"] = [place["ip"] for place in places]
        self._found = {name: addresses[0] for name, addresses in found.items() if addresses}

    async def _list(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(await self._api.request("GET", path))["items"]
        return items


class Own:
    """Steps that only a cluster has."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._foreign = ""

    async def remember(self) -> None:
        self._foreign = await self._version_of_foreign()

    @property
    def steps(self) -> tuple[Step, ...]:
        return (
            Step("W6", "who has written to it", FOREIGN, "nobody", self._untouched),
            Step("W14", "tidegate status", "", WELL, self._status),
        )

    async def _untouched(self, _: World) -> str:
        """Nothing at all since it was made."""
        return "nobody" if await self._version_of_foreign() == self._foreign else "somebody"

    async def _version_of_foreign(self) -> str:
        o = json.loads(await self._api.request("GET", f"{_INGRESSES}/{FOREIGN.rpartition('/')[2]}"))
        return f"{o['metadata']['resourceVersion']} {o['status']}"

    async def _status(self, _: World) -> str:
        """As the command does it; a proxy is asked again that has just been sent something."""
        seen = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                while not seen.endswith(" 0 findings"):
                    facts = await inspected(self._api, DEFAULT_NAMESPACE)
                    seen = _summed(report(facts, findings(facts)))
        return seen


def _summed(content: dict[str, Any]) -> str:
    controllers, proxies = content["controllers"], content["proxies"]
    leads = sum(controller["leads"] for controller in controllers)
    connected = sum(bool(proxy["streams"]) for proxy in proxies)
    first = "".join(f": {f['object']} {f['message']}" for f in content["findings"][:1])
    counts = f"{len(controllers)} controllers, {connected} proxies connected, {leads} leads"
    return f"{counts}, {len(content['findings'])} findings{first}"


async def main(kubeconfig: Path) -> int:
    api = Api(await credentials(kubeconfig, None))
    try:
        with tempfile.TemporaryDirectory(prefix="tidegate-demo-") as scratch:
            directory = Path(scratch) / "bookinfo"
            shutil.copytree(EXAMPLE, directory)
            followed, addresses, own = Followed(api, directory, frozenset({"EndpointSlice"})), Addresses(api), Own(api)
            await followed.once()
            await own.remember()
            running = [asyncio.create_task(each.run()) for each in (followed, addresses)]
            try:
                return await walkthrough(addresses.of, 0, directory, source=SOURCE, more=own.steps)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.wait(running)
    finally:
        await api.close()


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(Path(sys.argv[1]))) else 0)
