"""The datapath with another layout of its maps, as the next version has it, or the one before: built anew."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.netns.stand import PROJECT

LAYOUT: Final = 99
_HEADER: Final = "datapath/bpf/intercept.h"
_TABLE: Final = "datapath/kernel/layout.py"

# What differs -> where, what is there, and what takes its place.
CHANGES: Final = {
    "services": (
        (_HEADER, r"(struct service \{[^}]*)\}", r"\1\t__u64 more;\n}"),
        (_TABLE, r'("service": "[^"]*)"', r'\1 more:4x most:4x"'),
    ),
    "listeners": (
        (_HEADER, r"(#define LISTENERS_PER_FAMILY) \d+", r"\1 8"),
        (_TABLE, r"(LISTENERS_PER_FAMILY: Final) = \d+", r"\1 = 8"),
    ),
}
_NUMBER: Final = (
    (_HEADER, r"(#define LAYOUT) \d+", rf"\1 {LAYOUT}"),
    (_TABLE, r"(LAYOUT: Final) = \d+", rf"\1 = {LAYOUT}"),
)


def another(change: str, folder: Path) -> Path:
    """Where its code is."""
    shutil.copytree(PROJECT / "datapath", folder / "datapath", ignore=shutil.ignore_patterns("build", "__pycache__"))
    shutil.copy(PROJECT / "Makefile", folder)
    (folder / "xds_server").symlink_to(PROJECT / "xds_server")
    for file, there, instead in (*_NUMBER, *CHANGES[change]):
        text, times = re.subn(there, instead, (folder / file).read_text())
        assert 1 == times, (file, there)
        (folder / file).write_text(text)
    subprocess.run(["make", "--silent", "bpf"], check=True, cwd=folder)
    return folder
