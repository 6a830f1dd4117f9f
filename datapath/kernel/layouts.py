"""From one layout of the maps to another, up or down: what is the same in both is shared, and links move one by one.

A map that both layouts have alike is pinned in both folders: both see its entries, and nothing is copied.
A map that differs is new and empty: who starts fills it before he attaches.
So each hook has one program throughout, the old one or the new one, and either finds what it needs.
`folder` is one layout's own, beside those of others.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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
    return sorted(each for each in folder.parent.iterdir() if each != folder and each.name.isdecimal())


def share(folder: Path, name: str, shape: Shape) -> bool:
    """Whether another layout has such a map; then it is this one's, too."""
    if "." in name:  # an object's own constants, which are pinned nowhere
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
