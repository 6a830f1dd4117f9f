"""What a replica of the control plane tells of itself: the page `/status`, and how `tidegate status` reads it.

Names of nodes are in it; neither names of other objects nor contents are, for whoever reaches the metrics reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

import msgspec


class Type(msgspec.Struct, frozen=True, kw_only=True):
    """Of one xDS type: how many resources a client wants and refuses, and whether it has the newest of all others.

    The seconds since it last said yes and no are null where it never did.
    """

    wanted: int = 0
    refused: int = 0
    settled: bool = True
    accepted_s: float | None = None
    rejected_s: float | None = None


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy that is connected: `envoy` is the version that it names."""

    node: str
    envoy: str = ""
    connected_s: float = 0.0
    types: dict[str, Type] = {}


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """`digest` is one for equal resources; `ages` are seconds since the API server was last heard of, by kind.

    `waiting_statuses` are those that are still to be written; `certificates` say until when they hold.
    """

    tidegate: str = ""
    leads: bool = False
    awaited: str = ""
    features: tuple[str, ...] = ()
    resources: int = 0
    digest: str = ""
    ages: dict[str, float] = {}
    undecodable: dict[str, int] = {}
    waiting_statuses: int = 0
    certificates: dict[str, datetime] = {}
    streams: tuple[Stream, ...] = ()


def digest(versions: Iterable[tuple[str, str, str]]) -> str:
    """Of types, names and versions, in whatever order they come."""
    found = hashlib.sha256()
    for parts in sorted(versions):
        found.update("\0".join(parts).encode() + b"\n")
    return found.hexdigest()[:16]
