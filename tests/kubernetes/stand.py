"""Replicas of the control plane as processes, an Envoy of theirs, and load through it, in the network of a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.kubernetes.cluster import BUILT, PROJECT, Cluster
from xds_server.certificates.authority import Pair, issue_client, issue_server, new_authority
from xds_server.certificates.directory import replace

GATEWAY: Final = ("172.31.1.64", 80)
BACKENDS: Final = {name: ("172.31.1.1" + str(number), 8080) for number, name in enumerate("abc", 1)}
NAMES: Final = ("one", "two", "spare")
RELAY_PORT: Final = 15010
FIRST_METRICS: Final = 15081
NODE: Final = "node1"
LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/tidegate-system/leases/tidegate-controller"
ROUTES: Final = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
UPDATES: Final = (
    r"update_rejected$|config_reload$|^(listener_manager.listener|cluster_manager.cluster)_(added|modified|removed)$"
)
"""What Envoy counts when it takes anything else than it has: who asks for a resource by name is told it again in any
case, in the same version, and that is no update."""
WORLD: Final = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: tidegate-system}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: tidegate}}
spec: {{controllerName: tidegate.dev/controller}}
---
apiVersion: tidegate.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {{name: main}}
spec: {{blocks: [{{cidr: {GATEWAY[0]}/32}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: web, namespace: default}}
spec:
  gatewayClassName: tidegate
  listeners: [{{name: http, port: {GATEWAY[1]}, protocol: HTTP}}]
"""


def service(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def endpoints(name: str, *backends: str) -> dict[str, Any]:
    """By hand, as the Service has no selector: the backends are no pods."""
    labels = {"kubernetes.io/service-name": name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [BACKENDS[each][0]], "conditions": {"ready": True}} for each in backends],
    }


def route(name: str, service: str, path: str = "/", mark: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {
        "matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "backendRefs": [{"name": service, "port": 80}],
    }
    if mark:
        modified = {"set": [{"name": "x-mark", "value": mark}]}
        rule["filters"] = [{"type": "RequestHeaderModifier", "requestHeaderModifier": modified}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [rule]},
    }


class Process:
    """A child in the network of node 1, its output in a file."""

    def __init__(self, cluster: Cluster, log: Path, *command: str | Path, **environment: str) -> None:
        self.log, self._command = log, cluster.command(*command)
        self._environment = os.environ | {"PYTHONPATH": str(PROJECT), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Traffic:
    """The program of traffic.py; each method is one of its commands."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._answer()

    def ask(self, command: str, given: Any = 0) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({command: given}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the traffic has ended"
        return json.loads(line)

    @property
    def total(self) -> int:
        return int(self.ask("tally")["total"])

    @property
    def failed(self) -> dict[str, int]:
        return dict(self.ask("tally")["failed"])


@dataclass
class Stand:
    """`replicas` by name; "spare" is started by who needs a third one."""

    cluster: Cluster
    directory: Path
    secure: bool
    traffic: Traffic
    envoy: Process
    replicas: dict[str, Process] = field(default_factory=dict)
    authority: Pair = field(default_factory=lambda: new_authority(datetime.now(UTC)))

    def socket(self, name: str) -> Path:
        return self.directory / f"{name}.sock"

    def ready(self, name: str) -> tuple[int, str]:
        """Status and words of a replica's readiness; 0 is one that does not answer."""
        status, body = self.traffic.ask("get", ["127.0.0.1", FIRST_METRICS + NAMES.index(name), "/readyz"])
        return status, body

    def start(self, name: str) -> None:
        self.replicas[name].start()
        self.cluster.wait(lambda: self.ready(name)[0] == 200, f"{name} ready: {self.replicas[name].log}")

    def leader(self) -> str:
        lease = self.cluster.get(LEASE)
        return str(lease["spec"].get("holderIdentity") or "") if lease else ""

    def until_taken(self, *replicas: str) -> None:
        """Wait until Envoy has a stream at one of these."""
        self.cluster.wait(
            lambda: set(self.traffic.ask("tally")["open"]) & set(replicas) and self.connected, f"a stream at {replicas}"
        )

    @property
    def connected(self) -> bool:
        return self.stats("^control_plane.connected_state$").get("control_plane.connected_state") == 1

    def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's counters whose name matches."""
        done = subprocess.run(
            ["curl", "--silent", "--get", "--unix-socket", self.directory / "admin.sock", "http://envoy/stats",
             "--data-urlencode", f"filter={pattern}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = (line.rpartition(": ") for line in done.stdout.splitlines())
        return {name: int(value) for name, _, value in lines if value.isdecimal()}

    def backend(self, path: str) -> str:
        """Which backend answers a request; "" where none does."""
        status, body = self.traffic.ask("get", [*GATEWAY, path])
        return str(body) if status == 200 else ""

    def put(self, manifest: dict[str, Any]) -> None:
        """Create or replace past the fault proxy."""
        path = ROUTES if manifest["kind"] == "HTTPRoute" else SLICES
        # A patch meets no conflict with who writes the status.
        if self.cluster.patch(f"{path}/{manifest['metadata']['name']}", manifest) is None:
            self.cluster.request("POST", path, manifest)

    def until_at(self, backend: str) -> None:
        """Wait until requests get to a backend, or one fails."""
        before = self.traffic.ask("tally")["backends"][backend]

        def got_there() -> bool:
            tally = self.traffic.ask("tally")
            return bool(tally["backends"][backend] > before or tally["failed"])

        self.cluster.wait(got_there, f"requests at backend {backend}")

    def until_total(self, total: int) -> None:
        """Wait until so many requests were made, or one has failed."""
        self.cluster.wait(
            lambda: self.traffic.total >= total or self.traffic.failed, f"{total} requests", timeout_s=600
        )

    def rotate(self) -> None:
        """New certificates for the servers and for Envoy, of the same authority."""
        now = datetime.now(UTC)
        client = issue_client(self.authority, f"spiffe://tidegate.local/node/{NODE}", now, timedelta(hours=1))
        server = issue_server(self.authority, ["localhost"], now)
        for folder, pair in (("client", client), ("server", server)):
            (self.directory / folder).mkdir(exist_ok=True)
            replace(self.directory / folder / "ca.crt", self.authority.certificate)
            replace(self.directory / folder / "tls.key", pair.key)
            replace(self.directory / folder / "tls.crt", pair.certificate)


@contextmanager
def standing(cluster: Cluster, directory: Path, envoy: Path, *, secure: bool = False) -> Iterator[Stand]:
    """Two replicas that are ready, and an Envoy that serves the world by one of them."""
    prepare(cluster)
    places = {
        name: f"127.0.0.1:{RELAY_PORT + 1 + NAMES.index(name)}" if secure else f"unix:{directory / name}.sock"
        for name in NAMES
    }
    listen = f"127.0.0.1:{RELAY_PORT}" if secure else f"unix:{directory / 'relay.sock'}"
    spec = {"backends": BACKENDS, "listen": listen, "replicas": places}
    program = cluster.command(sys.executable, "-m", "tests.kubernetes.traffic", json.dumps(spec))
    with ExitStack() as stack:
        traffic = stack.enter_context(
            subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT,
                env=os.environ | {"PYTHONPATH": str(PROJECT)},
            )
        )  # fmt: skip
        stack.callback(traffic.kill)
        proxy = Process(
            cluster, directory / "envoy.log", envoy, "-c", directory / "envoy.json", "--disable-hot-restart",
            "--concurrency", "1", "--log-level", "warning", "--drain-time-s", "2",
        )  # fmt: skip
        stand = Stand(cluster, directory, secure, Traffic(traffic), proxy)
        stand.rotate()
        for name, place in places.items():
            flags = _tls(directory / "server", "client-ca") if secure else ()
            stand.replicas[name] = replica(cluster, directory, name, place, *flags)
            stack.callback(stand.replicas[name].end)
        stack.callback(proxy.end)
        stand.traffic.ask("use", ["one", "two"])
        bootstrap = [sys.executable, "-m", "xds_server.cli", "bootstrap", "--node-id", NODE]
        bootstrap += ["--admin-socket", str(directory / "admin.sock"), "--xds-address"]
        tls = ["--xds-tls-sources", directory / "sources", *_tls(directory / "client", "ca")]
        bootstrap += [listen, "--xds-server-name", "localhost", *map(str, tls)] if secure else [listen]
        done = subprocess.run(bootstrap, check=True, capture_output=True, text=True, cwd=PROJECT)
        (directory / "envoy.json").write_text(done.stdout)
        for name in ("one", "two"):
            stand.start(name)
        proxy.start()
        stand.cluster.wait(lambda: stand.backend("/") == "a", f"an answer of the Gateway: {proxy.log}")
        targets = [[*GATEWAY, "web.example.com", path] for path in ("/", "/slow")]
        stand.traffic.ask("load", targets)
        yield stand


def replica(cluster: Cluster, directory: Path, name: str, listen: str, *flags: str | Path) -> Process:
    """A control plane that reads by the fault proxy; each name has a hash seed of its own."""
    number = NAMES.index(name)
    return Process(
        cluster, directory / f"{name}.log", sys.executable, "-m", "xds_server.cli", "serve",
        "--kubeconfig", cluster.kubeconfig_proxy, "--admin", "off", "--log-format", "json",
        "--metrics", f"127.0.0.1:{FIRST_METRICS + number}", "--xds-listen", listen, *flags,
        POD_NAME=name, PYTHONHASHSEED=str(number + 1),
    )  # fmt: skip


def prepare(cluster: Cluster) -> None:
    """Definitions and the world, as at the beginning."""
    cluster.apply(BUILT / "crds/standard", PROJECT / "deploy/chart/crds", WORLD)
    cluster.apply(*(service(name) for name in BACKENDS), *(endpoints(name, name) for name in BACKENDS))
    cluster.apply(route("web", "a"))


def _tls(folder: Path, authority: str) -> Sequence[str | Path]:
    return (
        "--xds-tls-cert", folder / "tls.crt", "--xds-tls-key", folder / "tls.key",
        f"--xds-tls-{authority}", folder / "ca.crt",
    )  # fmt: skip
