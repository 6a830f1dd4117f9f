"""Becomes Envoy, after asking the kernel to end it with the process that started it.

Run as a program of its own, so that no Python code runs between fork and exec of a process with threads.
Must not import anything of ours: it is started by path.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def launch(parent: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Envoy keeps nothing that a clean end would save, so the surest signal is the right one.
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel was asked
        raise SystemExit(1)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors a proxied connection
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606  (no shell is wanted)


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
