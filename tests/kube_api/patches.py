"""The three ways in which a request changes an object."""

from __future__ import annotations

from typing import Any

from tests.kube_api.requests import Asked
from tests.kube_api.store import Object


def noted(asked: Asked) -> Object:
    """What is applied, with who does."""
    applied = [{"manager": asked.query.get("fieldManager"), "operation": "Apply"}]
    body: Object = asked.body
    return {**body, "metadata": {**body.get("metadata", {}), "managedFields": applied}}


def operated(o: Object, operations: list[Object]) -> Object:
    """A JSON patch that adds or replaces members."""
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        place = o
        for step in way:
            place = place[step]
        place[last] = operation["value"]
    return o


def patched(found: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = patched(merged.get(name), value)
    return merged
