"""Settings of the kernel that are changed here, and what they were before: a clean-up puts them back.

A file remembers, since they outlive the daemon; it is written before the setting is, and there while none is changed:
so that where a daemon was and no file is, it is lost, and settings that are as a daemon makes them may be its own.
A container that is not privileged sees /proc/sys read-only; what the daemon writes of it is mounted there beside it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from datapath.kernel.layout import NODE_PORT_FIRST, NODE_PORTS
from xds_server.proxy.process import replace_private_file

BESIDE: Final = Path("/node/proc/sys/net")
NETWORK: Final = BESIDE if BESIDE.is_dir() else Path("/proc/sys/net")
"""Of the network namespace of who opens a file there, not of who has mounted it."""
MIGRATES: Final = NETWORK / "ipv4/tcp_migrate_req"
_PORT_RANGE: Final = NETWORK / "ipv4/ip_local_port_range"
_RESERVED: Final = NETWORK / "ipv4/ip_local_reserved_ports"
_OURS: Final = f"{NODE_PORT_FIRST}-{NODE_PORT_FIRST + NODE_PORTS - 1}"
_SWAPPED: Final = str.maketrans("/.", "./")
"""As sysctl(8) names a setting: a link may have a dot in its name."""

log = structlog.get_logger("sysctls")

Write = Callable[[Path, str], object]
"""Gives a setting a value."""


class Sysctls:
    """`memory` is the file, which names settings as they are below `network`; one that cannot be read is as none.

    `follows`: a daemon was here before, so that there was a memory.
    """

    def __init__(self, memory: Path, network: Path = NETWORK, *, follows: bool = False) -> None:
        self._memory, self._network = memory, network
        self._changed: dict[str, tuple[str | None, str]] = {}
        """What each was, None where that is lost, and is."""
        self._damaged = memory.with_name(f"{memory.name}.damaged")
        try:
            found = json.loads(memory.read_bytes())
            self._changed = {
                str(path): (None if before is None else str(before), str(now)) for path, (before, now) in found.items()
            }
        except FileNotFoundError:
            if follows:
                self._forget()
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            with suppress(OSError):
                memory.replace(self._damaged)
            log.warning("what settings were before is not known: they are not put back", path=str(self._damaged),
                        reason=str(error)[:256])  # fmt: skip
            self._forget()

    @property
    def lost(self) -> str:
        """Why it is not known what some settings were before: a file that could not be read stays, for who can."""
        return f"{self._damaged} has what could not be read" if self._damaged.exists() else ""

    @property
    def unknown(self) -> dict[str, str]:
        """Settings that may have been changed here, and nobody knows: by name, each with what it then was, likely."""
        suspects = suspected(self._network)
        lost = {name for name, (before, _) in self._changed.items() if before is None}
        return {f"net.{name.translate(_SWAPPED)}": text for name, text in suspects.items() if name in lost}

    def keep(self) -> None:
        """Have the file, as long as this is there, whatever becomes of it."""
        if not self._memory.exists():
            self._save()

    def write(self, path: Path, text: str) -> None:
        """Give a setting a value, and remember the one that it has."""
        before = path.read_text().strip()
        if before == text:
            return
        self._remember(path, before, text)
        path.write_text(text)
        now = path.read_text().strip()
        if now != text:  # the kernel has its own words for it
            self._remember(path, before, now)

    def restore(self) -> list[str]:
        """Every setting that still has what was written here; those that were put back."""
        restored = []
        for name, (before, now) in self._changed.items():
            path = self._network / name
            with suppress(FileNotFoundError):  # of a link that has gone
                if before is not None and path.read_text().strip() == now:
                    path.write_text(before or "\n")
                    restored.append(f"net.{name.translate(_SWAPPED)}")
        return restored

    def _forget(self) -> None:
        self._changed = {name: (None, _read(self._network / name) or "") for name in suspected(self._network)}
        if unknown := self.unknown:
            log.warning("what these settings were before is not known", settings=sorted(unknown))

    def _remember(self, path: Path, before: str, now: str) -> None:
        self._changed = {name: both for name, both in self._changed.items() if (self._network / name).exists()}
        self._changed[str(path.relative_to(self._network))] = before, now
        self._save()

    def _save(self) -> None:
        replace_private_file(self._memory, json.dumps(self._changed))


def suspected(network: Path = NETWORK) -> dict[str, str]:
    """Settings that are as a daemon makes them, whoever has: each with what it was if that was a daemon, likely."""
    found = {}
    for name in ("ipv4/conf/lo/accept_local", "ipv4/tcp_migrate_req"):
        if _read(network / name) == "1":
            found[name] = "0"
    if _read(network / "ipv4/conf/default/rp_filter") != "2":  # else each link is so from its beginning
        links = sorted((network / "ipv4/conf").glob("*/rp_filter"))
        found |= {str(path.relative_to(network)): "1" for path in links if _read(path) == "2"}
    reserved_ports = "ipv4/ip_local_reserved_ports"
    ranges = (_read(network / reserved_ports) or "").split(",")
    if _OURS in ranges:
        found[reserved_ports] = ",".join(each for each in ranges if each != _OURS)
    return found


def set_right(unknown: Mapping[str, str]) -> str:
    """The command that makes settings what they were, likely."""
    return " ".join(["sysctl -w", *(f"{name}={shlex.quote(text)}" for name, text in unknown.items())])


def _read(path: Path) -> str | None:
    """None of a setting that the kernel has not, or whose link has gone."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def reserve_ports(write: Write = Path.write_text) -> bool:
    """Keep the node's own processes from the ports that connections to backends elsewhere come from.

    Whether they could have had one: by default the kernel gives them none of these.
    """
    first, last = map(int, _PORT_RANGE.read_text().split())
    ours = range(NODE_PORT_FIRST, NODE_PORT_FIRST + NODE_PORTS)
    free = set(range(max(first, ours.start), min(last + 1, ours.stop))) - reserved(had := _RESERVED.read_text().strip())
    if not free:
        return False
    write(_RESERVED, ",".join(filter(None, (had, _OURS))))
    return True


def migrate_requests(write: Write = Path.write_text) -> bool:
    """Let a connection that waits at a socket which is closed go to another that listens there, and not to nobody.

    So no client of an Envoy that is replaced is reset. Kernels before 5.14 cannot; what waits there is little, and
    short. Whether it was otherwise.
    """
    if not MIGRATES.exists() or MIGRATES.read_text().strip() == "1":
        return False
    write(MIGRATES, "1")
    return True


def reserved(text: str) -> set[int]:
    """The ports of a list of them and of ranges."""
    found: set[int] = set()
    for each in filter(None, text.strip().split(",")):
        first, _, last = each.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found
