"""Every program that is shipped is taken by this kernel's verifier, with room to grow."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from datapath.kernel.libbpf import BpfError, OpenOptions, call, library, pointer, program_info
from datapath.kernel.programs import Loaded, Pins, Program, shipped
from tests.kernels.inside.rig import OBJECTS, Rig, object_names
from tests.kernels.inside.rights import only

LIMIT: Final = 1_000_000
"""Instructions that a verifier looks at before it gives up."""
LEAST: Final = ("BPF", "NET_ADMIN", "PERFMON")
SMALL: Final = frozenset({"to_workload", "to_network"})
"""Of the programs for tc."""
NEEDED: Final = frozenset({"steer", "listen", "from_workload", "to_workload", "from_network", "to_network", "connect4"})
_STATISTICS: Final = 4
_LOG_SIZE: Final = 1 << 18
_PROCESSED: Final = re.compile(rb"processed (\d+) insns")


def every_program_loads_within_half_of_the_limit(rig: Rig) -> None:
    """The verifier takes all programs, and looks at no more than half of the instructions that it is allowed to."""
    looked_at = {
        program.name: program.verified_instructions
        for name in object_names()
        for program in loaded(rig, name).programs.values()
    }
    rig.found["instructions"] = looked_at

    assert NEEDED <= looked_at.keys()
    assert {} == {name: count for name, count in looked_at.items() if not 0 < count <= LIMIT / 2}


def least() -> tuple[str, ...]:
    """The capabilities to load with; before 5.11 maps are memory that a process locks, and it may have little."""
    major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    return LEAST if (major, minor) >= (5, 11) else (*LEAST, "SYS_RESOURCE")


def loaded(rig: Rig, name: str) -> Loaded:
    """One for all cases, with the maps that they share, loaded by who may do no more than that."""

    def build() -> Loaded:
        pins = rig.pins("mesh")
        with only(*least()):
            return load(OBJECTS / f"{name}.bpf.o", pins)

    found: Loaded = rig.shared(f"object {name}", build)
    return found


def load(file: Path, pins: Pins, chosen: frozenset[str] | None = None) -> Loaded:
    """As the daemon does, with the verifier's statistics: kernels before 5.16 tell them nowhere else.

    `chosen` are the programs of it that are loaded; the large ones take their time.
    """
    shipped(file)
    options = OpenOptions(ctypes.sizeof(OpenOptions), None, False, bytes(pins.maps))
    handle = pointer("bpf_object__open_file", str(file), bytes(file), ctypes.byref(options))
    logs = {}
    each = None
    while each := library().bpf_object__next_program(handle, each):
        log = ctypes.create_string_buffer(_LOG_SIZE)
        name = library().bpf_program__name(each).decode()
        if chosen is not None and name not in chosen:
            library().bpf_program__set_autoload(ctypes.c_void_p(each), False)
            continue
        logs[name] = each, log
        library().bpf_program__set_log_buf(ctypes.c_void_p(each), log, ctypes.c_size_t(len(log)))
        library().bpf_program__set_log_level(ctypes.c_void_p(each), _STATISTICS)
    try:
        call("bpf_object__load", str(file), handle)
    except BpfError as refused:
        said = "\n".join(
            f"{name}: {log.value.decode(errors='replace')}" for name, (_, log) in logs.items() if log.value
        )
        raise AssertionError(f"{refused}\n{said[-4000:]}") from None
    return Loaded(handle, dict(programs(logs)), {})


def programs(logs: dict[str, tuple[int, ctypes.Array[ctypes.c_char]]]) -> Iterator[tuple[str, Program]]:
    for name, (each, log) in logs.items():
        fd = library().bpf_program__fd(each)
        processed = _PROCESSED.search(log.value)
        assert processed, f"{name}: the verifier told no statistics: {log.value!r}"
        yield name, Program(name, fd, bytes(program_info(fd, name).tag).hex(), int(processed[1]))
