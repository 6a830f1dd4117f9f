"""What a stream tells of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The client asks for names of a type: `added` and `dropped` are how many."""

    type_url: str
    added: int
    dropped: int
    wildcard: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client uses these versions; of a resumed stream, those that it already had."""

    type_url: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Divided:
    """The client refused several resources at once; they are sent again in parts, until the bad one is alone.

    No names are a refusal of mere removals, which are not repeated.
    """

    type_url: str
    names: int
    detail: str


@dataclass(frozen=True, slots=True)
class Withheld(Divided):
    """Nothing can be divided: nobody knows what the client had before, so it keeps that until the table changes."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client refused this version, which is not sent to it again."""

    type_url: str
    name: str
    version: str
    detail: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The request answers a response that another has followed."""

    type_url: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing of this type is served."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Unserved:
    """The client names secrets that nothing uses which this stream serves, or what is another node's; some, cut."""

    type_url: str
    number: int
    names: tuple[str, ...]


Event = Subscribed | Accepted | Divided | Rejected | Stale | Ignored | Unserved


class ProtocolError(ValueError):
    """The request cannot be understood; the stream ends with its text."""


class NotItsNodeError(ProtocolError):
    """The client says that it is a node which its certificate does not name."""
