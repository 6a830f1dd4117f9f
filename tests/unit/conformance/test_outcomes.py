"""What is read from the suite's output, and what is written of it."""

from __future__ import annotations

from tests.conformance.outcomes import Outcome, Run, counts, outcomes, page

LOG = """\
=== RUN   TestConformance
=== RUN   TestConformance/HTTPRouteWeight
    conformance.go:72: Applying tests/httproute-weight.yaml
--- FAIL: TestConformance (67.95s)
    --- SKIP: TestConformance/MeshBasic (0.00s)
    --- FAIL: TestConformance/HTTPRouteWeight (1.50s)
        --- PASS: TestConformance/HTTPRouteWeight/Requests (0.20s)
    --- PASS: TestConformance/GatewayInvalidRouteKind (0.38s)
FAIL
"""


def test_each_test_is_one_outcome() -> None:
    """Subtests and the suite itself are none, and the order is by name."""
    assert (
        Outcome("GatewayInvalidRouteKind", "passed", 0.38),
        Outcome("HTTPRouteWeight", "failed", 1.5),
        Outcome("MeshBasic", "skipped", 0.0),
    ) == outcomes(LOG)


def test_output_without_tests_is_no_outcome() -> None:
    """A suite that did not start has passed nothing."""
    assert () == outcomes("panic: no kubeconfig\n")


def test_the_page_names_every_test_with_its_result() -> None:
    """Passed first, then failed, then skipped; the head has the counts."""
    written = page(Run(outcomes(LOG), ("GATEWAY-HTTP",), ("HTTPRoute",), "standard"))

    assert "1 passed, 1 failed, 1 skipped" == counts(outcomes(LOG))
    assert "The upstream suite, unmodified: 1 passed, 1 failed, 1 skipped." in written
    rows = [line for line in written.splitlines() if line.startswith("| ")][2:]
    assert ["| GatewayInvalidRouteKind | passed |", "| HTTPRouteWeight | failed |", "| MeshBasic | skipped |"] == rows


def test_the_page_says_what_it_was_run_on() -> None:
    """A mesh has another stand than Gateways, and another title."""
    gateways, mesh = (
        page(Run(outcomes(LOG), (profile,), (), "standard", ("Two nodes.",)))
        for profile in ("GATEWAY-HTTP", "MESH-HTTP")
    )

    assert ("# Conformance with Gateway API v1.7.0", "# Conformance with Gateway API v1.7.0, as a mesh") == (
        gateways.partition("\n")[0], mesh.partition("\n")[0],
    )  # fmt: skip
    assert "\nTwo nodes.\n" in mesh
