"""What a container keeps from the daemon, by what the kernel says of its mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapath.container import place_of

MOUNTS = """\
1 0 8:1 / / rw - overlay overlay rw
2 1 0:5 / /sys rw - sysfs sysfs ro
3 2 0:6 / /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot
4 1 0:6 /../../.. /node/cgroup rw - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot
5 1 0:7 /../.. /old/cgroup rw - cgroup2 cgroup rw
6 1 0:8 /../a /node/a\\040b rw - ext4 disk rw,nsdelegate
"""


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ("/sys/fs/cgroup", (False, False)),
        ("/sys/fs/cgroup/here", (False, False)),
        ("/node/cgroup", (True, True)),
        ("/node/cgroup/mesh", (True, True)),
        ("/old/cgroup", (True, False)),
        ("/node/a b", (False, False)),
        ("/elsewhere", (False, False)),
    ],
)
def test_what_is_outside_of_a_container_is_seen_by_its_mounts(cgroup: str, expected: tuple[bool, bool]) -> None:
    """The root of a mount begins with /.. where it is not below the container's own; an option says that it counts."""
    assert expected == place_of(MOUNTS, Path(cgroup))
