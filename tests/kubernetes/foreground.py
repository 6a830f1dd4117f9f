"""`make cluster`: a cluster of two nodes with the chart and the example on it, until interrupted."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.kubernetes import bookinfo
from tests.kubernetes.cluster import BUILT, PROJECT, Cluster, started
from tests.kubernetes.installation import Installation, install, pool
from xds_server.demo.backends import EXAMPLE

TALK = """
Gateway my-gateway is at {address}. In another terminal, in {project}:

  export KUBECONFIG={kubeconfig}    # for kubectl, helm and tidegate on this machine
  tidegate status
  tidegate explain --kubernetes GET http://{address}/details/1

  alias on={testcluster}
  on run --dir {directory} -- curl -i http://{address}/details/1    # a client on node1; --node 2: on the other
  on apply --dir {directory} FILE
  on logs --dir {directory} 'tidegate-system/*'

^C ends it, and leaves nothing.
"""


@contextlib.contextmanager
def standing() -> Iterator[Installation]:
    """The chart and the backends of the example, all ready; not the example's own objects."""
    with started(nodes=2) as cluster:
        print("The cluster runs; installing the chart ...", flush=True)
        install(cluster, bookinfo.VALUES)
        cluster.apply(pool(), bookinfo.NGINX, *bookinfo.deployments())
        found = Installation(cluster)
        found.wait_until_ready(bookinfo.REPLICAS)
        cluster.wait(lambda: _available(cluster), "the backends are available")
        yield found


def _available(cluster: Cluster) -> bool:
    found = cluster.get("/apis/apps/v1/namespaces/default/deployments")["items"]
    return all(deployment["status"].get("availableReplicas") for deployment in found)


def programmed(cluster: Cluster, gateway: str) -> str:
    """The address of a Gateway, once proxies serve it."""

    def address() -> str:
        status = cluster.get(f"/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways/{gateway}")["status"]
        true = {condition["type"] for condition in status["conditions"] if condition["status"] == "True"}
        return status["addresses"][0]["value"] if "Programmed" in true else ""

    return cluster.wait(address, f"Gateway {gateway} is programmed")


def walked(cluster: Cluster, **how: Any) -> subprocess.CompletedProcess[str]:
    """The walk-through, by a client on node1."""
    walk = cluster.command(sys.executable, "-m", "tests.kubernetes.walk", cluster.kubeconfig)
    return subprocess.run(walk, cwd=PROJECT, check=False, **how)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), standing() as installation:
        cluster = installation.cluster
        for path in sorted(EXAMPLE.glob("*.yaml")):
            cluster.apply(*bookinfo.manifests(path))
        said = TALK.format(
            address=programmed(cluster, "my-gateway"),
            project=PROJECT,
            kubeconfig=cluster.kubeconfig_outside,
            testcluster=(BUILT / "testcluster").relative_to(PROJECT),
            directory=cluster.directory,
        )
        print(said, flush=True)
        cluster.process.wait()
        print("The cluster has ended; its folder is gone.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
