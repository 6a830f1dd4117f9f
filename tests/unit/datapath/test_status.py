"""What the daemon says of itself to those who may start it anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from datapath.awhile import Awhile
from datapath.envoy import State
from datapath.instances import Instance
from datapath.outcome import Outcome
from datapath.reach import Reach
from datapath.resources import SERVICE
from datapath.status import UNHEALTHY_S, _serving, unhealthy, unready


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
    return SimpleNamespace(envoy=envoy, reach=SimpleNamespace(unpublished=Awhile(), serves=True), view=view)


async def test_an_envoy_that_does_not_answer_for_some_seconds_is_not_ready() -> None:
    """It is told when it is noticed, and once; the line of status says nothing else of it."""
    state = State(current=Instance(1, 42, 0, ""), ready=True, answers=True)
    node = _node(SimpleNamespace(state=state), Outcome(heard=frozenset({SERVICE}), runs=1))
    node.reach = Reach(node.envoy, node.view, node.view, lambda: True)
    said = []
    with capture_logs() as logs:
        for now, answers in ((0, True), (1, False), (2, False), (6, False), (7, True)):
            state.answers = answers
            node.reach._hear(float(now))
            said.append((unready(node), _serving({"ready": node.reach.serves, "silent_s": node.reach.silent.lasts_s})))

    silent = ("Envoy does not answer since 5 s", "does not answer since 5 s")
    assert [("", "serves"), ("", "serves"), ("", "does not answer since 1 s"), silent, ("", "serves")] == said
    assert ["envoy does not answer", "envoy answers again"] == [entry["event"] for entry in logs]


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
