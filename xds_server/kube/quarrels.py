"""What was written and somebody else undid: whoever is not to be convinced is not to be raced.

Must not know what is written.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from xds_server.kube.client import delay_s
from xds_server.model.refs import ObjectRef

FORGOTTEN_S: Final = 600.0
"""After so long what somebody undid once is no quarrel any more."""


class _Wrote(NamedTuple):
    """`again` is how often the same was written before."""

    what: object
    at: float
    again: int


class Quarrels:
    """Times are seconds of a clock that never goes back; what is written is compared, and nothing else."""

    def __init__(self) -> None:
        self._wrote: dict[ObjectRef, _Wrote] = {}

    def wrote(self, ref: ObjectRef, what: object, now: float) -> None:
        before = self._same(ref, what, now)
        self._wrote[ref] = _Wrote(what, now, before.again + 1 if before else 0)

    def until(self, ref: ObjectRef, what: object, now: float) -> float:
        """From when on it may be written again: later each time."""
        before = self._same(ref, what, now)
        return before.at + delay_s(before.again, 1.0) if before else now

    def forget(self, ref: ObjectRef) -> None:
        self._wrote.pop(ref, None)

    def _same(self, ref: ObjectRef, what: object, now: float) -> _Wrote | None:
        before = self._wrote.get(ref)
        return before if before and before.what == what and now <= before.at + FORGOTTEN_S else None
