"""The real Envoy as oracle: random worlds of objects, one after the other, through our ADS server into one Envoy.

Each world replaces the one before it, so that names change hands, as they do in a cluster's life.
Only when a listener that stays leaves its address to another is the Envoy emptied first: it refuses to have two
listeners on one address, and still has the old one while the changed one warms.
TIDEGATE_FUZZ_WORLDS says how many worlds, TIDEGATE_FUZZ_SEED which is the first.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.worlds import pools
from tests.worlds.certificates import key_pairs
from tests.worlds.gateway_api import V1
from tests.worlds.reading import objects
from tests.worlds.shrinking import minimal
from tests.worlds.world import World, ref, text, world
from xds_server.ingestion.sources import Settings
from xds_server.model.resource import CLUSTER, LISTENER, Resource, ResourceKey
from xds_server.pipeline import Pipeline
from xds_server.proxy import admin
from xds_server.proxy.bootstrap import BootstrapOptions, XdsSocket, bootstrap
from xds_server.proxy.process import EnvoyOptions, Event, Exited, Ready, supervise
from xds_server.translation.settings import TranslationSettings
from xds_server.xds.credentials import UnixSocket
from xds_server.xds.server import serving
from xds_server.xds.streams import Client, Streams

WORLDS: Final = int(os.environ.get("TIDEGATE_FUZZ_WORLDS", "600"))
FIRST: Final = int(os.environ.get("TIDEGATE_FUZZ_SEED", "0"))
DEADLINE_S: Final = 30
SHRINKING_S: Final = 2
MISSED: Final = "not acknowledged"

# What Envoy counts when it did not take something, whether or not it said so to the control plane.
COUNTERS: Final = r"^(listener_manager\.(lds\.update_rejected|listener_create_failure)|.*\.update_rejected)$"


def is_loose(seed: int) -> bool:
    """Every other world is one of an API server with few rules."""
    return seed % 2 == 1


def resources(manifests: World, *, loose: bool) -> dict[ResourceKey, Resource]:
    found = Pipeline.declare(
        Settings(undeclared_classes=("tidegate", "cilium"), allow_local_endpoints=True),
        TranslationSettings(port_offset=10_000, vhds_threshold=4),
    )
    found.apply(objects(manifests, loose=loose).items())
    return dict(found.resources)


@dataclass
class Oracle:
    """An Envoy that is served; `refused` is what it said against what it holds now."""

    streams: Streams
    admin: Path
    wanted: dict[ResourceKey, Resource] = field(default_factory=dict)
    accepted: dict[ResourceKey, str] = field(default_factory=dict)
    refused: dict[ResourceKey, str] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def on_accepted(self, _: Client, type_url: str, versions: Mapping[str, str]) -> None:
        self.accepted |= {ResourceKey(type_url, name): version for name, version in versions.items()}
        self.heard.set()

    def on_rejected(self, _: Client, type_url: str, name: str, _version: str, detail: str) -> None:
        self.refused[ResourceKey(type_url, name)] = detail
        self.heard.set()

    def unheard(self) -> set[ResourceKey]:
        """What Envoy asks for and has said nothing of yet; it asks for virtual hosts of VHDS as it likes."""
        wanted = {key for key in self.wanted if key.type_url in {LISTENER, CLUSTER}}
        wanted |= {other for key in wanted for other in self.wanted[key].references}
        return {
            key
            for key in wanted
            if key not in self.refused
            and (key not in self.wanted or self.accepted.get(key) != self.wanted[key].version)
        }

    async def judge(
        self, resources: dict[ResourceKey, Resource], deadline_s: float = DEADLINE_S
    ) -> dict[ResourceKey, str]:
        """What Envoy refuses of these resources, in its own words."""
        gone = dict.fromkeys(self.wanted.keys() - resources.keys())
        changed = {key: found for key, found in resources.items() if self.wanted.get(key) != found}
        self.wanted, self.refused = resources, {}
        refusals = self.streams.stats.nacks.copy()
        for key in gone:
            self.accepted.pop(key, None)
        self.streams.publish({**gone, **changed})
        try:
            async with asyncio.timeout(deadline_s):
                while self.unheard():
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError:
            self.refused |= dict.fromkeys(self.unheard(), MISSED)
        # Envoy acknowledges a Secret that it has refused when it is sent again: the first word counts.
        for type_url, number in (self.streams.stats.nacks - refusals).items():
            self.refused.setdefault(ResourceKey(type_url, "one of several"), f"refused {number} times")
        return self.refused


@asynccontextmanager
async def oracle(envoy: Path, directory: Path) -> AsyncIterator[Oracle]:
    streams = Streams()
    found = Oracle(streams, directory / "admin")
    streams.on_accepted, streams.on_rejected = found.on_accepted, found.on_rejected
    streams.open()
    options = EnvoyOptions(
        binary=envoy,
        bootstrap=bootstrap(BootstrapOptions("fuzz", XdsSocket(directory / "xds"), found.admin)),
        admin=found.admin,
        directory=directory / "envoy",
        concurrency=1,
    )
    ready = asyncio.get_running_loop().create_future()

    def heard(event: Event) -> None:
        if isinstance(event, Ready) and not ready.done():
            ready.set_result(None)
        if isinstance(event, Exited):
            found.refused[ResourceKey("Envoy", "itself")] = f"ended with {event.code}: {event.last_words}"
            found.heard.set()

    async with serving(streams, UnixSocket(directory / "xds")):
        life = asyncio.create_task(supervise(options, heard))
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ready
            yield found
        finally:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)


def told(envoy: Path, directory: Path, seed: int, said: dict[ResourceKey, str]) -> str:
    """Everything needed to see the fault again: Envoy's words and the smallest world that makes it say them."""
    loose = is_loose(seed)
    words = "\n".join(f"{key.type_url.rpartition('.')[2]} {key.name}: {detail}" for key, detail in said.items())

    async def refuses(smaller: World) -> bool:
        # Always a new Envoy: one acknowledges what it has refused when it sees it again.
        with TemporaryDirectory(dir=directory) as fresh:
            async with oracle(envoy, Path(fresh)) as found:
                return bool(await found.judge(resources(smaller, loose=loose), SHRINKING_S))

    def fails(smaller: World) -> bool:
        return asyncio.run(refuses(smaller))

    if not fails(world(seed, loose=loose)):
        return f"seed {seed}, only after the worlds before it:\n{words}"
    return f"seed {seed}:\n{words}\n{text(minimal(world(seed, loose=loose), fails))}"


def everything_odd() -> World:
    """Every odd key pair on a listener of its own, every odd pattern in a match of its own: none is left to chance."""
    pairs = key_pairs()
    secrets = [
        {"kind": "Secret", "apiVersion": "v1", "type": "kubernetes.io/tls", "metadata": {"name": name}, "data": pair}
        for name, pair in pairs.items()
    ]
    listeners = [
        {"name": name, "protocol": "HTTPS", "port": 443, "hostname": f"{name}.test"}
        | {"tls": {"certificateRefs": [{"name": name}]}}
        for name in pairs
    ]
    plain = {"name": "plain", "protocol": "HTTP", "port": 80}
    gateways = [
        {
            "apiVersion": V1,
            "kind": "Gateway",
            "metadata": {"name": f"web-{at}"},
            "spec": {"gatewayClassName": "tidegate", "listeners": [*listeners[at : at + 60], plain]},
        }
        for at in range(0, len(listeners), 60)
    ]
    patterns = (*pools.REGEXES, *pools.ODD_REGEXES, *pools.LOOSE_REGEXES)
    routes = [
        {
            "apiVersion": V1,
            "kind": "HTTPRoute",
            "metadata": {"name": f"route-{number}"},
            "spec": {
                "parentRefs": [{"name": "web-0"}],
                "rules": [
                    {"matches": [{"path": {"type": "RegularExpression", "value": pattern}}]},
                    {"matches": [{"headers": [{"name": "a", "type": "RegularExpression", "value": pattern}]}]},
                ],
            },
        }
        for number, pattern in enumerate(patterns)
    ]
    return {ref(manifest): manifest for manifest in (*secrets, *gateways, *routes)}


async def test_no_odd_key_pair_and_no_odd_pattern_leads_to_a_refusal(envoy: Path, tmp_path: Path) -> None:
    """S5, S15: what Envoy would refuse of a Secret or of a regular expression never reaches it."""
    async with oracle(envoy, tmp_path) as found:
        assert {} == await found.judge(resources(everything_odd(), loose=True))


async def test_no_accepted_object_leads_to_a_refusal(envoy: Path, tmp_path: Path) -> None:
    """S5, S14, S15: whatever worlds of objects come one after the other, Envoy takes all that is made of them."""
    async with oracle(envoy, tmp_path) as found:
        for seed in range(FIRST, FIRST + WORLDS):
            wanted = resources(world(seed, loose=is_loose(seed)), loose=is_loose(seed))
            said = await found.judge(wanted)

            assert {} == said, await asyncio.to_thread(told, envoy, tmp_path, seed, said)

        _, counters = await admin.ask(found.admin, f"/stats?usedonly&filter={COUNTERS}")
        assert [] == [line for line in counters.decode().splitlines() if not line.endswith(": 0")]
