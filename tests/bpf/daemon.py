"""The node daemon as a process, in a network namespace of its own, with a control plane that says what a test wants."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml

from datapath.kernel import layout
from datapath.kernel.layout import AddressKey, Backend, Service, ServiceKey
from datapath.kernel.maps import opened
from datapath.kernel.programs import Pins
from datapath.resources import WORKLOADS
from tests.bpf.lab import _cgroup2, run
from tests.bpf.stand import bpffs
from tests.featuretests.ads import Ads, serving
from tests.unit.datapath.wire import packed, response, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

PROJECT: Final = Path(__file__).resolve().parents[2]
PATIENCE_S: Final = 60
UIDS: Final = count(1)
CAPABILITIES: Final = ("+net_admin", "+net_raw", "+perfmon", "+bpf")


class Node:
    """A namespace with an uplink, and where the daemon keeps what it has."""

    def __init__(self, directory: Path, envoy: Path, devices: tuple[str, ...]) -> None:
        self.namespace = f"daemon-{secrets.token_hex(3)}"
        self.directory, self.ads = directory, Ads()
        self.socket, self.cgroup = directory / "xds.sock", _cgroup2() / f"tidegate-{self.namespace}"
        self.pins, self.state = Pins(directory / "bpf"), directory / "state"
        self.log, self.config = directory / "daemon.log", directory / "node.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        self._pods: list[str] = []
        self.config.write_text(
            yaml.safe_dump(
                {
                    "node": "n1",
                    "server": f"unix:{self.socket}",
                    "state": str(self.state),
                    "bpffs": str(self.pins.bpffs),
                    "cgroup": str(self.cgroup),
                    "devices": list(devices),
                    "envoy": {"binary": str(envoy), "concurrency": 1, "drainSeconds": 0},
                }
            )
        )

    @property
    def pid(self) -> int:
        """Of the daemon, as its lock has it: between us there is who enters its namespace."""
        return int((self.state / "node.lock").read_text())

    def configured(self, file: Path, **fields: object) -> Node:
        """The same node, asked by another configuration: this one but for some fields."""
        file.write_text(yaml.safe_dump(yaml.safe_load(self.config.read_text()) | fields))
        other = copy(self)
        other.config = file
        return other

    def ip(self, command: str) -> None:
        run("ip", "-n", self.namespace, *command.split())

    def pod(self, name: str, *addresses: str) -> None:
        """The node's end of a link, and routes to addresses by it."""
        self.ip(f"link add {name} type veth peer name {name}p")
        for each in (name, f"{name}p"):
            self.ip(f"link set {each} up")
        for address in addresses:
            self.ip(f"route add {address} dev {name}")

    def plug(self, name: str, bridge: str, *addresses: str) -> None:
        """A pod's namespace with its addresses, and the node's end of its link: a port, if a bridge is named."""
        run("ip", "netns", "add", self.pod_namespace(name))
        self._pods.append(name)
        self.ip(f"link add {name} type veth peer name eth0 netns {self.pod_namespace(name)}")
        self.ip(f"link set {name} up")
        if bridge:
            self.ip(f"link set {name} master {bridge}")
        self.in_pod(name, "link set eth0 up")
        for address in addresses:
            self.in_pod(name, f"addr add {address} dev eth0" + " nodad" * (":" in address))

    def pod_namespace(self, name: str) -> str:
        return f"{self.namespace}-{name}"

    def in_pod(self, name: str, command: str) -> None:
        """A command of ip(8) in a pod's namespace."""
        run("ip", "-n", self.pod_namespace(name), *command.split())

    def unplug(self) -> None:
        """All pods that were plugged."""
        while self._pods:
            run("ip", "netns", "del", self.pod_namespace(self._pods.pop()))

    def command(self, *arguments: str) -> list[str]:
        """With the capabilities that docs/cli.md names, and no other."""
        kept = ",".join(["-all", *CAPABILITIES])
        enter = [
            "nsenter",
            f"--net=/run/netns/{self.namespace}",
            "setpriv",
            "--inh-caps=-all",
            f"--bounding-set={kept}",
        ]
        return [*enter, sys.executable, "-m", "xds_server.cli", "node", *arguments, "--config", str(self.config)]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=PROJECT)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code, self._process = self._process.wait(), None
        return code

    async def ask(self, *arguments: str) -> tuple[int, str]:
        """What a command answers, and what it writes."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=PROJECT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def status(self) -> Any:
        _, output = await self.ask("status", "-o", "json")
        return json.loads(output) if output.startswith("{") else {}

    async def told(self, what: str, *, over: bool = False) -> None:
        """Status has it among what is wrong, or no more."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                findings = (await self.status()).get("findings")
                if findings is not None and over != (what in {each["what"] for each in findings}):
                    return
                await asyncio.sleep(0.1)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.02)

    async def connected(self, streams: int) -> None:
        """The daemon has asked for its three types on its n-th stream."""
        async with asyncio.timeout(PATIENCE_S):
            await self.ads.until(3, streams)

    def services(self) -> dict[ServiceKey, list[Backend | None]]:
        """Of the pinned maps: each service with its backends, None for one that is missing."""
        with opened(layout.SERVICES, self.pins.maps) as services, opened(layout.BACKENDS, self.pins.maps) as backends:
            return {key: [backends.get(slot) for slot in _slots(entry)] for key, entry in services.items()}

    def pods(self) -> dict[str, int]:
        with opened(layout.WORKLOADS, self.pins.maps) as workloads:
            return {str(key.address): found.ifindex for key, found in _typed(workloads.items())}

    def links(self) -> set[str]:
        return {pin.name for pin in self.pins.links.glob("*")} if self.pins.links.is_dir() else set()

    def index(self, link: str) -> int:
        output = subprocess.run(
            ["ip", "-n", self.namespace, "-j", "link", "show", link], check=True, capture_output=True
        ).stdout
        return int(json.loads(output)[0]["ifindex"])


def web(*backends: str) -> Any:
    return service(("10.96.0.1", 80, ""), backends=[(each, 8080, 1) for each in backends])


def pods(**addresses: str) -> Any:
    found = [
        pb.Workload(namespace="default", name=name, uid=f"{name} {next(UIDS)}", addresses=[packed(a)])
        for name, a in addresses.items()
    ]
    return response(("n1", pb.Workloads(workloads=found)), type_url=WORKLOADS)


def _slots(entry: Service) -> list[layout.BackendKey]:
    return [layout.BackendKey(entry.id, entry.generation, slot) for slot in range(entry.backends)]


def _typed(items: Any) -> list[tuple[AddressKey, layout.Workload]]:
    return list(items)


@asynccontextmanager
async def node(directory: Path, envoy: Path, *devices: str) -> AsyncIterator[Node]:
    """Everything of it is gone afterwards, whatever the daemon has left."""
    made = Node(directory, envoy, devices or ("up0",))
    async with AsyncExitStack() as stack:
        stack.enter_context(bpffs(made.pins.bpffs))
        made.cgroup.mkdir()
        stack.callback(made.cgroup.rmdir)
        run("ip", "netns", "add", made.namespace)
        stack.callback(run, "ip", "netns", "del", made.namespace)
        stack.callback(made.unplug)
        made.ip("link set lo up")
        made.ip("link add up0 type veth peer name up1")
        made.ip("addr add 198.51.100.1/24 dev up0")
        made.ip("addr add 2001:db8:9::1/64 dev up0 nodad")
        for each in ("up0", "up1"):
            made.ip(f"link set {each} up")
        await stack.enter_async_context(serving(made.socket, made.ads))
        try:
            yield made
        finally:
            await made.ask("cleanup", "--force")
            if made._process is not None:
                made.end(signal.SIGKILL)
