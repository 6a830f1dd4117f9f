"""The packets of tests/bpf: what each meets here is what it meets on the kernel that they were written on."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from tests.bpf.packets import CASES, furnished, promised
from tests.bpf.stand import DIRECTIONS
from tests.kernels.inside.rig import Rig


def every_packet_meets_the_verdict_of_its_sentence(rig: Rig) -> None:
    """All of them are passed, steered or dropped as elsewhere, left as they were, and counted once."""
    with tempfile.TemporaryDirectory() as folder, furnished(Path(folder, "bpffs")) as stand:
        before = Counter(stand.counted())
        outcomes = [(case, *stand.pass_through(case.program, case.packet, case.mark)) for case in CASES]
        counted = Counter(stand.counted()) - before
    rig.found["packets"] = len(outcomes)

    assert [] == [case.sentence for case, action, mark, _ in outcomes if promised(case) != (action, mark)]
    assert [] == [case.sentence for case, _, _, packet in outcomes if case.packet != packet]
    assert Counter((case.reason, DIRECTIONS[case.program]) for case in CASES) == counted
