"""A network of the benchmark's own: endpoints must be on no loopback address, and traffic must leave no machine."""

from __future__ import annotations

import os
import subprocess
import sys

ENDPOINTS = ("198.18.0.1", "198.18.0.2", "198.18.0.3")
_ALL = "198.18.0.0/15"  # for benchmarks, by RFC 2544
_INSIDE = "TIDEGATE_BENCH_NETWORK"


def enter() -> None:
    """Go on in a network of this process and its children alone, where those addresses are local."""
    if os.environ.get(_INSIDE) != str(os.getpid()):
        environment = {**os.environ, _INSIDE: str(os.getpid())}  # exec keeps the number
        os.execvpe("unshare", ["unshare", "--net", sys.executable, *sys.orig_argv[1:]], environment)
    for line in (["ip", "link", "set", "lo", "up"], ["ip", "address", "add", _ALL, "dev", "lo"]):
        subprocess.run(line, check=True)
