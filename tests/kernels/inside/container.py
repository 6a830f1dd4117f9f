"""What a container's daemon may do with a process that it has started: the rights are those of the chart's container.

Run as a program, it is that daemon: it tells what it could and what it has left.
"""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from datapath.container import SYS_ADMIN, SYS_PTRACE, enter_node, place_of
from tests.kernels.inside.rig import PROJECT, Rig

_GIVEN: Final = {"BPF": 39, "NET_ADMIN": 12, "NET_RAW": 13, "PERFMON": 38}
_BITS: Final = (*_GIVEN.values(), SYS_ADMIN, SYS_PTRACE)


def a_daemon_in_a_container_lets_envoy_out_of_it(rig: Rig) -> None:
    """With `nsdelegate` only after it has entered the node's cgroup namespace; what it did so by is gone for good."""
    pod, outside = rig.group("container"), rig.group("beside")
    told = contained(pod, outside)
    left = sum(1 << bit for bit in _GIVEN.values())

    assert told["outside"]
    assert (errno.ENOENT if told["delegated"] else 0) == told["before"]
    assert 0 == told["after"]
    assert {left} == {told["has"], told["may have"], told["its child has"]}


def contained(pod: Path, outside: Path) -> dict[str, Any]:
    """As a runtime starts a container that is not privileged: a cgroup and its namespace, few rights, no more later."""
    kept = ",".join(["-all", *(f"+cap_{bit}" for bit in _BITS)])
    program = ["unshare", "--cgroup", "setpriv", "--no-new-privs", "--bounding-set", kept]
    program += [sys.executable, "-m", __name__, str(outside)]
    line = f"echo $$ > {shlex.quote(str(pod))}/cgroup.procs && exec {shlex.join(program)}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=PROJECT, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def move(process: int, cgroup: Path) -> int:
    """With what it fails; 0 if it does not."""
    try:
        (cgroup / "cgroup.procs").write_text(str(process))
    except OSError as error:
        return error.errno or -1
    return 0


def capabilities(status: str, which: str) -> int:
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{which}:")), 16)


def main(outside: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        is_outside, delegated = place_of(Path("/proc/self/mountinfo").read_text(), outside)
        before = move(sleeper.pid, outside)
        enter_node(outside)
        after = move(sleeper.pid, outside)
        sleeper.kill()
    own = Path("/proc/self/status").read_text()
    its = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    told = {
        "outside": is_outside,
        "delegated": delegated,
        "before": before,
        "after": after,
        "has": capabilities(own, "CapEff"),
        "may have": capabilities(own, "CapPrm"),
        "its child has": capabilities(its, "CapPrm"),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
