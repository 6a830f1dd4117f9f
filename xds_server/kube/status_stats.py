"""What the status writer counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class StatusStats:
    """`writes` by kind of object and result: written, conflict, gone, refused or failed."""

    writes: Counter[tuple[str, str]] = field(default_factory=Counter)
