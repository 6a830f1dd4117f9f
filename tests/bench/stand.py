"""Control planes on worlds of N applications, a client that is served as an Envoy is, and the replay of what it got."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import world
from tests.bench.client import Client, Swarm
from tests.bench.process import Process
from tests.bench.recording import Recording
from xds_server.model.resource import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, VIRTUAL_HOST


class Plane:
    """A control plane with one client, which has everything; `kind` "cluster" takes a kubeconfig for `manifests`."""

    def __init__(
        self,
        stack: ExitStack,
        directory: Path,
        manifests: Path,
        count: int,
        number: int,
        rest_s: float,
        kind: str = "plane",
    ) -> None:
        self.manifests, self.count = manifests, count
        self._rest_s = rest_s
        self.socket = directory / f"plane-{number}.sock"
        self.address = world.address(number)
        self.process = stack.enter_context(Process(kind, manifests, self.socket, world.pool(number), core=0))
        self.swarm = Swarm()
        stack.callback(self.swarm.close)
        self.rss_loaded_kib = self.process.rss_kib()
        self.client = self.join("client", keep=True)

    def join(self, node: str, *, keep: bool = False) -> Client:
        """One more client that asks as Envoy does and gets everything."""
        client = self.swarm.add(Client(self.socket, node, envoy=True, keep=keep))
        client.begin()
        self.swarm.until(lambda: complete(client, self.count), f"the state of {node}")
        return client

    def rest(self) -> None:
        """Until nothing has come for long enough."""
        self.swarm.quiet(self._rest_s)
        self.process.ask("marks")

    def recording(self, path: Path, address: str) -> Path:
        """What the client has got so far, for an Envoy at another address."""
        Recording.of(self.client.messages, (self.address.encode(), address.encode())).save(path)
        return path


def complete(client: Client, count: int) -> bool:
    """All clusters with their endpoints, and a route table with its hosts."""
    held = {type_url: len(names) for type_url, names in client.held.items()}
    if not held.get(ROUTE_CONFIGURATION):
        return False
    hosts = held.get(VIRTUAL_HOST, 0) >= count or not any(
        name.endswith("/vhds") for name in client.held[ROUTE_CONFIGURATION]
    )
    return hosts and held.get(CLUSTER, 0) >= count and held.get(CLUSTER_LOAD_ASSIGNMENT, 0) >= count


def listening(path: Path, longest_s: float = 120.0) -> None:
    """Return when somebody accepts connections at a Unix socket."""
    ends = time.monotonic() + longest_s
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                if time.monotonic() > ends:
                    raise
            else:
                return
        time.sleep(0.005)


def backend(stack: ExitStack, *addresses: str) -> int:
    """A server that every application's endpoints name, on loopback unless it is told where; returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    stack.enter_context(Process("backend", str(port), *addresses, core=1))
    return port


def sample(count: int) -> list[str]:
    """Hostnames of the first and the last application, and of each hundredth between."""
    numbers = dict.fromkeys((0, *range(0, count, 100), count - 1))
    return [world.hostname(number) for number in numbers]
