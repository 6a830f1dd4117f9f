"""Certificates in Secrets: made and renewed when due, by however many do so at once.

Each object is read, compared and written back on the version that was read: who comes second reads again, and finds
that nothing is due.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from xds_server.certificates.authority import CertificateError
from xds_server.certificates.keeping import AUTHORITY, Store
from xds_server.kube.client import Api, ApiError

AUTHORITY_NAME: Final = "tidegate-ca"
SERVER_NAME: Final = "tidegate-xds-server"
ENDS: Final = "ends.json"

_ATTEMPTS: Final = 8
_LABELS: Final = {"app.kubernetes.io/part-of": "tidegate", "app.kubernetes.io/managed-by": "tidegate-certificates"}

Object = dict[str, Any]


async def kept_secret(api: Api, namespace: str, name: str, keep: Callable[[Store], Store]) -> tuple[Store, str]:
    """Make a Secret what `keep` says of what it is; give that, and "created", "renewed" or "unchanged".

    :raises ApiError: it can be neither read nor written.
    :raises CertificateError: what is there is not to be replaced.
    """
    store: Store = {}

    def changed(found: Object | None) -> Object | None:
        nonlocal store
        before = _decoded(name, (found or {}).get("data") or {})
        store = keep(before)
        if found is not None and store == before:
            return None
        made = found or _new("Secret", namespace, name) | {"type": "kubernetes.io/tls"}
        return made | {"data": {key: base64.b64encode(value).decode() for key, value in store.items()}}

    done = await _kept(api, f"/api/v1/namespaces/{namespace}/secrets", name, changed)
    return store, done


async def kept_bundle(api: Api, namespace: str, name: str, trusted: bytes) -> str:
    """Make a ConfigMap hold what proxies trust: they get no Secret for that."""
    return await _kept_entry(api, namespace, name, AUTHORITY, trusted.decode())


async def kept_ends(api: Api, namespace: str, name: str, ends: Mapping[str, datetime]) -> str:
    """Make the same ConfigMap say until when certificates hold, by their Secrets, which few may read."""
    return await _kept_entry(api, namespace, name, ENDS, msgspec.json.encode(ends, order="sorted").decode())


async def _kept_entry(api: Api, namespace: str, name: str, key: str, value: str) -> str:
    def changed(found: Object | None) -> Object | None:
        data = (found or {}).get("data") or {}
        if data.get(key) == value:
            return None
        return (found or _new("ConfigMap", namespace, name)) | {"data": {**data, key: value}}

    return await _kept(api, f"/api/v1/namespaces/{namespace}/configmaps", name, changed)


async def _kept(api: Api, collection: str, name: str, changed: Callable[[Object | None], Object | None]) -> str:
    for _ in range(_ATTEMPTS):
        found = await _read(api, f"{collection}/{name}")
        new = changed(found)
        if new is None:
            return "unchanged"
        body = msgspec.json.encode(new)
        try:
            if found is None:
                await api.request("POST", collection, body=body)
                return "created"
            await api.request("PUT", f"{collection}/{name}", body=body)
        except ApiError as error:
            if error.status != 409 and not (error.status == 404 and found is not None):
                raise
            continue  # somebody else was first, or has deleted it
        return "renewed"
    raise ApiError(409, "Conflict", f"{collection}/{name} changes all the time: see who else writes it")


async def _read(api: Api, path: str) -> Object | None:
    try:
        found: Object = msgspec.json.decode(await api.request("GET", path))
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    except msgspec.DecodeError:
        raise ApiError(0, "DecodeError", f"{path} is not answered with an object") from None
    return found


def _new(kind: str, namespace: str, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": dict(_LABELS)},
    }


def _decoded(name: str, data: Mapping[str, str]) -> Store:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in data.items()}
    except (binascii.Error, TypeError, ValueError):
        raise CertificateError(f"Secret {name}: data is not base64; delete the Secret to have it made anew") from None
