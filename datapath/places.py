"""Where a daemon keeps what it has: all that those need who ask it, look at its maps, or take it out of a machine."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Places(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    state: Path
    """A directory of the daemon alone: what was accepted, sockets, Envoy's files."""
    bpffs: Path = Path("/sys/fs/bpf")
    """Where a BPF file system is mounted; what is pinned is kept in the folder `tidegate` of it."""
    cgroup: Path = Path("/sys/fs/cgroup")
    """The connections of processes below it are balanced; Envoy runs in `tidegate-envoy` of it."""

    @property
    def pins(self) -> Path:
        return self.bpffs / "tidegate"

    @property
    def envoy_cgroup(self) -> Path:
        return self.cgroup / "tidegate-envoy"

    @property
    def control(self) -> Path:
        return self.state / "control.sock"

    @property
    def lock(self) -> Path:
        return self.state / "node.lock"

    @property
    def accepted(self) -> Path:
        return self.state / "accepted.json"

    @property
    def instances(self) -> Path:
        """Which Envoys run."""
        return self.state / "envoys.json"

    @property
    def sysctls(self) -> Path:
        """Which settings of the kernel were changed, and what they were."""
        return self.state / "sysctls.json"
