"""What the API server last said of the status of objects; only the status writer reads it."""

from __future__ import annotations

from typing import NamedTuple


class Observed(NamedTuple):
    """`status` is the object's raw JSON, b"" where it has none; `version` is the API version that it was read by."""

    version: str
    resource_version: str
    uid: str
    status: bytes
