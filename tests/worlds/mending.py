"""Objects that break a rule of their kind, without the parts that break it: what an API server would let through."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import msgspec

from tests.worlds.draw import Manifest
from xds_server.files import rules
from xds_server.files.kinds import SERVED
from xds_server.files.problems import Path
from xds_server.files.schema import checks

_ROUNDS: Final = 40


def mended(manifest: Manifest) -> Manifest | None:
    """None when nothing valid is left."""
    left: Manifest = deepcopy(manifest)
    for _ in range(_ROUNDS):
        paths = broken(left)
        if not paths:
            return left
        for path in sorted(paths, key=_order, reverse=True):
            if not _remove(left, path):
                return None
    return None


def broken(manifest: Manifest) -> list[Path]:
    """Where the manifest breaks a rule: first of its fields, and only if there is none, of several together."""
    served = SERVED[manifest["apiVersion"], manifest["kind"]]
    found: list[Any] = []
    checks(served.definition)(manifest, found)
    if not found:
        found = rules.findings(msgspec.convert(manifest, served.struct))
    return [finding.path for finding in found]


def _order(path: Path) -> tuple[tuple[str, int], ...]:
    return tuple((step, 0) if isinstance(step, str) else ("", step) for step in path)


def _remove(manifest: Manifest, path: Path) -> bool:
    """Remove what is there, or, where something is missing, what misses it."""
    while len(path) > 1:
        parent: Any = manifest
        try:
            for step in path[:-1]:
                parent = parent[step]
            del parent[path[-1]]
        except (KeyError, IndexError):
            path = path[:-1]
            continue
        return True
    return False
