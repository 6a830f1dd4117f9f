"""Conditions as rows: what `tidegate check` prints and what its JSON form promises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from xds_server.model.verdict import Verdict
from xds_server.status.collections import PROGRAMMED, DesiredStatus

_BAD_WHEN_TRUE: Final = frozenset({"Conflicted", "PartiallyInvalid", "PoolConflict"})
_INFORMATION: Final = frozenset({"OverlappingTLSConfig", "IPsTotal", "IPsAvailable", "IPsUsed"})


class ConditionRow(NamedTuple):
    """One condition of one object; `parent` is "" for the object itself, else "KIND/NAMESPACE/NAME"."""

    kind: str
    namespace: str
    name: str
    parent: str
    section: str
    type: str
    status: str
    reason: str
    message: str

    @property
    def fails(self) -> bool:
        """Whether this condition says that something of the object is not served as written."""
        name = self.type.removeprefix("cilium.io/")
        if name in _INFORMATION:
            return False
        return (self.status == "True") if name in _BAD_WHEN_TRUE else (self.status != "True")

    @property
    def doubtful(self) -> bool:
        """Whether it holds of the object, and not of all its parts: their own conditions say which fail."""
        return not self.fails and self.reason == "ListenersNotValid"


def rows(statuses: Iterable[DesiredStatus]) -> Iterator[ConditionRow]:
    """All conditions, in the order of kind, namespace and name."""
    for status in sorted(statuses, key=lambda s: s.object):
        for verdict in status.verdicts:
            yield from _rows(verdict)


def translated(found: Iterable[ConditionRow]) -> list[ConditionRow]:
    """Those that do not depend on an Envoy."""
    return [row for row in found if row.type != PROGRAMMED]


def _rows(verdict: Verdict) -> Iterator[ConditionRow]:
    ref = verdict.ref
    for condition in verdict.conditions:
        yield ConditionRow(
            *ref.object,
            ref.parent,
            ref.section,
            condition.type,
            condition.status,
            condition.reason,
            condition.message,
        )
