"""Run the upstream suite against an installation on a test cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.conformance.outcomes import Run, outcomes
from tests.kubernetes.cluster import BUILT, Cluster, ClusterError
from tests.kubernetes.installation import GATEWAYS, pool

PROFILES: Final = ("GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS")
MESH_PROFILES: Final = ("MESH-HTTP", "MESH-GRPC")
# No object announces these: a GatewayClass is about Gateways.
MESH_FEATURES: Final = (
    "GRPCRoute",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
)
GATEWAY_STAND: Final = (
    "The chart's defaults are installed on a test cluster of one node, whose addresses come from a pool.",
    "One dependency of the suite differs: `sigs.k8s.io/gateway-api-conformance-images` v0.1.0 stands for v0.2.0,",
    "as the module proxy does not serve that; its echo server is the backend of the tests.",
    "The profiles of a mesh are in [mesh.md](mesh.md).",
)
MESH_STAND: Final = (
    "The chart is installed with `datapath.enabled` on a test cluster of two nodes.",
    "Each node's processes are in a cgroup of their own, below which its daemon works.",
    "Clients and servers are pods with addresses of their own; no Gateway takes part.",
    "The image `echo-advanced` is replaced by tests/conformance/echo_{client,server}.py,",
    "which print and answer what the suite reads.",
)
SUITE: Final = BUILT / "conformance.test"
_USABLE: Final = f"{GATEWAYS}.5"
_UNUSABLE: Final = "192.0.2.1"

# The address that one test asks for is nobody else's.
POOLS: Final = (
    pool(),
    pool(5, 5, name="static", labels={"gateway.networking.k8s.io/gateway-name": "gateway-static-addresses"}),
)


def run(
    cluster: Cluster,
    log: Path,
    *,
    features: Sequence[str],
    profiles: Sequence[str] = PROFILES,
    test: str = "",
    report: Path | None = None,
    channel: str = "experimental",
    options: Sequence[str] = (),
    stand: tuple[str, ...] = GATEWAY_STAND,
) -> Run:
    """Run all tests of the profiles, or the one that is named; what the suite prints is kept in `log`.

    :raises ClusterError: the suite ended before it ran a test.
    """
    line: list[str | Path] = [
        SUITE,
        "-test.v",
        "-test.timeout=40m",
        "--gateway-class=tidegate",
        f"--conformance-profiles={','.join(profiles)}",
        f"--supported-features={','.join(features)}",
        f"--usable-address={_USABLE}",
        f"--unusable-address={_UNUSABLE}",
        *([f"--run-test={test}"] if test else []),
        *(_reported(report) if report else []),
        *options,
    ]
    command = cluster.command("env", f"KUBECONFIG={cluster.kubeconfig}", *line)
    with log.open("w") as output:
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    text = log.read_text()
    found = outcomes(text)
    if not found:
        raise ClusterError(f"the suite ran no test:\n{text[-2000:]}")
    return Run(found, tuple(profiles), tuple(features), channel, stand)


def announced(cluster: Cluster) -> list[str]:
    """The features in the status of the GatewayClass."""
    found = cluster.get("/apis/gateway.networking.k8s.io/v1/gatewayclasses/tidegate")
    return [feature["name"] for feature in found["status"].get("supportedFeatures", [])]


def _reported(report: Path) -> list[str]:
    return [
        f"--report-output={report}",
        "--organization=tidegate",
        "--project=tidegate",
        "--url=https://tidegate.dev",
        "--version=0.1.0",
        "--contact=https://tidegate.dev",
    ]
