"""`make demo-kubernetes`: the walk-through on the test cluster; answers 1 on a difference."""

from __future__ import annotations

import sys

from tests.kubernetes.foreground import standing, walked


def main() -> int:
    with standing() as installation:
        return walked(installation.cluster).returncode


if __name__ == "__main__":
    sys.exit(main())
