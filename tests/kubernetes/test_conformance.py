"""The core of the upstream suite, on the installed chart; `make conformance` runs all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import POOLS, SUITE, announced, run
from tests.kubernetes.cluster import Cluster, ClusterError, started
from tests.kubernetes.installation import CRDS, install
from xds_server.ingestion.features import SUPPORTED_FEATURES

UNSERVED = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "GatewayClass",
    "metadata": {"name": "tidegate"},
    "spec": {"controllerName": "tidegate.dev/controller"},
}
CORE = ("Gateway", "ReferenceGrant", "HTTPRoute")


@pytest.fixture(scope="module")
def served(cluster_binary: Path) -> Iterator[Cluster]:
    """A cluster with the chart and pools for the suite."""
    if not SUITE.is_file():
        pytest.fail(f"no suite at {SUITE}: run `make conformance-binary`")
    with started() as cluster:
        install(cluster)
        cluster.apply(*POOLS)
        yield cluster


def test_the_class_announces_what_the_code_says(served: Cluster) -> None:
    """`supportedFeatures` in the status of the GatewayClass is the one list of the code."""
    assert sorted(SUPPORTED_FEATURES) == announced(served)


def test_the_core_of_http_conforms(served: Cluster, tmp_path: Path) -> None:
    """Every core test of Gateway and HTTPRoute passes, unmodified, by the objects' status and by traffic."""
    found = run(served, tmp_path / "log", features=CORE, profiles=("GATEWAY-HTTP",))
    passed = [outcome.test for outcome in found.outcomes if outcome.result == "passed"]

    assert [] == found.failed, (tmp_path / "log").read_text()[-8000:]
    assert 40 == len(passed)


def test_without_a_controller_nothing_conforms(cluster_binary: Path, tmp_path: Path) -> None:
    """The control: where nobody serves the class, the suite does not get past its own set-up."""
    with started() as cluster:
        cluster.apply(CRDS / "experimental", UNSERVED)
        with pytest.raises(ClusterError, match="ran no test"):
            run(cluster, tmp_path / "log", features=CORE, options=["--timeout-config-overrides=GWCMustBeAccepted:5"])

    assert "FAIL: TestConformance" in (tmp_path / "log").read_text()
