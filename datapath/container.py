"""What a container keeps from the daemon although it may have it: the node's cgroup namespace.

Envoy outlives the daemon in a cgroup of the node, for whatever is in the container's ends with that.
Where cgroup2 is mounted with `nsdelegate`, as systemd does, a process may be moved only within the cgroup namespace of
who moves it, and a runtime gives a container one of its own.
So the daemon enters the node's before anything else. That takes SYS_ADMIN, and SYS_PTRACE to look at process 1.
Both are given up at once and for good, also by all that it starts.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

from datapath.config import ConfigError

SYS_PTRACE: Final = 19
SYS_ADMIN: Final = 21

_NODES: Final = Path("/proc/1/ns/cgroup")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_CLONE_NEWCGROUP: Final = 0x02000000
_PR_SET_NO_NEW_PRIVS: Final = 38
_VERSION_3: Final = 0x20080522

_Word = ctypes.c_uint32 * 6
"""Effective, permitted and inheritable of the lower 32 capabilities, then of the upper ones."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def enter_node(cgroup: Path) -> None:
    """Do what a container has to before anything else; elsewhere nothing. To be called while there is one thread.

    :raises ConfigError: the node's cgroup namespace cannot be entered.
    """
    outside, delegated = place_of(_MOUNTS.read_text(), cgroup)
    if not outside:
        return
    if delegated:
        _enter()
    give_up(SYS_ADMIN, SYS_PTRACE)


def place_of(mountinfo: str, cgroup: Path) -> tuple[bool, bool]:
    """Whether a folder of cgroup2 is outside of our cgroup namespace, and whether that may not be crossed."""
    found, longest = (False, False), -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, place, *_ = before.split()
        kind, *_, options = after.split()
        path = Path(place.replace("\\040", " "))
        if (cgroup == path or path in cgroup.parents) and len(path.parts) >= longest:
            longest = len(path.parts)
            is_outside = kind == "cgroup2" and root.startswith("/..")
            found = is_outside, is_outside and "nsdelegate" in options.split(",")
    return found


def _enter() -> None:
    try:
        descriptor = os.open(_NODES, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _done(ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWCGROUP))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"cgroup: this container may not enter the node's cgroup namespace ({error.strerror}), and Envoy would end "
            "with it: give it hostPID and the capabilities SYS_ADMIN and SYS_PTRACE, which are given up at once"
        ) from None


def give_up(*capabilities: int) -> None:
    """For good: what we start gets no more than we have."""
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header, sets = _Header(_VERSION_3, 0), _Word()
    _done(libc.capget(ctypes.byref(header), sets))
    for capability in capabilities:
        half, bit = divmod(capability, 32)
        for which in range(3):
            sets[3 * half + which] &= ~(1 << bit)
    _done(libc.capset(ctypes.byref(header), sets))


def _done(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
