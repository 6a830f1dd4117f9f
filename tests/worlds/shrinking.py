"""The smallest world that still fails: fewer objects, then fewer fields and list items in those that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final

from tests.worlds.draw import Manifest
from tests.worlds.world import World

_KEPT: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "name", "namespace"})


def minimal(world: World, fails: Callable[[World], bool]) -> World:
    """`fails` must hold for the world itself."""
    found = dict(world)
    for ref in sorted(world):
        fewer = {name: manifest for name, manifest in found.items() if name != ref}
        if fails(fewer):
            found = fewer
    for ref in sorted(found):
        found[ref] = _minimal(found[ref], lambda smaller, ref=ref: fails({**found, ref: smaller}))  # type: ignore[misc]
    return found


def _minimal(manifest: Manifest, fails: Callable[[Manifest], bool]) -> Manifest:
    found, changed = manifest, True
    while changed:
        changed = False
        for path in sorted(_paths(found), key=len):
            smaller = _without(found, path)
            if smaller is not None and fails(smaller):
                found, changed = smaller, True
                break
    return found


def _paths(part: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key not in _KEPT or len(above) > 1:
                yield (*above, key)
            yield from _paths(value, (*above, key))
    if isinstance(part, list):
        for position, value in enumerate(part):
            yield (*above, position)
            yield from _paths(value, (*above, position))


def _without(manifest: Manifest, path: tuple[str | int, ...]) -> Manifest | None:
    smaller: Manifest = deepcopy(manifest)
    part: Any = smaller
    for step in path[:-1]:
        part = part[step]
    del part[path[-1]]
    return smaller
