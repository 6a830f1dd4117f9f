"""The words of Envoys as messages, and back; what comes from a peer is believed only in this form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from xds_server.model.delivery import NodeRef
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    INTERCEPTED,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.proto.tidegate.relay.v1 import relay_pb2
from xds_server.relay.words import BATCH, Refusal, Said, Words
from xds_server.xds.detail import readable

_REFUSABLE: Final = frozenset(
    {CLUSTER, CLUSTER_LOAD_ASSIGNMENT, INTERCEPTED, LISTENER, ROUTE_CONFIGURATION, SECRET, VIRTUAL_HOST}
)
_ACCEPTABLE: Final = frozenset({INTERCEPTED, LISTENER, ROUTE_CONFIGURATION})
_LONGEST_NODE: Final = 256
_LONGEST_NAME: Final = 4096
_LONGEST_VERSION: Final = 256


class MalformedError(ValueError):
    """It is not what a replica of this version would say; the text names the field."""


def request(news: Iterable[Said]) -> bytes:
    return bytes(relay_pb2.TellRequest(envoys=map(_envoy, news)).SerializeToString())


def response(carried: Iterable[Said]) -> bytes:
    return bytes(relay_pb2.TellResponse(carried=map(_envoy, carried)).SerializeToString())


def read_request(message: bytes) -> list[Said]:
    """:raises MalformedError: it is none."""
    return _read(relay_pb2.TellRequest, "envoys", message)


def read_response(message: bytes) -> list[Said]:
    """:raises MalformedError: it is none."""
    return _read(relay_pb2.TellResponse, "carried", message)


def _envoy(said: Said) -> Any:
    envoy = relay_pb2.Envoy(
        node=said.envoy.node,
        number=said.envoy.stream,
        gone=said.gone,
        began=said.began,
    )
    if said.gone:
        return envoy
    words = said.words
    envoy.resumed, envoy.listeners, envoy.services = words.resumed, words.listeners, words.services
    envoy.accepted.extend(_resource(key, version) for key, version in words.accepted.items())
    envoy.no_longer_accepted.extend(_resource(key) for key in said.unaccepted)
    envoy.refused.extend(_resource(key, *refusal) for key, refusal in words.refused.items())
    envoy.no_longer_refused.extend(_resource(key) for key in said.unrefused)
    envoy.late.extend(sorted(words.late))
    envoy.no_longer_late.extend(sorted(said.caught_up))
    return envoy


def _resource(key: ResourceKey, version: str = "", detail: str = "") -> Any:
    return relay_pb2.Resource(type_url=key.type_url, name=key.name, version=version, detail=detail)


def _read(kind: Any, field: str, message: bytes) -> list[Said]:
    try:
        envoys = getattr(kind.FromString(message), field)
    except DecodeError:
        raise MalformedError(f"the message is not a {kind.DESCRIPTOR.full_name}") from None
    entries = sum(map(_entries, envoys))
    if entries > BATCH:
        raise MalformedError(f"{field}: at most {BATCH} of their entries are told at once, here {entries}")
    return [_said(envoy) for envoy in envoys]


def _entries(envoy: Any) -> int:
    told = len(envoy.accepted) + len(envoy.refused) + len(envoy.late)
    retracted = len(envoy.no_longer_accepted) + len(envoy.no_longer_refused) + len(envoy.no_longer_late)
    return max(1, told + retracted)


def _said(envoy: Any) -> Said:
    ref = NodeRef(_text("node", envoy.node, _LONGEST_NODE), envoy.number)
    if envoy.gone:
        return Said(ref, gone=True)
    refused = {
        key: Refusal(_text("version", found.version, _LONGEST_VERSION), readable(found.detail))
        for key, found in _resources("refused", envoy.refused, _REFUSABLE).items()
    }
    accepted = {
        key: _text("version", found.version, _LONGEST_VERSION)
        for key, found in _resources("accepted", envoy.accepted, _ACCEPTABLE).items()
    }
    return Said(
        ref,
        began=envoy.began,
        words=Words(envoy.resumed, envoy.listeners, accepted, refused, _names("late", envoy.late), envoy.services),
        unaccepted=tuple(_resources("no_longer_accepted", envoy.no_longer_accepted, _ACCEPTABLE)),
        unrefused=tuple(_resources("no_longer_refused", envoy.no_longer_refused, _REFUSABLE)),
        caught_up=_names("no_longer_late", envoy.no_longer_late),
    )


def _resources(field: str, found: Iterable[Any], types: frozenset[str]) -> Mapping[ResourceKey, Any]:
    resources = {}
    for resource in found:
        if resource.type_url not in types:
            raise MalformedError(f"{field}: {resource.type_url[:128]!r} is no type that this is said of")
        resources[ResourceKey(resource.type_url, _text("name", resource.name, _LONGEST_NAME))] = resource
    return resources


def _names(field: str, found: Iterable[str]) -> frozenset[str]:
    return frozenset(_text(field, name, _LONGEST_NAME) for name in found)


def _text(field: str, text: str, longest: int) -> str:
    if len(text) > longest or not text.isprintable():
        raise MalformedError(f"{field}: it is longer than {longest} characters, or has some that do not print")
    return text
