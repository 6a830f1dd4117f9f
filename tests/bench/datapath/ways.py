"""The ways from a pod to a server through an Envoy: all there at once, each in a node of its own, on this machine.

    client ── link of a pod ── node with Envoy ── link of a pod ── server

Addresses are the same in all nodes, and so is what their Envoys serve.
The client and the server have one core, Envoys the other.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from datapath.kernel import nft
from datapath.kernel.layout import LAYOUT, RULE_PREFERENCE
from tests.bench.datapath import requester
from tests.bench.datapath.bound import CAPTURE_PORT, DIALLED_PORT, SERVER_PORT, Json, bound, server
from tests.bench.datapath.compared import Samples
from tests.bench.measures import say
from tests.bpf.socket_stand import Actor
from tests.netns.mesh import Mesh, address_of, mesh, until
from tests.netns.namespaces import batch
from tests.netns.stand import FORWARDS, QUIET, Node, Place, Pod

ENVOY_CORE: Final = 1
OTHERS_CORE: Final = requester.CORE
SERVICE: Final = "default/near"
ADDRESS: Final = address_of("near", "ipv4")
PORT: Final = 80
PAIR: Final = ("ours", "dialled")
"""What takes turns when our Envoy is compared with itself, by our programs and by a rule of the peer."""
RULE: Final = "by rule"
"""Of the turns in which connections come to our Envoy by that rule."""
TURN_S: Final = 0.1
"""Others on this machine come and go within seconds."""
LEAST_EPHEMERAL: Final = 10_000


def _tproxy(listens: str) -> str:
    return (
        f"iptables-legacy -t mangle -A PREROUTING -p tcp -d {ADDRESS} --dport {PORT} "
        f"-j TPROXY --on-ip {listens} --on-port {CAPTURE_PORT} --tproxy-mark 1/1\n"
        "ip rule add fwmark 1/1 lookup 100\n"
        "ip route add local default dev lo table 100"
    )


THEIRS: Final = {
    "iptables TPROXY": _tproxy("0.0.0.0"),
    "iptables REDIRECT": (
        f"iptables-legacy -t nat -A PREROUTING -p tcp -d {ADDRESS} --dport {PORT} -j REDIRECT --to-ports {CAPTURE_PORT}"
    ),
    "nft verdict map": f"""nft -f - <<'RULES'
table ip peer {{
  chain envoy {{ tcp dport {PORT} redirect to :{CAPTURE_PORT}; }}
  map services {{ type ipv4_addr . inet_service : verdict; elements = {{ {ADDRESS} . {PORT} : goto envoy }}; }}
  chain prerouting {{ type nat hook prerouting priority dstnat; ip daddr . tcp dport vmap @services; }}
}}
RULES""",
}
"""The rules that lead connections to the capture listener of an Envoy."""


@dataclass(frozen=True, slots=True)
class Way:
    requester: Actor
    address: str
    port: int
    charged: tuple[Path, ...]
    """The cgroups of all who work for a request: client, Envoy, server."""
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def turn(self, load: str, method: Literal["kept", "closed"], connections: int) -> None:
        """As many requests as will go in a moment."""
        self.samples.setdefault(load, []).append(self.ask(method, connections))

    def ask(self, method: Literal["kept", "closed"], connections: int) -> dict[str, float]:
        cpu_us = self._cpu_us()
        found: dict[str, float] = self.requester.ask(method, self.address, self.port, connections, TURN_S)
        return found | {"cpu_us": (self._cpu_us() - cpu_us) / found["requests"]}

    def all(self, load: str, what: str) -> list[float]:
        return [sample[what] for sample in self.samples[load]]

    def _cpu_us(self) -> int:
        return sum(_cpu_us(cgroup) for cgroup in self.charged)


def all_of(stands: Iterable[Mapping[str, Way]], name: str, load: str, what: str) -> Samples:
    return [ways[name].all(load, what) for ways in stands]


def turns(ways: Mapping[str, Way], count: int) -> Iterator[Way]:
    """Each way so often, there and back: what disturbs one disturbs the next one, too."""
    for turn in range(count):
        yield from list(ways.values())[:: -1 if turn % 2 else 1]


def pair_of(ways: Mapping[str, Way]) -> dict[str, Way]:
    return {name: ways[name] for name in PAIR}


def _cpu_us(cgroup: Path) -> int:
    name, value = (cgroup / "cpu.stat").read_text().splitlines()[0].split()
    assert name == "usage_usec"
    return int(value)


@dataclass(frozen=True)
class Stand:
    """`nodes` by the name of their way; `mesh` has ours, whose daemon is no more: nobody sets its maps right."""

    mesh: Mesh
    nodes: dict[str, Node]
    maps: Path
    stack: ExitStack
    """Of what ends with it."""

    def way(self, name: str) -> Way:
        """With a client of its own."""
        node = self.nodes[name]
        called = f"client-{node.name}"
        client = node.pods.get(called) or node.pod(called)
        client.sysctl("net.ipv4.tcp_tw_reuse", 1)
        client.sysctl("net.ipv4.ip_local_port_range", f"{LEAST_EPHEMERAL} 65535")
        address, port = (node.ipv4, DIALLED_PORT) if name.startswith("dialled") else (ADDRESS, PORT)
        return Way(self._requester(client), address, port, (client.cgroup, self._server(node).cgroup, _envoys(node)))

    def give_to_rule(self) -> None:
        """Take our programs and rules from our node, and lead connections to its Envoy by one of iptables TPROXY."""
        for link in (self.maps.parent / "links").iterdir():
            link.unlink()
        node = self.nodes["ours"]
        node.sh(f"nft delete table inet {nft.TABLE}\nip rule del pref {RULE_PREFERENCE}\n{_tproxy('127.0.0.1')}")

    def direct(self) -> Way:
        """To the server itself, by a node that has an Envoy for others."""
        node = self.nodes["dialled"]
        to = self._server(node)
        client = node.pod("client-direct")
        return Way(self._requester(client), to.ipv4, SERVER_PORT, (client.cgroup, to.cgroup))

    def _requester(self, client: Pod) -> Actor:
        found = Actor(client.cgroup, client.namespace, "tests.bench.datapath.requester")
        self.stack.callback(found.close)
        return found

    def _server(self, node: Node) -> Pod:
        return next(pod for pod in node.pods.values() if pod.name.startswith("server"))


def _envoys(node: Node) -> Path:
    return node.cgroup.parent / "tidegate-envoy"


@contextmanager
def stand(directory: Path) -> Iterator[Stand]:
    """Ours by the daemon and the control plane; the others by rules, with an Envoy that serves the same."""
    envoy = Path(os.environ["TIDEGATE_ENVOY"])
    with mesh(envoy) as ours, ExitStack() as stack:
        say("a control plane, a daemon and its Envoy")
        node = ours.stand.node1
        client = ours.pod(node, f"client-{node.name}")  # the daemon must know it before it ends
        to = ours.pod(node, "server", app="one")
        ours.declare()
        stack.enter_context(_process(to, to.cgroup, OTHERS_CORE, envoy, 1, server(), directory / "server.json"))
        ours.until_tells(node)
        until(lambda: _served(client, ADDRESS, PORT), "an answer of our Envoy", timeout_s=20)
        client.stop()
        served = bound(_dump(ours), SERVICE)
        for each in ours.daemons.values():
            each.kill()
        for pid in ours.envoys(node):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {ENVOY_CORE})
        nodes = {"ours": node}
        for number, name in enumerate(("dialled", "dialled again", *THEIRS)):
            nodes[name] = stack.enter_context(_peer(ours, f"peer{number}", envoy, served, directory))
            nodes[name].sh(THEIRS.get(name, ""))
        yield Stand(ours, nodes, ours.stand.run.directory / f"node1/bpf/tidegate/{LAYOUT}/maps", stack)


def _served(asking: Place, address: str, port: int) -> bool:
    answer = asking.get(address, port)
    return (200, "envoy") == (answer.status, answer.via)


def _dump(ours: Mesh) -> Json:
    command = ["curl", "--silent", "--fail", "--unix-socket", str(ours.admin(ours.stand.node1))]
    done = subprocess.run([*command, "http://envoy/config_dump?include_eds"], check=True, capture_output=True)
    found: Json = json.loads(done.stdout)
    return found


@contextmanager
def _peer(ours: Mesh, name: str, envoy: Path, served: Json, directory: Path) -> Iterator[Node]:
    """A node with the addresses of ours, and a pod for each of the first two there."""
    here, like = ours.stand.run, ours.stand.node1
    node = Node(here, name, like.ipv4, like.ipv6, here.cgroup / name / "host", number=like.number)
    for cgroup in (node.cgroup, _envoys(node)):
        cgroup.mkdir(parents=True)
    batch("", [f"netns add {node.namespace.name}"])
    node.sh(QUIET + FORWARDS)
    addresses = (f"{node.ipv4}/32", f"{node.ipv6}/128 nodad")
    batch(node.namespace.name, ["link set lo up", *(f"address add {address} dev lo" for address in addresses)])
    node.pod(f"unused-{name}")
    to = node.pod(f"server-{name}")
    with ExitStack() as stack:
        files = [directory / f"{name}-{part}.json" for part in ("server", "envoy")]
        stack.enter_context(_process(to, to.cgroup, OTHERS_CORE, envoy, 1, server(), files[0]))
        stack.enter_context(_process(node, _envoys(node), ENVOY_CORE, envoy, 2, served, files[1]))
        until(lambda: _served(node, node.ipv4, DIALLED_PORT), f"an answer of {name}'s Envoy", timeout_s=20)
        node.stop()
        yield node


@contextmanager
def _process(
    place: Place, cgroup: Path, core: int, envoy: Path, concurrency: int, config: Json, file: Path
) -> Iterator[None]:
    file.write_text(json.dumps(config))
    command = place.run.enter(
        place.namespace, cgroup, "taskset", "--cpu-list", str(core), envoy, "--config-path", file,
        "--disable-hot-restart", "--concurrency", str(concurrency), "--log-level", "error",
    )  # fmt: skip
    with file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()
