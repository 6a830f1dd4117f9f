"""A small API server, for the faults that a real one will not make: objects over HTTP, lists, watches, writes.

    async with KubeApi() as api:
        api.apply(YAML)                              # create or replace, like `kubectl apply`; text or dicts
        api.delete("HTTPRoute", "default", "web")
        client = Api(api.configuration())            # or `--kubeconfig api.kubeconfig(path)`
        api.object("HTTPRoute", "default", "web")    # as it is now, status included; None if it is not there
        api.set_status("Gateway", "default", "web", {...})    # as another controller would
        api.requests, api.writes                     # what was asked, in order; `plain`: "PATCH httproutes/status"
        await api.until(lambda: len(api.writes) == 2)         # looked at after each request and each event

What it does as the real one does: resource versions from one counter, `generation` by changes of the spec, `uid`,
an object that a write does not change gets no version and no event; lists with `limit` and `continue`, all pages as of
the first; `fieldSelector` of metadata.name and metadata.namespace, `labelSelector` of equalities; watches from a
resource version, 410 once it is compacted (`compact()`), bookmarks (`bookmark()`), `timeoutSeconds`; POST, PUT, merge
patch, JSON patch, server-side apply (as a merge that creates, and notes who), POST with `dryRun`, DELETE, PUT or PATCH
of `/status`; 409 where `metadata.resourceVersion` is not the newest; discovery by `/api`, `/apis`, `/apis/GROUP` and
`/apis/GROUP/VERSION`.
`serve(...)` and `unserve(...)` say which kinds and versions there are; a kind that goes takes its objects along.
`await stop()` and `await start()` are an outage: the same port and objects. Objects of any kind are plain dicts.

What it does wrong, on demand: `script(plural, verb, *faults)`. Each request of that verb takes one fault, `None` being
none: "list", "watch", "get", "create", "update", "patch", "delete" (writes of a status are `script("gateways/status",
"update", ...)`), and "discover" with the group as plural. A fault of a request is a `Refusal`, a `Stale` list, "cut"
(the connection ends in the middle), "lose" (it is done, and its answer is cut), "silent" (no answer) or "babble" (no
JSON). Each event that a watch sends takes one of verb "event": "duplicate", "reorder" (after its successor, in one
write), "cut" (in the middle of the line), "silent" (nothing more comes), "gone" (an ERROR event, 410), "error" (an
ERROR event, 500) or "older" (followed by the version before).
"""

from __future__ import annotations

import asyncio
import base64
import copy
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec
import yaml
from aiohttp import web
from kubernetes_asyncio import client

from xds_server.kube.client import APPLY, JSON_PATCH, Configuration
from xds_server.kube.kinds import KINDS, REFERENCED

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

PATIENCE_S: Final = 30  # of a test that fails; none waits for it otherwise
LIVE: Final = "2026-01-01T00:00:00Z"


class Served(NamedTuple):
    kind: str
    group: str
    versions: tuple[str, ...]
    plural: str
    namespaced: bool = True


DEFAULT: Final = (
    *(Served(kind.kind, kind.group, kind.versions, kind.plural, kind.namespaced) for kind in (*KINDS, *REFERENCED)),
    Served("Lease", "coordination.k8s.io", ("v1",), "leases"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none; `message` must never matter."""

    status: int
    reason: str = ""
    retry_after_s: str = ""
    message: str = "scripted"


@dataclass(frozen=True, slots=True)
class Stale:
    """A list as it was so many versions ago, or at the beginning."""

    behind: int


Fault = (
    Refusal
    | Stale
    | Literal["cut", "lose", "silent", "babble", "duplicate", "reorder", "gone", "error", "older"]
    | None
)


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


class Entry(NamedTuple):
    """What happened to one object; `before` is the version that it replaces."""

    version: int
    type: str
    plural: str
    object: Object
    before: Object | None = None


class Target(NamedTuple):
    served: Served
    version: str
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> str:
        return self.served.plural + (f"/{self.subresource}" if self.subresource else "")


class Broken(Exception):
    """The connection is to be cut."""


class KubeApi:
    """`socket` is a Unix socket to listen at, in the place of a port."""

    def __init__(self, served: Iterable[Served] = DEFAULT, socket: Path | None = None) -> None:
        self.requests: list[Asked] = []
        self.version = 100
        self._served = {kind.plural: kind for kind in served}
        self._objects: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._log: list[Entry] = []
        self._compacted = 0
        self._ending: set[str] = set()
        self._scripts: dict[tuple[str, str], deque[Fault]] = defaultdict(deque)
        self._waiting: set[asyncio.Event] = set()
        self._runner: web.AppRunner | None = None
        self._port, self.socket = 0, socket
        self.host = "http://api"

    # --- what a test does ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        if self.socket is not None:
            await web.UnixSite(self._runner, self.socket).start()
            return
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.host = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Cut all connections, refuse new ones."""
        runner, self._runner = self._runner, None
        self._wake()
        if runner is not None:
            await runner.cleanup()

    def configuration(self) -> Configuration:
        found = client.Configuration()
        found.host = self.host
        found.connection_pool_maxsize = 0
        return found

    def kubeconfig(self, path: Path) -> Path:
        named = {"name": "fake", "cluster": {"server": self.host}}
        context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
        user = {"name": "fake", "user": {"token": "fake"}}
        content = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
        path.write_text(yaml.safe_dump(content | {"clusters": [named], "contexts": [context], "users": [user]}))
        return path

    def apply(self, *manifests: str | Object) -> None:
        for manifest in manifests:
            for found in yaml.safe_load_all(manifest) if isinstance(manifest, str) else [manifest]:
                if found:
                    self._apply(copy.deepcopy(found))

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self._delete(self._plural(kind), (namespace, name))

    def object(self, kind: str, namespace: str, name: str) -> Object | None:
        found = self._objects[self._plural(kind)].get((namespace, name))
        return copy.deepcopy(found)

    def objects(self, kind: str) -> list[Object]:
        return [copy.deepcopy(found) for _, found in sorted(self._objects[self._plural(kind)].items())]

    def set_status(self, kind: str, namespace: str, name: str, status: Object) -> None:
        plural = self._plural(kind)
        self._put(plural, self._objects[plural][namespace, name] | {"status": status})

    def serve(self, kind: Served) -> None:
        """Install a kind, or change its versions, which are listed by preference."""
        self._served[kind.plural] = kind
        self._wake()

    def end(self, plural: str) -> None:
        """Begin to remove a kind: nothing of it can be made any more, and its objects go; it is still served."""
        self._ending.add(plural)
        for key in list(self._objects[plural]):
            self._delete(plural, key)
        self._wake()

    def unserve(self, plural: str) -> None:
        """Remove a kind with its objects; its watches end."""
        self.end(plural)
        self._ending.discard(plural)
        del self._served[plural]
        self._wake()

    def script(self, plural: str, verb: str, *faults: Fault) -> None:
        self._scripts[plural, verb].extend(faults)

    def scripted(self) -> int:
        """How many faults have not happened yet."""
        return sum(map(len, self._scripts.values()))

    def compact(self) -> None:
        """Forget what watches could begin with: all that are to resume must list."""
        self._compacted = self.version

    def bookmark(self) -> None:
        for plural in self._served:
            self._log.append(Entry(self.version, "BOOKMARK", plural, {}))
        self._wake()

    @property
    def plurals(self) -> frozenset[str]:
        """Of the kinds that there are."""
        return frozenset(self._served)

    @property
    def writes(self) -> list[Asked]:
        return [asked for asked in self.requests if asked.method != "GET"]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await self._change()

    # --- the store ----------------------------------------------------------------------------------------------------

    def _plural(self, kind: str) -> str:
        return next(served.plural for served in self._served.values() if served.kind == kind)

    def _apply(self, found: Object) -> None:
        plural = self._plural(found["kind"])
        metadata = found.setdefault("metadata", {})
        if self._served[plural].namespaced:
            metadata.setdefault("namespace", "default")
        before = self._objects[plural].get(_key(found))
        if before is not None and "status" in before:
            found.setdefault("status", before["status"])
        self._put(plural, found)

    def _put(self, plural: str, found: Object) -> Object:
        found = copy.deepcopy(found)
        key = _key(found)
        before = self._objects[plural].get(key)
        own = before["metadata"] if before else {}
        metadata = found["metadata"]
        metadata["uid"] = own.get("uid", f"uid-{self.version + 1}")
        metadata["creationTimestamp"] = own.get("creationTimestamp") or metadata.get("creationTimestamp") or LIVE
        metadata["generation"] = own.get("generation", 1)
        metadata["resourceVersion"] = own.get("resourceVersion", "")
        if before is not None:
            if before == found:
                return found
            if before.get("spec") != found.get("spec"):
                metadata["generation"] += 1
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self._objects[plural][key] = found
        self._record(Entry(self.version, "MODIFIED" if before else "ADDED", plural, found, before))
        return found

    def _delete(self, plural: str, key: Key) -> Object:
        before = self._objects[plural].pop(key)
        self.version += 1
        gone = copy.deepcopy(before)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._record(Entry(self.version, "DELETED", plural, gone, before))
        return gone

    def _record(self, entry: Entry) -> None:
        self._log.append(entry)
        self._wake()

    def _at(self, plural: str, version: int) -> dict[Key, Object]:
        if version >= self.version:
            return self._objects[plural]
        found: dict[Key, Object] = {}
        for entry in self._log:
            if entry.plural == plural and entry.version <= version:
                if entry.type == "DELETED":
                    found.pop(_key(entry.object), None)
                elif entry.type != "BOOKMARK":
                    found[_key(entry.object)] = entry.object
        return found

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def _change(self) -> None:
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = self._target(request.path)
        body = await request.read()
        decoded = yaml.safe_load(body) if request.content_type == APPLY else msgspec.json.decode(body or b"null")
        resource = target.resource if isinstance(target, Target) else ""
        headers = (request.headers.get(name, "") for name in ("Authorization", "Accept-Encoding"))
        asked = Asked(request.method, resource, request.path, dict(request.query), decoded, *headers)
        self.requests.append(asked)
        self._wake()
        try:
            if isinstance(target, str):
                fault = self._fault(target, "discover")
                return await self._faulty(fault) or self._discover(target, request.path)
            if target is None:
                return _refused(Refusal(404, "NotFound", message="the server could not find the requested resource"))
            return await self._resource(request, target, asked)
        except Broken:
            return await _cut(request)
        finally:
            self._wake()

    def _target(self, path: str) -> Target | str | None:
        """A resource; the group for discovery; None for what is not there."""
        root, *parts = path.strip("/").split("/")
        group = "" if root == "api" else parts.pop(0) if parts else "*"
        if len(parts) < 2:
            return group
        version, *parts = parts
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        served = self._served.get(parts[0])
        if served is None or served.group != group or version not in served.versions or len(parts) > 3:
            return None
        return Target(served, version, namespace, *(*parts[1:], "", "")[:2])

    def _fault(self, plural: str, verb: str) -> Fault:
        script = self._scripts.get((plural, verb))
        return script.popleft() if script else None

    async def _faulty(self, fault: Fault) -> web.Response | None:
        if isinstance(fault, Refusal):
            return _refused(fault)
        if fault == "cut":
            raise Broken
        if fault == "babble":
            return web.Response(text="<html>502</html>", content_type="text/html")
        while fault == "silent" and self._runner is not None:
            await self._change()
        return None

    def _discover(self, group: str, path: str) -> web.Response:
        kinds = [kind for kind in self._served.values() if kind.group == group]
        version = path.strip("/").split("/")[1 if group == "" else 2 :]
        if group == "*":
            groups = sorted({kind.group for kind in self._served.values()} - {""})
            return _json({"kind": "APIGroupList", "groups": [{"name": name} for name in groups]})
        versions = list(dict.fromkeys(version for kind in kinds for version in kind.versions))
        if not kinds or (version and version[0] not in versions):
            return _refused(Refusal(404, "NotFound"))
        if version:
            resources = [
                {
                    "name": kind.plural,
                    "kind": kind.kind,
                    "namespaced": kind.namespaced,
                    "verbs": ["list", "watch", *(() if kind.plural in self._ending else ("create", "update"))],
                }
                for kind in kinds
                if version[0] in kind.versions
            ]
            named = f"{group}/{version[0]}" if group else version[0]
            return _json({"kind": "APIResourceList", "groupVersion": named, "resources": resources})
        if group == "":
            return _json({"kind": "APIVersions", "versions": versions})
        listed = [{"groupVersion": f"{group}/{each}", "version": each} for each in versions]
        return _json({"kind": "APIGroup", "name": group, "versions": listed, "preferredVersion": listed[0]})

    async def _resource(self, request: web.Request, target: Target, asked: Asked) -> web.StreamResponse:
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}[asked.method]
        if verb == "get" and not target.name:
            verb = "watch" if asked.query.get("watch") in {"1", "true"} else "list"
        fault = self._fault(target.resource, verb)
        if (answer := await self._faulty(fault)) is not None:
            return answer
        if verb == "watch":
            return await self._watch(request, target, asked.query)
        done = self._done(request, target, asked, verb, fault)
        if fault == "lose":
            raise Broken
        return done

    def _done(self, request: web.Request, target: Target, asked: Asked, verb: str, fault: Fault) -> web.Response:
        if verb == "list":
            return self._list(target, asked.query, fault.behind if isinstance(fault, Stale) else 0)
        key = (target.namespace, target.name)
        found = self._objects[target.served.plural].get(key)
        if verb == "create":
            return self._create(target, asked.body, dry=asked.query.get("dryRun") == "All")
        if found is None and not (verb == "patch" and request.content_type == APPLY and not target.subresource):
            return _refused(Refusal(404, "NotFound"))
        if verb == "get":
            return _json(_as(target, found or {}))
        if verb == "delete":
            return _json(_as(target, self._delete(target.served.plural, key)))
        if request.content_type == JSON_PATCH:
            patched = _operated(copy.deepcopy(found or {}), asked.body)
            return self._write(target, found, patched, patch=False)
        body = _noted(asked) if request.content_type == APPLY else asked.body
        return self._write(target, found, body, patch=verb == "patch")

    def _create(self, target: Target, body: Object, *, dry: bool) -> web.Response:
        if dry:
            return _json(body, status=201)
        body.setdefault("metadata", {})
        if target.namespace:
            body["metadata"]["namespace"] = target.namespace
        if _key(body) in self._objects[target.served.plural]:
            return _refused(Refusal(409, "AlreadyExists"))
        return _json(_as(target, self._put(target.served.plural, body)), status=201)

    def _write(self, target: Target, found: Object | None, body: Object, *, patch: bool) -> web.Response:
        wanted = body.get("metadata", {}).get("resourceVersion")
        if found is not None and wanted and wanted != found["metadata"]["resourceVersion"]:
            return _refused(Refusal(409, "Conflict", message="the object has been modified"))
        merged = _merged(copy.deepcopy(found or {}), body) if patch else body
        if target.subresource == "status":
            kept = dict(found or {})
            if "." not in target.served.group or target.served.group == "networking.k8s.io":
                # Of what is built in, and no custom resource, a status brings all of the metadata that is the users'.
                users = {"labels", "annotations", "finalizers", "ownerReferences"}
                named = {k: v for k, v in kept["metadata"].items() if k not in users}
                brought = {k: v for k, v in merged.get("metadata", {}).items() if k in users}
                kept["metadata"] = named | brought
            merged = {**kept, "status": merged.get("status")}
        elif found is not None and "status" in found:
            merged = {**merged, "status": found["status"]}
        if found is not None:
            merged = {**merged, "apiVersion": found["apiVersion"]}
        metadata = {**merged.get("metadata", {}), "name": target.name}
        if target.namespace:
            metadata["namespace"] = target.namespace
        return _json(_as(target, self._put(target.served.plural, {**merged, "metadata": metadata})))

    def _list(self, target: Target, query: dict[str, str], behind: int) -> web.Response:
        version, after = max(1, self.version - behind), None
        if token := query.get("continue"):
            version, after = msgspec.json.decode(base64.b64decode(token), type=tuple[int, Key])
            if version < self._compacted:
                return _refused(Refusal(410, "Expired"))
        found = self._at(target.served.plural, version)
        keys = sorted(key for key in found if _selected(target, query, found[key]) and (after is None or key > after))
        limit = int(query.get("limit", "0")) or len(keys)
        metadata: Object = {"resourceVersion": str(version)}
        if len(keys) > limit:
            metadata["continue"] = base64.b64encode(msgspec.json.encode((version, keys[limit - 1]))).decode()
            metadata["remainingItemCount"] = len(keys) - limit
        items = [_as(target, found[key]) for key in keys[:limit]]
        return _json(
            {
                "kind": f"{target.served.kind}List",
                "apiVersion": _api_version(target),
                "metadata": metadata,
                "items": items,
            }
        )

    async def _watch(self, request: web.Request, target: Target, query: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        version = int(query.get("resourceVersion") or self.version)
        if version < self._compacted:
            await response.write(_error(410, "Expired"))
            return response
        try:
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(float(query.get("timeoutSeconds", "3600"))):
                    async for lines in self._lines(target, query, version):
                        await response.write(lines)
        except Broken:
            if request.transport is not None:
                request.transport.close()  # what was written before goes out
        return response

    async def _lines(self, target: Target, query: dict[str, str], version: int) -> AsyncIterator[bytes]:
        """What a watch writes, faults included."""
        held = b""
        async for entry in self._entries(target, version):
            if entry.type == "BOOKMARK":
                if query.get("allowWatchBookmarks") == "true":
                    bare = {"metadata": {"resourceVersion": str(entry.version)}}
                    yield _line("BOOKMARK", bare | {"kind": target.served.kind, "apiVersion": _api_version(target)})
                continue
            if not _selected(target, query, entry.object):
                continue
            line = _line(entry.type, _as(target, entry.object))
            fault = self._fault(target.served.plural, "event") if not held else None
            if fault == "reorder":
                held = line
                continue
            if fault == "cut":
                yield line[: len(line) // 2]
                raise Broken
            if fault == "silent":
                await self._faulty(fault)
            if fault in {"gone", "error"}:
                yield _error(410, "Expired") if fault == "gone" else _error(500, "InternalError")
                return
            if fault == "older" and entry.before is not None:
                held = _line("MODIFIED", _as(target, entry.before))
            yield line * 2 if fault == "duplicate" else line + held
            held = b""

    async def _entries(self, target: Target, version: int) -> AsyncIterator[Entry]:
        """What happens to a resource after a version, for as long as it is served by this version of the API."""
        place = 0
        served = target.served.plural
        while self._runner is not None:
            while place < len(self._log):
                entry = self._log[place]
                place += 1
                if entry.plural == served and (entry.version > version or (entry.type == "BOOKMARK" and place > 1)):
                    if entry.type == "BOOKMARK" and entry.version < version:
                        continue
                    yield entry
            if target.version not in self._served.get(served, Served("", "", (), "")).versions:
                return
            await self._change()


async def _cut(request: web.Request) -> web.StreamResponse:
    """End the connection; where nothing was answered, in the middle of the answer, as clients ask again before it."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    if request.transport is not None and not request.transport.is_closing():
        with suppress(ConnectionError, RuntimeError):
            await response.prepare(request)
            await response.write(b'{"kind":')
        request.transport.abort()
    return response


def _key(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _api_version(target: Target) -> str:
    return f"{target.served.group}/{target.version}" if target.served.group else target.version


def _as(target: Target, found: Object) -> Object:
    """The same object by any version: no fields differ."""
    return {**found, "apiVersion": _api_version(target), "kind": target.served.kind}


def _selected(target: Target, query: dict[str, str], found: Object) -> bool:
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


def _noted(asked: Asked) -> Object:
    """What is applied, with who does."""
    applied = [{"manager": asked.query.get("fieldManager"), "operation": "Apply"}]
    body: Object = asked.body
    return {**body, "metadata": {**body.get("metadata", {}), "managedFields": applied}}


def _operated(o: Object, operations: list[Object]) -> Object:
    """A JSON patch that adds or replaces members."""
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        place = o
        for step in way:
            place = place[step]
        place[last] = operation["value"]
    return o


def _merged(found: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _line(type_: str, found: Object) -> bytes:
    return msgspec.json.encode({"type": type_, "object": found}) + b"\n"


def _status(refusal: Refusal) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": refusal.reason,
        "code": refusal.status,
        "message": refusal.message,
    }


def _error(status: int, reason: str) -> bytes:
    return _line("ERROR", _status(Refusal(status, reason)))


def _refused(refusal: Refusal) -> web.Response:
    headers = {"Retry-After": refusal.retry_after_s} if refusal.retry_after_s else {}
    return _json(_status(refusal), refusal.status, headers)


def _json(body: Object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")
