from __future__ import annotations

from pathlib import Path

import pytest

from xds_server.demo.edits import added, edited, none_failed, removed
from xds_server.demo.steps import STEPS, near


def test_every_part_of_the_walk_through_is_asked() -> None:
    """The rows cover the list of what must work, and what it says of gRPC, WebSocket and weights."""
    wanted = {"W2", "W3", "W4", "W5", "W6", "W9", "W10", "W11", "W12", "gRPC", "WebSocket", "weights"}

    assert wanted == {step.name for step in STEPS}


@pytest.mark.parametrize(
    ("seen", "agrees"),
    [
        ("a 50 %, b 30 %, c 20 %", True),
        ("a 62 %, b 20 %, c 18 %", True),
        ("a 70 %, b 20 %, c 10 %", False),
        ("a 50 %, b 50 %", False),
        ("OSError: no answer", False),
    ],
)
def test_shares_agree_within_chance(seen: str, agrees: bool) -> None:
    """Weights are seen when every backend has a share that chance explains, and no other backend has one."""
    assert agrees == near("a 50 %, b 30 %, c 20 %", seen)


def test_one_failed_request_is_a_difference() -> None:
    """No loss means none."""
    assert none_failed("0 failed", "0 failed of 100")
    assert not none_failed("0 failed", "1 failed, first: ['503 from Envoy']")


def test_edits_are_undone(tmp_path: Path) -> None:
    """The directory reads as before, also when what is done meanwhile fails."""
    path = tmp_path / "a.yaml"
    path.write_text("one")
    for change in (edited(path, str.upper), removed(path), added(tmp_path / "b.yaml", "new")):
        with pytest.raises(ZeroDivisionError), change:
            raise ZeroDivisionError

        assert {"a.yaml": "one"} == {file.name: file.read_text() for file in tmp_path.iterdir()}


def test_an_edit_that_changes_nothing_is_told(tmp_path: Path) -> None:
    """A manifest that somebody changed is an error of the example, not a step that passes."""
    path = tmp_path / "a.yaml"
    path.write_text("one")

    with pytest.raises(LookupError, match=r"a\.yaml"), edited(path, str):
        pass
