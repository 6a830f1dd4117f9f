"""The sockets of Envoy that listen, as programs find them: published by `listen`, and gone when they are closed."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from datapath.kernel.layout import LISTENERS_PER_FAMILY
from datapath.kernel.libbpf import BpfError, call

NAME: Final = "listeners"


def published(folder: Path) -> frozenset[int]:
    """Their cookies; `folder` is where the maps are pinned."""
    fd = call("bpf_obj_get", str(folder / NAME), os.fsencode(folder / NAME))
    try:
        found = {_cookie(fd, slot) for slot in range(2 * LISTENERS_PER_FAMILY)}
    finally:
        os.close(fd)
    return frozenset(found - {0})


def _cookie(fd: int, slot: int) -> int:
    """0 where the slot has none."""
    cookie = ctypes.c_uint64()
    try:
        call("bpf_map_lookup_elem", NAME, fd, ctypes.byref(ctypes.c_uint32(slot)), ctypes.byref(cookie))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return 0
        raise
    return cookie.value
