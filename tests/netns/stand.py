"""Two nodes, their pods, and a client outside, each a network namespace on this machine.

    outside .99 ─┐
    node1   .11 ─┤ br0 in the namespace "lan", .254: 172.30.0.0/24, fd00:30::/64
    node2   .12 ─┘
    pods of node N: 10.244.N.0/24, fd00:244:N::/64, each with a link of its own to its node, or at a bridge there

Nodes know the way to each other's pods, the LAN that to all.
Addresses of services are nobody's in the LAN: what no node takes comes back as unreachable.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

from tests.netns.namespaces import Run, StandError, batch, run

PROJECT: Final = Path(__file__).resolve().parents[2]
SERVICES: Final = ("10.96.0.0/16", "fd00:96::/112")
LOAD_BALANCERS: Final = ("172.30.1.0/24", "fd00:30:1::/112")
NODES: Final = ("node1", "node2")
Family = Literal["ipv4", "ipv6"]
FAMILIES: Final[tuple[Family, Family]] = ("ipv4", "ipv6")

# A new link would be deaf to neighbours for a second, until nobody has objected to its address.
QUIET: Final = """
for each in all default; do echo 0 > /proc/sys/net/ipv6/conf/$each/accept_dad; done
echo 0 > /proc/sys/net/ipv6/conf/default/router_solicitations
echo 0 > /proc/sys/net/ipv6/conf/default/addr_gen_mode
"""
FORWARDS: Final = """
for each in all default; do echo 0 > /proc/sys/net/ipv4/conf/$each/send_redirects; done
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """Of a server, or of Envoy itself; `error` is set where there was none."""

    error: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    saw: Mapping[str, Any] = field(default_factory=dict)
    """What the server was asked: its name, the request's headers and path, and the address that it came from."""
    local: tuple[str, int] = ("", 0)
    remote: tuple[str, int] = ("", 0)
    """Whom the client takes for its peer."""

    @property
    def name(self) -> str:
        """Who answered; "" for Envoy itself."""
        return str(self.saw.get("name", ""))

    @property
    def via(self) -> str:
        if self.error:
            return self.error
        return "envoy" if self.headers.get("server") == "envoy" else "nobody"

    @property
    def peer(self) -> str:
        """From where the server saw it come."""
        return str(self.saw["peer"][0]) if self.saw else ""

    def seen(self, header: str) -> str:
        """A header of the request, as it came to the server; "" for none."""
        return str(self.saw.get("headers", {}).get(header, ""))

    @property
    def forwarded_for(self) -> str:
        return self.seen("x-forwarded-for")


@dataclass
class Place:
    """A namespace with its addresses, and what runs in it by `workload.py`."""

    run: Run
    name: str
    ipv4: str
    ipv6: str
    cgroup: Path
    _process: subprocess.Popen[str] | None = None

    @property
    def namespace(self) -> Path:
        return self.run.namespace(self.name)

    def address(self, family: Family) -> str:
        return self.ipv4 if family == "ipv4" else self.ipv6

    def start(self) -> Self:
        """Begin; the first question waits until it listens."""
        command = self.command(sys.executable, "-m", "tests.netns.workload")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def ask(self, what: str, **given: Any) -> Any:
        if self._process is None:
            self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({what: given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise StandError(f"the workload of {self.name} has ended")
        return json.loads(line)

    def serve(self, port: int, *, name: str = "", udp: bool = False, address: str = "::") -> Self:
        """Answer there with what was seen, under this name or one's own."""
        self.ask("serve", port=port, name=name or self.name, udp=udp, address=address)
        return self

    def get(self, address: str, port: int = 80, **more: Any) -> Answer:
        return Answer(**self.ask("get", address=address, port=port, **more))

    def send(self, address: str, port: int, **more: Any) -> Answer:
        """A datagram, and who answered it."""
        return Answer(**self.ask("send", address=address, port=port, **more))

    def command(self, *command: str | Path) -> list[str]:
        return self.run.enter(self.namespace, self.cgroup, *command)

    def sh(self, script: str, *, check: bool = True) -> str:
        """What a shell in the namespace writes; not in its cgroup."""
        command = ["nsenter", f"--net={self.namespace}", "sh", "-ec", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise StandError(f"{shlex.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def sysctl(self, name: str, value: str | int) -> None:
        self.sh(f"echo {value} > /proc/sys/{name.replace('.', '/')}")


@dataclass
class Pod(Place):
    node: str = ""
    link: str = ""
    """The node's end of it; that of the bridge, where the pod is at one."""
    mtu: int = 1500


@dataclass
class Node(Place):
    """`get` and `serve` are those of a process of the node itself."""

    number: int = 0
    bridge: str = ""
    pods: dict[str, Pod] = field(default_factory=dict)

    def pod(self, name: str, *, mtu: int = 1500) -> Pod:
        """A new one, with the node's next addresses."""
        return self._pod(name, len(self.pods) + 10, mtu)

    def replaced(self, old: Pod, name: str) -> Pod:
        """A new one with the addresses of one that ends."""
        old.stop()
        batch(self.namespace.name, [f"link del {old.link}"])
        batch("", [f"netns del {old.namespace.name}"])
        del self.pods[old.name]
        return self._pod(name, int(old.ipv4.rpartition(".")[2]), old.mtu)

    def _pod(self, name: str, last: int, mtu: int) -> Pod:
        cgroup = self.cgroup.parent / "pods" / name
        cgroup.mkdir(parents=True)
        made = Pod(
            self.run, name, f"10.244.{self.number}.{last}", f"fd00:244:{self.number}::{last}", cgroup,
            node=self.name, link=self.bridge or f"pod{last}", mtu=mtu,
        )  # fmt: skip
        batch("", [f"netns add {made.namespace.name}"])
        made.sh(QUIET)
        if self.bridge:
            self._plug(made, f"pod{last}")
        else:
            self._connect(made)
        self.pods[name] = made
        return made.start()

    def kube_proxy(self, *rules: tuple[str, int, str, int]) -> None:
        """What kube-proxy would write in nftables for these: (address, port, backend, its port)."""
        said = []
        for address, port, backend, to in rules:
            family, whom = ("ip6", f"[{backend}]") if ":" in address else ("ip", backend)
            said.append(f"{family} daddr {address} tcp dport {port} counter dnat {family} to {whom}:{to}")
        chains = "\n".join(
            f"chain {hook} {{ type nat hook {hook} priority {priority};\n" + "\n".join(said) + "\n}"
            for hook, priority in (("prerouting", "dstnat"), ("output", "-100"))
        )
        self.sh(f"nft -f - <<'RULES'\ntable inet kube-proxy {{\n{chains}\n}}\nRULES")

    def _connect(self, pod: Pod) -> None:
        """As point-to-point plugins do: the pod knows nobody but its gateway."""
        batch(self.namespace.name, [
            f"link add {pod.link} mtu {pod.mtu} type veth peer name eth0 mtu {pod.mtu} netns {pod.namespace.name}",
            f"address add 169.254.1.1/32 scope link dev {pod.link}",
            f"address add fe80::1/64 nodad dev {pod.link}",
            f"link set {pod.link} up",
            f"route add {pod.ipv4}/32 dev {pod.link} src {self.ipv4}",
            f"route add {pod.ipv6}/128 dev {pod.link} src {self.ipv6}",
        ])  # fmt: skip
        batch(pod.namespace.name, [
            "link set lo up", "link set eth0 up",
            f"address add {pod.ipv4}/32 dev eth0", f"address add {pod.ipv6}/128 nodad dev eth0",
            "route add 169.254.1.1 dev eth0 scope link", "route add default via 169.254.1.1 dev eth0",
            "route add default via fe80::1 dev eth0",
        ])  # fmt: skip

    def _plug(self, pod: Pod, link: str) -> None:
        """As bridge plugins do: a network that the node's pods share."""
        if len(self.pods) == 0:
            batch(self.namespace.name, [
                f"link add {self.bridge} type bridge", f"link set {self.bridge} up",
                f"address add 10.244.{self.number}.1/24 dev {self.bridge}",
                f"address add fd00:244:{self.number}::1/64 nodad dev {self.bridge}",
            ])  # fmt: skip
        batch(self.namespace.name, [
            f"link add {link} mtu {pod.mtu} type veth peer name eth0 mtu {pod.mtu} netns {pod.namespace.name}",
            f"link set {link} master {self.bridge} up",
            f"link set {link} type bridge_slave hairpin on",
        ])  # fmt: skip
        batch(pod.namespace.name, [
            "link set lo up", "link set eth0 up",
            f"address add {pod.ipv4}/24 dev eth0", f"address add {pod.ipv6}/64 nodad dev eth0",
            f"route add default via 10.244.{self.number}.1", f"route add default via fd00:244:{self.number}::1",
        ])  # fmt: skip


@dataclass
class Stand:
    run: Run
    node1: Node
    node2: Node
    lan: Place
    outside: Place

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.node1, self.node2

    @cached_property
    def places(self) -> tuple[Place, ...]:
        return (*self.nodes, self.lan, self.outside)

    def route(self, address: str, node: Node) -> None:
        """Lead an address of a load balancer to a node, as its announcement would."""
        via = node.ipv6 if ":" in address else node.ipv4
        batch(self.outside.namespace.name, [f"route replace {address} via {via}"])

    def how_to_enter(self) -> str:
        everyone = [*self.places, *(pod for node in self.nodes for pod in node.pods.values())]
        lines = [f"  {place.name}: nsenter --net={place.namespace} bash" for place in everyone]
        return "\n".join(["The namespaces of this stand, while it stands (--pdb keeps it):", *lines])


@contextmanager
def stand(*, bridge: str = "") -> Iterator[Stand]:
    """All of it, without pods; they come with `node.pod(name)`. With `bridge`, pods are at one of that name."""
    with run() as here:
        nodes = [
            Node(here, name, f"172.30.0.1{n}", f"fd00:30::1{n}", here.cgroup / name / "host", number=n, bridge=bridge)
            for n, name in enumerate(NODES, 1)
        ]
        lan = Place(here, "lan", "172.30.0.254", "fd00:30::254", here.cgroup / "lan")
        outside = Place(here, "outside", "172.30.0.99", "fd00:30::99", here.cgroup / "outside")
        built = Stand(here, nodes[0], nodes[1], lan, outside)
        for place in built.places:
            place.cgroup.mkdir(parents=True)
        batch("", [f"netns add {place.namespace.name}" for place in built.places])
        lan.sh(QUIET + FORWARDS)
        batch(lan.namespace.name, [
            "link set lo up", "link add br0 type bridge", "link set br0 up",
            "address add 172.30.0.254/24 dev br0", "address add fd00:30::254/64 nodad dev br0",
            *(f"route add unreachable {network}" for network in (*SERVICES, *LOAD_BALANCERS)),
        ])  # fmt: skip
        for place in (*nodes, outside):
            place.sh(QUIET + (FORWARDS if isinstance(place, Node) else ""))
            batch(place.namespace.name, [
                "link set lo up",
                f"link add eth0 type veth peer name {place.name} netns {lan.namespace.name}",
                "link set eth0 up",
                f"address add {place.ipv4}/24 dev eth0", f"address add {place.ipv6}/64 nodad dev eth0",
                "route add default via 172.30.0.254", "route add default via fd00:30::254",
            ])  # fmt: skip
        batch(lan.namespace.name, [f"link set {place.name} master br0 up" for place in (*nodes, outside)])
        for node in nodes:
            ways = [f"route add 10.244.{node.number}.0/24 via {node.ipv4}"]
            ways += [f"route add fd00:244:{node.number}::/64 via {node.ipv6}"]
            for place in built.places:
                if place is not node:
                    batch(place.namespace.name, ways)
        try:
            yield built
        finally:
            for place in (*built.places, *(pod for node in nodes for pod in node.pods.values())):
                place.stop()
