"""Network namespaces, cgroups and a folder of one run, under names that hold its process id.

A run removes what it made.
What a run that was killed left behind is removed by the next one, which finds its process gone.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAMESPACES: Final = Path("/run/netns")
_RUNS: Final = itertools.count(1)
_NAME: Final = re.compile(r"tidegate-netns-(\d+)-\d+")
_ENTER: Final = (
    'echo $$ > "$1/cgroup.procs" && net=$2 && shift 2 && exec setpriv --pdeathsig KILL nsenter "--net=$net" "$@"'
)
_ENDING_S: Final = 10.0


class StandError(Exception):
    """The machine refused a part of the stand; the message is the program's own."""


@dataclass(frozen=True, slots=True)
class Run:
    """`name` begins the names of all namespaces, and is that of the cgroup."""

    name: str
    directory: Path
    cgroup: Path

    def namespace(self, name: str) -> Path:
        return NAMESPACES / f"{self.name}-{name}"

    def enter(self, namespace: Path, cgroup: Path, *command: str | Path) -> list[str]:
        """The command line that runs a program there; it dies with us."""
        return ["sh", "-c", _ENTER, "sh", str(cgroup), str(namespace), *map(str, command)]


@contextmanager
def run() -> Iterator[Run]:
    """Names for a stand; all that has them is gone afterwards."""
    remove_leftovers()
    name = f"tidegate-netns-{os.getpid()}-{next(_RUNS)}"
    # Not pytest's folder: the names of Unix sockets are short.
    here = Run(name, Path(tempfile.gettempdir()) / name, cgroup2() / name)
    here.directory.mkdir(mode=0o700)
    here.cgroup.mkdir()
    try:
        yield here
    finally:
        remove(name)


def remove_leftovers() -> None:
    """Of runs whose process is gone."""
    places = (NAMESPACES, Path(tempfile.gettempdir()), cgroup2())
    found = {
        match for place in places if place.is_dir() for path in place.iterdir() if (match := _NAME.match(path.name))
    }
    for name in {match[0] for match in found if not Path("/proc", match[1]).exists()}:
        remove(name)


def remove(name: str) -> None:
    """All that a run has made, and the processes in its cgroup; what is gone already is no fault."""
    cgroup, directory = cgroup2() / name, Path(tempfile.gettempdir()) / name
    end(cgroup)
    for mounted in mounts_below(directory):
        subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)
    namespaces = sorted(path.name for path in NAMESPACES.glob(f"{name}-*"))
    batch("", [f"netns del {namespace}" for namespace in namespaces], check=False)
    shutil.rmtree(directory, ignore_errors=True)


def end(cgroup: Path) -> None:
    """Kill what runs in a cgroup and below, each by its id, and remove it; who is dying keeps it for a moment."""
    patience = time.monotonic() + _ENDING_S
    while cgroup.is_dir() and time.monotonic() < patience:
        with suppress(FileNotFoundError):  # another run removes what is left of the same one
            for folder in sorted((path.parent for path in cgroup.rglob("cgroup.procs")), reverse=True):
                kill(folder)
                with suppress(OSError):
                    folder.rmdir()
        time.sleep(0.005)


def kill(cgroup: Path) -> None:
    with suppress(OSError):
        for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def batch(namespace: str, lines: Sequence[str], *, check: bool = True) -> None:
    """Lines of ip(8), in a namespace by name; all are tried if failures do not count."""
    where = ["-n", namespace] if namespace else []
    command = ["ip", *where, *([] if check else ["-force"]), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise StandError(f"ip in {namespace or 'the machine'}: {done.stderr.strip()}")


def cgroup2() -> Path:
    """Where the one hierarchy is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(place)
    raise StandError("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")


def mounts_below(directory: Path) -> list[str]:
    """The last one first."""
    places = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [place for place in reversed(places) if place.startswith(f"{directory}/")]
