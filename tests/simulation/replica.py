"""A whole control plane in virtual time: the API server is fake, the Envoy takes everything, the rest is real."""

from __future__ import annotations

import asyncio
import atexit
import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final, NamedTuple

import aiohttp

from tests.kube_api import DEFAULT, KubeApi, Object
from tests.simulation.edits import Delete, Edit, Put, world
from tests.unit.ingestion import tls
from xds_server.app import ControlPlane, attached
from xds_server.config import Cluster, Config
from xds_server.graph import Changes
from xds_server.kube.client import Api
from xds_server.kube.contact import Contact
from xds_server.kube.kinds import KINDS
from xds_server.kube.reflector import Link
from xds_server.kube.stats import SourceStats
from xds_server.model.resource import LISTENER, ROUTE_CONFIGURATION
from xds_server.xds.streams import Client

SERVED: Final = {kind.kind: kind for kind in DEFAULT}
ENVOY: Final = Client("node1", 1)


class Replica(NamedTuple):
    plane: ControlPlane
    api: Api


@asynccontextmanager
async def replica(kube: KubeApi, name: str = "one") -> AsyncIterator[Replica]:
    """One that runs, with an Envoy that accepts at once."""
    loop = asyncio.get_running_loop()
    cluster = Cluster(pod=name)
    plane = ControlPlane(Config(cluster=cluster, admin=""))
    api = await connected(kube)
    chance = random.Random(name).random
    statuses = attached(plane, Link(api, Contact(chance=chance), SourceStats(), clock=loop.time), cluster)

    def accept() -> None:
        for type_url in (LISTENER, ROUTE_CONFIGURATION):
            found = {key.name: each.version for key, each in plane.pipeline.resources.items() if key[0] == type_url}
            plane.controller.accepted(ENVOY, type_url, found)

    def committed(_: Changes) -> None:
        loop.call_soon(accept)

    plane.observers.append(committed)
    plane.controller.connected(ENVOY, resumed=False)
    plane.controller.subscribed(ENVOY, LISTENER, wildcard=True)
    running = [asyncio.ensure_future(each) for each in (plane.run(), plane.watch(), statuses.run(plane.loaded))]
    try:
        await plane.loaded.wait()
        yield Replica(plane, api)
        for task in running:
            if task.done():
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await api.close()
        gc.unfreeze()  # what a process keeps to its end


async def connected(kube: KubeApi) -> Api:
    """A client by the Unix socket of the server: what is sent there has arrived, which loopback may take time for."""
    configuration = kube.configuration()
    configuration.ssl_ca_cert = _authority()  # of nobody, but quicker to read than all that the machine trusts
    api = Api(configuration)
    rest = api._client.rest_client  # the way to the server is not what is tested here
    await rest.pool_manager.close()
    rest.pool_manager = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(kube.socket), limit=0))
    return api


async def vanished(api: Api) -> None:
    """As if the network had been cut, or its process killed: its watches end, and nothing that it asks arrives."""
    await _asks(api, "/nowhere")


async def returned(kube: KubeApi, api: Api) -> None:
    """One that had vanished can ask again."""
    await _asks(api, str(kube.socket))


async def _asks(api: Api, socket: str) -> None:
    rest = api._client.rest_client  # the way to the server is not what is tested here
    before = rest.pool_manager
    rest.pool_manager = aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket, limit=0))
    assert before.connector is not None
    for connection in [*before.connector._acquired]:  # as the network does; closed, it says nothing
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0)
    await before.close()


@cache
def _authority() -> str:
    path = Path(mkdtemp()) / "ca.crt"
    path.write_bytes(tls.chain())
    atexit.register(rmtree, path.parent)
    return str(path)


def edited(kube: KubeApi, edit: Edit) -> None:
    """Do at the API server what a user does."""
    if isinstance(edit, Put):
        kube.apply(edit.manifest)
    elif isinstance(edit, Delete):
        kube.delete(*edit.ref)
    elif edit.versions:
        kube.serve(SERVED[edit.kind]._replace(versions=edit.versions))
    else:
        kube.unserve(SERVED[edit.kind].plural)


@asynccontextmanager
async def served() -> AsyncIterator[KubeApi]:
    """The world of `edits` at an API server."""
    with TemporaryDirectory() as directory:
        async with KubeApi(socket=Path(directory) / "api.sock") as kube:
            for each in world():
                kube.apply(each.manifest)
            yield kube


def end_state(kube: KubeApi, plane: ControlPlane) -> dict[str, Any]:
    """What proxies are given, what users are told, and what was generated, without times and numbers of versions."""
    told = {
        f"{kind.kind}/{each['metadata'].get('namespace', '')}/{each['metadata']['name']}": _timeless(each["status"])
        for kind in KINDS
        if kind.plural in kube.plurals
        for each in kube.objects(kind.kind)
        if "status" in each
    }
    generated = {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": (each["spec"], each["metadata"]["annotations"])
        for each in kube.objects("Service")
        if "app.kubernetes.io/managed-by" in each["metadata"].get("labels", {})
    }
    resources = {f"{key.type_url} {key.name}": each.version for key, each in plane.pipeline.resources.items()}
    faults = {str(key): text for key, text in plane.pipeline.graph.faults.items()}
    return {"resources": resources, "told": told, "generated": generated, "faults": faults}


def _timeless(found: Object | list[Any] | Any) -> Any:
    if isinstance(found, dict):
        return {name: _timeless(value) for name, value in found.items() if name != "lastTransitionTime"}
    if isinstance(found, list):
        return [_timeless(each) for each in found]
    return found
