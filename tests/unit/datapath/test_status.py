"""What the daemon says of itself to those who may start it anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from datapath.awhile import Awhile
from datapath.outcome import Outcome
from datapath.resources import SERVICE
from datapath.status import UNHEALTHY_S, unhealthy, unready


def test_a_daemon_whose_programs_stay_away_is_not_healthy() -> None:
    """For a while it attaches them itself; then /healthz names them, so that a new daemon is started."""
    view = SimpleNamespace(missing={("steer", "netns"): "no"}, faults={})
    node: Any = SimpleNamespace(reach=SimpleNamespace(detached=Awhile()), view=view)
    said = []
    for now in (0.0, UNHEALTHY_S - 1, UNHEALTHY_S):
        node.reach.detached.look(now, seen=True)
        said.append(unhealthy(node))

    assert ["", "", "programs are not attached for 60 s: steer"] == said


def _node(envoy: Any, view: Outcome) -> Any:
    return SimpleNamespace(envoy=envoy, reach=SimpleNamespace(unpublished=Awhile()), view=view)


def test_a_node_that_knows_of_no_services_is_not_ready() -> None:
    """What it accepted before is lost, and no control plane answers: an update of all nodes is not to go on so."""
    envoy = SimpleNamespace(state=SimpleNamespace(ready=True))

    assert "nobody has said which services" in unready(_node(envoy, Outcome(runs=1)))


def test_a_node_whose_envoy_lacks_one_of_its_ports_is_not_ready() -> None:
    """Somebody else has it: connections of that family would pass by Envoy."""
    said = []
    for active in (set[str](), {"capture/ipv6"}, {"capture/ipv4", "capture/ipv6"}):
        view = Outcome(active=frozenset(active), heard=frozenset({SERVICE}), runs=1)
        envoy = SimpleNamespace(state=SimpleNamespace(ready=True))
        said.append(unready(_node(envoy, view)))

    assert ["", "Envoy does not listen at 127.0.0.1:15001: a process of the node has that port", ""] == said
