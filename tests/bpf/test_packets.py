"""One packet in; a verdict, a mark and a counter out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bpf.packets import CASES, furnished, promised
from tests.bpf.rows.setting import Case
from tests.bpf.stand import Stand


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with furnished(tmp_path_factory.mktemp("bpffs")) as stand:
        yield stand


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sentence)
def test_a_packet_meets_one_verdict(stand: Stand, case: Case) -> None:
    """Every packet is passed, steered or dropped as its sentence says, is counted once, and is left as it was."""
    outcome = stand.run(case.program, case.packet, case.mark)

    assert (case.reason,) == outcome.reasons
    assert promised(case) == (outcome.action, outcome.mark)
    assert case.packet == outcome.packet


def test_there_are_at_least_200_sentences() -> None:
    """The table is as long as was promised, and says nothing twice."""
    sentences = [case.sentence for case in CASES]

    assert len(sentences) >= 200
    assert [] == [each for each in sentences if sentences.count(each) > 1]
