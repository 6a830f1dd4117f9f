"""What each Envoy, and each node's daemon, said of what it was sent: inputs of the graph, like any object.

A daemon is told apart from the Envoy of its node by its id; all else of it is as of an Envoy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xds_server.model.resource import ResourceKey


class NodeRef(NamedTuple):
    """One Envoy: its id, and the first of the streams that it has had one after the other.

    Ids are to be unique, but nobody makes them so: two Envoys with one id are two of these.
    """

    node: str
    stream: int


class DeliveryRef(NamedTuple):
    """One resource on one Envoy."""

    node: str
    stream: int
    resource: ResourceKey

    @property
    def envoy(self) -> NodeRef:
        return NodeRef(self.node, self.stream)


@dataclass(frozen=True, slots=True)
class Node:
    """Who is connected, or was a moment ago: an Envoy that asks for all `listeners`, a daemon for all `services`."""

    ref: NodeRef
    listeners: bool = False
    services: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The version that an Envoy last acknowledged; "" where only that it did is noted."""

    ref: DeliveryRef
    version: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """The version that an Envoy refused, and why: `detail` is untrusted text, capped and stripped by the server."""

    ref: DeliveryRef
    version: str
    detail: str


@dataclass(frozen=True, slots=True)
class Delay:
    """An Envoy uses an older version although the newest has been there for longer than anything is held back."""

    ref: DeliveryRef
