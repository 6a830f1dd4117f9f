"""`make conformance`: the upstream suite on test clusters; its reports and tables go to docs/conformance."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.conformance.outcomes import Run, counts, page
from tests.conformance.suite import (
    GATEWAY_STAND,
    MESH_FEATURES,
    MESH_PROFILES,
    MESH_STAND,
    POOLS,
    PROFILES,
    announced,
    run,
)
from tests.kubernetes import daemons
from tests.kubernetes.cluster import PROJECT, Cluster, started
from tests.kubernetes.installation import install

PAGES: Final = PROJECT / "docs/conformance"


class Kind(NamedTuple):
    """Profiles that are run on one installation, what it announces, and the names of report and page."""

    profiles: tuple[str, ...]
    standing: Callable[[], AbstractContextManager[Cluster]]
    features: Callable[[Cluster], Sequence[str]]
    stand: tuple[str, ...]
    report: str
    page: str


@contextmanager
def gateways() -> Iterator[Cluster]:
    with started() as cluster:
        install(cluster)
        cluster.apply(*POOLS)
        yield cluster


@contextmanager
def mesh() -> Iterator[Cluster]:
    with daemons.standing() as installation:
        yield installation.cluster


KINDS: Final = {
    "GATEWAY": Kind(PROFILES, gateways, announced, GATEWAY_STAND, "report.yaml", "README.md"),
    "MESH": Kind(MESH_PROFILES, mesh, lambda _: MESH_FEATURES, MESH_STAND, "mesh.yaml", "mesh.md"),
}


def main() -> int:
    names = [*KINDS, *(profile for kind in KINDS.values() for profile in kind.profiles)]
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--profile", default="", choices=["", *names], metavar="PROFILE",
                        help=f"one of {', '.join(names)} (default: all)")  # fmt: skip
    parser.add_argument("--test", default="", help="one test, by its short name (default: all)")
    flags = parser.parse_args()
    failed = False
    for name, kind in KINDS.items():
        profiles = kind.profiles if flags.profile in {"", name} else tuple({flags.profile} & {*kind.profiles})
        if profiles:
            failed |= bool(tried(kind, profiles, flags.test).failed)
    return 1 if failed else 0


def tried(kind: Kind, profiles: tuple[str, ...], test: str) -> Run:
    """Run, print, and write the pages, if it was all of a kind."""
    with tempfile.TemporaryDirectory() as folder, kind.standing() as cluster:
        report, log = Path(folder, "report.yaml"), Path(folder, "log")
        features = kind.features(cluster)
        found = run(cluster, log, features=features, profiles=profiles, test=test, report=report, stand=kind.stand)
        for outcome in found.outcomes:
            if outcome.result != "skipped" or test == outcome.test:
                print(f"{outcome.result:8} {outcome.test}  {outcome.seconds:.1f} s")
        print(counts(found.outcomes))
        if found.failed:
            kept = PROJECT / ".state/conformance.log"
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(log.read_text())
            print(f"what the suite printed: {kept}", file=sys.stderr)
        if profiles == kind.profiles and not test:
            PAGES.mkdir(exist_ok=True)
            (PAGES / kind.report).write_text(report.read_text())
            (PAGES / kind.page).write_text(page(found))
    return found


if __name__ == "__main__":
    sys.exit(main())
