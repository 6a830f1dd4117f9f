"""How often each verdict was reached, and where: the counters of all CPUs together."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from datapath.kernel.layout import TALLY, Direction, Reason, Tally
from datapath.kernel.libbpf import call, possible_cpus

NAME: Final = "verdicts"


def read(folder: Path) -> dict[tuple[Reason, Direction], Tally]:
    """Those that were reached at all; `folder` is where the maps are pinned."""
    fd = call("bpf_obj_get", str(folder / NAME), os.fsencode(folder / NAME))
    try:
        found = {(reason, direction): _sum(fd, reason, direction) for reason in Reason for direction in Direction}
    finally:
        os.close(fd)
    return {where: tally for where, tally in found.items() if tally.packets}


def _sum(fd: int, reason: Reason, direction: Direction) -> Tally:
    values = ctypes.create_string_buffer(TALLY.size * possible_cpus())
    key = ctypes.c_uint32(reason * len(Direction) + direction)
    call("bpf_map_lookup_elem", NAME, fd, ctypes.byref(key), values)
    tallies = [TALLY.unpack(values.raw[at : at + TALLY.size]) for at in range(0, len(values), TALLY.size)]
    return Tally(sum(tally.packets for tally in tallies), sum(tally.bytes for tally in tallies))
