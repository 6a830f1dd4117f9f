"""Which kinds of programs and maps this kernel has, asked before anything is loaded.

What has a substitute is asked where it is used: tcx (`programs`), and batches of entries (`maps`).
"""

from __future__ import annotations

from typing import Final

from datapath.kernel.libbpf import library

_PROGRAMS: Final = {"tc": 3, "sockops": 13, "cgroup/connect": 18, "sk_lookup": 30}
_MAPS: Final = {"LRU_HASH": 9, "SOCKMAP": 15, "SK_STORAGE": 24, "RINGBUF": 27}


def absent() -> list[str]:
    """By name. The library answers 0 for what is not there, and for all where this process may not load anything."""
    programs = [name for name, kind in _PROGRAMS.items() if library().libbpf_probe_bpf_prog_type(kind, None) == 0]
    return programs + [name for name, kind in _MAPS.items() if library().libbpf_probe_bpf_map_type(kind, None) == 0]
