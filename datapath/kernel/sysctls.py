"""Where the settings of a network are written.

A container that is not privileged sees /proc/sys read-only; what the daemon writes of it is mounted there beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

BESIDE: Final = Path("/node/proc/sys/net")
NETWORK: Final = BESIDE if BESIDE.is_dir() else Path("/proc/sys/net")
"""Of the network namespace of who opens a file there, not of who has mounted it."""
