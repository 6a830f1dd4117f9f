"""Client status discovery: what each connected node has accepted, refused or not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import grpc
from envoy.admin.v3 import config_dump_shared_pb2
from envoy.service.status.v3 import csds_pb2

from xds_server.model.resource import SECRET
from xds_server.xds.readings import Status
from xds_server.xds.stream import AdsStream
from xds_server.xds.streams import Streams

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"

_SYNCED: Final = {
    "ACKED": csds_pb2.SYNCED,
    "NACKED": csds_pb2.ERROR,
    "REQUESTED": csds_pb2.STALE,
    "DOES_NOT_EXIST": csds_pb2.NOT_SENT,
}

_AT_ONCE: Final = 256
"""Resources that are looked at without a break."""
_LONGEST_ANSWER: Final = 64 * 1024 * 1024
_TOO_LONG: Final = (
    f"the answer would be longer than {_LONGEST_ANSWER >> 20} MiB: set exclude_resource_contents, or match fewer nodes "
    "with node_matchers.node_id"
)
_BUSY: Final = "a call of this node is being answered: one at a time"

_MATCHES: Final[dict[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}


def handlers(streams: Streams, node: Callable[[Any], str | None]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """`node` is the only one that a call may see, or None for all.

    One answer is made at a time, and a node has one call at a time, until it has read what it asked for.
    """
    making, calling = asyncio.Lock(), set[str]()

    async def enter(context: Any) -> None:
        caller = node(context)
        if caller in calling:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _BUSY)
        if caller is not None:
            calling.add(caller)
            context.add_done_callback(lambda _: calling.discard(caller))

    async def answer(request: Any, context: Any) -> Any:
        unsupported = _unsupported(request.node_matchers)
        if unsupported:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, unsupported)
        async with making:
            found = await _status(streams, request, node(context))
        if found is None:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_LONG)
        return found

    async def fetch(request: Any, context: Any) -> Any:
        await enter(context)
        return await answer(request, context)

    async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        await enter(context)
        async for request in requests:
            yield await answer(request, context)

    parse = csds_pb2.ClientStatusRequest.FromString
    serialise = csds_pb2.ClientStatusResponse.SerializeToString
    return {
        "FetchClientStatus": grpc.unary_unary_rpc_method_handler(fetch, parse, serialise),
        "StreamClientStatus": grpc.stream_stream_rpc_method_handler(stream, parse, serialise),
    }


async def _status(streams: Streams, request: Any, node: str | None) -> Any:
    """None where it would be too long; others have their turn on the loop in between."""
    bodies = not request.exclude_resource_contents
    response = csds_pb2.ClientStatusResponse()
    length, looked_at = 0, 0
    for stream in streams.streams():
        if node is not None and stream.bound_to != node:
            continue
        if stream.node_id and _matches(stream.node_id, request.node_matchers):
            config = response.config.add()
            config.node.id = stream.node_id
            for type_url in stream.types():
                for status in stream.statuses(type_url):
                    length += _add(config, streams, stream, type_url, status, bodies=bodies)
                    if length > _LONGEST_ANSWER:
                        return None
                    looked_at += 1
                    if looked_at % _AT_ONCE == 0:
                        await asyncio.sleep(0)
    return response


def _add(config: Any, streams: Streams, stream: AdsStream, type_url: str, status: Status, *, bodies: bool) -> int:
    """Returns how long that is."""
    shown = config.generic_xds_configs.add()
    shown.type_url = type_url
    shown.name = status.name
    shown.version_info = status.version
    shown.config_status = _SYNCED[status.state]
    shown.client_status = config_dump_shared_pb2.ClientResourceStatus.Value(status.state)
    if status.detail:
        shown.error_state.details = status.detail
        shown.error_state.version_info = status.version
    # A secret is its key: it is never shown, to whomever.
    entry = streams.table.read(type_url, delta=stream.delta).get(status.name)
    if bodies and entry is not None and type_url != SECRET:
        shown.xds_config.type_url = type_url
        shown.xds_config.value = entry.resource.body
    return int(shown.ByteSize())


def _unsupported(matchers: Iterable[Any]) -> str:
    for matcher in matchers:
        if matcher.node_metadatas:
            return "node_matchers.node_metadatas is not supported: match node_id"
        pattern = matcher.node_id.WhichOneof("match_pattern")
        if pattern not in _MATCHES:
            return f"node_matchers.node_id.{pattern} is not supported: use one of {', '.join(_MATCHES)}"
    return ""


def _matches(node_id: str, matchers: Iterable[Any]) -> bool:
    """Any of the matchers suffices, and none is all nodes."""
    matchers = list(matchers)
    return not matchers or any(_matches_one(node_id, matcher.node_id) for matcher in matchers)


def _matches_one(node_id: str, matcher: Any) -> bool:
    pattern = matcher.WhichOneof("match_pattern")
    wanted = getattr(matcher, pattern)
    if matcher.ignore_case:
        node_id, wanted = node_id.lower(), wanted.lower()
    return _MATCHES[pattern](node_id, wanted)
