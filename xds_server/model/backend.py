"""Backends: the clusters that routes name, their endpoints, and certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from xds_server.model.refs import ClusterRef, ObjectRef


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Service port that at least one route uses."""

    ref: ClusterRef
    connect_timeout_ms: int = 5000


class Endpoint(NamedTuple):
    """One address of a backend; `zone` is empty where it is not known."""

    address: str
    port: int
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The ready endpoints of a cluster, sorted; those that are terminating but still serve, only if none is ready."""

    ref: ClusterRef
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class InvalidBackend:
    """Why a backend reference cannot be used, in the words of a `ResolvedRefs` condition.

    `field` is where it is, once that is known.
    """

    reason: str
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A key pair that was checked to fit together; both parts are PEM. The key never shows in a repr."""

    ref: ObjectRef
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InvalidCertificate:
    """Why a Secret cannot serve TLS; `message` never holds any of its content.

    `unread`: nobody has asked for it yet, so that there may be one.
    """

    ref: ObjectRef
    message: str
    unread: bool = False
