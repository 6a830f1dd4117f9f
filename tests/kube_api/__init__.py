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

from tests.kube_api.api import KubeApi
from tests.kube_api.faults import Fault, Refusal, Stale
from tests.kube_api.store import DEFAULT, PATIENCE_S, Object, Served

__all__ = ["DEFAULT", "PATIENCE_S", "Fault", "KubeApi", "Object", "Refusal", "Served", "Stale"]
