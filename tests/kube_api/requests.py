"""What a request asks for, and the forms of answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from tests.kube_api.faults import Refusal
from tests.kube_api.store import Object, Served


class Asked(NamedTuple):
    """A request; `resource` is "" where none is named, "gateways/status" for a subresource."""

    method: str
    resource: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str = ""
    encoding: str = ""

    @property
    def plain(self) -> str:
        return f"{self.method} {self.resource}"


class Target(NamedTuple):
    served: Served
    version: str
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> str:
        return self.served.plural + (f"/{self.subresource}" if self.subresource else "")


def api_version(target: Target) -> str:
    return f"{target.served.group}/{target.version}" if target.served.group else target.version


def by_version(target: Target, found: Object) -> Object:
    """The same object by any version: no fields differ."""
    return {**found, "apiVersion": api_version(target), "kind": target.served.kind}


def selected(target: Target, query: dict[str, str], found: Object) -> bool:
    metadata = found["metadata"]
    if target.namespace and metadata.get("namespace") != target.namespace:
        return False
    fields = {f"metadata.{name}": metadata.get(name, "") for name in ("name", "namespace")}
    for selector, values in (("fieldSelector", fields), ("labelSelector", metadata.get("labels", {}))):
        for term in filter(None, query.get(selector, "").split(",")):
            field, _, wanted = term.replace("==", "=").partition("=")
            if values.get(field) != wanted:
                return False
    return True


def event(type_: str, found: Object) -> bytes:
    return msgspec.json.encode({"type": type_, "object": found}) + b"\n"


def described(refusal: Refusal) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": refusal.reason,
        "code": refusal.status,
        "message": refusal.message,
    }


def error(status: int, reason: str) -> bytes:
    return event("ERROR", described(Refusal(status, reason)))


def refused(refusal: Refusal) -> web.Response:
    headers = {"Retry-After": refusal.retry_after_s} if refusal.retry_after_s else {}
    return json(described(refusal), refusal.status, headers)


def json(body: Object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")


async def cut(request: web.Request) -> web.StreamResponse:
    """End the connection; where nothing was answered, in the middle of the answer, as clients ask again before it."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    if request.transport is not None and not request.transport.is_closing():
        with suppress(ConnectionError, RuntimeError):
            await response.prepare(request)
            await response.write(b'{"kind":')
        request.transport.abort()
    return response
