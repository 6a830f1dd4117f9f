"""What a control plane wrote to a client that asks as Envoy does, to be written to an Envoy again as it is."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from tests.bench.client import Message
from xds_server.model.resource import CLUSTER, LISTENER, VIRTUAL_HOST

_WHOLE = frozenset({CLUSTER, LISTENER, VIRTUAL_HOST})  # asked for without names


class Recording(NamedTuple):
    """Responses of each type, in order, with the names that they are about."""

    responses: dict[str, list[tuple[frozenset[str], bytes]]]

    @classmethod
    def of(cls, messages: Iterable[Message], address: tuple[bytes, bytes]) -> Recording:
        """With the address of the listeners replaced by another that is as long."""
        responses: dict[str, list[tuple[frozenset[str], bytes]]] = {}
        for message in messages:
            payload = message.payload.replace(*address) if message.type_url == LISTENER else message.payload
            responses.setdefault(message.type_url, []).append((frozenset(message.names), payload))
        return cls(responses)

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps(self.responses))

    @classmethod
    def load(cls, path: Path) -> Recording:
        return cls(pickle.loads(path.read_bytes()))


async def playing(tape: Recording, context: Any) -> None:
    """Answer one Envoy: of each type all that was recorded, as soon as it has asked for it."""
    left = {type_url: list(responses) for type_url, responses in tape.responses.items()}
    asked: dict[str, set[str]] = {}
    while (message := await context.read()) is not grpc.aio.EOF:
        request = DeltaDiscoveryRequest.FromString(message)
        names = asked.setdefault(request.type_url, set())
        names.update(request.resource_names_subscribe)
        responses = left.get(request.type_url, [])
        while responses and (request.type_url in _WHOLE or responses[0][0] <= names):
            await context.write(responses.pop(0)[1])
