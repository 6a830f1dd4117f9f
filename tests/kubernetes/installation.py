"""The chart, installed by Helm on a test cluster: what a test says of it holds for what users install."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.kubernetes.cluster import BUILT, PROJECT, Cluster, ClusterError

NAMESPACE: Final = "tidegate-system"
CHART: Final = PROJECT / "deploy/chart"
CRDS: Final = BUILT / "crds"
GATEWAYS: Final = "172.31.1"  # addresses that every node can bind

# A denied request, an exception nobody caught, or anything that is said at the level of errors.
_COMPLAINT: Final = re.compile(r"forbidden|traceback|\"level\": \"(error|critical)\"", re.IGNORECASE)


def install(cluster: Cluster, values: Mapping[str, Any] | None = None, *, channel: str = "experimental") -> None:
    """Install the CRDs of Gateway API and the chart, and wait until everything of it is ready."""
    cluster.apply(CRDS / channel)
    helm(cluster, "install", "tidegate", CHART, "--create-namespace", values=values)
    cluster.wait(lambda: ready(cluster), "the chart's pods are ready and its GatewayClass is accepted")


def helm(cluster: Cluster, *arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
    """Run Helm against a cluster; `values` other than the chart's own go with an install or upgrade."""
    line = [BUILT / "helm", *arguments, "--namespace", NAMESPACE, "--kubeconfig", cluster.kubeconfig_outside]
    given = [] if values is None else ["--values", "-"]
    text = json.dumps(values or {})
    done = subprocess.run([*map(str, line), *given], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(done.stderr)
    return done.stdout


def ready(cluster: Cluster) -> bool:
    """The certificates are made, all replicas and every node's proxy are ready, and somebody leads."""
    found = cluster.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/tidegate-controller")
    sets = cluster.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets")["items"]
    nodes = len(cluster.get("/api/v1/nodes")["items"])
    if not found or not sets:
        return False
    [proxies] = sets  # or daemons
    replicas = found["spec"]["replicas"] == found.get("status", {}).get("readyReplicas", 0)
    return replicas and proxies.get("status", {}).get("numberReady", 0) == nodes and is_accepted(cluster)


def is_accepted(cluster: Cluster, name: str = "tidegate") -> bool:
    """A GatewayClass has been taken by its controller, as it is now."""
    found = cluster.get(f"/apis/gateway.networking.k8s.io/v1/gatewayclasses/{name}")
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return any(
        c["type"] == "Accepted" and c["status"] == "True" and c["observedGeneration"] == found["metadata"]["generation"]
        for c in conditions
    )


def pool(
    first: int = 10, last: int = 250, *, name: str = "nodes", labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A pool of those addresses that the nodes of a test cluster can bind; for all, or for who has the labels."""
    spec: dict[str, Any] = {"blocks": [{"start": f"{GATEWAYS}.{first}", "stop": f"{GATEWAYS}.{last}"}]}
    if labels:
        spec["serviceSelector"] = {"matchLabels": dict(labels)}
    return {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "LoadBalancerIPPool",
        "metadata": {"name": name},
        "spec": spec,
    }


@dataclass(frozen=True, slots=True)
class Installation:
    """A release of the chart; `cluster` has the CRDs of Gateway API."""

    cluster: Cluster

    def upgrade(self, values: Mapping[str, Any]) -> None:
        helm(self.cluster, "upgrade", "tidegate", CHART, "--wait", "--timeout", "90s", values=values)

    def uninstall(self) -> None:
        helm(self.cluster, "uninstall", "tidegate", "--wait")

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that are not about to end."""
        selector = f"app.kubernetes.io/name%3Dtidegate,app.kubernetes.io/component%3D{component}"
        found = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, component: str) -> dict[str, str]:
        """The node of each ready pod."""
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in self.pods(component)
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        }

    def wait_until_ready(self, controllers: int) -> None:
        """All replicas, and a proxy a node, and nobody besides."""
        nodes = {node["metadata"]["name"] for node in self.cluster.get("/api/v1/nodes")["items"]}

        def are_ready() -> bool:
            pods, proxies = self.ready("controller"), self.ready("proxy")
            return len(self.pods("controller")) == len(pods) == controllers and set(proxies.values()) == nodes

        self.cluster.wait(are_ready, f"{controllers} controllers and a proxy on each of {sorted(nodes)}")

    def complaints(self) -> list[str]:
        """What pods of the installation have said that no pod says on a good day."""
        lines = self.cluster.logs(NAMESPACE, "*").splitlines()
        return [line for line in lines if _COMPLAINT.search(line)]

    def status(self, *arguments: str, kubeconfig: str = "") -> tuple[int, dict[str, Any]]:
        """`tidegate status -o json`, from outside of the cluster's network."""
        file = kubeconfig or str(self.cluster.kubeconfig_outside)
        command = ["tidegate", "status", "--kubeconfig", file, "-o", "json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1}:
            raise ClusterError(done.stderr)
        return done.returncode, json.loads(done.stdout)
