"""From one layout of the maps to another, up or down: what is the same in both is shared, and links move one by one.

What programs write (flows, counters, Envoy's listeners) is one map for both layouts where they have it alike: it is
pinned in both folders, and nothing is copied.
What the daemon writes is each layout's own, and new: who starts fills it before he attaches, and what he writes for his
programs is nothing that the others look at.
So each hook has one program throughout, the old one or the new one, and either finds what it needs.
`folder` is one layout's own, beside those of others.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from datapath.kernel.layout import FILLED
from datapath.kernel.libbpf import MapInfo, call, map_info

PARTS = ("links", "programs", "maps")


class Shape(NamedTuple):
    """What two maps of one name must have in common to be the same to programs."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int


def others(folder: Path) -> list[Path]:
    """None where somebody has removed what all of them are in: it is put back."""
    return sorted(each for each in folder.parent.glob("*") if each != folder and each.name.isdecimal())


def share(folder: Path, name: str, shape: Shape) -> bool:
    """Whether another layout has such a map, which programs write; then it is this one's, too."""
    if name in FILLED or "." in name:  # an object's own constants, which are pinned nowhere
        return False
    own = folder / "maps" / name
    for other in others(folder):
        theirs = other / "maps" / name
        if own.exists() or not theirs.exists():
            continue
        fd = call("bpf_obj_get", str(theirs), os.fsencode(theirs))
        try:
            if _shape(map_info(fd, str(theirs))) == shape:
                call("bpf_obj_pin", str(own), fd, os.fsencode(own))
                return True
        finally:
            os.close(fd)
    return False


def attached(folder: Path) -> bool:
    """Whether another layout has a link."""
    return any(any((other / "links").glob("*")) for other in others(folder))


def take(folder: Path, link: str) -> bool:
    """Whether another layout has such a link; then it is this one's alone."""
    own = folder / "links" / link
    for other in others(folder):
        theirs = other / "links" / link
        if not own.exists() and theirs.exists():
            theirs.rename(own)
            return True
    return False


def remove(folder: Path) -> None:
    """All that is pinned there."""
    for part in PARTS:
        for pin in sorted((folder / part).glob("*")):
            pin.unlink()
        with suppress(FileNotFoundError):
            (folder / part).rmdir()
    with suppress(FileNotFoundError):
        folder.rmdir()


def _shape(info: MapInfo) -> Shape:
    return Shape(info.type, info.key_size, info.value_size, info.max_entries, info.map_flags)
