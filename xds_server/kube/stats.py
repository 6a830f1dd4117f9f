"""What the source counts, by kind; reasons are few, so that they can be labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from xds_server.kube.client import ApiError

SILENT: Final = "silent"
_REASONS: Final = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    410: "expired",
    429: "too_many_requests",
}


@dataclass(slots=True, eq=False)
class SourceStats:
    """`errors` are by kind and reason; `undecodable` are objects that have no model by their newest version."""

    lists: Counter[str] = field(default_factory=Counter)
    watches: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    stale_events: Counter[str] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    undecodable: Counter[str] = field(default_factory=Counter)


def reason(error: ApiError) -> str:
    """A word for an error, out of a fixed set."""
    if error.status == 0:
        return SILENT if error.reason == "SocketTimeoutError" else "unreachable"
    return _REASONS.get(error.status) or ("server_error" if error.status >= 500 else "refused")
