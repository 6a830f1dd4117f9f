"""What the daemon needs of the machine, looked for before anything is made; every lack is named, with the way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from datapath.config import Config
from datapath.kernel import features, nft
from datapath.kernel.programs import sk_lookup_programs

# To attach and to route; to announce addresses; to load programs, on most kernels; to load any: docs/kernels.md.
_CAPABILITIES: Final = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_STATUS: Final = Path("/proc/self/status")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_UNPRIVILEGED: Final = Path("/proc/sys/kernel/unprivileged_bpf_disabled")


def lacks(config: Config) -> list[str]:
    """What makes it impossible to begin."""
    status, mounts = _STATUS.read_text(), _MOUNTS.read_text()
    found = [f"{name} is missing: run it as root, or with this capability" for name in missing_capabilities(status)]
    if file_system(mounts, config.bpffs) != "bpf":
        way = f"mount -t bpf bpf {config.bpffs}, or name another{mounted(mounts, 'bpf')}"
        found.append(f"bpffs: {_lacking(config.bpffs, 'is no BPF file system')}: {way}")
    if file_system(mounts, config.cgroup) != "cgroup2":
        way = f"name where that is mounted, or a folder of it{mounted(mounts, 'cgroup2')}"
        found.append(f"cgroup: {_lacking(config.cgroup, 'is not of cgroup version 2')}: {way}")
    if not _BTF.exists():
        found.append("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF): run one that has, as distributions' do")
    if not missing_capabilities(status):
        found += older(features.absent())
    return found


def mounted(mounts: str, kind: str) -> str:
    """Where a file system of that kind is, if there is one."""
    return next((f": {place}" for place, _ in _places(mounts) if file_system(mounts, place) == kind), "")


def _lacking(folder: Path, otherwise: str) -> str:
    return f"{folder} {otherwise}" if folder.is_dir() else f"there is no folder {folder}"


def older(absent: Iterable[str]) -> list[str]:
    """Of programs and maps that a kernel has not."""
    return [f"the kernel has no BPF {name}: run Linux 5.10 or newer, with its BPF features built in" for name in absent]


def is_taken(pins: Path) -> bool:
    """Whether a daemon works in this network namespace whose pins are elsewhere: no lock of ours is known to it.

    Its rules are there, sockets are chosen, and of that nothing is pinned here. Rules alone may be left of one that
    has ended.
    """
    return not any(pins.glob("*/links/*")) and bool(nft.dumped()) and sk_lookup_programs() > 0


def was_here(pins: Path) -> bool:
    """Whether a daemon has left something in this network namespace, or still works in it."""
    return any(pins.glob("*/links/*")) or bool(nft.dumped())


def warnings() -> list[str]:
    """What makes it less safe than it should be."""
    try:
        open_to_all = _UNPRIVILEGED.read_text().strip() == "0"
    except OSError:
        return []
    if not open_to_all:
        return []
    return ["BPF is open to every user of this machine: set the sysctl kernel.unprivileged_bpf_disabled to 1"]


def missing_capabilities(status: str) -> list[str]:
    """By what /proc says of a process."""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff:\t0")
    effective = int(line.split()[1], 16)
    return [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]


def file_system(mountinfo: str, path: Path) -> str:
    """Of the mount that a path is in, the last one of several at a place; "" where the path is not."""
    if not path.is_dir():
        return ""
    resolved = path.resolve()
    best, kind = -1, ""
    for place, found in _places(mountinfo):
        if (resolved == place or place in resolved.parents) and len(place.parts) >= best:
            best, kind = len(place.parts), found
    return kind


def _places(mountinfo: str) -> Iterator[tuple[Path, str]]:
    """Of each mount, where it is and of which kind."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        yield Path(before.split()[4].replace("\\040", " ")), after.split()[0]
