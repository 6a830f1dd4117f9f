"""`make conformance`: the upstream suite on a test cluster; its report and a table go to docs/conformance."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.conformance.outcomes import counts, page
from tests.conformance.suite import POOLS, PROFILES, announced, run
from tests.kubernetes.cluster import PROJECT, started
from tests.kubernetes.installation import install

PAGES = PROJECT / "docs/conformance"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--profile", default="", help=f"one of {', '.join(PROFILES)} (default: all)")
    parser.add_argument("--test", default="", help="one test, by its short name (default: all)")
    flags = parser.parse_args()
    profiles = (flags.profile,) if flags.profile else PROFILES
    everything = not (flags.profile or flags.test)
    with tempfile.TemporaryDirectory() as folder, started() as cluster:
        report, log = Path(folder, "report.yaml"), Path(folder, "log")
        install(cluster)
        cluster.apply(*POOLS)
        features = announced(cluster)
        found = run(cluster, log, features=features, profiles=profiles, test=flags.test, report=report)
        for outcome in found.outcomes:
            if outcome.result != "skipped" or flags.test == outcome.test:
                print(f"{outcome.result:8} {outcome.test}  {outcome.seconds:.1f} s")
        print(counts(found.outcomes))
        if found.failed:
            kept = PROJECT / ".state/conformance.log"
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(log.read_text())
            print(f"what the suite printed: {kept}", file=sys.stderr)
        if everything:
            PAGES.mkdir(exist_ok=True)
            (PAGES / "report.yaml").write_text(report.read_text())
            (PAGES / "README.md").write_text(page(found))
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
