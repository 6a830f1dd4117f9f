"""The chart, installed by Helm on a test cluster: what a test says of it holds for what users install."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.kubernetes.cluster import BUILT, PROJECT, Cluster, ClusterError

NAMESPACE: Final = "tidegate-system"
CHART: Final = PROJECT / "deploy/chart"
CRDS: Final = BUILT / "crds"
GATEWAYS: Final = "172.31.1"  # addresses that every node can bind


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
    proxies = cluster.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/tidegate-proxy")
    nodes = len(cluster.get("/api/v1/nodes")["items"])
    if not found or not proxies:
        return False
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
