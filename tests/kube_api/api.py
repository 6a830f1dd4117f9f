"""The server: what tests do with it, and what it answers."""

from __future__ import annotations

import asyncio
import base64
import copy
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec
import yaml
from aiohttp import web
from kubernetes_asyncio import client

from tests.kube_api.faults import Broken, Fault, Refusal, Stale
from tests.kube_api.patches import noted, operated, patched
from tests.kube_api.requests import Asked, Target, api_version, by_version, cut, error, event, json, refused, selected
from tests.kube_api.store import DEFAULT, Entry, Key, Object, Served, Store, key_of
from xds_server.kube.client import APPLY, JSON_PATCH, Configuration


class KubeApi(Store):
    """`socket` is a Unix socket to listen at, in the place of a port."""

    def __init__(self, served: Iterable[Served] = DEFAULT, socket: Path | None = None) -> None:
        super().__init__(served)
        self.requests: list[Asked] = []
        self._scripts: dict[tuple[str, str], deque[Fault]] = defaultdict(deque)
        self._runner: web.AppRunner | None = None
        self._port, self.socket = 0, socket
        self.host = "http://api"

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

    def script(self, plural: str, verb: str, *faults: Fault) -> None:
        self._scripts[plural, verb].extend(faults)

    def scripted(self) -> int:
        """How many faults have not happened yet."""
        return sum(map(len, self._scripts.values()))

    @property
    def writes(self) -> list[Asked]:
        return [asked for asked in self.requests if asked.method != "GET"]

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
                return refused(Refusal(404, "NotFound", message="the server could not find the requested resource"))
            return await self._resource(request, target, asked)
        except Broken:
            return await cut(request)
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
            return refused(fault)
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
            return json({"kind": "APIGroupList", "groups": [{"name": name} for name in groups]})
        versions = list(dict.fromkeys(version for kind in kinds for version in kind.versions))
        if not kinds or (version and version[0] not in versions):
            return refused(Refusal(404, "NotFound"))
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
            return json({"kind": "APIResourceList", "groupVersion": named, "resources": resources})
        if group == "":
            return json({"kind": "APIVersions", "versions": versions})
        listed = [{"groupVersion": f"{group}/{each}", "version": each} for each in versions]
        return json({"kind": "APIGroup", "name": group, "versions": listed, "preferredVersion": listed[0]})

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
            return refused(Refusal(404, "NotFound"))
        if verb == "get":
            return json(by_version(target, found or {}))
        if verb == "delete":
            return json(by_version(target, self._delete(target.served.plural, key)))
        if request.content_type == JSON_PATCH:
            return self._write(target, found, operated(copy.deepcopy(found or {}), asked.body), patch=False)
        body = noted(asked) if request.content_type == APPLY else asked.body
        return self._write(target, found, body, patch=verb == "patch")

    def _create(self, target: Target, body: Object, *, dry: bool) -> web.Response:
        if dry:
            return json(body, status=201)
        body.setdefault("metadata", {})
        if target.namespace:
            body["metadata"]["namespace"] = target.namespace
        if key_of(body) in self._objects[target.served.plural]:
            return refused(Refusal(409, "AlreadyExists"))
        return json(by_version(target, self._put(target.served.plural, body)), status=201)

    def _write(self, target: Target, found: Object | None, body: Object, *, patch: bool) -> web.Response:
        wanted = body.get("metadata", {}).get("resourceVersion")
        if found is not None and wanted and wanted != found["metadata"]["resourceVersion"]:
            return refused(Refusal(409, "Conflict", message="the object has been modified"))
        merged = patched(copy.deepcopy(found or {}), body) if patch else body
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
        return json(by_version(target, self._put(target.served.plural, {**merged, "metadata": metadata})))

    def _list(self, target: Target, query: dict[str, str], behind: int) -> web.Response:
        version, after = max(1, self.version - behind), None
        if token := query.get("continue"):
            version, after = msgspec.json.decode(base64.b64decode(token), type=tuple[int, Key])
            if version < self._compacted:
                return refused(Refusal(410, "Expired"))
        found = self._at(target.served.plural, version)
        keys = sorted(key for key in found if selected(target, query, found[key]) and (after is None or key > after))
        limit = int(query.get("limit", "0")) or len(keys)
        metadata: Object = {"resourceVersion": str(version)}
        if len(keys) > limit:
            metadata["continue"] = base64.b64encode(msgspec.json.encode((version, keys[limit - 1]))).decode()
            metadata["remainingItemCount"] = len(keys) - limit
        items = [by_version(target, found[key]) for key in keys[:limit]]
        return json(
            {
                "kind": f"{target.served.kind}List",
                "apiVersion": api_version(target),
                "metadata": metadata,
                "items": items,
            }
        )

    async def _watch(self, request: web.Request, target: Target, query: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        version = int(query.get("resourceVersion") or self.version)
        if version < self._compacted:
            await response.write(error(410, "Expired"))
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
                    yield event("BOOKMARK", bare | {"kind": target.served.kind, "apiVersion": api_version(target)})
                continue
            if not selected(target, query, entry.object):
                continue
            line = event(entry.type, by_version(target, entry.object))
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
                yield error(410, "Expired") if fault == "gone" else error(500, "InternalError")
                return
            if fault == "older" and entry.before is not None:
                held = event("MODIFIED", by_version(target, entry.before))
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
