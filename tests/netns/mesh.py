"""A mesh on a stand: the control plane on a directory of manifests, and on each node the daemon, which runs Envoy.

Pods are declared as they are made; the stand also does what the controllers of a cluster do with them: EndpointSlices.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import NAMESPACE_DNS, uuid5

import yaml

from tests.netns.namespaces import StandError
from tests.netns.stand import FAMILIES, PROJECT, Family, Node, Pod, Stand, stand

WORLD: Final = Path(__file__).with_name("mesh.yaml")
WAIT_S: Final = 120.0
T = TypeVar("T")
Manifest = dict[str, Any]


class Process:
    """A child with its output in a file; it can be killed and started again, also from other `code`."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        self.log, self._command = log, [str(part) for part in command]
        self.code = PROJECT
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """One that runs goes on."""
        if self._process is not None and self._process.poll() is None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.code,
                env=os.environ | {"PYTHONPATH": str(self.code)},
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As the kernel does it when there is no memory left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@dataclass(frozen=True)
class Member:
    """A pod as the cluster knows it."""

    pod: Pod
    namespace: str
    labels: Mapping[str, str]

    @property
    def manifest(self) -> Manifest:
        ips = [{"ip": self.pod.ipv4}, {"ip": self.pod.ipv6}]
        metadata = {"name": self.pod.name, "namespace": self.namespace, "labels": dict(self.labels)}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata | {"uid": str(uuid5(NAMESPACE_DNS, self.pod.name))},
            "spec": {"nodeName": self.pod.node, "serviceAccountName": self.pod.name, "containers": [{"name": "app"}]},
            "status": {
                "phase": "Running",
                "podIP": self.pod.ipv4,
                "podIPs": ips,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }


@dataclass
class Mesh:
    stand: Stand
    control_plane: Process
    daemons: dict[str, Process] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)

    @cached_property
    def manifests(self) -> Path:
        return self.stand.run.directory / "manifests"

    @property
    def world(self) -> list[Manifest]:
        return [each for each in yaml.safe_load_all(WORLD.read_text()) if each]

    def pod(self, node: Node, name: str, *, namespace: str = "default", **labels: str) -> Pod:
        """A new one that the cluster knows, from the next `declare` on."""
        made = node.pod(name)
        self.members.append(Member(made, namespace, {"app": name, **labels}))
        return made

    def daemon(self, node: Node, envoy: Path, drain_s: int) -> Process:
        """Of a node, not yet started: its files, its bpffs, and a cgroup of its own."""
        directory, cgroup = self.stand.run.directory / node.name, node.cgroup.parent
        for path in (directory, directory / "bpf", directory / "state", cgroup / "daemon"):
            path.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", directory / "bpf"], check=True)
        config = {
            "node": node.name,
            "server": f"unix:{self.stand.run.directory / 'xds.sock'}",
            "state": str(directory / "state"),
            "bpffs": str(directory / "bpf"),
            "cgroup": str(cgroup),
            "devices": ["eth0"],
            "envoy": {"binary": str(envoy), "concurrency": 2, "drainSeconds": drain_s},
            "logFormat": "json",
        }
        self.config(node).write_text(yaml.safe_dump(config))
        entered = self.stand.run.enter(
            node.namespace, cgroup / "daemon",
            sys.executable, "-m", "xds_server.cli", "node", "--config", self.config(node),
        )  # fmt: skip
        self.daemons[node.name] = Process(directory / "daemon.log", *entered)
        return self.daemons[node.name]

    def command(self, node: Node, *arguments: str) -> str:
        """What a subcommand of `tidegate node` says on the node."""
        line = [sys.executable, "-m", "xds_server.cli", "node", *arguments, "--config", str(self.config(node))]
        entered = self.stand.run.enter(node.namespace, node.cgroup.parent / "daemon", *line)
        done = subprocess.run(entered, capture_output=True, text=True, check=False, cwd=PROJECT)
        if done.returncode != 0:
            raise StandError(f"tidegate node {arguments}: {done.stderr}")
        return done.stdout

    def status(self, node: Node) -> Any:
        """What `tidegate node status` says, also of what is wrong."""
        entered = self.stand.run.enter(
            node.namespace, node.cgroup.parent / "daemon",
            sys.executable, "-m", "xds_server.cli", "node", "status", "-o", "json", "--config", self.config(node),
        )  # fmt: skip
        return json.loads(subprocess.run(entered, capture_output=True, text=True, check=False, cwd=PROJECT).stdout)

    def config(self, node: Node) -> Path:
        return self.stand.run.directory / node.name / "node.yaml"

    def until_tells(self, node: Node) -> None:
        """Wait until a daemon answers who asks it, which it does when all is in its place."""
        path = self.stand.run.directory / node.name / "state/control.sock"

        def answers() -> bool:
            with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
                asking.connect(str(path))
                return True
            return False

        until(answers, f"an answer of {node.name}'s daemon")

    def envoys(self, node: Node) -> frozenset[int]:
        """Their processes."""
        members = (node.cgroup.parent / "tidegate-envoy").rglob("cgroup.procs")
        return frozenset(int(pid) for file in members for pid in file.read_text().split())

    def stats(self, node: Node, pattern: str) -> dict[str, int]:
        """Counters of a node's Envoy whose name matches."""
        done = subprocess.run(
            ["curl", "--silent", "--get", "--unix-socket", self.admin(node), "http://envoy/stats",
             "--data-urlencode", f"filter={pattern}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines = (line.rpartition(": ") for line in done.stdout.splitlines())
        return {name: int(value) for name, _, value in lines if value.isdecimal()}

    def admin(self, node: Node) -> Path:
        """The socket of the newest Envoy's admin interface."""
        found = (self.stand.run.directory / node.name / "state/envoy").glob("*.sock")
        return max(found, key=lambda path: path.stat().st_mtime)

    def declare(self) -> None:
        """The pods that there are, and where Services find them."""
        self.apply("pods", *(member.manifest for member in self.members))
        services = [each for each in self.world if each["kind"] == "Service" and "selector" in each["spec"]]
        self.apply("endpoints", *(piece for service in services for piece in slices(service, self.members)))

    def apply(self, name: str, *manifests: Manifest) -> None:
        """Put a file in place as an editor does: whole or not at all."""
        part = self.stand.run.directory / f"{name}.part"
        part.write_text(yaml.safe_dump_all(manifests))
        part.replace(self.manifests / f"{name}.yaml")


def address_of(service: str, family: Family) -> str:
    """The cluster address of a Service of `mesh.yaml`, or that of a Gateway."""
    for each in yaml.safe_load_all(WORLD.read_text()):
        if each["metadata"]["name"] == service and each["kind"] in ("Service", "Gateway"):
            spec = each["spec"]
            found = spec.get("clusterIPs") or [address["value"] for address in spec["addresses"]]
            return str(found[FAMILIES.index(family)])
    raise LookupError(f"no Service or Gateway {service} in {WORLD.name}")


def slices(service: Manifest, members: list[Member]) -> Iterator[Manifest]:
    """One a family, as the controllers of a cluster make them."""
    name, spec = service["metadata"]["name"], service["spec"]
    chosen = [
        member
        for member in members
        if member.namespace == "default" and spec["selector"].items() <= member.labels.items()
    ]
    for kind, family in zip(spec["ipFamilies"], FAMILIES, strict=True):
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-{family}", "labels": {"kubernetes.io/service-name": name}},
            "addressType": kind,
            "ports": [
                {"name": port["name"], "port": port["targetPort"], "protocol": port.get("protocol", "TCP")}
                for port in spec["ports"]
            ],
            "endpoints": [
                {"addresses": [member.pod.address(family)], "conditions": {"ready": True}, "nodeName": member.pod.node}
                for member in chosen
            ],
        }


def until(read: Callable[[], T | None], what: str, *, timeout_s: float = WAIT_S) -> T:
    """What `read` returns as soon as that is true; it is state of other processes, so it is asked for."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := read():
            return found
        time.sleep(0.02)
    raise TimeoutError(f"not within {timeout_s} s: {what}")


@contextmanager
def mesh(envoy: Path, *, bridge: str = "", drain_s: int = 2) -> Iterator[Mesh]:
    """The control plane and both nodes' daemons, started; no pods yet."""
    with stand(bridge=bridge) as built:
        directory = built.run.directory
        (directory / "manifests").mkdir()
        control_plane = Process(
            directory / "control-plane.log", sys.executable, "-m", "xds_server.cli", "serve", "--datapath",
            "-f", directory / "manifests", "--xds-listen", f"unix:{directory / 'xds.sock'}", "--admin", "off",
            "--log-format", "json", "--state", directory / "state", "--announcement-lease", "2",
        )  # fmt: skip
        made = Mesh(built, control_plane)
        try:
            made.apply("mesh", *made.world)
            control_plane.start()
            for node in built.nodes:
                made.daemon(node, envoy, drain_s).start()
            yield made
        finally:
            for process in (*made.daemons.values(), control_plane):
                process.kill()
