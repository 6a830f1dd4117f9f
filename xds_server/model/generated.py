"""Objects that are to be there because of others: what a frontend needs of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.model.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Generated:
    """An object as it is to be, as JSON without its owner's reference; one without an owner is the installation's.

    Without a `manifest` nobody knows now how it is to be: it stays as it is, and is not made where it is not.
    """

    ref: ObjectRef
    owner: ObjectRef | None
    manifest: bytes
