"""A cluster of the program that `make cluster-binary` builds, as an object of a test. See tests/cluster/README.md."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

PROJECT = Path(__file__).resolve().parents[2]
BUILT = PROJECT / ".cluster"
IMAGES = PROJECT / "tests/cluster/images.json"
T = TypeVar("T")


class ClusterError(Exception):
    """A cluster did not start, or refused what it was asked for; the message is its own."""


class _SocketConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("cluster", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster; `directory` holds its kubeconfigs, sockets and logs."""

    directory: Path
    process: subprocess.Popen[str]

    @property
    def kubeconfig(self) -> Path:
        """For programs that `run` starts: the API server inside the cluster's network."""
        return self.directory / "kubeconfig"

    @property
    def kubeconfig_proxy(self) -> Path:
        """As `kubeconfig`, through the proxy that counts and injects faults."""
        return self.directory / "kubeconfig-proxy"

    @property
    def kubeconfig_outside(self) -> Path:
        """For programs on the machine, and for the test's own process: the API server by the machine's loopback."""
        return self.directory / "kubeconfig-outside"

    @property
    def kubeconfig_proxy_outside(self) -> Path:
        """As `kubeconfig_outside`, through the proxy that counts and injects faults."""
        return self.directory / "kubeconfig-proxy-outside"

    def command(self, *arguments: str | Path, node: int = 1) -> list[str]:
        """The command line that runs a program in a node's network."""
        program = [BUILT / "testcluster", "run", "--dir", self.directory, f"--node={node}", "--", *arguments]
        return [str(part) for part in program]

    def run(
        self, arguments: Sequence[str | Path], *, node: int = 1, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a node's network until it ends; the files that it sees are the machine's."""
        done = subprocess.run(self.command(*arguments, node=node), capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise ClusterError(f"{arguments} on node{node} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def apply(self, *manifests: str | Path | Mapping[str, Any]) -> None:
        """Apply texts, files, folders or objects, and wait until CustomResourceDefinitions are established."""
        for manifest in manifests:
            text = json.dumps(manifest) if isinstance(manifest, Mapping) else manifest
            path = text if isinstance(text, Path) else "-"
            self._testcluster("apply", path, stdin=None if isinstance(text, Path) else text)

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """Ask the API server itself, past the proxy, as one who may do everything; not found is None."""
        status, text = self._ask(self.directory / "api.sock", method, path, body, content_type)
        if status == 404:
            return None
        if status >= 400:
            raise ClusterError(f"{method} {path}: {status} {text}")
        return json.loads(text) if text.startswith(("{", "[")) else text

    def get(self, path: str) -> Any:
        """An object or list, such as `/api/v1/nodes`."""
        return self.request("GET", path)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", path)

    def patch(self, path: str, merge: Mapping[str, Any]) -> Any:
        """A JSON merge patch."""
        return self.request("PATCH", path, merge, "application/merge-patch+json")

    def wait(self, read: Callable[[], T | None], what: str, *, timeout_s: float = 60) -> T:
        """What `read` returns as soon as that is true; it is state of other processes, so it is asked for."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if found := read():
                return found
            time.sleep(0.05)
        raise ClusterError(f"not within {timeout_s} s: {what}")

    def logs(self, namespace: str, pod: str, container: str = "*") -> str:
        """What a pod has written, whether or not it still exists; `pod` may be a pattern."""
        return self._testcluster("logs", f"{namespace}/{pod}", container)

    def counts(self, **fields: str) -> int:
        """How many requests the proxy has seen, of these: verb, group, resource, subresource, user_agent."""
        return sum(row["count"] for row in self.counted() if all(row[name] == value for name, value in fields.items()))

    def counted(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self._control("GET", "/counts"))
        return rows

    def reset_counts(self) -> None:
        self._control("DELETE", "/counts")

    def fault(self, action: str, **fields: str | int) -> None:
        """Add a fault to the proxy; the fields are those of tests/cluster/README.md: which requests, how often."""
        self._control("POST", "/faults", {"action": action, **fields})

    def faults(self) -> list[dict[str, Any]]:
        """Those in force, with how often each has hit."""
        rules: list[dict[str, Any]] = json.loads(self._control("GET", "/faults"))
        return rules

    def clear_faults(self) -> None:
        self._control("DELETE", "/faults")

    def component(self, name: str, action: str) -> None:
        """Kill, start, stop or continue a component that runs as a child."""
        self._control("POST", f"/components/{name}/{action}")

    def _testcluster(self, command: str, *arguments: str | Path, stdin: str | None = None) -> str:
        line = [str(part) for part in (BUILT / "testcluster", command, "--dir", self.directory, *arguments)]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(done.stderr.strip())
        return done.stdout

    def _control(self, method: str, path: str, body: Any = None) -> str:
        status, text = self._ask(self.directory / "control.sock", method, path, body, "application/json")
        if status >= 400:
            raise ClusterError(text.strip())
        return text

    @staticmethod
    def _ask(path: Path, method: str, url: str, body: Any, content_type: str) -> tuple[int, str]:
        with contextlib.closing(_SocketConnection(path)) as connection:
            content = None if body is None else json.dumps(body)
            connection.request(method, url, content, {} if content is None else {"Content-Type": content_type})
            response = connection.getresponse()
            return response.status, response.read().decode()


def paths() -> dict[str, str]:
    """Values of the names in the image table: what this checkout has built and installed."""
    return {
        "TIDEGATE": str(PROJECT),
        "TIDEGATE_ENVOY": os.environ.get("TIDEGATE_ENVOY") or str(PROJECT / ".envoy/envoy/_bin/envoy"),
        "ECHO_BASIC": str(BUILT / "echo-basic"),
        # Not the environment's own python, a link that may lead where only root may go.
        "PYTHON": sys.base_prefix,
        "SITE_PACKAGES": sysconfig.get_path("purelib"),
    }


@contextlib.contextmanager
def started(
    *,
    nodes: int = 1,
    children: Sequence[str] = (),
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Cluster]:
    """A cluster of its own; it and its folder are gone afterwards."""
    # Not pytest's folder: the names of Unix sockets are short.
    directory = Path(tempfile.mkdtemp(prefix="tidegate-cluster-"))
    line = [str(BUILT / "testcluster"), "up", "--dir", str(directory), f"--name={directory.name}", f"--nodes={nodes}"]
    line += ["--images", str(IMAGES), f"--children={','.join(children)}", *arguments]
    for name, path in paths().items():
        line += ["--path", f"{name}={path}"]
    pipe, environ = subprocess.PIPE, os.environ | environment
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            if not process.stdout.readline().startswith("ready"):
                raise ClusterError(process.stderr.read())
            yield Cluster(directory, process)
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(directory, ignore_errors=True)
