"""What the daemon says of itself to those who may start it anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from datapath.awhile import Awhile
from datapath.status import UNHEALTHY_S, unhealthy


def test_a_daemon_whose_programs_stay_away_is_not_healthy() -> None:
    """For a while it attaches them itself; then /healthz names them, so that a new daemon is started."""
    view = SimpleNamespace(missing={("steer", "netns"): "no"}, faults={})
    node: Any = SimpleNamespace(detached=Awhile(), view=view)
    said = []
    for now in (0.0, UNHEALTHY_S - 1, UNHEALTHY_S):
        node.detached.look(now, seen=True)
        said.append(unhealthy(node))

    assert ["", "", "programs are not attached for 60 s: steer"] == said
