"""The daemon as the chart's container runs it, by the means of a runtime and without one.

Its root is read-only, and so is /proc/sys; it has a cgroup and a cgroup namespace of its own, few capabilities, and no
way to more. It shares the node's network and processes. What is the node's is mounted where the chart mounts it.
What ends a container ends all that is in its cgroup.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import yaml

from datapath.kernel.sysctls import BESIDE
from tests.netns.mesh import Mesh, Process, until
from tests.netns.stand import PROJECT, Node

CAPABILITIES: Final = {"bpf": 39, "net_admin": 12, "net_raw": 13, "perfmon": 38, "sys_admin": 21, "sys_ptrace": 19}
KEPT: Final = ("bpf", "net_admin", "net_raw", "perfmon")

_ENTER: Final = f"""
room=$1 bpffs=$2 cgroup=$3 kept=$4 python=$5 project=$6; shift 6
new=$room/root
mount -t tmpfs tmpfs "$room"
mkdir "$room/upper" "$room/work" "$new"
mount -t overlay -o "lowerdir=/,upperdir=$room/upper,workdir=$room/work" overlay "$new"
mkdir -p "$new/node/bpf" "$new/node/cgroup" "$new{BESIDE}" "$new$python" "$new$project"
for place in /proc /sys /dev /tmp "$python" "$project"; do mount --rbind "$place" "$new$place"; done
mount --bind "$bpffs" "$new/node/bpf"
mount --bind "$cgroup" "$new/node/cgroup"
mount --bind /proc/sys/net "$new{BESIDE}"
mount --bind /proc/sys "$new/proc/sys"
mount -o remount,bind,ro "$new/proc/sys"
mount -o remount,ro "$new"
exec chroot "$new" setpriv --no-new-privs --bounding-set "$kept" "$@"
"""


class Container:
    """Of a node whose daemon does not run; its Envoy has so many threads."""

    def __init__(self, mesh: Mesh, node: Node, concurrency: int) -> None:
        own = mesh.config(node).parent
        self.cgroup = node.cgroup.parent / "container"
        config = yaml.safe_load(mesh.config(node).read_text()) | {"bpffs": "/node/bpf", "cgroup": "/node/cgroup"}
        config["envoy"] |= {"concurrency": concurrency, "metrics": "127.0.0.1:15090"}
        config["metrics"] = "127.0.0.1:15091"
        file, room = own / "container.yaml", own / "container"
        file.write_text(yaml.safe_dump(config))
        room.mkdir(exist_ok=True)
        kept = ",".join(["-all", *(f"+cap_{bit}" for bit in CAPABILITIES.values())])
        places = (room, own / "bpf", node.cgroup.parent, kept, sys.base_prefix, PROJECT)
        daemon = (sys.executable, "-m", "xds_server.cli", "node", "--config", file)
        entered = ("unshare", "--mount", "--cgroup", "sh", "-ec", _ENTER, "sh", *places, *daemon)
        self._process = Process(
            own / "container.log", *mesh.stand.run.enter(node.namespace, self.cgroup, *map(str, entered))
        )

    def start(self) -> None:
        self.cgroup.mkdir()
        self._process.start()

    def end(self) -> None:
        """As a kubelet does it: a signal, and then nothing is left of its cgroup."""
        self._process.end()
        (self.cgroup / "cgroup.kill").write_text("1")
        until(self._is_empty, "an empty cgroup of the container")
        self.cgroup.rmdir()

    def _is_empty(self) -> bool:
        return "populated 0" in (self.cgroup / "cgroup.events").read_text()

    @property
    def pid(self) -> int:
        return self._process.pid


def rights(process: int) -> tuple[int, int, int]:
    """Capabilities that a process has and may have, and whether its programs may have more."""
    words = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(words["CapEff"], 16), int(words["CapPrm"], 16), int(words["NoNewPrivs"])
