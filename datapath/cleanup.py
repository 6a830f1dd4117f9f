"""Takes all of a daemon out of the machine: programs first, so that nobody is sent to what goes next."""

from __future__ import annotations

import asyncio
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from datapath.announcing import leave_groups
from datapath.instances import Wanted, end_all, end_rest
from datapath.kernel import clsact, routing
from datapath.kernel.layout import ANSWERS, AnswerKey
from datapath.kernel.maps import WrongLayout, opened
from datapath.kernel.programs import Pins, detach
from datapath.kernel.sysctls import Sysctls
from datapath.places import Places
from datapath.probe import was_here


class Removed(NamedTuple):
    parts: list[str]
    lost: str
    """The file that has what settings of the kernel were, where it cannot be read."""
    unknown: dict[str, str]
    """Settings that stay as they are, as nobody knows what they were, with what that was, likely."""


def cleanup(places: Places) -> Removed:
    """The caller has the lock."""
    pins, follows = Pins(places.bpffs), was_here(places.pins)
    removed = [f"program {pin.name}" for pin in _detached(places.pins)]
    removed += _filters()
    directory = places.state / "envoy"
    wanted = Wanted(Path(), "", (), directory, places.envoy_cgroup, drain_s=0)
    removed += [f"Envoy, process {pid}" for pid in asyncio.run(end_all(wanted, places.instances))]
    removed += [f"Envoy of another state directory, process {pid}" for pid in end_rest(places.envoy_cgroup)]
    routing.remove()
    sysctls = Sysctls(places.sysctls, follows=follows)
    removed += [f"setting {name}, which is what it was" for name in sysctls.restore()]
    leave_groups(_announced(pins.maps))
    removed += [f"map {pin.name}" for pin in sorted(pins.maps.glob("*"))]
    _remove_pins(places.pins)
    with suppress(OSError):
        places.envoy_cgroup.rmdir()
    for path in (places.accepted, places.instances, places.sysctls, places.control):
        for each in (path, path.with_name(f"{path.name}.new")):
            _remove(each)
    for folder in (directory, places.state / "sources"):
        _remove(folder)
    return Removed(removed, sysctls.lost, sysctls.unknown)


def _remove(path: Path) -> None:
    """Whatever has become of it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _announced(maps: Path) -> list[AnswerKey]:
    try:
        with opened(ANSWERS, maps) as answers:
            return [key for key, _ in answers.items()]
    except (OSError, WrongLayout):
        return []


def _filters() -> list[str]:
    """Programs without pins, as before Linux 6.6."""
    found = []
    for ifindex, name in socket.if_nameindex():
        for hook, program in clsact.own(ifindex):
            clsact.detach(ifindex, hook, program)
            found.append(f"program {program} at {name}")
    return found


def _detached(root: Path) -> list[Path]:
    """Of every layout."""
    found = sorted(root.glob("*/links/*"))
    for pin in found:
        detach(pin)
    return found


def _remove_pins(root: Path) -> None:
    """Of every layout; a BPF file system takes no recursive removal for what it is."""
    for layout in sorted(root.glob("*")):
        for folder in sorted(layout.glob("*")):
            for pin in sorted(folder.glob("*")):
                pin.unlink()
            folder.rmdir()
        layout.rmdir()
    with suppress(FileNotFoundError):
        root.rmdir()
