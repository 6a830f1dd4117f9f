"""The upstream suite's mesh profiles, on the chart with a daemon on each of two nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import MESH_FEATURES, MESH_PROFILES, MESH_STAND, SUITE, run
from tests.kubernetes.cluster import Cluster, started
from tests.kubernetes.daemons import standing
from tests.kubernetes.installation import install


@pytest.fixture(scope="module", autouse=True)
def built(cluster_binary: Path, project: Path) -> None:
    """What the tests need, or how to make it."""
    assert cluster_binary.is_file()
    for path, target in ((SUITE, "conformance-binary"), (project / "datapath/bpf/build/manifest.json", "bpf")):
        if not path.is_file():
            pytest.fail(f"no {path}: run `make {target}`")


@pytest.fixture(scope="module")
def meshed() -> Iterator[Cluster]:
    with standing() as installation:
        yield installation.cluster


def test_the_mesh_conforms(meshed: Cluster, tmp_path: Path) -> None:
    """Every mesh test of the suite passes, unmodified, core and extended, by requests of pods to Services."""
    log = tmp_path / "log"
    found = run(meshed, log, features=MESH_FEATURES, profiles=MESH_PROFILES, stand=MESH_STAND)
    passed = [outcome.test for outcome in found.outcomes if outcome.result == "passed"]

    assert [] == found.failed, log.read_text()[-8000:]
    assert 23 == len(passed)


def test_without_daemons_a_route_of_a_service_does_nothing(tmp_path: Path) -> None:
    """The control: the chart's defaults have no mesh, and the suite sees that."""
    with started() as cluster:
        install(cluster)
        found = run(
            cluster, tmp_path / "log", features=MESH_FEATURES, profiles=MESH_PROFILES, stand=MESH_STAND,
            test="MeshHTTPRouteRedirectHostAndStatus",
        )  # fmt: skip

    assert ["MeshHTTPRouteRedirectHostAndStatus"] == found.failed
