"""A directory of manifests that is kept applied to an API server, as people's tools do it.

A document that cannot be read or that the API server refuses changes nothing: its object stays as it was.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import yaml

from xds_server.kube.client import APPLY, Api, ApiError
from xds_server.kube.kinds import BY_KIND
from xds_server.model.refs import ObjectRef

Object = dict[str, Any]

_EVERY_S: Final = 0.05
_SETTINGS: Final = {"fieldManager": "demo", "force": "true"}


class Followed:
    """`skipped` are the kinds of objects in it that are not for this API server."""

    def __init__(self, api: Api, directory: Path, skipped: frozenset[str]) -> None:
        self._api, self._directory, self._skipped = api, directory, skipped
        self._read: dict[Path, str] = {}
        self._objects: dict[Path, dict[str, Object]] = {}
        self.refused: list[str] = []

    async def run(self) -> None:
        """Apply what changes, until cancelled."""
        while True:
            await self.once()
            await asyncio.sleep(_EVERY_S)

    async def once(self) -> None:
        texts = {path: path.read_text() for path in sorted(self._directory.glob("*.yaml"))}
        for path in [*texts, *(self._read.keys() - texts.keys())]:
            if texts.get(path) != self._read.get(path):
                await self._apply(path, texts.get(path, ""))
        self._read = texts

    async def _apply(self, path: Path, text: str) -> None:
        found, whole = {}, True
        for document in text.split("\n---\n"):
            try:
                objects = [o for o in yaml.safe_load_all(document) if o and o["kind"] not in self._skipped]
            except (yaml.YAMLError, TypeError):
                whole = False
                continue
            found.update({_path(o): o for o in objects})
        before = self._objects.get(path, {})
        for where, o in found.items():
            if before.get(where) != o:
                await self._ask("PATCH", where, json.dumps(o).encode())
        # Of a file that is broken nobody knows what it no longer has.
        for where in before.keys() - found.keys() if whole else ():
            await self._ask("DELETE", where, None)
        self._objects[path] = found if whole else before | found

    async def _ask(self, method: str, where: str, body: bytes | None) -> None:
        try:
            params = _SETTINGS if method == "PATCH" else {}
            await self._api.request(method, where, params=params, body=body, content_type=APPLY)
        except ApiError as error:
            self.refused.append(f"{method} {where}: {error}")


def _path(o: Object) -> str:
    kind = BY_KIND[o["kind"]]
    name = ObjectRef(o["kind"], o["metadata"].get("namespace", "default"), o["metadata"]["name"])
    return kind.object_path(o["apiVersion"].rpartition("/")[2], name)
