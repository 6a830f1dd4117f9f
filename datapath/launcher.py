"""Becomes Envoy, in a cgroup of its own, and outlives who started it: connections do not end with the daemon.

Run as a program of its own, so that no Python code runs between fork and exec of a process with threads.
Must not import anything of ours: it is started by path.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

PR_SET_NO_NEW_PRIVS = 38


def launch(cgroup: str, command: list[str]) -> None:
    with open(os.path.join(cgroup, "cgroup.procs"), "w") as members:  # noqa: PTH118, PTH123  (pathlib is slow to import)
        members.write(str(os.getpid()))
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors a proxied connection
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606  (no shell is wanted)


if __name__ == "__main__":
    launch(sys.argv[1], sys.argv[2:])
