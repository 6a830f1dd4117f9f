"""The cases on one kernel, and what they told: on an image in a virtual machine, or on this machine's own kernel."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bpf.socket_stand import cgroup2
from tests.kernels.images import HERE, SUITES, Image
from tests.kernels.machine import LIMIT_S, NoMachine, run

PROJECT: Final = HERE.parents[1]
OWN: Final = "this machine's"
KERNELS: Final = (OWN, *SUITES)
_INSIDE: Final = "tests.kernels.inside"
# Names and links of the cases stay in namespaces that end with them.
_ENTER: Final = """
bpffs=$1; shift
mount -t bpf bpf "$bpffs" && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec "$@"
"""

_UNSHARE: Final = ("nice", "unshare", "--mount", "--net", "sh", "-c", _ENTER, "sh")


@dataclass(frozen=True, slots=True)
class Told:
    """What came out of a run: why each case failed, "" for those that passed, and what was found of the kernel."""

    release: str
    failed: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = False
    console: str = ""

    def verdict(self, case: str) -> str:
        """Why a case has failed; "" if it has not."""
        if case in self.failed:
            return self.failed[case]
        return f"not reached on Linux {self.release}:\n{self.console}"


def told(release: str, written: str, console: str) -> Told:
    """From the lines of `inside`; the last one may be cut where the machine went down."""
    failed: dict[str, str] = {}
    found: dict[str, Any] = {}
    ended = False
    for line in written.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if "case" in said:
            failed[said["case"]] = said["failed"]
        found |= said.get("found", {})
        ended |= said.get("ended", False)
    return Told(release, failed, found, ended, console)


def on_image(image: Image) -> Told:
    program = [sys.executable, "-m", _INSIDE, "/dev/ttyS1", "/sys/fs/bpf", "/sys/fs/cgroup"]
    ran = run(image, f"cd {shlex.quote(str(PROJECT))} && {shlex.join(program)}", [PROJECT, Path(sys.executable)])
    return told(image.release, ran.written, ran.console)


def on_own() -> Told:
    group = cgroup2() / f"tidegate-kernels-{os.getpid()}-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="tidegate-kernel-") as name:
        bpffs, written = Path(name, "bpf"), Path(name, "written")
        bpffs.mkdir()
        group.mkdir()
        try:
            done = subprocess.run(
                [*_UNSHARE, str(bpffs), sys.executable, "-m", _INSIDE, str(written), str(bpffs), str(group)],
                cwd=PROJECT, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False,
            )  # fmt: skip
        finally:
            for folder in (*(path for path in group.iterdir() if path.is_dir()), group):
                folder.rmdir()
        lines = written.read_text() if written.exists() else ""
    if done.returncode != 0 and not lines:
        raise NoMachine(f"the cases do not start on this machine: {done.stderr}")
    return told(os.uname().release, lines, done.stdout + done.stderr)
