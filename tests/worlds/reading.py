"""Manifests as the Structs that the pipeline reads, in both ways that they come."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tests.worlds.draw import Manifest
from tests.worlds.world import ref
from xds_server.files import manifest as manifests
from xds_server.files.kinds import SERVED
from xds_server.model.refs import ObjectRef


def from_file(manifest: Manifest) -> Any | None:
    """The object as the directory source reads it; None for one that breaks a rule of its kind."""
    reading = manifests.read(json.dumps(manifest), json=True)
    return reading.objects[0].object if reading.objects else None


def from_server(manifest: Manifest) -> Any | None:
    """The object as an API server would give it whose definitions have few rules; None for what is no such object."""
    kind = SERVED[manifest["apiVersion"], manifest["kind"]]
    metadata = manifest["metadata"] | {"namespace": ref(manifest).namespace}
    try:
        return msgspec.convert(manifest | {"metadata": metadata}, kind.struct)
    except msgspec.ValidationError:
        return None


def objects(world: dict[ObjectRef, Manifest], *, loose: bool = False) -> dict[ObjectRef, Any]:
    """What is left of a world when it is read."""
    read = {name: (from_server if loose else from_file)(manifest) for name, manifest in world.items()}
    return {name: found for name, found in read.items() if found is not None}
