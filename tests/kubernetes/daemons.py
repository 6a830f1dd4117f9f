"""Clusters whose nodes have the daemon of the chart: each node's processes are in a cgroup of its own.

A node of the test cluster is a process with a network and mounts of its own; what is in a node of its own kind beside
these is its cgroup, below which a daemon balances connections and runs Envoy.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.kubernetes.cluster import Cluster, ClusterError, started
from tests.kubernetes.installation import Installation, install, pool
from tests.netns.namespaces import cgroup2, end

NODES: Final = (1, 2)
CGROUP: Final = "/run/tidegate-cgroup"
"""Where a node has its own cgroup mounted; /run is each node's own."""

# The nodes have no default route; what a pod keeps is in /run, which nodes do not share.
VALUES: Final[dict[str, Any]] = {
    "controller": {"replicas": 2},
    "datapath": {
        "enabled": True,
        "devices": ["eth0"],
        "envoy": {"concurrency": 1, "drainSeconds": 2},
        "hostPaths": {"state": "/run/tidegate", "cgroup": CGROUP},
    },
}
_CREDENTIALS: Final = struct.Struct("3i")

# A client in a pod: it asks until it is told to go, one line of JSON for each answer.
ASKING: Final = """
import json, sys, time, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
while True:
    for url in sys.argv[1:]:
        try:
            with opener.open(url, timeout=5) as answer:
                said = {"status": answer.status, "headers": dict(answer.headers), "body": json.load(answer)}
        except urllib.error.HTTPError as error:
            said = {"status": error.code, "headers": dict(error.headers)}
        except Exception as error:
            said = {"error": repr(error)}
        print(json.dumps({"url": url, **said}), flush=True)
    time.sleep(0.05)
"""


@contextmanager
def standing(values: Mapping[str, Any] | None = None, *, channel: str = "experimental") -> Iterator[Installation]:
    """Two nodes, the chart with its daemons, and a pool; all are ready."""
    with nodes() as cluster:
        install(cluster, {**VALUES, **(values or {})}, channel=channel)
        cluster.apply(pool())
        yield Installation(cluster)


@contextmanager
def nodes() -> Iterator[Cluster]:
    """A cluster without an installation, whose nodes have a cgroup each, here and at CGROUP."""
    name = f"tidegate-cluster-{os.getpid()}"
    own = cgroup2() / name
    try:
        with started(nodes=len(NODES)) as cluster:
            for node in NODES:
                _separate(process_of(cluster, node), own / f"node{node}")
            yield cluster
    finally:
        end(own)


def process_of(cluster: Cluster, node: int) -> int:
    """The process whose namespaces are those of a node: who listens is told by the kernel."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(cluster.directory / f"node{node}.sock"))
        pid, _, _ = _CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(pid)


def _separate(process: int, cgroup: Path) -> None:
    cgroup.mkdir(parents=True)
    (cgroup / "cgroup.procs").write_text(str(process))
    on_node(process, f"mkdir -p {CGROUP} && mount --bind {cgroup} {CGROUP}")


def on_node(process: int, script: str) -> str:
    """What a shell with a node's network and mounts writes."""
    command = ["nsenter", "--net", "--mount", "--target", str(process), "sh", "-ec", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{script}: {done.stderr}")
    return done.stdout


def client(name: str, node: str, *urls: str, namespace: str = "default") -> dict[str, Any]:
    """A pod of a node that asks these again and again."""
    container = {"name": "client", "image": "python", "args": ["-u", "-c", ASKING, *urls]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": node, "containers": [container]},
    }


def answers(cluster: Cluster, pod: str, namespace: str = "default") -> list[dict[str, Any]]:
    """What a client was told so far."""
    try:
        lines = cluster.logs(namespace, pod).splitlines()
    except ClusterError:  # it has not begun yet
        return []
    return [json.loads(line[line.index("{") :]) for line in lines if "{" in line]
