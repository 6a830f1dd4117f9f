"""What each Envoy said of what it was sent: inputs of the graph, like any object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xds_server.model.resource import ResourceKey


class DeliveryRef(NamedTuple):
    """One resource on one node."""

    node: str
    resource: ResourceKey


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The version that a node last acknowledged; "" where only that it did is noted."""

    version: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """The version that a node refused, and why: `detail` is untrusted text, capped and stripped by the server."""

    version: str
    detail: str
