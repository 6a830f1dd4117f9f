"""Where the cases work: a bpffs, a cgroup and a network namespace that nobody else uses."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from datapath.kernel.programs import Pins

PROJECT: Final = Path(__file__).resolve().parents[3]
OBJECTS: Final = PROJECT / "datapath/bpf/build"
PATIENCE_S: Final = 60.0
"""For what happens at once; emulated, and beside other work, it takes a while."""

_CLONE_NEWNET: Final = 0x40000000
_HERE: Final = Path("/proc/thread-self/ns/net")


@dataclass
class Rig:
    bpffs: Path
    cgroup: Path
    found: dict[str, Any] = field(default_factory=dict)
    """What the cases have learned of this kernel, for the page about it."""
    _shared: dict[str, Any] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def pins(self, name: str) -> Pins:
        """A place of its own for maps and links."""
        folder = self.bpffs / name
        folder.mkdir(exist_ok=True)
        pins = Pins(folder)
        pins.create()
        return pins

    def group(self, name: str) -> Path:
        group = self.cgroup / name
        group.mkdir(exist_ok=True)
        return group

    def shared(self, name: str, build: Callable[[], AbstractContextManager[Any]]) -> Any:
        """Built once for all cases, and closed after the last one."""
        if name not in self._shared:
            self._shared[name] = self._stack.enter_context(build())
        return self._shared[name]

    def close(self) -> None:
        self._stack.close()


def object_names() -> list[str]:
    """Of all that is shipped."""
    return sorted(file.name.removesuffix(".bpf.o") for file in OBJECTS.glob("*.bpf.o"))


def eventually(holds: Callable[[], bool], what: str) -> None:
    patience = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < patience, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.005)


@contextmanager
def member_of(group: Path) -> Iterator[None]:
    """This process is in a cgroup; sockets that it opens stay there."""
    line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    root = next(
        Path(place)
        for _, place, kind, *_ in map(str.split, Path("/proc/self/mounts").read_text().splitlines())
        if kind == "cgroup2"
    )
    own = root / line.removeprefix("0::").lstrip("/")
    (group / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (own / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread is in a named network namespace; sockets that it opens stay there."""
    own = os.open(_HERE, os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        enter(other)
        yield
    finally:
        enter(own)
        os.close(own)
        os.close(other)


def enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def ip(*lines: str) -> None:
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"ip: {done.stderr.strip()}"
