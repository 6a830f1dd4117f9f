"""The objects of an API server as they are now, read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from xds_server.kube.client import Api, ApiError
from xds_server.kube.discovery import chosen, served
from xds_server.kube.held import Changes, Held
from xds_server.kube.kinds import BY_KIND, KINDS, Kind, can_exist
from xds_server.kube.reflector import PAGE, pages, printable
from xds_server.model.refs import ObjectRef
from xds_server.objects.meta import Model


class NotReadableError(Exception):
    """What cannot be read, by which verb, and the way out."""


class Found(NamedTuple):
    """`why` there is no model, where there is none."""

    model: Model | None
    why: str = ""


async def everything(api: Api, kinds: Sequence[Kind] = KINDS) -> Changes:
    """All objects of the kinds that are installed; not what they refer to.

    :raises NotReadableError: a list is refused, or the server cannot be reached.
    """
    found = Changes.none()
    for kind, version in await _versions(api, kinds):
        held = Held(kind)
        listing, last = held.listing(version), ""
        try:
            async for page in pages(api, kind.collection_path(version), {}, PAGE):
                listing.add(page.items)
                last = page.version
        except ApiError as error:
            raise NotReadableError(_told(api, error, "list", kind)) from None
        changes = held.listed(last, listing)
        found.models.update(changes.models)
        found.undecodable.update(changes.undecodable)
    return found


async def referenced(api: Api, refs: Iterable[ObjectRef]) -> dict[ObjectRef, Found]:
    """Secrets and ConfigMaps, each by its name.

    :raises NotReadableError: the server cannot be reached.
    """
    return {ref: await _referenced(api, ref) for ref in sorted(refs)}


async def _referenced(api: Api, ref: ObjectRef) -> Found:
    kind = BY_KIND[ref.kind]
    if not can_exist(ref):
        return Found(None, "does not exist: no object can have that name")
    try:
        body = await api.request("GET", kind.object_path(kind.versions[0], ref))
        return Found(msgspec.json.decode(body, type=kind.struct))
    except ApiError as error:
        if error.status == 404:
            return Found(None, "does not exist")
        if error.status == 403:
            return Found(None, f"may not be read: let this user get {kind.plural} in namespace {ref.namespace}")
        raise NotReadableError(_told(api, error, "get", kind)) from None
    except msgspec.DecodeError:
        return Found(None, "cannot be read: a field is of another type than the API says")


async def _versions(api: Api, wanted: Sequence[Kind]) -> list[tuple[Kind, str]]:
    groups = {kind.group: [other for other in wanted if other.group == kind.group] for kind in wanted}
    found = []
    for group, kinds in groups.items():
        try:
            has = await served(api, group, dict.fromkeys(version for kind in kinds for version in kind.versions))
        except ApiError as error:
            raise NotReadableError(_told(api, error, "discover", None)) from None
        found += [(kind, version) for kind in kinds if (version := chosen(kind, has))]
    return found


def _told(api: Api, error: ApiError, verb: str, kind: Kind | None) -> str:
    resource = f"{kind.plural}{kind.group and '.'}{kind.group}" if kind else "which kinds there are"
    said = printable(str(error))
    match error.status:
        case 0:
            return f"the API server {api.host} cannot be reached: {said}; check --kubeconfig and --context"
        case 401:
            return f"{api.host}: cannot {verb} {resource}: it does not know this user; renew the credentials ({said})"
        case 403:
            return f"{api.host}: this user may not {verb} {resource}: bind a role that lets it ({said})"
    return f"{api.host}: cannot {verb} {resource}: {said}"
